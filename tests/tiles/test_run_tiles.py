"""`transprune run --tiles`: tables, JSON, the picture with outlines, and wrong use."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.tiles.pictures import draw_large
from PIL import Image

from transprune import demo
from transprune.report.tile_picture import CHOSEN, LOOKED

TINY = demo.folder() / "pictures" / "scene2.png"
ASK = ("--question", "what color is the circle ?")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A picture of 500 x 500 pixels with a few objects, as a file and its first question."""
    drawn = draw_large("choose", 1, 1, 500)
    file = tmp_path_factory.mktemp("scene") / "scene.tif"
    Image.fromarray(drawn.pixels).save(file)
    return file, drawn.questions[0]


def run(cli, file, *args):
    return cli("run", "--model", "nano", "--image", file, *args)


def test_an_object_that_the_whole_picture_does_not_show(cli, scene):
    file, question = scene
    asked = ("--question", question.text, "--method", "transprune-high", "--json")
    found = run(cli, file, *asked, "--tiles", "auto").data
    plain = run(cli, file, *asked).data

    assert found["runs"][0]["answer"] == question.answer
    assert plain["runs"][0]["answer"] != question.answer
    assert found["visual_tokens"] == 144
    assert plain["tiles"] is None

    tiles = found["tiles"]
    assert tiles["size"] == [500, 500]
    assert [look["size"] for look in tiles["looks"]] == [[288, 288], [500, 500]]
    assert [len(look["tiles"]) for look in tiles["looks"]] == [9, 9]
    assert [look["visual_tokens"] for look in tiles["looks"]] == [1296, 1296]
    assert len(tiles["chosen"]) == 1
    assert tiles["seconds"] > 0
    assert found["peak_bytes"] is None or found["peak_bytes"] > 2**20


def test_a_number_is_the_most_tiles(cli, scene):
    file, question = scene
    data = run(cli, file, "--question", question.text, "--tiles", "2", "--json").data
    looks = data["tiles"]["looks"]
    assert [len(look["tiles"]) for look in looks] == [9, 2]
    assert all(len(look["chosen"]) <= 2 for look in looks)


def test_tables_and_the_picture(cli, scene, tmp_path):
    file, question = scene
    kept = tmp_path / "kept.png"
    asked = ("--question", question.text, "--tiles", "auto", "--compare", "fastv")
    result = run(cli, file, *asked, "--overlay", kept)
    text = " ".join(result.out.split())

    assert result.code == 0
    assert "tiles of 500 x 500 pixels, from coarse to fine" in text
    assert "288 x 288 9 of 9 9 of 36 1296" in text
    assert "500 x 500 9 of 36 1 of 36 1296" in text
    assert "chosen: " in text
    assert "the answer is from the best one" in text
    assert "144 visual + " in text

    sheet = np.asarray(Image.open(kept).convert("RGB"))
    outlined = (sheet == CHOSEN).all(axis=-1)
    # nine tiles in the first panel, one in the second
    assert outlined[:, :205].sum() > 5 * outlined[:, 205:420].sum() > 0
    assert (sheet == LOOKED).all(axis=-1).any()


def test_a_tiny_picture_is_the_plain_run(cli):
    asked = (*ASK, "--compare", "fastv", "--json")
    tiled = run(cli, TINY, *asked, "--tiles", "auto")
    plain = run(cli, TINY, *asked)

    assert "shown whole" in tiled.err
    assert tiled.data["tiles"]["looks"] == []
    assert any("shown whole" in note for note in tiled.data["warnings"])
    for ours, theirs in zip(tiled.data["runs"], plain.data["runs"], strict=True):
        assert ours["answer"] == theirs["answer"]
        assert ours["trace"] == theirs["trace"]


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen", "vipllava"])
def test_every_family(cli, request, wide, tmp_path, family):
    folder = request.getfixturevalue(family)
    options = ("--max-new-tokens", "2", "--overlay", tmp_path / "kept.png", "--json")
    result = cli("run", "--model", folder, "--image", wide, *ASK, "--tiles", "2", *options)
    # Qwen's tiles are 336 pixels, so that 500 x 300 needs none
    assert (result.data["tiles"]["looks"] == []) == (family == "qwen")
    assert (tmp_path / "kept.png").is_file()


def test_more_pixels_than_a_plain_run_takes(cli, llava, wide, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    asked = ("run", "--model", llava, "--image", wide, *ASK, "--max-new-tokens", "1", "--json")
    refused = cli(*asked)
    assert refused.code == 1
    assert "--tiles" in refused.err
    assert cli(*asked, "--tiles", "1").data["tiles"]["size"] == [500, 300]


def test_more_rounds(cli, llava, wide):
    asked = ("run", "--model", llava, "--image", wide, *ASK, "--max-new-tokens", "1", "--json")
    looks = cli(*asked, "--tiles", "1", "--tile-rounds", "3").data["tiles"]["looks"]
    assert [look["size"] for look in looks] == [[84, 50], [125, 75], [250, 150]]

    alone = cli(*asked, "--tile-rounds", "3")
    assert alone.code == 2
    assert "needs --tiles" in " ".join(alone.err.split())
    assert cli(*asked, "--tiles", "1", "--tile-rounds", "0").code == 2


@pytest.mark.parametrize("most", ["0", "-1", "2.5", "many", ""])
def test_numbers_that_are_none(cli, most):
    result = run(cli, TINY, *ASK, "--tiles", most)
    assert result.code == 1
    assert "error: " in result.err and "tiles" in result.err


def test_one_picture_and_no_video(cli, tmp_path):
    two = run(cli, TINY, "--image", TINY, *ASK, "--tiles", "auto")
    assert two.code == 2
    assert "cut from one picture; got 2" in " ".join(two.err.split())

    video = run(cli, TINY, "--video", tmp_path, *ASK, "--tiles", "auto")
    assert video.code == 2
    assert "leave out --video" in " ".join(video.err.split())


def test_a_file_that_is_no_picture(cli, tmp_path):
    file = tmp_path / "text.tif"
    file.write_text("no picture")
    result = run(cli, file, *ASK, "--tiles", "auto")
    assert result.code == 1
    assert "not an image" in result.err
