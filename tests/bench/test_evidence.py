"""The evidence: verdicts, AUC and places against values known beforehand."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from transprune.bench.data.records import read_run
from transprune.bench.results.summary import summarise
from transprune.bench.run.prepared import PreparedQuestions
from transprune.errors import BenchError, RecordError
from transprune.report.auc import layer_aucs
from transprune.report.insight import Insight, measure

ROOT = Path(__file__).parents[2]


@pytest.fixture
def part(monkeypatch):
    """A function that imports a module of `benchmarks.evidence`."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.evidence.{name}")


@pytest.fixture
def measured(part):
    """A function that makes a comparison with an interval and a p-value."""

    def make(low, high, p=0.0002):
        word = "holds" if low > 0 else "does not hold" if high < 0 else "cannot tell"
        return part("verdict").Measured((low + high) / 2, low, high, p, word, 100, 900)

    return make


# ---------------------------------------------------------------------------------- the verdict


def test_a_comparison_is_judged_by_its_interval(part) -> None:
    rng = np.random.default_rng(0)
    noise = np.concatenate([[0.0], rng.normal(0, 1, 4000)])

    def word(mean, pictures=100):
        return part("verdict").Measured.of(mean + noise, pictures, 900).word

    assert word(4) == "holds"
    assert word(-4) == "does not hold"
    assert word(1) == "cannot tell"

    # five pictures that agree can agree by chance: 2^(1 - 5) is more than 5 %
    assert word(40, pictures=5) == "cannot tell"
    assert word(40, pictures=6) == "holds"


def test_a_difference_without_a_value_is_an_error(part) -> None:
    with pytest.raises(BenchError, match="1 of 3 resamples"):
        part("verdict").Measured.of(np.array([1.0, np.nan, 2.0]), 100, 900)


def test_a_claim_holds_only_if_all_its_comparisons_do(part, measured) -> None:
    judge = part("verdict").judge
    good, bad, unclear = measured(1, 2), measured(-2, -1), measured(-1, 1, p=0.8)

    assert judge([good, good]) == "holds"
    assert judge([good, unclear]) == "cannot tell"
    assert judge([good, bad]) == "does not hold"
    assert judge([good, None]) == "cannot tell"
    assert judge([bad, None]) == "does not hold"
    assert judge([None, None]) == "not measured yet"


def test_a_reversed_comparison_has_to_survive_the_correction(part, measured) -> None:
    """Two comparisons: p = 0.04 becomes 0.08, p = 0.02 becomes 0.04."""
    judge = part("verdict").judge
    good = measured(1, 2, p=0.9)  # its own p only fills the family

    assert judge([measured(-2, -0.1, p=0.04)]) == "does not hold"
    assert judge([measured(-2, -0.1, p=0.04), good]) == "cannot tell"
    assert judge([measured(-2, -0.1, p=0.02), good]) == "does not hold"


# ------------------------------------------------------------------------------------ the answers


def _answers(*scores):
    return [(f"image {number}", float(score)) for number, score in enumerate(scores)]


def test_differences_are_those_of_the_benchmark(part, write_run) -> None:
    """3 of 4 right against 2 of 4: 25 points, with the interval of the benchmark's own table."""
    scores = {
        "unpruned": {"color": _answers(*[1, 1, 1, 1] * 3)},
        "transprune@41": {"color": _answers(*[1, 1, 1, 0] * 3)},
        "fastv@41": {"color": _answers(*[1, 0, 1, 0] * 3)},
    }
    run = read_run(write_run(scores))
    answers = part("answers").Answers(run, resamples=500)
    pair = part("claim").Pair("transprune", "fastv", 1.0)  # every cost of such a run is 1

    found = answers.difference(pair)
    assert found.value == pytest.approx(25)
    assert (found.pictures, found.questions) == (12, 12)

    rows = {row.condition.name: row for row in summarise(run, n_resamples=500)}
    against = rows["fastv@41"].against_transprune
    assert (-found.value, -found.high, -found.low) == pytest.approx(
        (against.value, against.low, against.high), abs=1e-9
    )


