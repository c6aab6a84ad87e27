"""Pictures of the bundled world, on disk in every form that a job reads."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.conftest import cli, qwen  # noqa: F401
from transprune.batch.settings import Work
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.nano import scenes

QUESTION = "what color is the circle ?"
QUESTIONS = (QUESTION, "is there a red square in the image ?", "how many objects are there ?")
METHOD = "transprune-high"


def picture(number):
    return scenes.draw("test", number).image()


def encoded(number, form="PNG"):
    stream = io.BytesIO()
    picture(number).save(stream, form)
    return stream.getvalue()


def write_pictures(folder, count):
    """`a/00.png`, `b/01.png`, `a/02.png`, ..."""
    for number in range(count):
        file = folder / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(number))
    return folder


def write_lines(file, rows):
    text = "".join(json.dumps(row) + "\n" if isinstance(row, dict) else row + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


def write_parquet(file, **columns):
    pq.write_table(pa.table(columns), file, row_group_size=3)
    return file


def read_answers(out):
    """All rows of a job by their ids; an id that comes twice fails."""
    rows = pq.read_table(out / "parts").to_pylist()
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def same(row):
    """A row without what differs from run to run."""
    kept = {name: value for name, value in row.items() if not name.endswith("_seconds")}
    # shares are quotients of counts
    return kept | {"prefill_flops_share": round(row["prefill_flops_share"] or -1, 9)}


@pytest.fixture(scope="session")
def checkpoint():
    return load("nano")


@pytest.fixture(scope="session")
def alone(checkpoint):
    """(question, number of the picture) -> the answer of `transprune run`."""

    def run(question, number, method=METHOD, tokens=8):
        inputs = prepare(checkpoint, [picture(number)], question)
        return ask(checkpoint, inputs, None if method == "unpruned" else method, tokens)

    return run


@pytest.fixture
def work(tmp_path):
    return Work(str(tmp_path), method=METHOD, max_new_tokens=8, batch_size=4)


@pytest.fixture
def run(cli, tmp_path, checkpoint, monkeypatch):  # noqa: F811
    """`transprune batch` on `--input` with a few options; the folder of answers is `out`.

    The bundled model is loaded once for all of them.
    """
    monkeypatch.setattr("transprune.batch.engine.load", lambda model, options: checkpoint)

    def call(place, *options, out="out", question=QUESTION):
        asked = () if question is None else ("--question", question)
        command = ("batch", "--input", place, "--output", tmp_path / out, *asked)
        return cli(*command, "--threads", 1, "--max-new-tokens", 8, *options)

    return call
