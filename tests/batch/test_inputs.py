"""Rows of folders, parquet files and JSON lines: stable, distinct, and never lost in silence."""

from __future__ import annotations

import pytest

from batch.conftest import (
    QUESTION,
    QUESTIONS,
    encoded,
    write_lines,
    write_parquet,
    write_pictures,
)
from transprune.batch.files import Opener, absolute, folder_of, join, path_in
from transprune.batch.inputs import find_table
from transprune.batch.plan import plan_shards
from transprune.batch.reader import Reader
from transprune.batch.row import FILE, Row, Shard, clean, digest
from transprune.batch.settings import Bounds, Columns, Work
from transprune.errors import BatchError, ImageError


def table(place, asked=QUESTION, **columns):
    return find_table(str(place), asked, Columns(**columns), Opener())


def rows_of(place, asked=QUESTION, **columns):
    return list(table(place, asked, **columns).rows())


def read(row, file_bytes=2**20, **columns):
    return Reader(Work("", columns=Columns(**columns), bounds=Bounds(file_bytes))).read(row)


# ---------------------------------------------------------------- a folder


def test_a_folder_is_read_with_all_folders_in_it_in_one_order(tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").write_bytes(b"x")
    (tmp_path / "._a.png").write_bytes(b"x")

    found = table(tmp_path)
    rows = list(found.rows())
    assert [row.id for row in rows] == ["a/00.png", "a/02.png", "b/01.png"]
    assert rows == list(table(tmp_path).rows())
    assert {row.question for row in rows} == {QUESTION}
    assert read(rows[1]) == encoded(2)
    assert "notes.txt" in found.notes[0] and "1 files" in found.notes[0]


def test_links_to_folders_are_left_out_and_named(tmp_path):
    write_pictures(tmp_path / "real", 1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(encoded(0))
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "photos" / "circle").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "file.png").symlink_to(tmp_path / "real" / "a" / "00.png")

    found = table(tmp_path / "photos")
    assert [row.id for row in found.rows()] == ["file.png", "one.png"]
    assert found.notes == ["2 links to folders are not followed: circle, linked"]


def test_a_name_that_is_no_unicode_is_a_row_all_the_same(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_bytes(encoded(0))
    planned = plan_shards(table(tmp_path), {}, 4)
    (row,) = Shard.unpack(planned.shards[0]).rows
    assert row.id == r"caf\udce9.png"
    assert read(row) == encoded(0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no pictures"),
        (("a.png", "b.parquet"), "one kind only"),
        (("a.txt",), "no pictures"),
    ],
)
def test_a_folder_without_rows_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BatchError, match=message):
        table(tmp_path)


def test_what_is_not_there_or_no_table_is_refused(tmp_path):
    with pytest.raises(BatchError, match="no file or folder"):
        table(tmp_path / "missing")
    (tmp_path / "a.png").write_bytes(encoded(0))
    with pytest.raises(BatchError, match="transprune run"):
        table(tmp_path / "a.png")
    with pytest.raises(BatchError, match="--question"):
        rows_of(tmp_path, None)
    with pytest.raises(BatchError, match="web address"):
        table("https://example.org/a.parquet").rows().__next__()


# ---------------------------------------------------------------- JSON lines


def test_lines_have_questions_and_ids_of_their_own(tmp_path):
    write_pictures(tmp_path, 2)
    lines = [
        {"image": "a/00.png", "question": QUESTIONS[1], "id": "first"},
        {"image": str(tmp_path / "b/01.png"), "question": QUESTIONS[2]},
        "",
        {"image": "a/00.png", "question": QUESTIONS[2], "id": 7},
    ]
    file = write_lines(tmp_path / "rows.jsonl", lines)
    rows = rows_of(file, None)
    assert [row.id for row in rows] == ["first", "line 2", "7"]
    assert [row.question for row in rows] == [QUESTIONS[1], QUESTIONS[2], QUESTIONS[2]]
    assert [read(row) for row in rows] == [encoded(0), encoded(1), encoded(0)]
    # one question for all takes the place of their own
    assert {row.question for row in rows_of(file)} == {QUESTION}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "no JSON"),
        ("[1]", "no object"),
        ({"question": "x"}, "names no picture"),
        ({"image": 3, "question": "x"}, "names no picture"),
        ({"image": "a/00.png"}, "no question"),
        ({"image": "a/00.png", "question": 3}, "a question is a text"),
        ({"image": "a/00.png", "question": " "}, "no question"),
        ({"image": "a/00.png", "question": "x", "id": [1]}, "an id is"),
        ({"image": "http://127.0.0.1/x.png", "question": "x"}, "not fetched"),
    ],
)
def test_a_bad_line_is_a_row_with_its_problem(tmp_path, line, problem):
    file = write_lines(tmp_path / "rows.jsonl", [line, {"image": "b.png", "question": "y"}])
    first, second = rows_of(file, None)
    assert problem in first.problem
    assert second.problem == ""