def test_a_method_that_did_not_run_at_a_cost_has_no_figure(part, write_run) -> None:
    scores = {"unpruned": {"color": _answers(1, 1)}, "fastv@41": {"color": _answers(1, 0)}}
    answers = part("answers").Answers(read_run(write_run(scores)), resamples=100)
    pair = part("claim").Pair

    assert answers.difference(pair("fastv", "pdrop", 1.0)) is None
    assert answers.find("fastv", 1.0, "exact").name == "fastv@41"
    assert answers.find("fastv", 0.98, "exact") is None  # two points away
    assert answers.row("fastv", 1.0, "paper").value == pytest.approx(50)


def test_only_the_chosen_answers_are_read(part, run_copy) -> None:
    read_chosen = part("chosen").read_chosen
    everything = read_run(run_copy).records
    wanted = [one for one in everything if one.condition in ("unpruned", "fastv@41")]
    assert len(wanted) < len(everything)
    assert read_chosen(run_copy, {("fastv", 0.41, "exact")}).records == wanted


def test_a_run_that_is_not_finished_is_refused(part, run_copy) -> None:
    file = run_copy / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    last = next(n for n in reversed(range(len(lines))) if b'"condition":"fastv@41"' in lines[n])

    # as a killed run leaves it: without the rest of a line
    file.write_bytes(b"".join(lines[:last]) + lines[last][:40])
    with pytest.raises(RecordError, match=r"fastv@41 has \d+ of \d+ answers"):
        part("chosen").read_chosen(run_copy, {("fastv", 0.41, "exact")})
    part("chosen").read_chosen(run_copy, ())


def test_figures_of_another_model_or_of_chosen_scenes_are_refused(part, run) -> None:
    settings = run.manifest.settings
    check = part("checks").check_settings
    check("nano", settings, run.folder)

    with pytest.raises(BenchError, match="run of nano on the tasks nano; expected smol"):
        check("smol", settings, run.folder)
    with pytest.raises(BenchError, match="split 'validation'"):
        check("nano", replace(settings, split="validation"), run.folder)
    with pytest.raises(BenchError, match="at least one"):
        part("checks").check_runs("nano", [])


def test_the_page_names_the_tasks_of_a_run(part, run) -> None:
    ladder = part("ladder")
    source = ladder.Source.of(run.manifest)
    assert source.tasks == tuple(task.name for task in run.manifest.tasks)

    measured = ladder.Ladder("nano", (source,), {"a": None})
    assert f"questions ({', '.join(source.tasks)}) about" in part("details").amount(measured)
    unnamed = replace(measured, sources=(replace(source, tasks=()),))
    assert f"{source.questions} questions about" in part("details").amount(unnamed)


def test_layers_of_other_weights_are_refused(part, run) -> None:
    weights = part("checks").check_runs("nano", [run.folder, run.folder])
    check, ladder = part("checks").check_signal, part("ladder")
    check("nano", weights, ladder.Ladder("nano"), pictures=1)
    with pytest.raises(BenchError, match="of the weights other, the layers of"):
        check("nano", "other", ladder.Ladder("nano"), pictures=1)

    # kept layers: those of the runs that were measured with them
    old = ladder.read_ladder("nano", ROOT / "docs/evidence")
    check("nano", old.sources[0].weights, old, pictures=0)
    with pytest.raises(BenchError, match="of the weights other, the layers of"):
        check("nano", "other", old, pictures=0)


def test_further_runs_fill_gaps_and_change_nothing(part, run) -> None:
    """What was measured before stays, with its layers; the runs add what it lacks."""
    ladder, pair = part("ladder"), part("claim").Pair
    source = ladder.Source.of(run.manifest)
    known, missing = pair("transprune", "fastv").key, pair("transprune", "random").key
    verdict = part("verdict").Measured(1.0, 0.5, 1.5, 0.01, "holds", 9, 90)
    old = ladder.Ladder("nano", (source,), {known: verdict}, signal="layers")

    told: list[str] = []
    new = part("measure").add_to_ladder([run.folder], old, told.append)
    assert new.differences[known] == verdict
    assert new.differences[missing] == part("answers").Answers(run).difference(
        pair("transprune", "random")
    )
    assert (new.signal, new.places, len(new.sources)) == ("layers", (), 2)
    assert {row.method for row in new.costs} == {"transprune", "fastv", "random"}
    assert any(str(run.folder) in line for line in told)

    # once more: the tables have every row once
    again = part("measure").add_to_ladder([run.folder], new, told.append)
    assert again.costs == new.costs

    with pytest.raises(BenchError, match="nothing was measured of nano yet"):
        part("measure").add_to_ladder([run.folder], ladder.Ladder("nano"), told.append)
    other = replace(old, sources=(replace(source, weights="other"),))
    with pytest.raises(BenchError, match="what was measured before of other"):
        part("measure").add_to_ladder([run.folder], other, told.append)


