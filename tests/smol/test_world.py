"""Pictures of the second test bed: the same by number, honest labels, splits that share nothing."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from smol.little import PAINTS, SHAPES, little_world, picture
from transprune.errors import MissingExtra, SceneError
from transprune.smol import backgrounds, emoji_kinds
from transprune.smol.kinds import SPLITS, split_of
from transprune.smol.palette import main_color
from transprune.smol.scenes import draw
from transprune.smol.sign_words import WORDS
from transprune.smol.things import PATCH, SIGN, Canvas
from transprune.smol.world import load_world, make_world

WORLD = little_world()
SMALL = Canvas(112, (1, 2))


@pytest.fixture(scope="module")
def scenes():
    return [draw(WORLD, "train", number) for number in range(40)]


def test_a_number_is_a_picture(scenes) -> None:
    again = draw(WORLD, "train", 7)
    assert np.array_equal(again.pixels, scenes[7].pixels)
    assert again.things == scenes[7].things
    assert again.letters == scenes[7].letters
    assert not np.array_equal(scenes[7].pixels, scenes[8].pixels)
    assert not np.array_equal(draw(WORLD, "test", 7).pixels, scenes[7].pixels)


def test_sizes(scenes) -> None:
    assert scenes[0].pixels.shape == (336, 336, 3)
    assert scenes[0].owner.shape == (576,)
    small = draw(WORLD, "train", 0, SMALL)
    assert small.pixels.shape == (112, 112, 3)
    assert len(small.letters) == len(small.owner) == 64
    counts = {len(scene.things) for scene in scenes}
    assert min(counts) >= 1
    assert max(counts) <= 8
    assert len(counts) > 4


def test_every_thing_is_seen_where_its_box_says(scenes) -> None:
    """Patches of a thing touch its box, and every thing has some."""
    for scene in scenes:
        for number, thing in enumerate(scene.things):
            patches = np.flatnonzero(scene.owner == number)
            assert len(patches) > 0, thing
            rows, columns = np.divmod(patches, 24)
            left, top, right, bottom = thing.box
            assert (columns * PATCH < right).all() and ((columns + 1) * PATCH > left).all()
            assert (rows * PATCH < bottom).all() and ((rows + 1) * PATCH > top).all()


def test_the_patch_in_the_middle_of_a_lone_box_shows_its_paint() -> None:
    """An answer known by hand: the middle of a box has the colour that its name says."""
    checked = 0
    for number in range(90):
        scene = draw(WORLD, "train", number, Canvas(112, (1, 1)))
        (thing,) = scene.things
        paint, _, shape = thing.name.partition(" ")
        if shape not in ("box", "ball") or paint in ("black", "white"):
            continue
        x, y = (int(value) for value in thing.middle)
        pixel = scene.pixels[y, x].astype(float)
        paints = {name: np.asarray(color, float) for name, color in PAINTS.items()}
        nearest = min(paints, key=lambda name: np.abs(paints[name] - pixel).sum())
        assert nearest == paint
        checked += 1
    assert checked > 10


def test_letters_stand_on_the_patches_of_their_sign_in_order(scenes) -> None:
    checked = 0
    for scene in scenes:
        for number, thing in enumerate(scene.things):
            if thing.name != SIGN:
                continue
            on_sign = {
                patch: text
                for patch, text in enumerate(scene.letters)
                if text and scene.owner[patch] == number
            }
            assert set("".join(on_sign.values())) <= set(thing.word)
            # the first letter is left of the last one
            first = [patch % 24 for patch, text in on_sign.items() if thing.word[0] in text]
            last = [patch % 24 for patch, text in on_sign.items() if thing.word[-1] in text]
            if len(set(thing.word)) == len(thing.word) and first and last:
                assert min(first) <= min(last)
                checked += 1
    assert checked > 10


def test_letters_are_only_on_signs(scenes) -> None:
    plain = [scene for scene in scenes if all(thing.word is None for thing in scene.things)]
    assert plain
    assert not any("".join(scene.letters) for scene in plain)


def test_kinds_words_photographs_and_fonts_of_the_splits_are_apart() -> None:
    names = [*WORLD.kinds.names, *WORDS]
    shares = {split: sum(split_of(name) == split for name in names) for split in SPLITS}
    assert 0.75 < shares["train"] / len(names) < 0.95
    assert shares["validation"] and shares["test"]

    every = [name for split in SPLITS for name in backgrounds.PHOTOGRAPHS[split]]
    assert len(every) == len(set(every))

    seen = {thing.name for number in range(60) for thing in draw(WORLD, "train", number).things}
    assert {split_of(name) for name in seen - {SIGN}} == {"train"}
    # words are as kinds: those of training, or unseen ones
    for unseen, split in ((False, "train"), (True, "test")):
        scenes = [draw(WORLD, "test", number, unseen=unseen) for number in range(60)]
        words = {thing.word or "1" for scene in scenes for thing in scene.things}
        assert {split_of(word) for word in words if not word.isdigit()} == {split}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_unseen_kinds_are_those_of_the_split(split) -> None:
    for number in range(10):
        for thing in draw(WORLD, split, number, unseen=True).things:
            assert thing.name == SIGN or split_of(thing.name) == split
    seen = draw(WORLD, split, 0)
    assert {split_of(thing.name) for thing in seen.things if thing.name != SIGN} <= {"train"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exam", 0), "numbered from 0"),
        (("train", -1), "numbered from 0"),
        (("train", 0, Canvas(), True), "no unseen kinds"),
        (("train", 0, Canvas(100)), "multiple of 14"),
        (("train", 0, Canvas(336, (0, 3))), "at least one thing"),
    ],
)
def test_impossible_scenes_are_refused(arguments, message) -> None:
    with pytest.raises(SceneError, match=message):
        draw(WORLD, *arguments)


@pytest.mark.parametrize("paint", PAINTS)
def test_a_plain_picture_has_the_colour_it_was_painted_with(paint) -> None:
    for shape in SHAPES:
        assert main_color(picture(shape, PAINTS[paint])) == paint


def test_mixed_empty_and_tan_pictures_have_no_colour() -> None:
    half = picture("box", PAINTS["red"]).copy()
    half[:, 64:, :3] = PAINTS["blue"]
    assert main_color(half) is None
    assert main_color(np.zeros((8, 8, 4), np.uint8)) is None
    assert main_color(picture("box", (210, 180, 140))) is None


def test_a_name_that_says_another_colour_has_none() -> None:
    kinds = replace(WORLD.kinds, names=("flag of ball", *WORLD.kinds.names[1:]))
    assert WORLD.kinds.colors[0] == "red"
    assert kinds.colors[0] is None
    wrong = replace(WORLD.kinds, names=("black ball", *WORLD.kinds.names[1:]))
    assert wrong.colors[0] is None


def test_what_is_missing_is_named(monkeypatch, tmp_path) -> None:
    with pytest.raises(SceneError, match="transprune smol world"):
        load_world(tmp_path)
    monkeypatch.setattr(backgrounds.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="scikit-image"):
        backgrounds.read_photographs("train")
    with pytest.raises(MissingExtra, match="fonts-noto-color-emoji"):
        emoji_kinds._drawer(tmp_path / "NotoColorEmoji.ttf")


def test_a_stored_world_is_the_same_and_a_changed_one_is_refused(monkeypatch, tmp_path) -> None:
    grey = np.full((40, 60, 3), 128, np.uint8)
    monkeypatch.setattr(
        "transprune.smol.world.read_photographs",
        lambda split: [grey] * len(backgrounds.PHOTOGRAPHS[split]),
    )
    checksum = make_world(WORLD.kinds, tmp_path)
    world = load_world(tmp_path)
    assert world.checksum == checksum
    assert world.kinds.names == WORLD.kinds.names
    assert np.array_equal(world.kinds.pictures, WORLD.kinds.pictures)
    assert len(world.photographs["test"]) == len(backgrounds.PHOTOGRAPHS["test"])
    assert draw(world, "test", 3).things

    # gathered again beside a running training, whose open files stay whole
    with (tmp_path / "cmtt10.ttf").open("rb") as used:
        assert make_world(WORLD.kinds, tmp_path) == checksum
        assert used.read() == (tmp_path / "cmtt10.ttf").read_bytes()
        assert os.fstat(used.fileno()).st_ino != (tmp_path / "cmtt10.ttf").stat().st_ino
    assert not list(tmp_path.glob("*part*"))

    font = tmp_path / "cmtt10.ttf"
    content = font.read_bytes()
    font.unlink()
    with pytest.raises(SceneError, match="incomplete"):
        load_world(tmp_path)
    font.write_bytes(content[:-1])
    with pytest.raises(SceneError, match="changed"):
        load_world(tmp_path)
    font.write_bytes(content)

    file = tmp_path / "names.json"
    file.write_text(file.read_text().replace("red ball", "red bell"))
    with pytest.raises(SceneError, match="changed"):
        load_world(tmp_path)


def test_the_real_kinds_if_the_font_is_here() -> None:
    pytest.importorskip("emoji")
    if not emoji_kinds.FONT.is_file():
        pytest.skip("the emoji font is not on this machine")
    kinds = emoji_kinds.emoji_kinds()
    assert len(kinds.names) == len(set(kinds.names)) > 1200
    assert {"cat", "hot dog", "flag of Canada"} <= set(kinds.names)
    assert kinds.colors[kinds.names.index("strawberry")] == "red"
