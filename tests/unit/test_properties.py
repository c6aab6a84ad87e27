"""Inputs nobody thought of: recipes, schedules, counts and files give a result or our own error.

The examples are drawn by hypothesis, the same ones in every run.
"""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from transprune.bench.data.tasks import load_tasks
from transprune.bench.run.budgets import parse_budgets
from transprune.core import strict_json
from transprune.core.schedule import Schedule, count_kept
from transprune.core.shown import LONGEST, shown
from transprune.errors import ImageError, MethodError, PruneError, ScheduleError, TaskError
from transprune.methods.common.recipe import METHODS, from_dict, preset_names, read_recipe, resolve
from transprune.models.images import open_image

often = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    # a folder of pytest is made once, and every example writes its own file into it
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
words = st.one_of(st.text(max_size=20), st.sampled_from(["keep", "7:0.5", "7-12", "nan", "\0"]))
values = st.recursive(
    st.one_of(numbers, words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
ratios = st.floats(min_value=1e-6, max_value=1.0)


@st.composite
def schedules(draw) -> Schedule:
    """A schedule that can be written."""
    boundaries = draw(st.sets(st.integers(0, 60), min_size=1, max_size=6))
    shares = draw(st.lists(ratios, min_size=len(boundaries), max_size=len(boundaries)))
    depth = draw(st.none() | st.integers(1, 80))
    pairs = zip(sorted(boundaries), sorted(shares, reverse=True), strict=True)
    return Schedule(pairs, depth=depth)


@st.composite
def recipe_texts(draw) -> str:
    """Text in the grammar of recipes: real names, settings and signs, in any order."""
    name = draw(st.sampled_from([*METHODS, *preset_names()]))
    keys = st.sampled_from(["keep", "keep_ratio", "layer", "positions", "seed", "order", "alpha"])
    value = st.one_of(numbers.map(str), words, st.sampled_from(["7:0.5,9:0.25", "1,2,3", "true"]))
    pairs = draw(st.lists(st.tuples(keys, value), max_size=3))
    text = name + ":" + ",".join(f"{key}={value}" for key, value in pairs)
    return draw(st.sampled_from([text, f"{text}+fastv", f"visionzip:keep=64+{text}"]))


@st.composite
def recipes(draw) -> dict:
    """A recipe with settings that exist and values of any kind."""
    name = draw(st.sampled_from(list(METHODS)))
    fields = [f for f in METHODS.get(name).__dataclass_fields__.values() if f.init]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=2, unique_by=lambda f: f.name))
    return {"method": name, **{field.name: draw(values) for field in chosen}}


def check_method(method) -> None:
    """A method that was accepted can be written, read back and planned."""
    text = json.dumps(method.to_dict(), allow_nan=False)
    assert from_dict(json.loads(text)) == method

    for depth, tokens in ((32, 576), (16, 144), (28, 1)):
        try:
            plan = method.plan(depth, tokens)
        except ScheduleError:
            continue  # its boundaries do not fit that depth
        counts = [tokens, *(stage.count for stage in plan)]
        assert all(1 <= count <= tokens for count in counts)
        assert counts == sorted(counts, reverse=True)


def check_message(error: Exception) -> None:
    """An error is one line that fits on a screen."""
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 3000


def accepted_or_refused(make) -> None:
    """Call; an error has to be ours, of the kind that callers expect, in one short line."""
    try:
        method = make()
    except MethodError as error:
        check_message(error)
    else:
        check_method(method)


@often
@given(recipe_texts())
def test_recipe_texts(text) -> None:
    accepted_or_refused(lambda: resolve(text))


@often
@given(st.text(max_size=60))
def test_any_text_as_a_recipe(text) -> None:
    accepted_or_refused(lambda: resolve(text))


@often
@given(recipes())
def test_recipe_data(data) -> None:
    accepted_or_refused(lambda: from_dict(data))


@often
@given(st.binary(max_size=60) | recipes().map(lambda data: json.dumps(data).encode()))
def test_recipe_files(tmp_path, content) -> None:
    file = tmp_path / "recipe.json"
    file.write_bytes(content)
    accepted_or_refused(lambda: read_recipe(file))


@often
@given(schedules())
def test_a_schedule_comes_back_from_its_recipe_and_its_text(schedule) -> None:
    assert Schedule.of(json.loads(json.dumps(schedule.to_dict()))) == schedule
    text = ",".join(f"{boundary}:{ratio!r}" for boundary, ratio in schedule)
    assert Schedule.parse(text) == Schedule(schedule.keep)


