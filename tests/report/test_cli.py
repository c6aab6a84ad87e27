"""`transprune report` on the command line."""

import json
import sys

import pytest
from typer.testing import CliRunner

from transprune.cli import app


def call(*args):
    return CliRunner().invoke(app, ["report", *map(str, args)], env={"COLUMNS": "200"})


def test_it_writes_where_it_is_told(run, tmp_path) -> None:
    out = tmp_path / "new" / "place"
    result = call(run, "--out", out, "--examples", 1, "--model", "none", "--json")
    assert result.exit_code == 0, result.stderr

    data = json.loads(result.stdout)
    assert data["page"] == str(out / "report.html")
    assert (out / "retention1.png").is_file()
    assert data["missing"] == [
        "No transition maps, positions, AUC or language-only floor: made without the model."
    ]

    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"transprune report {run} --out {out} --examples 1 --model none" in page


@pytest.mark.parametrize("where", ["nothing here", "."])
def test_no_run_is_one_red_line(tmp_path, where) -> None:
    result = call(tmp_path / where)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert "run.json" in result.stderr


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra_it_names_the_cure(run, monkeypatch, module) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = call(run)
    assert result.exit_code == 1
    assert module in result.stderr
    assert "pip install 'transprune[report]'" in result.stderr


def test_an_unwritable_place_is_a_wrong_command_line(run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    result = call(run, "--out", tmp_path / "file" / "sub", "--model", "none", "--examples", 0)
    assert result.exit_code == 2
    assert "is a file" in result.stderr
