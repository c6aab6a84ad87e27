"""FitPrune's offline fit: the rule by hand, the saving reached, the command, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from families.cases import FAMILIES
from transprune import prune
from transprune.cli import app
from transprune.core import strict_json
from transprune.core.schedule import Schedule
from transprune.cost.count import count_method
from transprune.errors import LayoutError, TuneError
from transprune.methods import FitPrune
from transprune.methods.common.recipe import resolve
from transprune.models.fit import WIDTH, fit, write_schedule
from transprune.models.fit_pass import Layers, drop_by_alpha, least_received, measure_masses
from transprune.tune.fit import Inputs, parse_saving
from transprune.tune.questions import load_items


def call(*arguments):
    return CliRunner().invoke(
        app, ["fit", *map(str, arguments)], env={"COLUMNS": "100"}, catch_exceptions=False
    )


@pytest.fixture(scope="module")
def prompts(prepared, items):
    """Two prompts about two pictures."""
    return list(Inputs(prepared, items[::2][:2]))


@pytest.fixture(scope="module")
def layers(prepared):
    return Layers.of(prepared.checkpoint.model, prepared.geometry)


def test_the_least_received_go_as_long_as_enough_is_left():
    values = torch.tensor([0.4, 0.1, 0.3, 0.2])
    assert least_received(values, 0.7).tolist() == [False, True, False, True]
    assert least_received(values, 0.71).tolist() == [False, True, False, False]
    assert least_received(values, 0.91).tolist() == [False] * 4
    assert least_received(values, 0.0).tolist() == [True] * 4
    # the mass of the unpruned layer counts, which may be more than all that is here
    assert least_received(values, 1.2).tolist() == [False] * 4
    assert least_received(torch.full((3,), 0.1), 0.2).tolist() == [True, False, False]


def test_masses_are_those_of_the_eager_maps(prepared, prompts, layers):
    model = prepared.checkpoint.model
    measured = measure_masses(model, prompts[0], layers)
    visual = prepared.family.visual_mask(prepared.base, prompts[0]["input_ids"])[0]
    slots = visual.nonzero()[:, 0]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            maps = model(**prompts[0], output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)

    assert measured.tokens == len(slots)
    assert set(measured.masses) == set(range(1, len(maps)))
    for boundary, (of_image, of_words) in measured.masses.items():
        largest = maps[boundary - 1][0].amax(dim=0)[:, slots]
        assert of_image == pytest.approx(float(largest[slots].mean(dim=0).sum()), rel=1e-4)
        assert of_words == pytest.approx(float(largest[int(slots[-1]) + 1 :].sum()), rel=1e-4)


def test_nothing_goes_at_alpha_0_and_all_but_one_at_1(prepared, prompts, layers):
    prompt = measure_masses(prepared.checkpoint.model, prompts[0], layers)
    at_0 = drop_by_alpha(prepared.checkpoint.model, prompts[0], prompt, layers, 0.0, 0.5)
    at_1 = drop_by_alpha(prepared.checkpoint.model, prompts[0], prompt, layers, 1.0, 0.5)
    # columns that no head looks at are free; here there are hardly any
    assert min(at_0.values()) > 0.97 * prompt.tokens
    assert set(at_1.values()) == {1}


def test_dropping_stops_when_enough_is_saved(prepared, prompts, layers):
    prompt = measure_masses(prepared.checkpoint.model, prompts[0], layers)
    left = drop_by_alpha(prepared.checkpoint.model, prompts[0], prompt, layers, 0.3, 0.3)
    counts = [left[boundary] for boundary in layers.boundaries]
    assert counts == sorted(counts, reverse=True)
    savings = []
    for number, boundary in enumerate(layers.boundaries, start=1):
        assert left[boundary] == counts[number - 1]
        so_far = {at: left[at] for at in layers.boundaries[:number]}
        savings.append(layers.saving(prompt.tokens, so_far))
    reached = next(number for number, saved in enumerate(savings) if saved >= 0.3)
    assert len(set(counts[reached:])) == 1
    assert counts[reached] < counts[0] or reached == 0


@pytest.fixture(scope="module")
def fitted(prepared, prompts):
    passes = []
    found = fit(
        prepared.checkpoint.model,
        prompts,
        0.4,
        on_pass=lambda what, done, total: passes.append((what, done, total)),
    )
    return found, passes


def test_the_fit_reaches_the_saving_on_the_bundled_model(prepared, prompts, fitted):
    found, passes = fitted
    assert 0.4 <= found.saving < 0.45
    method = FitPrune(found.keep)
    assert method.notes(found.keep.depth) == ()
    # what a run of the recipe costs, and not only what was planned
    for inputs in prompts:
        with torch.no_grad(), prepared.prune(method) as session:
            prepared.checkpoint.model(**inputs)
        assert 1 - session.trace.cost("paper").prefill_share >= 0.4
        assert not session.trace.notes
    # the unpruned pass, alpha 1, and halves of it down to the width
    names = list(dict.fromkeys(name for name, *_ in passes))
    assert names[:3] == ["unpruned", "alpha 1.000", "alpha 0.500"]
    assert len(names) == 3 + math.ceil(math.log2(1 / WIDTH))
    assert passes[-1] == ("fitted", 2, 2)


def test_a_smaller_alpha_saves_too_little(prepared, prompts, layers, fitted):
    found, _ = fitted
    shares = dict.fromkeys(layers.boundaries, 0.0)
    for inputs in prompts:
        prompt = measure_masses(prepared.checkpoint.model, inputs, layers)
        less = found.alpha - WIDTH
        left = drop_by_alpha(prepared.checkpoint.model, inputs, prompt, layers, less, 0.4)
        for boundary, count in left.items():
            shares[boundary] += count / prompt.tokens / len(prompts)
    method = FitPrune(write_schedule(shares, found.keep.depth, prompt.tokens))
    cost = count_method(prepared.geometry, method, prompt.tokens, 0)
    assert 1 - cost.prefill_share < 0.4


def test_a_schedule_has_only_boundaries_at_which_tokens_go():
    halves = write_schedule({1: 1.0, 2: 0.5, 3: 0.5, 4: 0.25001}, 8, tokens=10)
    assert halves == Schedule({2: 0.5, 4: 0.25}, depth=8)
    # less than a token of ten waits for the next boundary
    waits = write_schedule({1: 0.95, 2: 0.88, 3: 0.8, 4: 0.79}, 8, tokens=10)
    assert waits == Schedule({2: 0.88}, depth=8)
    assert write_schedule({1: 0.99999, 2: 1e-9}, 8, 10) == Schedule({2: 0.0001}, depth=8)
    assert write_schedule({2: 1.0, 3: 1.0}, 8, 10) == Schedule({2: 1.0}, depth=8)


def test_layers_without_attention_or_with_the_keys_of_others_drop_nothing(zoo):
    """The fit of a hybrid needs no boundary moved, where the released table is refused."""
    from families.cases import MODELS, build
    from families.contract import case_of

    assert "lfm2_vl" in MODELS
    case = case_of("lfm2_vl")
    model = build(case).eval()
    inputs = case.batch(case.even()[:1])
    found = fit(model, [inputs], 0.3)
    kinds = [getattr(layer, "self_attn", None) for layer in model.get_decoder().layers]
    assert all(kinds[boundary - 1] is not None for boundary in found.keep.boundaries)
    with torch.no_grad(), prune(model, FitPrune(found.keep)) as session:
        model(**inputs)
    assert 1 - session.trace.cost("paper").prefill_share >= 0.3


def test_what_cannot_be_fitted(prepared, prompts):
    model = prepared.checkpoint.model
    for saving in (0, 1, -0.1, float("nan")):
        with pytest.raises(TuneError, match="share of the prefill"):
            fit(model, prompts, saving)
    with pytest.raises(LayoutError, match="at least one prompt"):
        fit(model, [], 0.4)
    with pytest.raises(TuneError, match=r"the most is 9\d\.\d %, with one visual token left"):
        fit(model, prompts[:1], 0.995)
    words = {name: prompts[0][name][:, -4:] for name in ("input_ids", "attention_mask")}
    with pytest.raises(LayoutError, match="with a picture"):
        fit(model, [words], 0.4)


def test_attention_that_is_not_a_number_is_refused(prepared, prompts):
    """A model that overflows in half precision: behind that layer nothing would ever go."""
    model = prepared.checkpoint.model
    layer = model.get_decoder().layers[9]
    handle = layer.register_forward_hook(lambda module, args, output: output * math.nan)
    try:
        with pytest.raises(TuneError, match=r"decoder layer 10 is not a number.*--dtype float32"):
            fit(model, prompts[:1], 0.4)
    finally:
        handle.remove()


def test_a_batch_is_refused(zoo):
    case = FAMILIES["llava"]
    with pytest.raises(LayoutError, match="one by one"):
        fit(zoo("llava"), [case.batch(case.even())], 0.4)


@pytest.mark.parametrize(("text", "share"), [("0.4", 0.4), ("40%", 0.4), (" 12.5%", 0.125)])
def test_a_saving_as_text(text, share):
    assert parse_saving(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["40", "0", "100%", "much", "nan", ""])
def test_no_saving(text):
    with pytest.raises(TuneError, match="a saving is the share of the prefill that goes"):
        parse_saving(text)


def test_bundled_questions_are_never_those_of_the_test_scenes():
    items, _ = load_items("nano", n=2, split="train", seed=0)
    assert {item.image for item in items} == {"train/0", "train/1"}


@pytest.fixture
def questions(tmp_path):
    """A file with a question of one's own, and a line without a picture."""
    Image.new("RGB", (40, 40), (90, 90, 200)).save(tmp_path / "0.png")
    lines = [{"image": "0.png", "question": "what color?"}, {"question": "what color?"}]
    file = tmp_path / "my.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_the_command_writes_a_recipe_that_runs(questions, tmp_path):
    out = tmp_path / "out"
    result = call("--questions", questions, "--saving", "30%", "--out", out, "--threads", "1")
    assert result.exit_code == 0, result.stderr
    assert "left out" in result.stdout
    assert "dropped inside layer" in result.stdout

    data = strict_json.read((out / "fit.json").read_bytes())
    assert data["asked"] == pytest.approx(0.3)
    assert data["found"]["saving"] >= 0.3
    assert data["found"]["prompts"] == 1
    method = resolve(str(out))
    assert isinstance(method, FitPrune)
    assert method.keep == Schedule.of(data["found"]["keep"])
    run = CliRunner().invoke(
        app,
        f"run --model nano --method {out} --image {tmp_path}/0.png --question color? --json",
        catch_exceptions=False,
    )
    assert run.exit_code == 0, run.stderr
    assert "fitprune" in run.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--saving", "40"), "a saving is the share of the prefill that goes"),
        (("--saving", "0.4", "--questions", "nowhere.jsonl"), "no questions at nowhere.jsonl"),
    ],
)
def test_what_the_command_refuses(tmp_path, arguments, reason):
    out = tmp_path / "out"
    result = call("--out", out, "--threads", "1", *arguments)
    assert result.exit_code == 1
    assert reason in " ".join(result.stderr.split())
    assert not out.exists()


def test_questions_without_a_picture(tmp_path):
    file = tmp_path / "my.jsonl"
    file.write_text('{"question": "what color?"}\n', encoding="utf-8")
    result = call("--questions", file, "--saving", "0.4", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "has no usable question" in " ".join(result.stderr.split())


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    result = call("--saving", "0.4", "--out", tmp_path)
    assert result.exit_code == 1
    assert "holds no fit" in result.stderr
