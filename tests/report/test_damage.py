"""A damaged run is refused with the name of the file; a run that is not finished is shown."""

import json
from pathlib import Path

import pytest

from transprune.errors import BenchError, RecordError
from transprune.report.build import build_report
from transprune.report.results import read_results


def edit(file, change) -> None:
    """Change the content of a JSON file."""
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def remove_manifest(folder) -> None:
    (folder / "run.json").unlink()


def cut_a_line(folder) -> None:
    file = folder / "records.jsonl"
    lines = file.read_text().splitlines()
    lines[4] = lines[4][:40]
    file.write_text("\n".join(lines) + "\n")


def remove_records(folder) -> None:
    (folder / "records.jsonl").write_text("")


def raise_manifest_schema(folder) -> None:
    edit(folder / "run.json", lambda data: data.update(schema=9))


def raise_costs_schema(folder) -> None:
    edit(folder / "bill.json", lambda data: data.update(schema=9))


def cut_costs(folder) -> None:
    (folder / "bill.json").write_text('{"schema": 1,\n "ro')


def remove_a_cost(folder) -> None:
    edit(folder / "bill.json", lambda data: data["rows"][0].pop("paper"))


DAMAGE = [
    (remove_manifest, r"no run in .*run\.json is missing"),
    (cut_a_line, r"records\.jsonl, line 5 is no"),
    (remove_records, "no unpruned answers yet"),
    (raise_manifest_schema, r"run\.json has schema 9"),
    (raise_costs_schema, r"bill\.json has schema 9"),
    (cut_costs, r"bill\.json is damaged.*line 2"),
    (remove_a_cost, r"bill\.json holds no measured costs.*paper"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_named(run_copy, damage, message) -> None:
    damage(run_copy)
    with pytest.raises(RecordError, match=message):
        build_report(run_copy, examples=0, model="none")
    assert not (run_copy / "report").exists()


def test_a_file_is_not_a_run(tmp_path) -> None:
    file = tmp_path / "run.json"
    file.write_text("{}")
    with pytest.raises(RecordError, match="is not a folder"):
        read_results(file)


def test_a_half_written_record_is_left_out_with_a_note(run_copy) -> None:
    file = run_copy / "records.jsonl"
    cut = file.read_bytes()[:-30]
    file.write_bytes(cut)

    text = build_report(run_copy, examples=0, model="none").page.read_text(encoding="utf-8")
    assert "the last record is incomplete" in text
    assert "has 35 of 36 answers" in text
    assert file.read_bytes() == cut


def test_questions_that_changed_are_not_shown(run_copy) -> None:
    edit(run_copy / "run.json", lambda data: data["settings"].update(items="0123"))
    report = build_report(run_copy, examples=2)
    assert any("have changed since the run" in sentence for sentence in report.missing)
    assert not [file for file in report.figures if "retention" in file.stem]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(run, tmp_path) -> None:
    steps = []
    taken = tmp_path / "taken"
    taken.write_text("mine")
    (tmp_path / "out" / "report.html").mkdir(parents=True)

    for out in (taken, taken / "sub", tmp_path / "out", Path("/proc/report"), Path("a\0b")):
        with pytest.raises(BenchError, match="the report cannot be written"):
            build_report(run, out, progress=lambda step, *counts: steps.append(step))
    assert steps == []
    assert taken.read_text() == "mine"


def test_a_report_is_written_again_in_the_same_place(run, tmp_path) -> None:
    for _ in range(2):
        report = build_report(run, tmp_path / "out", examples=0, model="none")
        assert report.page.is_file()


def test_fewer_than_no_examples_are_refused(run) -> None:
    with pytest.raises(BenchError, match="examples must be 0 or more; got -1"):
        build_report(run, examples=-1)


DEEP = "[" * 100_000


def deep_records(folder) -> None:
    with (folder / "records.jsonl").open("a") as stream:
        stream.write(DEEP + "\n")


def deep_manifest(folder) -> None:
    (folder / "run.json").write_text(DEEP)


def deep_costs(folder) -> None:
    (folder / "bill.json").write_text(DEEP)


def folder_for_records(folder) -> None:
    (folder / "records.jsonl").unlink()
    (folder / "records.jsonl").mkdir()


def binary_costs(folder) -> None:
    (folder / "bill.json").write_bytes(b"\xff\xfe\x00")


def text_for_a_cost(folder) -> None:
    edit(folder / "bill.json", lambda data: data["rows"][0].update(prefill_ms="soon"))


def text_for_costs(folder) -> None:
    edit(folder / "bill.json", lambda data: data["rows"][0].update(exact="cheap"))


def list_for_costs(folder) -> None:
    edit(folder / "bill.json", lambda data: data["rows"][0].update(paper=[]))


def a_share_without_a_float(folder) -> None:
    edit(folder / "bill.json", lambda data: data["rows"][0].update(kv_share=10**400))


def number_for_rows(folder) -> None:
    edit(folder / "bill.json", lambda data: data.update(rows=3))


BROKEN = [
    deep_records,
    deep_manifest,
    deep_costs,
    folder_for_records,
    binary_costs,
    text_for_a_cost,
    text_for_costs,
    list_for_costs,
    a_share_without_a_float,
    number_for_rows,
]


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_files_are_named(run_copy, damage) -> None:
    damage(run_copy)
    with pytest.raises(RecordError, match=r"(records\.jsonl|run\.json|bill\.json)") as caught:
        build_report(run_copy, examples=0, model="none")
    assert len(str(caught.value).splitlines()) == 1
    assert not (run_copy / "report").exists()
