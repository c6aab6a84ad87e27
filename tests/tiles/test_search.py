"""The search on every family: what it looks at, how tokens are scored, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.tiles.pictures import draw_large
from PIL import Image

from families.published import PUBLISHED, save
from tiles.conftest import FOLDERS, gradient
from transprune.errors import LayoutError, MethodError, MissingSignal, PruneWarning
from transprune.families import find_family
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.models.images import open_image
from transprune.tiles import LargePicture, Scorer, Tiles, find_tiles
from transprune.tiles.pyramid import Level, Tile, build_pyramid
from transprune.tiles.scorer import score_prompt, scorer_method
from transprune.tiles.search import tile_side
from transprune.tiles.settings import parse_most

QUESTION = "what color is the circle ?"
SMALL = {"side": 28, "most": 3}


def test_the_families_are_those_of_all_tests():
    from families.cases import FAMILIES

    assert FOLDERS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("together", [True, False])
def test_every_family_is_searched(checkpoint, wide, together):
    settings = Tiles(**SMALL, together=together)
    found = find_tiles(checkpoint, wide, QUESTION, settings)
    levels = build_pyramid(500, 300, 28)

    first, second = found.looks
    assert first.level == levels[0]
    assert first.tiles == tuple(levels[0].tiles())
    assert second.level == second.target == first.target == levels[1]
    assert second.tiles == tuple(sorted(first.chosen))
    assert 1 <= len(second.tiles) <= 3
    assert first.flops > 0 and found.seconds >= first.seconds + second.seconds > 0

    pictures = len(first.tiles) + 1 if together else 1
    assert first.prompts == (1 if together else len(first.tiles))
    tokens = prepare(checkpoint, [open_image(wide).resize((28, 28))] * pictures, QUESTION)
    visual = find_family(checkpoint.model)
    mask = visual.visual_mask(visual.base(checkpoint.model), tokens["input_ids"])
    assert first.visual_tokens == int(mask.sum()) * first.prompts


@pytest.mark.parametrize("together", [True, False])
def test_what_is_shown_in_the_end(checkpoint, wide, together):
    found = find_tiles(checkpoint, wide, QUESTION, Tiles(**SMALL, together=together))
    last = found.looks[-1]
    source = LargePicture(wide)
    expected = [source.cut(last.level, tile) for tile in found.chosen]

    if together:
        assert found.chosen == tuple(sorted(last.chosen))
        expected.insert(0, source.thumbnail(28, found.looks[0].level))
    else:
        assert found.chosen == last.chosen[:1]
    assert len(found.pictures) == len(expected)
    for shown, wanted in zip(found.pictures, expected, strict=True):
        assert (np.asarray(shown) == np.asarray(wanted)).all()

    inputs = prepare(checkpoint, found.pictures, QUESTION)
    for method in (None, "transprune-high", "divprune:keep_ratio=0.5+fastv"):
        assert ask(checkpoint, inputs, method, max_new_tokens=2).tokens <= 2


@pytest.mark.parametrize("rows", ["instruction", "last"])
def test_scores_are_the_eager_maps(checkpoints, llava, wide, rows):
    """Mean over heads and rows of the layer's own attention, with and without a thumbnail."""
    checkpoint = checkpoints(str(llava), "eager")
    pictures = [open_image(wide).resize((28, 28)), gradient(28, 28)]
    method = scorer_method(Scorer(rows, "peak", depth=5 / 14), 14)
    assert method.boundary == 5

    seen = score_prompt(checkpoint, pictures, QUESTION, method)
    inputs = prepare(checkpoint, pictures, QUESTION)
    with torch.no_grad():
        maps = checkpoint.model(**inputs, output_attentions=True).attentions[5][0]
    visual = inputs["input_ids"][0] == 4
    asking = (
        slice(int(visual.nonzero()[-1]) + 1, None) if rows == "instruction" else slice(-1, None)
    )
    expected = maps[:, asking][:, :, visual].mean(dim=(0, 1))

    torch.testing.assert_close(torch.cat(seen.scores), expected, atol=1e-6, rtol=1e-4)
    assert [len(scores) for scores in seen.scores] == [16, 16]


def test_tokens_of_tiles_without_a_place_choose_nothing(checkpoints, llava_next, wide):
    """LLaVA-NeXT's own tiles and newlines follow its view of the whole tile."""
    checkpoint = checkpoints(str(llava_next))
    method = scorer_method(Scorer("last", "sum"), 14)
    seen = score_prompt(checkpoint, [gradient(28, 28)], QUESTION, method)
    assert seen.grids[0].cells == 16 < len(seen.scores[0])
    found = find_tiles(checkpoint, wide, QUESTION, Tiles(**SMALL, share=1.0))
    # 3 x 2 tiles of 84 x 50 pixels: the lower ones are padded below 22 of 28 rows
    assert sum(vote.hits for vote in found.looks[0].votes) <= 3 * 16 + 3 * 12


def test_more_rounds_look_deeper(checkpoints, llava, wide):
    found = find_tiles(checkpoints(str(llava)), wide, QUESTION, Tiles(**SMALL, rounds=9))
    levels = build_pyramid(500, 300, 28)
    assert [look.level for look in found.looks] == list(levels)
    assert any(f"{len(levels)} of 9 rounds ran" in note for note in found.notes)
    one = find_tiles(checkpoints(str(llava)), wide, QUESTION, Tiles(**SMALL, rounds=1))
    assert [look.level for look in one.looks] == [levels[0]]


