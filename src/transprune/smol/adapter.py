"""The adapter: what turns the language model into a vision-language model, in one small folder.

<folder>/adapter.safetensors   tower, projector and low-rank update, in bfloat16
<folder>/adapter.json          sizes, how far the training is, and the checksums of these weights and
                               of the language model that they belong to
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from transprune.errors import CheckpointError
from transprune.nano.messages import first_line
from transprune.smol.architecture import assemble, image_tokenizer, new_processor
from transprune.smol.low_rank import LowRank
from transprune.smol.vision import TowerSizes, new_tower

SCHEMA = 2
ABOUT = "adapter.json"
WEIGHTS = "adapter.safetensors"


def save_adapter(
    model: Any,
    low_rank: LowRank,
    sizes: TowerSizes,
    language_sha256: str,
    folder: Path,
    stages: Sequence[str] = (),
    finished: bool = True,
) -> None:
    """Write an adapter.

    Args:
        model: of `architecture.assemble`; its tower and projector are written.
        low_rank: the update of its language model.
        sizes: of the tower.
        language_sha256: checksum of the language model it was trained with.
        folder: made if missing.
        stages: of the reader's training that are over; a training that goes on from this adapter
            leaves them out.
        finished: whether these are all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, nn.Module] = {
        "tower": model.model.vision_tower,
        "projector": model.model.multi_modal_projector,
        "low_rank": low_rank.factors,
    }
    half = {
        f"{part}.{name}": value.to(torch.bfloat16).contiguous().cpu()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }

    file = folder / WEIGHTS
    save_file(half, file)
    about = {
        "schema": SCHEMA,
        "sizes": asdict(sizes),
        "rank": low_rank.rank,
        "stages": list(stages),
        "finished": finished,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "language_sha256": language_sha256,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def with_adapter(language: Any, tokenizer: Any, folder: Path, language_sha256: str) -> Any:
    """Put a LLaVA together from a language model and an adapter.

    Args:
        language: the language model.
        tokenizer: of `architecture.image_tokenizer`.
        folder: of the adapter.
        language_sha256: checksum of the language model.

    Returns:
        The model in fp32, in evaluation mode.

    Raises:
        CheckpointError: no adapter there, one of another architecture, or for another language model.
    """
    model, low_rank = load_adapter(language, tokenizer, folder, language_sha256)
    low_rank.add_to(model.model.language_model)
    return model


def load_adapter(
    language: Any, tokenizer: Any, folder: Path, language_sha256: str
) -> tuple[Any, LowRank]:
    """As `with_adapter`, but the update is not added yet. -> model, update."""
    about = check_adapter(folder)
    wanted = about.get("language_sha256")
    if wanted != language_sha256:
        raise CheckpointError(
            f"{folder} is an adapter for a language model with the checksum {wanted}; got "
            f"{language_sha256}. Make the right one: transprune smol language"
        )

    weights = load_file(folder / WEIGHTS)
    try:
        tower = new_tower(TowerSizes(**about["sizes"]))
        model: Any = assemble(language, tower, tokenizer)
        low_rank = LowRank(model.model.language_model, about["rank"])
        model.model.vision_tower.load_state_dict(_part(weights, "tower"))
        model.model.multi_modal_projector.load_state_dict(_part(weights, "projector"))
        low_rank.factors.load_state_dict(_part(weights, "low_rank"))
    except (RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{folder} is an adapter of another architecture: {first_line(error)}"
        ) from error
    return model, low_rank


def check_adapter(folder: Path) -> dict[str, Any]:
    """What `adapter.json` says, after its checksum was compared with that of the weights beside it.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are others.
    """
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        expected = about.get("sha256")
        found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    # a missing file, text that is no JSON, JSON that is no object
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"no adapter in {folder} ({first_line(error)}): it needs {ABOUT} and {WEIGHTS}"
        ) from error

    if expected is None:
        raise CheckpointError(
            f"{folder / ABOUT} has no checksum (sha256) of {WEIGHTS}, so the weights cannot be "
            "checked: an older release wrote it. `transprune smol train` writes it again"
        )
    schema = about.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise CheckpointError(
            f"{folder / ABOUT} has the schema {schema!r}; this release reads up to {SCHEMA}: install a "
            "newer one"
        )
    if expected != found:
        raise CheckpointError(
            f"{folder / WEIGHTS} has the checksum {found}; {ABOUT} says {expected}. One of the two "
            "is damaged or of another adapter: take both from one place"
        )
    return about


def write_model(
    language: Any, own_tokenizer: Any, adapter: Path, out: Path, language_sha256: str
) -> None:
    """Assemble the model and write it in bfloat16, as transformers loads it.

    Args:
        language, own_tokenizer: the language model with its tokenizer, as they were loaded.
        adapter: folder of the adapter.
        out: folder to write to.
        language_sha256: checksum of the language model that the adapter belongs to.

    Raises:
        CheckpointError: as of `with_adapter`.
    """
    tokenizer = image_tokenizer(own_tokenizer)
    model = with_adapter(language, tokenizer, adapter, language_sha256)

    model.to(torch.bfloat16).save_pretrained(out)
    new_processor(tokenizer).save_pretrained(out)


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Load what `write_model` wrote, in evaluation mode. -> model, tokenizer.

    Raises:
        CheckpointError: no model there, or not all of its weights.
    """
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise CheckpointError(f"no model in {folder}; put it together: transprune smol assemble")

    model, report = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    # transformers would fill them with random numbers, and only log it
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{folder} lacks {len(missing)} weights, the first: {missing[0]}")
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def _part(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of one part, by their own names."""
    start = f"{part}."
    return {
        name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)
    }
