"""Records survive the disk, and damage is named.

Only an incomplete last line is expected, because a kill leaves one; anything else is an error.
"""

import json

import pytest

from transprune.bench.data.manifest import read_manifest
from transprune.bench.data.records import RECORDS_FILE, Record, RecordLog, read_run
from transprune.errors import RecordError


def test_a_record_comes_back_as_it_was(record) -> None:
    one = record()
    line = one.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == one


def test_a_record_of_the_unpruned_model_comes_back_too(record) -> None:
    one = record(condition="unpruned", recipe=None, budget=None, kept={})
    assert Record.from_json(one.to_json()) == one


def test_appending_and_reading_again(run_copy, run, record) -> None:
    more = [record(item=str(number)) for number in range(3)]
    with RecordLog(run_copy) as log:
        log.append(more)
        assert {one.key for one in more} <= log.keys
    assert read_run(run_copy).records == [*run.records, *more]


def test_an_incomplete_end_is_left_out_when_read_and_dropped_when_continued(run_copy, run) -> None:
    file = run_copy / RECORDS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])

    # reading changes nothing
    read = read_run(run_copy)
    assert read.records == run.records[:-1]
    assert RECORDS_FILE in read.notes[0]
    assert file.read_bytes() == whole[:-20]

    with RecordLog(run_copy) as log:
        assert RECORDS_FILE in log.note
    assert file.read_bytes() == whole[: whole[:-1].rindex(b"\n") + 1]


@pytest.mark.parametrize(
    "end", [b'{"schema":1,"x":\xc3', b"{}"], ids=["amid a letter", "whole JSON without its end"]
)
def test_any_piece_without_a_line_end_is_incomplete(run_copy, run, end) -> None:
    with (run_copy / RECORDS_FILE).open("ab") as stream:
        stream.write(end)
    assert read_run(run_copy).records == run.records


def _changed(line: bytes, **changes) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode()


DAMAGE = {
    "no JSON": lambda line: line[:30],
    "not UTF-8": lambda line: line.replace(b'"task"', b'"t\xe4sk"'),
    "empty": lambda line: b"",
    "unknown field": lambda line: _changed(line, colour=1),
    "field missing": lambda line: line.replace(b'"given":', b'"missing":'),
    "newer schema": lambda line: _changed(line, schema=2),
    "another shape": lambda line: b"[1]",
    "text for a number": lambda line: _changed(line, score="1"),
    "true for a number": lambda line: _changed(line, visual_tokens=True),
    "null for a number": lambda line: _changed(line, exact_share=None),
    "not a number": lambda line: line.replace(b'"score":', b'"score":NaN,"x":'),
    "endless number": lambda line: line.replace(b'"score":', b'"score":1e999,"x":'),
    "a field twice": lambda line: line.replace(b'"score":', b'"score":1,"score":'),
    "text for a list": lambda line: _changed(line, answers="red"),
    "no right answer": lambda line: _changed(line, answers=[]),
    "list of the wrong kind": lambda line: _changed(line, answers=[1]),
    "indices of the wrong kind": lambda line: _changed(line, kept={"4": [1.5]}),
    "a boundary that is none": lambda line: _changed(line, kept={"x": [1]}),
    "schema of the wrong kind": lambda line: _changed(line, schema="1"),
    "nested": lambda line: b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_changed(run_copy, case) -> None:
    file = run_copy / RECORDS_FILE
    lines = file.read_bytes().split(b"\n")
    lines[4] = DAMAGE[case](lines[4])
    file.write_bytes(b"\n".join(lines))

    for use in (read_run, RecordLog):
        with pytest.raises(RecordError, match=r"records\.jsonl, line 5"):
            use(run_copy)
    assert file.read_bytes() == b"\n".join(lines)


STRANGE = {
    "task": {"task": "juggling"},
    "condition": {"condition": "fastv@99"},
    "image": {"image": "another"},
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_record_of_another_run_is_named(run_copy, case) -> None:
    file = run_copy / RECORDS_FILE
    lines = file.read_bytes().split(b"\n")
    lines[-2] = _changed(lines[-2], **STRANGE[case])
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(RecordError, match=rf"records\.jsonl, line {len(lines) - 1}: "):
        read_run(run_copy)


MANIFEST_DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[1]",
    "nested": lambda text: "[" * 100_000,
    "not a number": lambda text: text.replace('"budget": 0.41', '"budget": NaN'),
    "null": lambda text: text.replace('"reached": true', '"reached": null'),
    "unknown metric": lambda text: text.replace('"metric": "', '"metric": "my_'),
    "schema": lambda text: text.replace('"schema": 1', '"schema": "1"'),
    "schema 0": lambda text: text.replace('"schema": 1', '"schema": 0'),
}


@pytest.mark.parametrize("case", MANIFEST_DAMAGE)
def test_a_damaged_manifest_is_named(run_copy, case) -> None:
    file = run_copy / "run.json"
    before = file.read_text()
    damaged = MANIFEST_DAMAGE[case](before)
    assert damaged != before
    file.write_text(damaged)
    for use in (read_run, read_manifest):
        with pytest.raises(RecordError, match=r"run\.json is damaged") as caught:
            use(run_copy)
        assert len(str(caught.value)) < 500
    assert file.read_text() == damaged


def test_a_folder_where_a_file_should_be(run_copy) -> None:
    (run_copy / RECORDS_FILE).unlink()
    (run_copy / RECORDS_FILE).mkdir()
    with pytest.raises(RecordError, match="cannot be read"):
        read_run(run_copy)
    with pytest.raises(RecordError, match="cannot write"):
        RecordLog(run_copy)


def test_a_full_disk_is_one_sentence(run_copy, run) -> None:
    before = (run_copy / RECORDS_FILE).read_bytes()
    log = RecordLog(run_copy)
    own = log._stream
    log._stream = open("/dev/full", "wb")  # noqa: SIM115
    with pytest.raises(RecordError, match=r"No space left on device.*same command again"):
        log.append(run.records)
    log.close()

    own.close()
    assert (run_copy / RECORDS_FILE).read_bytes() == before


def test_a_newer_schema_says_what_can_be_read(run_copy) -> None:
    file = run_copy / "run.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 7'))
    with pytest.raises(RecordError, match="schema 7; this release reads up to 1"):
        read_run(run_copy)


def test_an_answer_given_twice_is_an_error(run_copy) -> None:
    lines = (run_copy / RECORDS_FILE).read_bytes().splitlines(keepends=True)
    (run_copy / RECORDS_FILE).write_bytes(b"".join([*lines, lines[0]]))
    with pytest.raises(RecordError, match=rf"line {len(lines) + 1} answers .* again; line 1 did"):
        read_run(run_copy)


def test_no_run_and_a_damaged_manifest_are_named(tmp_path, run_copy) -> None:
    with pytest.raises(RecordError, match=r"run\.json is missing"):
        read_run(tmp_path / "nothing")
    (run_copy / "run.json").write_text("{")
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        read_run(run_copy)
