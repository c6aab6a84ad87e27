"""Files of the output: whole or absent, of one schema, and refused when they are damaged or double."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from transprune.batch import parts
from transprune.batch.answer import NAMES, Answer, schema
from transprune.batch.parts import (
    Written,
    find_part,
    part_files,
    read_done,
    remove_unfinished,
    write_part,
)
from transprune.batch.row import Row, digest
from transprune.errors import BatchError

SAME = {"method": "m", "recipe": None, "model": "x", "weights": "", "dtype": "float32"}


def answer(id, **fields):
    return Answer(id=id, source=f"{id}.png", question="q", versions="v", **SAME, **fields)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "parts").mkdir()
    return tmp_path


def test_all_files_have_one_schema_also_those_of_errors_alone(out):
    write_part(out, "part-0.parquet", [answer("a", error="no")])
    write_part(out, "part-1.parquet", [answer("b", answer="yes", prefill_flops_share=1.0)])
    table = pq.read_table(out / "parts")
    assert table.schema.equals(schema())
    assert table.column_names == list(NAMES)
    first, second = table.to_pylist()
    assert (first["answer"], first["error"]) == (None, "no")
    assert (second["answer"], second["error"], second["prefill_flops_share"]) == ("yes", None, 1.0)


def test_what_was_written_is_found_again(out):
    answers = [answer("a", answer="x"), answer("b", error="no"), answer("c\udce9", answer="z")]
    assert find_part(out, "part-0.parquet") is None
    write_part(out, "part-0.parquet", answers)
    found = find_part(out, "part-0.parquet")
    assert found == Written("part-0.parquet", 3, 1)
    assert Written.from_json(found.to_json()) == found
    row = Row("a", "a.png", "q", "anywhere")
    assert read_done(out) == {
        digest("a"): row.digest,
        digest("b"): row._replace(source="b.png").digest,
        digest(r"c\udce9"): row._replace(source="c\udce9.png").digest,
    }


def test_a_write_that_fails_leaves_nothing_that_is_read(out, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.os, "replace", fail)
    with pytest.raises(BatchError, match=r"No space left on device.*make room"):
        write_part(out, "part-0.parquet", [answer("a", answer="x")])
    monkeypatch.undo()

    (hidden,) = (out / "parts").iterdir()
    assert hidden.name.startswith(".")
    assert part_files(out) == [] and read_done(out) == {}
    remove_unfinished(out)
    assert list((out / "parts").iterdir()) == []


def test_damaged_and_double_files_are_named(out):
    write_part(out, "part-0.parquet", [answer("a", answer="x")])
    write_part(out, "part-1.parquet", [answer("b", answer="x"), answer("a", answer="y")])
    with pytest.raises(BatchError, match=r"part-1.parquet answers 'a', and another file does"):
        read_done(out)
    (out / "parts" / "part-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(BatchError, match=r"part-1.parquet is damaged.*answered again"):
        read_done(out)
