"""Answers of a batch are those of single questions; errors stay in their rows."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from batch.conftest import METHOD, QUESTIONS, encoded, picture
from transprune.batch import runner as module
from transprune.batch.engine import Engine
from transprune.batch.failure import kind_of
from transprune.batch.lengths import Lengths
from transprune.batch.row import Row
from transprune.batch.settings import Bounds
from transprune.errors import BatchError, MethodError
from transprune.models.prompt import prepare


@pytest.fixture
def rows(tmp_path):
    """Six pictures, each with one of three questions."""
    found = []
    for number in range(6):
        file = tmp_path / f"{number}.png"
        file.write_bytes(encoded(number))
        question = QUESTIONS[number % 3]
        found.append(Row(str(number), file.name, question, str(file)))
    return found


def texts(answers):
    return [answer.answer for answer in answers]


@pytest.mark.parametrize("method", [METHOD, "unpruned", "divprune:keep_ratio=0.25"])
def test_answers_are_those_of_single_questions(checkpoint, work, rows, alone, method):
    answers = Engine(replace(work, method=method), checkpoint).answer(rows)
    assert [answer.id for answer in answers] == [row.id for row in rows]
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        expected = alone(row.question, number, method)
        assert answer.answer == expected.text
        assert answer.new_tokens == expected.tokens
        assert answer.cut is False
        assert answer.error is None and answer.note is None
        assert answer.visual_tokens_before == 144
        if expected.trace is None:
            assert (answer.visual_tokens_after, answer.prefill_flops_share) == (144, 1.0)
            assert answer.recipe is None
        else:
            assert answer.visual_tokens_after == expected.trace.tokens_per_layer()[-1]
            share = expected.trace.cost("exact").prefill_share
            assert answer.prefill_flops_share == pytest.approx(share)
            assert len(answer.recipe) == 16
    assert [answer.batch_size for answer in answers] == [3] * 6  # of six rows, not four and two


def test_an_answer_at_the_length_limit_is_marked(checkpoint, work, rows):
    (answer,) = Engine(replace(work, max_new_tokens=1), checkpoint).answer(rows[:1])
    assert answer.cut is True and answer.new_tokens == 1


def test_a_prompt_beyond_the_context_is_an_error_and_an_answer_beyond_it_has_a_note(
    checkpoint, work, rows, monkeypatch
):
    """The bundled model was made for 512 tokens; it answers longer prompts with nothing, or noise."""
    long = rows[0]._replace(id="long", question="what " * 600)
    refused, usual = Engine(work, checkpoint).answer([long, rows[1]])
    assert refused.answer is None and usual.answer and usual.note is None
    assert "was made for 512 with the answer; ask a shorter question" in refused.error

    # as if the same prompt and its answer were the first that do not fit
    room = usual.prompt_tokens + usual.new_tokens
    for context, beyond in ((room, False), (room - 1, True)):
        monkeypatch.setattr("transprune.batch.runner.context_of", lambda model, most=context: most)
        (again,) = Engine(work, checkpoint).answer([rows[1]])
        assert again.answer == usual.answer
        assert bool(again.note) is beyond
    assert "the end of the answer may make no sense" in again.note


def bomb():
    """A PNG of a few kilobytes that says it has 400 million pixels."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


def frames():
    stream = io.BytesIO()
    picture(4).save(stream, "GIF", save_all=True, append_images=[picture(5)])
    return stream.getvalue()


