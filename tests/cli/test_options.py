"""A flag has one type, one set of choices and one meaning in every command that has it."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import get_args, get_type_hints

import pytest

from cli.commands import commands
from transprune.cli.options import Attention, Device, Dtype
from transprune.models.checkpoint import DTYPES, LoadOptions

# flags whose meaning belongs to the command
OF_THE_COMMAND = {
    ("nano", "evaluate"): {"--model", "--split"},  # trained folders only; also the training scenes
    ("nano", "plot"): {"--out"},  # a file
    ("nano", "scenes"): {"--out", "--split"},
    ("nano", "train"): {"--out"},
    ("train-pruner",): {"--questions"},  # with answers
    ("smol", "evaluate"): {"--split"},  # of its own scenes
    ("smol", "measure"): {"--split"},
    ("smol", "scenes"): {"--split"},
    ("batch",): {"--limit"},  # rows of its input, in one count
    ("tune",): {"--budget"},  # a share, or a range of them, of the cost that --cost names
}
LOADING = {"--dtype", "--device", "--attn", "--text-tower"}


def options():
    """Every flag, with the commands that have it: the type of its value, and what typer shows."""
    found = defaultdict(dict)
    for words, function in commands().items():
        for hint in get_type_hints(function, include_extras=True).values():
            kind, *extras = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
            for info in extras:
                # typer keeps the first name of an annotated option in the place of the default
                flag = str(info.default)
                if flag.startswith("--") and flag not in OF_THE_COMMAND.get(words, ()):
                    found[flag][" ".join(words)] = (kind, info)

    return found


SHARED = {flag: found for flag, found in options().items() if len(found) > 1}


def test_the_usual_flags_are_shared():
    assert {"--model", "--method", "--image", "--question", "--threads", "--json"} <= set(SHARED)
    assert set(SHARED) >= LOADING


@pytest.mark.parametrize("flag", sorted(SHARED))
def test_a_shared_flag_is_the_same_everywhere(flag):
    seen = {description(kind, info) for kind, info in SHARED[flag].values()}
    assert len(seen) == 1, seen


def description(kind, info):
    """Flag, type of one value, lowest value, and the sentence of the help before a semicolon."""
    sentence = info.help.partition(";")[0].rstrip(".")
    return info.default, info.param_decls, one_value(kind), info.metavar, info.min, sentence


def one_value(kind):
    """`int` for `int | None`, `str` for `list[str] | None`: whether a flag may be left out, or
    repeated, is the command's own business."""
    inner = [part for part in get_args(kind) if part is not type(None)]
    return one_value(inner[0]) if inner else kind


@pytest.mark.parametrize("command", ["run", "bench", "calibrate"])
def test_a_command_that_loads_a_model_has_all_of_its_options(command):
    flags = {flag for flag, found in SHARED.items() if command in found}
    assert flags >= LOADING


@pytest.mark.parametrize("value", ["foo", "flex_attention"])
@pytest.mark.parametrize(
    "command",
    [
        ("run", "--model", "nano", "--image", "x.png", "--question", "what?"),
        ("calibrate", "--model", "nano", "--image", "x.png", "--question", "what?"),
        ("bench", "--model", "nano"),
    ],
    ids=lambda command: command[0],
)
def test_an_unknown_attention_is_one_usage_error(cli, command, value):
    result = cli(*command, "--attn", value)
    shown = " ".join(result.err.split())
    assert result.code == 2
    assert result.out == ""
    assert "Invalid value for '--attn'" in shown
    assert f"'{value}' is not one of 'sdpa', 'eager', 'flash_attention_2'." in shown


def test_the_choices_are_those_of_the_library():
    assert tuple(Dtype) == DTYPES
    defaults = LoadOptions()
    assert (Dtype.auto, Device.auto, Attention.sdpa) == (
        defaults.dtype,
        defaults.device,
        defaults.attention,
    )


@pytest.mark.parametrize("command", sorted(commands()), ids=" ".join)
def test_types_are_written_as_people_write_them(cli, command):
    """`FILE`, `FOLDER`, `N`, `METHOD`: not the types of the code, however the help spells them."""
    shown = cli(*command, "--help").out
    assert "Usage" in shown
    # typer writes the type of an argument behind its name, and no setting leaves it out
    shown = re.sub(r"^  (\w+) <\w+>", r"  \1", shown, flags=re.MULTILINE)
    raw = r"<(?:path|text|str|int|float|file)[^>|]*>|\b(?:TEXT|INTEGER|FLOAT|PATH|FILENAME|RANGE)\b"
    assert re.findall(raw, shown) == []