# ------------------------------------------------------------------------------------- the layers


def _insight(layers, tokens=4):
    """TTV that ranks tokens 0 and 1 first in layer 1 and last in layer 2; attention to token 3."""
    ttv = np.zeros((1, layers, tokens), np.float32)
    ttv[0, 0] = [4, 3, 2, 1]
    ttv[0, 1] = [1, 2, 3, 4]
    iga = np.tile(np.array([0.1, 0.1, 0.1, 0.7], np.float32), (1, layers - 1, 1))
    change = np.repeat(ttv[:, :, None], 2, axis=2)
    return Insight(magnitude=change, cosine=change / 10, ttv=ttv, iga=iga)


def test_every_layer_is_ranked_by_itself(part) -> None:
    objects = np.array([True, True, False, False])
    asked = np.array([False, False, False, True])
    one = part("bed").Seen(None, objects, asked)
    found = part("ranking").rank(_insight(3), 0, one, observed=(1, 2))

    assert found["TTV, objects"].tolist() == [1, 0, 0.5]
    assert found["TTV summed"].tolist() == [0.5]  # 5 everywhere
    assert found["IGA, asked"].tolist() == [1, 1]
    assert found["attention magnitude"].tolist() == [1, 0, 0.5]
    # 1 - |cos|: the larger cosine has the smaller direction
    assert found["FFN direction"].tolist() == [0, 1, 0.5]


def _values(ttv, asked):
    return {
        "TTV, objects": np.array(ttv, float),
        "TTV summed": np.array([0.9]),
        "IGA, asked": np.array(asked, float),
    }


def test_the_mean_is_over_pictures_and_their_intervals(part) -> None:
    """Picture a has two questions and b one: a counts once, and its missing value not at all."""
    nothing = np.nan
    values = [
        _values([0.6, 0.8, 0.5], [0.7, nothing]),
        _values([0.8, 0.8, 0.5], [nothing, nothing]),
        _values([0.9, 0.8, 0.3], [0.5, 0.4]),
    ]
    images = ["a", "a", "b"]
    for number in range(8):  # further pictures like b, so that a decision is possible
        values.append(values[2])
        images.append(f"c{number}")

    summarise_ = part("signal").summarise
    with pytest.raises(BenchError, match="of 10 pictures"):
        summarise_(
            values[:2] + [_values([0.5] * 3, [nothing] * 2)] * 9,
            [*images[:2], *images[2:]],
            (1,),
            4,
            200,
        )

    signal, found = summarise_(values, images, (1, 2), 4, 2000)
    curve = signal.curves["TTV, objects"]
    assert curve.value == pytest.approx(((0.7 + 9 * 0.9) / 10, 0.8, (0.5 + 9 * 0.3) / 10))
    assert (curve.low[1], curve.high[1]) == pytest.approx((0.8, 0.8))
    assert curve.low[0] < curve.value[0] <= curve.high[0] <= 0.9 + 1e-9
    assert curve.layers(above=True) == [1, 2]
    assert curve.layers(above=False) == [3]
    assert signal.curves["IGA, asked"].value[0] == pytest.approx((0.7 + 9 * 0.5) / 10)

    # layers 1, 2 and 3 are the thirds
    over = part("signal").over_chance
    assert found[over("middle")].value == pytest.approx(0.3)
    assert found[over("middle")].word == "holds"
    assert found[over("deep")].word == "does not hold"
    assert found[over("accumulation layers")].value == pytest.approx(0.4)


