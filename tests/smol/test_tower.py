"""The tower of the second test bed: exactly the tower LLaVA will run, trained and resumed in miniature."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from smol.little import little_world
from transprune.errors import TrainingError
from transprune.nano.batches import normalise
from transprune.smol.kinds import split_of
from transprune.smol.scenes import draw
from transprune.smol.things import SIGN, Canvas
from transprune.smol.train.heads import new_module
from transprune.smol.train.labels import (
    BOX_UNIT,
    CHARACTERS,
    NOTHING,
    all_names,
    batch_labels,
    known_names,
    told_name,
)
from transprune.smol.train.measure import measure_tower
from transprune.smol.train.names import name_vectors
from transprune.smol.train.recipe import MINIATURE, TOWER
from transprune.smol.train.run import known_vectors, load_tower, train_tower
from transprune.smol.train.tower import TowerSettings, TowerStage
from transprune.smol.vision import TowerSizes, look, new_tower

CPU = torch.device("cpu")
WORLD = little_world()
NAMES = all_names(WORLD.kinds.names)


@pytest.fixture(scope="module")
def language():
    """A random Llama and a tokenizer of whole words."""
    words = sorted({word for name in NAMES for word in name.split()})
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="a")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )
    return model.eval(), PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def vectors(language):
    return name_vectors(*language, NAMES)


def run(folder, vectors, stop_after=None, recipe=MINIATURE, world=WORLD) -> bool:
    steps = []

    def stop() -> bool:
        steps.append(None)
        return len(steps) == stop_after

    return train_tower(recipe, world, vectors, folder, lambda *step: None, CPU, stop)


@pytest.fixture(scope="module")
def whole(vectors, tmp_path_factory):
    """A miniature trained without a break."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, vectors)
    return folder


# ----------------------------------------------------------------------------------------------- the tower


def test_looking_is_what_transformers_does() -> None:
    """The features of training are, bit for bit, those of the class that LLaVA runs."""
    torch.manual_seed(0)
    tower = new_tower(MINIATURE.sizes).eval()
    pixels = torch.randint(0, 256, (2, 336, 336, 3), dtype=torch.uint8)
    with torch.no_grad():
        seen = look(tower, pixels)
        out = tower(pixel_values=normalise(pixels, CPU), output_hidden_states=True)
    assert torch.equal(seen.patches, out.hidden_states[-2][:, 1:])
    assert torch.equal(seen.cls, out.pooler_output)