def test_rows_that_cannot_be_read_have_their_errors_and_no_neighbour_has(
    checkpoint, work, rows, tmp_path, alone
):
    files = {
        "broken": b"\x89PNG no",
        "cut": encoded(0)[:-400],
        "bomb": bomb(),
        "large": b"x" * 300_000,
        "line": None,
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    Image.new("RGB", (4_000, 10)).save(tmp_path / "line", "PNG")
    bad = [Row("missing", "missing", "x", str(tmp_path / "missing"))]
    bad.append(Row("problem", "", "", "", problem="the row has no question"))
    for name, data in files.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        bad.append(Row(name, name, QUESTIONS[0], str(tmp_path / name)))
    # the token of a picture inside a question
    bad.append(rows[0]._replace(id="token", question="what is <image> ?"))
    mixed = [bad[0], rows[0], *bad[1:4], rows[1], *bad[4:], rows[2]]

    seen = []
    engine = Engine(replace(work, bounds=Bounds(file_bytes=200_000)), checkpoint)
    answers = engine.answer(mixed, lambda rows, errors: seen.append((rows, errors)))
    by_id = {answer.id: answer for answer in answers}
    for number, row in enumerate(rows[:3]):
        assert by_id[row.id].answer == alone(row.question, number).text
    errors = {row.id: by_id[row.id].error for row in bad}
    assert all(by_id[row.id].answer is None for row in bad)
    assert "no file" in errors["missing"]
    assert errors["problem"] == "the row has no question"
    assert "no readable PNG" in errors["broken"] and "no readable PNG" in errors["postscript"]
    assert "damaged or cut short" in errors["cut"]
    assert "more than 64,000,000 pixels" in errors["bomb"]
    assert "300,000 bytes, more than 200,000" in errors["large"]
    assert "longer than 50 times" in errors["line"]
    assert "leave '<image>' out" in errors["token"]
    assert [sum(column) for column in zip(*seen, strict=True)] == [len(mixed), len(bad)]


def test_of_several_frames_the_first_is_used_with_a_note(checkpoint, work, tmp_path, alone):
    (tmp_path / "x.gif").write_bytes(frames())
    row = Row("x", "x.gif", QUESTIONS[0], str(tmp_path / "x.gif"))
    (answer,) = Engine(work, checkpoint).answer([row])
    assert "x.gif has 2 frames; the first is used" in answer.note
    assert answer.error is None


# ---------------------------------------------------------------- batches that fail


def failing(monkeypatch, fails):
    """Let every batch for which `fails` gives an error raise it; the sizes of all that were tried."""
    sizes = []
    real = module.generate_together

    def generate(checkpoint, inputs, session, generation):
        sizes.append(len(inputs))
        error = fails(inputs)
        if error is not None:
            raise error
        return real(checkpoint, inputs, session, generation)

    monkeypatch.setattr(module, "generate_together", generate)
    return sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_batch_too_large_for_the_memory_is_halved_and_later_ones_stay_small(
    checkpoint, work, rows, alone, monkeypatch, error
):
    engine = Engine(work, checkpoint)
    sizes = failing(monkeypatch, lambda inputs: error if len(inputs) > 2 else None)
    expected = [alone(row.question, number).text for number, row in enumerate(rows)]
    assert texts(engine.answer(rows)) == expected
    assert sizes == [3, 1, 1, 1, 1, 1, 1]
    assert engine.runner.size == 1
    del sizes[:]
    assert texts(engine.answer(rows[:2])) == expected[:2]
    assert sizes == [1, 1]


def test_inputs_that_leave_no_room_for_the_next_row_run_first(
    checkpoint, work, rows, alone, monkeypatch
):
    """Prepared rows wait on the device, whose memory may end between two of them."""
    engine = Engine(work, checkpoint)
    real = module.prepare
    calls = []

    def prepare(*given):
        calls.append(given)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(module, "prepare", prepare)
    expected = [alone(row.question, number).text for number, row in enumerate(rows)]
    assert texts(engine.answer(rows)) == expected
    assert engine.runner.size == 1


def test_a_single_row_too_large_for_the_memory_is_an_error(checkpoint, work, rows, monkeypatch):
    failing(monkeypatch, lambda inputs: torch.OutOfMemoryError("CUDA out of memory"))
    answers = Engine(work, checkpoint).answer(rows[:2])
    assert all("out of memory" in answer.error for answer in answers)


def test_a_poisoned_row_does_not_take_its_neighbours_with_it(
    checkpoint, work, rows, alone, monkeypatch
):
    # the second kind of question is the longest
    inputs = prepare(checkpoint, [picture(1)], rows[1].question)
    longest = inputs["input_ids"].shape[1]

    def fails(batch):
        lengths = [one["input_ids"].shape[1] for one in batch]
        return ValueError("poison\nmore") if longest in lengths else None

    engine = Engine(work, checkpoint)
    failing(monkeypatch, fails)
    answers = engine.answer(rows)
    failed = [row.id for row, answer in zip(rows, answers, strict=True) if answer.error]
    assert failed == ["1", "4"]
    assert {answers[1].error, answers[4].error} == {"ValueError: poison"}
    for number in (0, 2, 3, 5):
        assert answers[number].answer == alone(rows[number].question, number).text


def test_a_device_that_failed_ends_the_job_and_writes_no_errors(
    checkpoint, work, rows, monkeypatch
):
    failing(monkeypatch, lambda inputs: RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(BatchError, match=r"the device failed.*start the same command again"):
        Engine(work, checkpoint).answer(rows)


def test_kinds_of_errors():
    assert kind_of(ValueError("CUDA error")) == "rows"
    assert kind_of(RuntimeError("CUDA error: out of memory")) == "memory"
    assert kind_of(RuntimeError("CUDA error: device-side assert triggered")) == "device"
    assert kind_of(RuntimeError("sizes differ")) == "rows"


# ---------------------------------------------------------------- lengths


def test_rows_of_one_visual_length_run_together(work, tmp_path, qwen, monkeypatch):
    """Qwen2.5-VL's pictures have as many tokens as their sizes ask for."""
    rows = []
    for number in range(8):
        side = (28, 56)[number % 2]
        file = tmp_path / f"{number}.png"
        picture(number).resize((side, side)).save(file)
        rows.append(Row(str(number), file.name, "what color is the circle ?", str(file)))

    engine = Engine(replace(work, model=str(qwen), method="unpruned", max_new_tokens=2))
    batches = []
    real = module.generate_together

    def generate(checkpoint, inputs, session, generation):
        batches.append({one["input_ids"].shape[1] for one in inputs})
        return real(checkpoint, inputs, session, generation)

    monkeypatch.setattr(module, "generate_together", generate)
    answers = engine.answer(rows)
    assert engine._lengths.counted
    assert len(batches) == 2
    assert all(len(lengths) == 1 for lengths in batches)
    assert [answer.visual_tokens_before for answer in answers] == [4, 16] * 4
    assert [answer.id for answer in answers] == [row.id for row in rows]


def test_without_a_processor_that_counts_pixels_decide(checkpoint):
    assert Lengths(checkpoint)(96, 96) == 144
    silent = SimpleNamespace(processor=SimpleNamespace())
    assert Lengths(silent)(10, 20) == 200

    def fails(image_sizes):
        raise KeyError

    broken = Lengths(SimpleNamespace(processor=SimpleNamespace(_get_num_multimodal_tokens=fails)))
    assert broken(10, 20) == 200 and not broken.counted


def test_a_method_that_does_not_fit_fails_before_any_row(checkpoint, work):
    with pytest.raises(MethodError):
        Engine(replace(work, method="fastv:layer=99"), checkpoint)
