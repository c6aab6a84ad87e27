"""`transprune run --video`, on checkpoints whose video processor cannot be made without torchvision."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from transprune import prune
from transprune.cli import app
from transprune.models.checkpoint import load
from transprune.models.clips import open_clip
from transprune.models.prompt import count_parts, prepare
from video.folders import square, write_film, write_folder

ASK = ("--question", "w7 w8 w9", "--max-new-tokens", "2")


def run(*args, code: int = 0):
    result = CliRunner().invoke(app, ["run", *map(str, args)], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    data = json.loads(result.stdout) if "--json" in args and code == 0 else None
    return SimpleNamespace(out=result.stdout, err=" ".join(result.stderr.split()), data=data)


# pictures of a video in one frame of the language model
TIME_STEPS = {
    "llava_next_video": 1,
    "llava_onevision": 1,
    "qwen2_5_vl": 2,
    "qwen3_vl": 2,
    "video_llava": 1,
}


@pytest.mark.parametrize("name", sorted(TIME_STEPS))
def test_a_video_and_a_picture(folders, film, tmp_path, name):
    picture = tmp_path / "picture.png"
    square(3).save(picture)
    sheet = tmp_path / "kept.png"
    shown = ("--image", picture, "--video", film, "--frames", 5, "--pool", "frame")
    methods = ("--method", "fastv:layer=2,keep_ratio=0.5", "--compare", "divprune:keep_ratio=0.4")
    data = run(
        *("--model", folders(name), *shown, *methods, *ASK, "--overlay", sheet, "--json")
    ).data

    assert data["videos"] == [
        {"file": str(film), "frames": [2, 6, 10, 14, 18], "of": 20, "fps": 10.0}
    ]
    assert data["images"] == [str(picture)]
    for result in data["runs"][1:]:
        (picture_frames, video_frames), trace = result["trace"]["frames"][0], result["trace"]
        assert len(picture_frames) == 1
        assert len(video_frames) == -(-5 // TIME_STEPS[name])
        assert sum(picture_frames) + sum(video_frames) == trace["visual_tokens"][0]
        kept = np.array(trace["stages"][-1]["keep"][0])
        ends = np.cumsum([0, *picture_frames, *video_frames])
        shares = np.histogram(kept, ends)[0] / np.diff(ends)
        assert (shares > 0.2).all() and (shares <= 0.5).all()
    with Image.open(sheet) as drawn:
        # for each method a row for the picture, and one for its only stage of the video
        assert drawn.height > 4 * 100 and drawn.width > 3 * 192


def test_tables_and_a_folder_of_frames(folders, tmp_path):
    folder = write_folder(tmp_path / "frames")
    result = run("--model", folders("qwen2_5_vl"), "--video", folder, "--frames", 4, *ASK)
    assert f"{folder}: 4 of 6 frames, 6 s" in result.out.replace("\n", "")


def test_evs_on_a_video_that_stands_still(folders, tmp_path):
    """Of two equal time steps the first one stays; of what moves, the places it moved through."""
    still = write_film(tmp_path / "still.mp4", 4, lambda number: square(0))
    data = run(
        *("--model", folders("qwen2_5_vl"), "--video", still, *ASK, "--json"),
        *("--method", "evs:keep_ratio=0.5"),
    ).data
    ((frames,),) = data["runs"][0]["trace"]["frames"]
    kept = data["runs"][0]["trace"]["stages"][0]["keep"][0]
    assert len(frames) == 2
    assert kept == list(range(frames[0]))


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_the_prompt_has_a_place_for_every_token(folders, film, name, frames):
    checkpoint = load(folders(name))
    inputs = prepare(checkpoint, [square(1)], "w7", [open_clip(film, frames), open_clip(film, 2)])
    time, rows, columns = inputs["video_grid_thw"][0].tolist()
    assert time == -(-frames // 2)
    assert count_parts(checkpoint, inputs)[1] == time * rows * columns // 4
    with torch.no_grad(), prune(checkpoint.model, "random:keep=3:0.5") as session:
        checkpoint.model(**inputs)
    ((_, first, second),) = session.trace.frames
    assert len(first) == time and len(second) == 1


def test_times_are_those_of_the_frames(folders, film):
    """Frames 5 and 15 of ten in a second: one time step, at the mean of 0.5 and 1.5 seconds."""
    checkpoint = load(folders("qwen3_vl"))
    prompt = prepare(checkpoint, [], "w7", [open_clip(film, 2)])["input_ids"][0]
    inputs = prepare(load(folders("qwen2_5_vl")), [], "w7", [open_clip(film, 2)])
    # two frames of 20 are one in a second, and two of them make a time step
    assert float(inputs["second_per_grid_ts"][0]) == pytest.approx(2.0)
    words = checkpoint.processor.tokenizer
    text = checkpoint.processor.replace_video_token(
        {
            "video_grid_thw": torch.tensor([[1, 4, 4]]),
            "video_metadata": [SimpleNamespace(fps=10.0, frames_indices=[5, 15])],
        },
        0,
    )
    assert text.startswith("<1.0 seconds>")
    assert (prompt == words.convert_tokens_to_ids("<|video_pad|>")).any()


def test_what_is_refused(folders, film, tmp_path):
    qwen = ("--model", folders("qwen2_5_vl"))
    assert "--image, or a video with --video" in run(*qwen, *ASK, code=2).err
    assert "no video file" in run(*qwen, "--video", tmp_path / "no.mp4", *ASK, code=1).err
    assert "no video token" in run("--model", "nano", "--video", film, *ASK, code=1).err


def test_progress_says_which_frame(film):
    from transprune.cli.run_shown import open_all

    said = []
    shown = open_all([], [film], 2, said.append)
    assert said[-1] == "decoding film.mp4: frame 16 of 16"
    assert len(shown.clips[0].frames) == 2