def test_a_small_picture_takes_the_places_of_its_window() -> None:
    """Without layers, the features differ from those at the corner by the table alone."""
    torch.manual_seed(0)
    tower = new_tower(replace(MINIATURE.sizes, layers=1))
    tower.pre_layrnorm = torch.nn.Identity()
    pixels = torch.randint(0, 256, (1, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        corner = look(tower, pixels).patches[0].unflatten(0, (8, 8))
        moved = look(tower, pixels, (5, 11)).patches[0].unflatten(0, (8, 8))
        table = tower.embeddings.position_embedding.weight[1:].unflatten(0, (24, 24))
    torch.testing.assert_close(moved - corner, table[5:13, 11:19] - table[:8, :8])


def test_the_size_of_the_real_tower() -> None:
    weights = sum(weight.numel() for weight in new_tower(TowerSizes()).parameters())
    assert 6e6 < weights < 7e6
    assert TOWER.sizes == TowerSizes()


# ----------------------------------------------------------------------------------------------- names and labels


def test_vectors_of_names(language, vectors) -> None:
    """Halves of length 1; a name by itself has the direction it has among others."""
    assert vectors.shape == (len(NAMES), 48)
    lengths = vectors.unflatten(1, (2, 24)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(len(NAMES), 2))
    shuffled = name_vectors(*language, NAMES[::-1])
    torch.testing.assert_close(shuffled.flip(0), vectors, atol=1e-5, rtol=0)

    same_paint = vectors[0] @ vectors[1]  # red ball, red box
    assert same_paint > vectors[0] @ vectors[NAMES.index("blue cross")]


def test_labels_say_what_the_scene_says() -> None:
    scene = next(
        scene
        for scene in (draw(WORLD, "train", number) for number in range(50))
        if any(thing.name == SIGN for thing in scene.things) and len(scene.things) > 3
    )
    numbers = {name: number for number, name in enumerate(NAMES)}
    labels = batch_labels([scene], numbers)
    assert labels.pixels.shape == (1, 336, 336, 3)
    assert (labels.name[0] == NOTHING).tolist() == (scene.owner == -1).tolist()

    for patch, owner in enumerate(scene.owner.tolist()):
        characters = labels.characters[0, patch]
        assert characters.sum() == pytest.approx(1)
        found = {CHARACTERS[place] for place in characters[:-1].nonzero().flatten().tolist()}
        assert found == set(scene.letters[patch])
        if owner == -1:
            assert not labels.box[0, patch].any()
            continue

        thing = scene.things[owner]
        assert NAMES[labels.name[0, patch]] == told_name(thing)
        # undo the units: the middle and the size of the box come back
        row, column = divmod(patch, 24)
        x, y, width, height = labels.box[0, patch].tolist()
        middle = (x * BOX_UNIT + 14 * column + 7, y * BOX_UNIT + 14 * row + 7)
        assert middle == pytest.approx(thing.middle, abs=1e-3)
        left, top, right, bottom = thing.box
        sizes = (BOX_UNIT * torch.tensor([width, height]).exp()).tolist()
        assert sizes == pytest.approx([right - left, bottom - top], rel=1e-4)


# ----------------------------------------------------------------------------------------------- training


def test_only_names_of_training_are_trained(vectors) -> None:
    stage = TowerStage(
        MINIATURE.stages[0], WORLD, new_module(MINIATURE.sizes, vectors), vectors, CPU
    )
    names = [NAMES[number] for number in known_names(WORLD.kinds)]
    assert len(stage._vectors) == len(names)
    assert {split_of(name.removeprefix("sign ")) for name in names if name != SIGN} == {"train"}
    batch = stage.prepare(0)
    assert batch.labels.name.max() < len(stage._vectors)
    torch.testing.assert_close(batch.present.sum(dim=1), torch.ones(4))
    assert all(0 <= place <= 16 for place in batch.corner)
    again = stage.prepare(0)
    assert torch.equal(again.labels.pixels, batch.labels.pixels)
    assert again.corner == batch.corner


def state(folder, stage):
    return torch.load(folder / f"{stage}.pt", weights_only=True)["module"]


@pytest.mark.parametrize("cuts", [(1, 2), (4,), (5,)])
def test_stopped_and_resumed_ends_the_same(whole, vectors, tmp_path, cuts) -> None:
    for steps in cuts:
        run(tmp_path, vectors, steps)
    assert run(tmp_path, vectors)

    for stage in MINIATURE.stages:
        expected, found = state(whole, stage.name), state(tmp_path, stage.name)
        for name in expected:
            assert torch.equal(expected[name], found[name]), name


def test_every_part_is_trained(whole, vectors) -> None:
    fresh = new_module(MINIATURE.sizes, vectors).state_dict()
    trained = state(whole, "tower2_scenes")
    same = {name for name in fresh if torch.equal(fresh[name], trained[name])}
    # rows of the position table that no window of the miniature covered stay as they were
    assert not same, same


def test_heads_that_are_not_trained_stay_as_they_are(vectors, tmp_path) -> None:
    first, second = MINIATURE.stages
    stages = (first, replace(second, heads=False), replace(first, name="tower3"))
    run(tmp_path, vectors, recipe=replace(MINIATURE, stages=stages))
    before, after, again = (state(tmp_path, stage.name) for stage in stages)

    def changed(one, other) -> set[str]:
        return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}

    assert changed(before, after) == {"tower"}
    assert changed(after, again) == {"tower", "heads", "places", "patch_names", "cls_names"}


def test_it_learns(vectors, tmp_path) -> None:
    """Forty steps: things, names and above all colours are found more often than before."""
    settings = TowerSettings(
        "learn", steps=40, batch=8, canvas=Canvas(112, (1, 1)), warmup=5, muon_lr=0.02
    )
    recipe = replace(MINIATURE, sizes=TowerSizes(64, 128, 2, 2), stages=(settings,))
    log = []
    train_tower(
        recipe, WORLD, vectors, tmp_path, lambda name, step, of, found: log.append(found), CPU
    )
    # means of the first twenty steps and of the last twenty
    for name in ("thing", "name", "color"):
        assert log[-1][name] > log[0][name] + 0.04, name
    assert log[-1]["color"] > 0.65
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]


