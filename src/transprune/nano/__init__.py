"""The bundled tiny VLM: a real `LlavaForConditionalGeneration` of 9 MB, trained on coloured shapes.

Load it like any checkpoint: `AutoModelForImageTextToText.from_pretrained(transprune.nano.path())`.
The model card is the README.md beside the weights. The code that trained it is in `nano/train`,
which is part of the source repository and not of the wheel.
"""

from __future__ import annotations

from pathlib import Path

NANO = "nano"  # the name of the bundled model and its questions, wherever a source is given

# text and instruction tokens of a question to it, medians of the demo's. Sizes know nothing of a
# prompt, and 64 text tokens, usual elsewhere, would weigh too much beside 144 visual
PROMPT = (11, 9)


def path() -> Path:
    """Folder of the bundled checkpoint: weights, configuration, processor, tokenizer and card."""
    return Path(__file__).parent / "checkpoint"