def test_curves_are_those_of_the_report(part, checkpoint, questions) -> None:
    """Of one picture the mean over pictures is the report's mean over questions."""
    items = [item for item in questions.items if item.image == "test/0"]
    beds = part("beds")
    bed = beds.AskedBed(checkpoint, items, beds.BEDS[beds.NANO].objects)
    seen = bed.seen()
    assert all(one.asked.sum() <= one.objects.sum() for one in seen)
    assert any(one.asked.any() for one in seen)

    signal, found = part("ranking").measure_signal(bed, resamples=10)
    insight = measure(PreparedQuestions(checkpoint, items), items)
    objects, asked = (
        np.array([getattr(one, name) for one in seen]) for name in ("objects", "asked")
    )
    expected = layer_aucs(insight, objects, asked)
    for name in ("TTV, objects", "IGA, objects", "IGA, asked"):
        assert signal.curves[name].value == pytest.approx(expected[name])

    assert (signal.layers, signal.tokens, signal.pictures) == (16, 144, 1)
    assert signal.observed == (4, 5, 6)  # 7 to 12 of 32
    assert all(one.word == "cannot tell" for one in found.values())  # of one picture


def test_thirds_take_every_layer_once(part) -> None:
    for layers in (16, 30, 32):
        parts = part("signal").thirds_of(layers)
        every = [layer for part_ in parts.values() for layer in part_]
        assert every == list(range(1, layers + 1))
        assert max(map(len, parts.values())) - min(map(len, parts.values())) <= 1


# ------------------------------------------------------------------------------------- the places


def _fake(record, kept):
    """Answers about pictures of 2 x 2 tokens: method -> the tokens that it keeps to the end."""
    records = []
    for method, tokens in kept.items():
        for number in range(8):
            records.append(
                record(
                    condition=method,
                    image=f"image {number}",
                    item=f"{number}",
                    kept={1: [0, 1, 2, 3], 2: tokens},  # the last boundary counts
                    visual_tokens=4,
                )
            )

    def find(method, share, convention):
        return SimpleNamespace(name=method) if method in kept else None

    return SimpleNamespace(run=SimpleNamespace(records=records), find=find)


def test_places_by_hand(part, record) -> None:
    """Both tokens in the upper row: half of them would have to move."""
    kept = {"transprune-iga": [0, 1], "transprune-ttv": [0, 3], "fastv": [2], "transprune": [2]}
    objects = [0.5, 0.5, 0, 0]  # in the upper row only
    fake = _fake(record, kept)
    places, found = part("places").measure_places(fake, objects, resamples=200)
    by_name = {one.method: one for one in places}

    assert by_name["transprune-iga"].distance == pytest.approx(50)
    assert by_name["transprune-iga"].rows == pytest.approx([100, 0])
    assert by_name["transprune-ttv"].distance == pytest.approx(0)
    assert by_name["fastv"].kept == pytest.approx(1)
    # as far as it can be: every token is in the lower row
    assert by_name["fastv"].from_objects == pytest.approx((100, 100, 100))
    assert by_name["transprune-iga"].from_objects == pytest.approx((0, 0, 0))

    farther, lower = part("places").FARTHER, part("places").LOWER
    gap = found[farther.format("transprune-iga", "transprune-ttv")]
    assert (gap.value, gap.word) == (pytest.approx(50), "holds")
    assert found[farther.format("fastv", "transprune")].word == "cannot tell"  # alike
    apart = part("places").FROM_OBJECTS
    gap = found[apart.format("transprune-iga", "transprune-ttv")]
    assert (gap.value, gap.word) == (pytest.approx(-50), "does not hold")
    assert found[lower.format("transprune-iga")].value == pytest.approx(-100)
    assert found[lower.format("fastv")].value == pytest.approx(100)


def test_objects_are_those_of_the_pictures_that_were_asked_about(part) -> None:
    """A picture counts as often as it was asked about."""
    beds = part("beds")
    first, second = (beds.BEDS[beds.NANO].objects(f"test/{number}") for number in (0, 1))
    assert (first != second).any()

    rate = beds.object_rate(beds.NANO, ["test/0", "test/1", "test/1", "test/1"])
    assert rate == pytest.approx((0.25 * first + 0.75 * second).tolist())


def test_tokens_without_rows_are_refused(part, record) -> None:
    fake = _fake(record, {"fastv": [0]})
    fake.run.records.append(record(condition="fastv", visual_tokens=5, image="other"))
    with pytest.raises(RecordError, match="square pictures"):
        part("places").measure_places(fake, resamples=10)
