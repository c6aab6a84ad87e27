"""`transprune bench`: a table that fits, a document that parses, errors in one line."""

from __future__ import annotations

import json

import pytest

from transprune import demo
from transprune.bench.launch import BUDGETS
from transprune.bench.run.budgets import parse_budgets
from transprune.cli.bench import ALL_BUDGETS

SMALL = (
    "--n",
    1,
    "--methods",
    "transprune",
    "--methods",
    "fastv",
    "--budgets",
    "41,20",
    "--threads",
    1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench") / "run"


@pytest.fixture
def finished(cli, folder):
    """The run; only the first call answers anything."""
    return cli("bench", "--out", folder, "--no-bill", *SMALL)


def test_the_help_names_the_default_budgets() -> None:
    assert parse_budgets(ALL_BUDGETS) == BUDGETS


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_fits_and_nothing_is_cut(cli, folder, finished, columns) -> None:
    result = cli(
        "bench", "--out", folder, "--no-bill", "--per-task", *SMALL, env={"COLUMNS": str(columns)}
    )

    assert result.code == 0

    table = result.out.split("records:")[0]

    assert max(map(len, table.splitlines())) <= columns

    for whole in ("transprune", "unpruned", "fastv", "100.0", "vs TP", "position", "relation"):
        assert whole in table

    assert "…" not in table
    assert f"transprune report {folder}" in " ".join(result.out.split())


def test_json_has_every_row(cli, folder, finished) -> None:
    data = cli("bench", "--out", folder, "--no-bill", *SMALL, "--json").data
    names = [row["condition"]["name"] for row in data["rows"]]
    assert names == ["unpruned", "transprune@41", "fastv@41", "transprune@20", "fastv@20"]
    assert data["rows"][0]["relative"]["value"] == 100
    assert all(row["complete"] for row in data["rows"])


def test_the_bill_is_quiet_and_written(cli, folder, finished, capfd) -> None:
    result = cli(
        "bench", "--out", folder, "--n", 1, "--methods", "fastv", "--budgets", "41", "--threads", 1
    )

    assert result.code == 0
    assert capfd.readouterr().err == ""  # what libraries write past Python
    assert [row["condition"] for row in json.loads((folder / "bill.json").read_text())["rows"]] == [
        "unpruned",
        "fastv@41",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--methods", "fastvv"), 1, "Did you mean 'fastv'"),
        (("--budgets", "140"), 1, "budgets are percent"),
        (("--budgets", ""), 1, "at least one budget"),
        (("--tasks", "nowhere.jsonl"), 1, "no task at nowhere.jsonl"),
        (("--only", "colour"), 1, "Did you mean 'color'"),
        (("--split", "train"), 1, "test and validation"),
        (("--model", "./nowhere"), 1, "nowhere"),
        (("--dtype", "float12"), 2, "float12"),
        (("--attn", "flex_attention"), 2, "flex_attention"),
        (("--n", "0"), 2, "--n"),
        (("--batch-size", "none"), 2, "--batch-size"),
        (("--colour",), 2, "--colour"),
    ],
    ids=lambda value: "=".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_makes_no_folder(cli, tmp_path, arguments, code, said) -> None:
    result = cli("bench", "--out", tmp_path / "run", "--n", 1, *arguments)

    assert result.code == code
    assert result.out == ""
    assert said in " ".join(result.err.split())
    assert "Traceback" not in result.err

    if code == 1:
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1

    assert not (tmp_path / "run").exists()


def test_other_settings_are_refused(cli, folder, finished) -> None:
    before = (folder / "records.jsonl").read_bytes()
    result = cli("bench", "--out", folder, "--no-bill", *SMALL, "--seed", 3)
    assert result.code == 1
    assert "seed was 0, now 3" in result.err
    assert (folder / "records.jsonl").read_bytes() == before


def test_a_bad_line_of_a_task_is_reported_or_with_strict_an_error(cli, tmp_path) -> None:
    picture = demo.folder() / "pictures" / "scene1.png"
    lines = [
        {"image": str(picture), "question": "what color is the circle ?", "answer": "red"},
        {"image": "x"},
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    plan = (
        "bench",
        "--out",
        tmp_path / "run",
        "--tasks",
        file,
        "--methods",
        "fastv",
        "--budgets",
        "own",
        "--no-bill",
    )

    assert "mine.jsonl, line 2" in cli(*plan, "--strict").err

    result = cli(*plan)

    assert result.code == 0
    assert "left out: " in result.out
    assert "mine.jsonl, line 2" in " ".join(result.out.split())


def test_own_settings_that_drop_nothing_get_a_note(cli, tmp_path) -> None:
    plan = ("bench", "--out", tmp_path / "run", "--n", 1, "--no-bill", "--threads", 1, "--json")
    methods = ("--methods", "visionzip:keep=192", "--methods", "visionzip:keep=48")
    rows = cli(*plan, *methods, "--budgets", "own").data["rows"]
    notes = {row["condition"]["name"]: row["condition"]["note"] for row in rows}
    assert "keep=192 is at least the 144 visual tokens" in notes["visionzip:keep=192"]
    assert notes["visionzip:keep=48"] == ""