def test_other_settings_another_world_and_other_names_are_refused(whole, vectors) -> None:
    for changed in (
        {"recipe": replace(MINIATURE, seed=1)},
        {"world": replace(WORLD, checksum="other")},
        {"vectors": vectors[:, :40]},
    ):
        arguments = {"vectors": vectors, **changed}
        with pytest.raises(TrainingError, match="other settings"):
            run(whole, **arguments)


def test_vectors_are_made_once_and_checked(vectors, tmp_path) -> None:
    asked = []

    def make(names):
        asked.append(names)
        return vectors

    for _ in range(2):
        assert torch.equal(known_vectors(WORLD, tmp_path, make), vectors)
    assert asked == [NAMES]

    fewer = replace(WORLD, kinds=replace(WORLD.kinds, names=WORLD.kinds.names[:-1]))
    with pytest.raises(TrainingError, match=f"not the {len(NAMES) - 1} of this world"):
        known_vectors(fewer, tmp_path, make)
    (tmp_path / "names.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="damaged"):
        known_vectors(WORLD, tmp_path, make)


def test_measuring(whole, vectors, tmp_path) -> None:
    module, reached = load_tower(MINIATURE, vectors, whole)
    assert reached == "tower2_scenes, step 2"
    known = measure_tower(module, WORLD, vectors, "validation", 6)
    unseen = measure_tower(module, WORLD, vectors, "validation", 3, unseen=True)
    assert known.asked["ground"] == 6 * 576
    assert {"name", "name in 5", "color", "character"} <= set(known.percent)
    assert unseen.asked["name"] > 0
    json.dumps(known.to_dict())

    with pytest.raises(TrainingError, match="no checkpoint of a tower"):
        load_tower(MINIATURE, vectors, tmp_path)


def test_a_perfect_tower_measures_a_hundred(vectors, monkeypatch) -> None:
    """The same measure with a tower that reads the labels: the judge itself is right."""
    numbers = {name: number for number, name in enumerate(NAMES)}

    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    module = torch.nn.ModuleDict({name: Oracle() for name in ("tower", "heads", "patch_names")})
    now = {}

    def look_at(tower, pixels):
        scene = next(
            scene
            for scene in now["scenes"]
            if torch.equal(torch.from_numpy(scene.pixels), pixels[0])
        )
        now["labels"] = batch_labels([scene], numbers)
        return type("Seen", (), {"patches": torch.zeros(1, 576, 1)})

    def names(patches, chosen):
        known = known_names(WORLD.kinds)
        return torch.stack([now["labels"].name[0] == number for number in known], dim=1).float()

    def heads(patches):
        labels = now["labels"]
        thing = (labels.name[0] != NOTHING).float()[:, None] - 0.5
        color = torch.nn.functional.one_hot(labels.color[0].clamp(min=0), 11).float()
        return torch.cat([thing, color, labels.characters[0], labels.box[0]], dim=1)

    now["scenes"] = [draw(WORLD, "validation", number) for number in range(4)]
    monkeypatch.setattr("transprune.smol.train.measure.look", look_at)
    module["heads"].forward = heads
    module["patch_names"].forward = names
    scores = measure_tower(module, WORLD, vectors, "validation", 4)
    assert set(scores.percent.values()) == {100.0}
    assert scores.asked["word"]