def test_a_mistyped_id_column_is_said(tmp_path):
    lines = [{"image": "a.png", "uid": 1}, {"image": "b.png"}]
    found = table(write_lines(tmp_path / "rows.jsonl", lines), id="uid")
    assert [row.id for row in found.rows()] == ["1", "line 2"]
    assert "1 lines have no 'uid'" in found.notes[0]

    file = tmp_path / "rows.parquet"
    write_parquet(file, image=[encoded(0)], uid=["x"])
    with pytest.raises(BatchError, match="no column 'iud'; it has image, uid"):
        rows_of(file, id="iud")
    assert [row.id for row in rows_of(file)] == ["rows.parquet:0"]


def test_paths_as_categories_are_paths(tmp_path):
    import pyarrow as pa

    write_pictures(tmp_path, 1)
    paths = pa.array(["a/00.png", "a/00.png"]).dictionary_encode()
    write_parquet(tmp_path / "rows.parquet", image=paths)
    rows = rows_of(tmp_path / "rows.parquet")
    assert [read(row) for row in rows] == [encoded(0), encoded(0)]


def test_long_files_are_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("transprune.batch.inputs.lines.LONGEST_LINE", 50)
    lines = [{"image": f"{number}.png"} for number in range(100)]
    file = write_lines(tmp_path / "rows.jsonl", lines)
    assert [row.source for row in rows_of(file)] == [f"{number}.png" for number in range(100)]
    write_lines(file, [{"image": "x" * 200}])
    with pytest.raises(BatchError, match="a line of more than"):
        rows_of(file)


# ---------------------------------------------------------------- parquet


def test_parquet_with_bytes_with_mappings_and_with_paths(tmp_path):
    write_pictures(tmp_path, 7)
    data = [encoded(number) for number in range(7)]
    pairs = [{"bytes": one, "path": None} for one in data[:6]] + [
        {"bytes": None, "path": "a/06.png"}
    ]
    paths = [f"{'ab'[number % 2]}/{number:02}.png" for number in range(7)]
    for image in (data, pairs, paths):
        file = write_parquet(tmp_path / "rows.parquet", image=image, q=[QUESTION] * 7)
        rows = rows_of(file, None, question="q")
        assert [row.id for row in rows] == [f"rows.parquet:{number}" for number in range(7)]
        assert [read(row) for row in rows] == data
        assert {row.question for row in rows} == {QUESTION}


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    write_parquet(tmp_path / "1.parquet", image=[b"a", b"b"], id=["x", "y"])
    write_parquet(tmp_path / "0.parquet", image=[b"c"], id=["z"])
    rows = rows_of(tmp_path)
    assert [row.id for row in rows] == ["z", "x", "y"]
    assert [read(row) for row in rows] == [b"c", b"a", b"b"]


def test_columns_that_are_missing_are_named(tmp_path):
    file = write_parquet(tmp_path / "rows.parquet", img=[b"a"], text=["x"])
    with pytest.raises(BatchError, match=r"no column 'image'.*img, text.*--image-column"):
        rows_of(file)
    with pytest.raises(BatchError, match=r"no column 'question'.*--question-column"):
        rows_of(file, None, image="img")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BatchError, match="no parquet"):
        rows_of(tmp_path / "broken.parquet")


@pytest.mark.parametrize("cell", [None, b""])
def test_a_cell_without_a_picture_is_an_error_of_its_row(tmp_path, cell):
    file = write_parquet(tmp_path / "rows.parquet", image=[b"a", cell])
    first, second = rows_of(file)
    assert read(first) == b"a"
    with pytest.raises(ImageError, match="no picture in column 'image'"):
        read(second)


# ---------------------------------------------------------------- files


def test_files_that_are_none_or_too_large(tmp_path):
    file = tmp_path / "a.png"
    row = Row("a", "a.png", "x", str(file))
    with pytest.raises(ImageError, match="no file"):
        read(row)
    file.write_bytes(b"")
    with pytest.raises(ImageError, match="0 bytes"):
        read(row)
    file.write_bytes(b"x" * 100)
    with pytest.raises(ImageError, match="100 bytes, more than 99"):
        read(row, 99)
    assert read(row, 100) == b"x" * 100
    with pytest.raises(ImageError, match="is a directory"):
        read(row._replace(file=str(tmp_path)))


