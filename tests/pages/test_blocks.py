"""Every code block of README and docs runs on the bundled model, or says what it needs.

The bundled model stands in for checkpoints, and the CPU for a GPU: what is shown is that the code is
right, not what it would answer.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import transprune
from cli.commands import commands
from pages.blocks import NEEDS, ROOT, SHOWN, Block, all_blocks

BLOCKS = list(all_blocks())
COMMANDS = [block for block in BLOCKS if block.language == ""]
PYTHON = [block for block in BLOCKS if block.language == "python"]

# what a reader puts in for these words
NANO = str(transprune.nano.path())
INSTEAD = {
    "MODEL": "nano",
    "PATH": NANO,
    "FOLDER_OR_HUB_ID": NANO,
    "FOLDER": NANO,
    "FILE": "photo.jpg",
    "QUESTION": "'what shape is the orange object?'",
    "llava-hf/llava-1.5-7b-hf": NANO,
    '"cuda"': '"cpu"',
}

# commands that are not run here -> why, and what runs them
ELSEWHERE = {
    "transprune serve": "runs until it is stopped: tests/serve",
    "transprune bench": "minutes to hours: tests/bench",
    "transprune report": "needs a run of the benchmark: tests/report",
    "transprune reproduce": "minutes, or real data: tests/reproduce",
    "transprune batch": "several processes: tests/batch",
    "transprune nano train": "hours of training: tests/nano",
    "transprune nano plot": "needs a training: tests/nano",
    "transprune nano evaluate": "minutes: tests/nano",
}


def pages(*, slow: bool) -> list[str]:
    """The pages with blocks that run; those with slow ones alone, if asked."""
    names = [block.page for block in BLOCKS if block.runs and (not slow or "slow" in block.marks)]
    return list(dict.fromkeys(names))


def put_in(text: str) -> str:
    """A text with a reader's own names put in."""
    for word, own in INSTEAD.items():
        text = re.sub(rf"(?<![\w/]){re.escape(word)}(?![\w/])", lambda _, own=own: own, text)
    return text


def test_there_are_blocks():
    assert len(COMMANDS) > 20
    assert len(PYTHON) > 8
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/getting_started.md"}


def test_every_block_is_of_a_kind_that_is_checked():
    for block in BLOCKS:
        assert block.language in ("", "python", *SHOWN), f"{block}: {block.language}"
        assert set(block.marks) <= {*NEEDS, "long", "slow"}, block


@pytest.mark.parametrize("page", pages(slow=False))
def test_a_page_runs(page, cli, at_hand, reader):
    """From top to bottom, as one reads it; blocks that take long are left out."""
    run_page(page, cli, dict(at_hand), slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(slow=True))
def test_a_page_runs_with_all_its_blocks(page, cli, at_hand, reader):
    run_page(page, cli, dict(at_hand), slow=True)


def run_page(page: str, cli, names: dict[str, object], *, slow: bool) -> None:
    """Run the blocks of a page; its Python shares names."""
    if slow and any("out/accuracy" in block.text for block in BLOCKS if block.page == page):
        small = ("--n", 2, "--methods", "fastv", "--budgets", "41", "--no-bill")
        assert cli("bench", "--out", "out/accuracy", *small).code == 0

    for block in BLOCKS:
        if block.page != page or not block.runs or ("slow" in block.marks and not slow):
            continue
        if block.language == "python":
            exec(compile(put_in(block.text), str(block), "exec"), names)
            continue
        for command in block.commands:
            run_command(block, command, cli)


# -------------------------------------------------------------------------------- commands


def run_command(block: Block, command: str, cli) -> None:
    """Run one line of commands; of other programs than ours what they name must exist."""
    if command.startswith("transprune "):
        # the bundled model takes no videos: tests/video
        if "--video" not in command and not command.startswith(tuple(ELSEWHERE)):
            result = cli(*shlex.split(put_in(command))[1:])
            assert result.code == 0, f"{block}: {command}\n{result.out}{result.err}"
        return

    for part in command.split(";"):
        words = shlex.split(part)
        if words[0] == "make":
            check_target(words[1])
        elif words[:2] == ["pip", "install"]:
            check_package(words[-1])
        elif words[:2] == ["python", "-m"]:
            check_module(words[2])
        else:
            pytest.fail(f"{block}: {command}: no command of ours; name the language of the block")


def check_target(name: str) -> None:
    """The Makefile has it."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^[\w -]*\b{re.escape(name)}\b[\w -]*:", text, re.MULTILINE), name


def check_package(name: str) -> None:
    """This package, with extras that exist; or a wheel."""
    found = re.fullmatch(r"(?:transprune|\.)(?:\[(?P<extras>[\w,]+)\])?", name)
    assert found is not None, name
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (found["extras"] or "").split(",")
    assert set(filter(None, extras)) <= project["optional-dependencies"].keys()


def check_module(name: str) -> None:
    """A module of the repository, or a program that an extra brings."""
    if name == "lmms_eval":
        return
    places = [root / name.replace(".", "/") for root in (ROOT, ROOT / "src")]
    files = [[place.with_suffix(".py"), place / "__main__.py"] for place in places]
    assert any(file.is_file() for pair in files for file in pair), name


def test_what_runs_elsewhere_is_asked_for_somewhere():
    every = [command for block in COMMANDS for command in block.commands]
    names = {" ".join(words) for words in commands()}
    for known, why in ELSEWHERE.items():
        if known.removeprefix("transprune ") in names:
            assert any(command.startswith(known) for command in every), known
            assert (ROOT / re.search(r"tests/\w+", why).group()).is_dir()


# ---------------------------------------------------------------------------------- Python


@pytest.fixture(scope="module")
def at_hand():
    """Names that a page takes for granted: a model and a prompt, and what the package exports."""
    model = AutoModelForImageTextToText.from_pretrained(NANO).eval()
    processor = AutoProcessor.from_pretrained(NANO)
    picture = Image.effect_noise((96, 96), 60).convert("RGB")
    prompt = "USER: <image>\nwhat color is the circle? ASSISTANT:"

    names = {name: getattr(transprune, name) for name in transprune.__all__}
    return names | {
        "__name__": "page",
        "Path": Path,
        "model": model,
        "processor": processor,
        "inputs": processor(images=picture, text=prompt, return_tensors="pt"),
        "method": transprune.TransPrune.high(),
        "question": "what color is the circle?",
    }


def test_python_of_blocks_that_do_not_run_is_python():
    for block in PYTHON:
        compile(block.text, str(block), "exec")


# ------------------------------------------------------------------------------------ data


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in ("json", "toml")], ids=str
)
def test_data_can_be_read(block):
    if block.language == "toml":
        tomllib = pytest.importorskip("tomllib")  # Python 3.11
        assert tomllib.loads(block.text)
        return
    # a line is an object of its own
    for line in block.text.splitlines():
        assert json.loads(line)
