"""The bundled tiny VLM: a real `LlavaForConditionalGeneration` of 9 MB that sees coloured shapes.

Load it as any checkpoint: `AutoModelForImageTextToText.from_pretrained(transprune.nano.path())`. Its card is the
README.md beside the weights.
"""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """Folder of the bundled checkpoint: weights, configuration, processor, tokenizer and card."""
    return Path(__file__).parent / "checkpoint"