def test_addresses_keep_their_options():
    place = "s3://bucket/folder/?endpoint_override=127.0.0.1:9"
    assert absolute(place) == "s3://bucket/folder?endpoint_override=127.0.0.1:9"
    inner = join(absolute(place), "a/b.png")
    assert inner == "s3://bucket/folder/a/b.png?endpoint_override=127.0.0.1:9"
    assert path_in(inner) == "bucket/folder/a/b.png"
    assert folder_of(inner) == "s3://bucket/folder/a?endpoint_override=127.0.0.1:9"
    with pytest.raises(ValueError, match="absolute path"):
        join(absolute(place), "/etc/x.png")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/data", "ftp://10.0.0.1/a.png"),
        ("/data", "simplecache::http://169.254.169.254/latest"),
        ("/data", "webhdfs://10.0.0.1:9/a.png"),
        ("/data", "abfs://user:key@10.0.0.1/a.png"),
        ("/data", "s3://key:secret@bucket/a.png"),
        ("/data", "s3://bucket/a.png?endpoint_override=10.0.0.1&scheme=http"),
        ("s3://bucket/x?endpoint_override=mine", "s3://bucket/a.png?endpoint_override=10.0.0.1"),
        ("s3://bucket/x", "file:///home/me/private.png"),
        ("memory://mine", "memory://others/a.png"),
    ],
)
def test_a_row_cannot_name_any_machine(tmp_path, folder, name):
    """Its table may come from elsewhere; what it names is read with the rights of this machine."""
    with pytest.raises(ValueError, match="a row may name an address of s3"):
        join(folder, name)
    file = write_lines(tmp_path / "rows.jsonl", [{"image": "ftp://10.0.0.1/a.png"}])
    (row,) = rows_of(file)
    assert "a row may name" in row.problem


def test_addresses_of_rows_that_are_read():
    assert join("/data", "s3://bucket/a.png") == "s3://bucket/a.png"
    assert join("/data", "file:///data/a.png") == "file:///data/a.png"
    assert join("memory://mine/x", "memory://mine/a.png") == "memory://mine/a.png"
    # the store that has the table has the picture, and not the one of the same kind elsewhere
    folder = "s3://bucket/x?endpoint_override=mine"
    assert join(folder, "s3://other/a.png") == "s3://other/a.png?endpoint_override=mine"
    assert join(folder, "gs://other/a.png") == "gs://other/a.png"


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(BatchError, match="into the environment") as caught:
        absolute("s3://key:secret@bucket/folder")
    assert "secret" not in str(caught.value) and "key:" not in str(caught.value)


def test_a_store_that_fsspec_knows(tmp_path):
    """A store in memory: the same way as for any address that pyarrow itself does not know."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/x/a.png": encoded(0), "/bucket/b.png": encoded(1)})
    try:
        rows = rows_of("memory://bucket")
        assert [row.id for row in rows] == ["b.png", "x/a.png"]
        assert [read(row) for row in rows] == [encoded(1), encoded(0)]
    finally:
        store.rm("/bucket", recursive=True)
    with pytest.raises(BatchError, match="cannot be opened"):
        rows_of("nosuch://bucket/rows.jsonl")


# ---------------------------------------------------------------- shards


def rows(*ids):
    return [Row(id, f"{id}.png", "x", f"/{id}.png") for id in ids]


class Given:
    """A table of given rows."""

    place, noun = "here", "rows"

    def __init__(self, *found):
        self.found = found
        self.notes = []

    def rows(self):
        return iter(self.found)


def planned_ids(planned):
    return [[row.id for row in Shard.unpack(packed).rows] for packed in planned.shards]


def test_windows_are_cut_before_answered_rows_are_taken_out():
    given = rows(*"abcdefg")
    first = plan_shards(Given(*given), {}, 3)
    assert planned_ids(first) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert (first.rows, first.pending) == (7, 7)

    done = {digest(row.id): row.digest for row in given if row.id in "abce"}
    again = plan_shards(Given(*given), done, 3)
    assert planned_ids(again) == [["d", "f"], ["g"]]
    assert (again.rows, again.pending) == (7, 3)
    assert again.shards[1] == first.shards[2]
    assert planned_ids(plan_shards(Given(*given), {}, 3, limit=4)) == [["a", "b", "c"], ["d"]]


def test_ids_that_repeat_become_distinct_with_a_note():
    planned = plan_shards(Given(*rows("a", "b", "a", "a#2", "a")), {}, 9)
    assert planned_ids(planned) == [["a", "b", "a#2", "a#2#2", "a#3"]]
    assert "3 rows have an id" in planned.notes[0]


def test_very_many_rows_with_one_id_take_no_longer_than_others(monkeypatch):
    """The id may be that of a document with all its pages, or a column of one value."""
    digests = []
    monkeypatch.setattr(
        "transprune.batch.plan.digest", lambda text: digests.append(text) or digest(text)
    )
    planned = plan_shards(Given(*rows(*["a"] * 2_000)), {}, 2_000)
    assert planned_ids(planned)[0][-1] == "a#2000"
    assert len(digests) < 5 * 2_000


def test_a_row_that_asks_something_else_now_is_refused():
    given = rows("a")
    done = {digest("a"): given[0]._replace(question="y").digest}
    with pytest.raises(BatchError, match="about another picture or another question"):
        plan_shards(Given(*given), done, 3)
    with pytest.raises(BatchError, match="here has no rows"):
        plan_shards(Given(), {}, 3)


def test_a_shard_is_named_by_its_rows():
    shard = Shard(3, tuple(rows("a", "b")))
    assert Shard.unpack(shard.pack()) == shard
    assert shard.name.startswith("part-000003-")
    assert Shard(3, tuple(rows("a"))).name != shard.name
    assert clean("a\udce9") == r"a\udce9"
    assert Row("a", "b", "c", "d").number == FILE