def test_the_same_search_twice(checkpoint, wide):
    first, second = (find_tiles(checkpoint, wide, QUESTION, Tiles(**SMALL)) for _ in range(2))
    assert first.chosen == second.chosen
    assert [look.votes for look in first.looks] == [look.votes for look in second.looks]


@pytest.mark.parametrize("size", [(400, 1), (1, 400), (300, 2)])
def test_a_strip_is_searched(checkpoint, tmp_path, size):
    """At the base it is one pixel high: less than half a token of a tile."""
    file = tmp_path / "strip.png"
    gradient(*size).save(file)
    found = find_tiles(checkpoint, file, QUESTION, Tiles(side=28))
    assert all(look.chosen for look in found.looks)
    assert all(0 <= a < c <= size[0] and 0 <= b < d <= size[1] for a, b, c, d in found.boxes)


@pytest.mark.parametrize("size", [(84, 84), (28, 28), (1, 1), (84, 3)])
def test_a_tiny_picture_is_shown_whole(checkpoint, tmp_path, size):
    file = tmp_path / "tiny.png"
    gradient(*size).save(file)
    with pytest.warns(PruneWarning, match="shown whole"):
        found = find_tiles(checkpoint, file, QUESTION, Tiles(side=28))
    assert found.looks == found.chosen == found.boxes == ()
    assert (np.asarray(found.pictures[0]) == np.asarray(open_image(file))).all()


def test_one_tile_that_shows_everything_is_the_plain_run(checkpoint, tmp_path):
    """A tile at full size is the picture itself, bit for bit, and so is what the model gets."""
    file = tmp_path / "tile.png"
    gradient(28, 28).save(file)
    source = LargePicture(file)
    tile = source.cut(Level((28, 28), (28, 28), 28), Tile(0, 0))
    ours = prepare(checkpoint, [tile], QUESTION)
    plain = prepare(checkpoint, [open_image(file)], QUESTION)
    assert ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_tiles_are_as_large_as_the_processor_crops(checkpoints, llava, qwen):
    assert tile_side(checkpoints(str(llava))) == 28
    assert tile_side(checkpoints("nano")) == 96
    assert tile_side(checkpoints(str(qwen))) == 336  # no size of its own: the paper's


def test_who_was_trained_on_one_picture():
    from transprune.families import FAMILIES

    one = {name for name in FAMILIES if FAMILIES.get(name).one_picture}
    assert one == {"llava", "llava_next", "llava_next_video", "vipllava"}


def test_the_bundled_model_finds_objects(checkpoints, tmp_path):
    """The coarse levels of a large picture: 288 and 500 pixels. A scene that settings were chosen on."""
    scene = draw_large("choose", 0, 1, 500)
    file = tmp_path / "scene.png"
    Image.fromarray(scene.pixels).save(file)
    checkpoint = checkpoints("nano")
    right = 0
    for question in scene.questions:
        found = find_tiles(checkpoint, file, question.text)
        inputs = prepare(checkpoint, found.pictures, question.text)
        right += ask(checkpoint, inputs, None, 4).text == question.answer
    assert right >= 2


def test_a_prompt_of_too_many_tokens_is_refused(checkpoints, tmp_path):
    """The bundled model has 512 positions; nine tiles have 1,296 tokens."""
    file = tmp_path / "p.png"
    gradient(500, 500).save(file)
    with pytest.raises(LayoutError, match=r"10 pictures has 14\d\d tokens, and nano reads 512"):
        find_tiles(checkpoints("nano"), file, QUESTION, Tiles(together=True))


def test_a_model_whose_tokens_have_no_known_place_is_refused(tmp_path, wide):
    """Idefics 3 cuts every picture, and the order of its pieces is not followed."""
    checkpoint = load(save("idefics3", tmp_path / "idefics3"))
    assert "idefics3" in PUBLISHED
    with pytest.raises(MissingSignal, match=r"not known of the \d+ tokens .* \(Idefics 3"):
        find_tiles(checkpoint, wide, "w7 w8", Tiles(side=64))


@pytest.mark.parametrize(
    "settings",
    [
        {"most": 0},
        {"most": 2.5},
        {"rounds": 0},
        {"side": 0},
        {"share": 0},
        {"share": 1.1},
        {"share": float("nan")},
        {"together": "yes"},
    ],
)
def test_settings_that_make_no_search(settings):
    with pytest.raises(MethodError):
        Tiles(**settings)


@pytest.mark.parametrize(
    "scorer", [("first", "sum", 0.5), ("last", "mean", 0.5), ("last", "sum", 0)]
)
def test_scorers_that_are_none(scorer):
    with pytest.raises(MethodError):
        Scorer(*scorer)


@pytest.mark.parametrize("layers", [2, 3, 16, 32, 80])
def test_the_layer_that_is_read_fits_any_depth(layers):
    for depth in (0.001, 7 / 16, 1.0):
        boundary = scorer_method(Scorer("last", "sum", depth), layers).boundary
        assert 1 <= boundary <= layers - 1
    assert scorer_method(Scorer("last", "sum"), 16).boundary == 7


def test_the_most_tiles_in_words():
    assert parse_most("auto") == parse_most(" AUTO ") == 9
    assert parse_most("4") == 4
    for text in ("", "all", "0", "-3", "2.5"):
        with pytest.raises(MethodError):
            parse_most(text)
