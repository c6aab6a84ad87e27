"""`transprune reproduce`: the list, a table of costs, errors in one line."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from transprune.reproduce.exhibits import exhibit_names

needs_parquet = pytest.mark.skipif(not find_spec("pyarrow"), reason="needs pyarrow")


def test_the_list_names_everything(cli) -> None:
    text = cli("reproduce", "--list").out
    for name in exhibit_names():
        assert name in text
    # rows that can run, of those that are printed
    assert "7 of 12" in text
    assert cli("reproduce").out == text


def test_the_list_as_json(cli) -> None:
    document = cli("reproduce", "--list", "--json").data
    entries = {entry["name"]: entry for entry in document["exhibits"]}
    assert entries["table1"]["unknown"][0] == "TopV"
    assert entries["table6"]["judge"]
    assert not any(entry["missing"] for entry in entries.values())
    assert entries["table2"]["hours"] > entries["table1"]["hours"] > 10


def test_a_table_of_costs(cli, tmp_path) -> None:
    shown = cli("reproduce", "tableS1", "--out", tmp_path).out
    assert "nothing was run" in shown
    assert "1.557" in shown
    assert (tmp_path / "tableS1" / "page.html").is_file()

    document = cli("reproduce", "tableS1", "--out", tmp_path, "--json").data
    assert document["exhibit"]["id"] == "tableS1"
    assert document["rows"][0]["counted"]["final"] == 72


def test_an_unknown_table_is_one_line(cli, tmp_path) -> None:
    result = cli("reproduce", "table99", "--out", tmp_path)
    assert result.code == 1
    assert "no table or figure 'table99'" in result.err
    assert "Traceback" not in result.err


@needs_parquet
def test_a_missing_folder_of_data_is_one_line(cli, tmp_path) -> None:
    words = ("--model", "nano", "--data", tmp_path / "none", "--out", tmp_path / "out")
    result = cli("reproduce", "table9", *words, "--threads", 1)
    assert result.code == 1
    assert "no benchmark of Table 9 can be asked" in result.err
    assert "hf download" in result.err


def test_without_pyarrow_the_cure_is_named(cli, tmp_path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cli("reproduce", "table9", "--smoke", "--out", tmp_path, "--threads", 1)
    assert "pip install 'transprune[reproduce]'" in result.err


@pytest.mark.skipif(bool(find_spec("lmms_eval")), reason="lmms-eval is here")
@needs_parquet
def test_the_engine_names_its_extra(cli, tmp_path) -> None:
    words = ("--smoke", "--engine", "lmms-eval", "--out", tmp_path, "--threads", 1)
    result = cli("reproduce", "table9", *words)
    assert result.code == 1
    assert "pip install 'transprune[eval,reproduce]'" in result.err


def test_wrong_options_are_one_line(cli, tmp_path) -> None:
    words = ("--out", tmp_path, "--threads", 1)
    assert "belong together" in cli("reproduce", "table6", "--judge", "http://x/v1", *words).err
    # said before several processes start
    found = cli("reproduce", "table1", "--benchmark", "tgif", "--processes", 3, *words)
    assert "Table 1 has no benchmark tgif; it has mme" in found.err
    assert not (tmp_path / "processes").exists()


@needs_parquet
@pytest.mark.slow
def test_smoke_from_the_command_line(cli, tmp_path) -> None:
    words = ("--row", "unpruned", "--row", "TransPrune-Low", "--benchmark", "gqa")
    result = cli("reproduce", "table1", "--smoke", *words, "--out", tmp_path, "--threads", 1)
    assert "A smoke run" in result.out
    assert "answers to give, at most about" in result.err
    page = (tmp_path / "table1-smoke" / "page.html").read_text(encoding="utf-8")
    assert "A smoke run" in page