@often
@given(schedules(), st.integers(1, 200))
def test_a_scaled_schedule_keeps_its_shares_and_its_order(schedule, layers) -> None:
    scaled = schedule.scaled(layers)
    assert [ratio for _, ratio in scaled] == [ratio for _, ratio in schedule]
    assert len(set(scaled.boundaries)) == len(schedule.boundaries)
    if schedule.depth is not None:
        first = schedule.boundaries[0]
        assert scaled.boundaries[0] == math.ceil(first * layers / schedule.depth)


@often
@given(st.text(alphabet="0123456789:,./- einfa_", max_size=24) | st.text(max_size=24))
def test_any_text_as_a_schedule(text) -> None:
    try:
        schedule = Schedule.parse(text)
    except ScheduleError as error:
        check_message(error)
        return
    assert all(0 < ratio <= 1 for _, ratio in schedule)


@often
@given(st.dictionaries(st.one_of(numbers, words), values, max_size=3), values)
def test_any_mapping_as_a_schedule(keep, depth) -> None:
    try:
        Schedule(keep, depth=depth).scaled(16)
    except ScheduleError as error:
        check_message(error)


@often
@given(st.integers(0, 10_000), ratios)
def test_counts_round_down_and_stay_in_bounds(total, ratio) -> None:
    count = count_kept(total, ratio)
    assert 0 <= count <= total
    assert count <= total * ratio + 1e-6
    assert count > total * ratio - 1
    assert count_kept(total, 1.0) == total


@often
@given(st.text(alphabet="0123456789,.%own -+e", max_size=16) | st.text(max_size=16))
def test_any_text_as_budgets(text) -> None:
    try:
        budgets = parse_budgets(text)
    except MethodError:
        return
    assert all(budget is None or 0 < budget < 1 for budget in budgets)


@often
@given(values)
def test_json_is_strict_and_comes_back(data) -> None:
    text = strict_json.write(data)
    json.loads(text, parse_constant=pytest.fail)
    assert strict_json.read(text) == strict_json.without_nan(data)


@often
@given(st.binary(max_size=80))
def test_any_bytes_as_json(content) -> None:
    try:
        strict_json.read(content)
    except ValueError as error:
        check_message(error)


@often
@given(values | st.integers().map(lambda n: 10 ** (abs(n) % 9000)))
def test_any_value_can_be_shown(value) -> None:
    text = shown(value)
    assert len(text) <= LONGEST
    assert len(text.splitlines()) <= 1


FIELDS = ("id", "image", "question", "answer", "answers", "family", "kind", "options", "metric")
entries = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
lines = entries.map(lambda entry: json.dumps(entry).encode()) | st.binary(max_size=60)


@often
@given(lines)
def test_a_strange_question_does_not_hurt_those_around_it(tmp_path, line) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    usual = {"image": "a.png", "question": "what?", "answer": "red", "family": "usual"}
    good = [json.dumps({**usual, "id": name}).encode() for name in ("first", "last")]

    file = tmp_path / "questions.jsonl"
    file.write_bytes(b"\n".join([good[0], line, good[1]]))
    found = load_tasks(str(file))
    assert [item.id for item in found.items if item.family == "usual"] == ["first", "last"]

    try:
        load_tasks(str(file), strict=True)
    except TaskError as error:
        check_message(error)


def picture_bytes(kind: str) -> bytes:
    """A small picture as a file of that format."""
    stream = io.BytesIO()
    Image.radial_gradient("L").resize((16, 12)).convert("RGB").save(stream, kind)
    return stream.getvalue()


PICTURES = {kind: picture_bytes(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")}


@often
@given(
    st.sampled_from(list(PICTURES)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 10_000),
)
@pytest.mark.filterwarnings("ignore::transprune.errors.PruneWarning")
def test_damaged_pictures(tmp_path, kind, changes, end) -> None:
    data = bytearray(PICTURES[kind])
    for place, byte in changes:
        data[place % len(data)] = byte
    file = tmp_path / "picture"
    file.write_bytes(data[: end % (2 * len(data))])

    try:
        picture = open_image(file)
    except ImageError as error:
        check_message(error)
    else:
        assert picture.mode == "RGB"


def test_our_errors_are_what_a_caller_would_catch() -> None:
    for error in (MethodError, ScheduleError, TaskError, ImageError):
        assert issubclass(error, PruneError)
        assert issubclass(error, ValueError)
