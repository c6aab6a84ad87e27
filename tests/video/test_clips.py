"""Frames of a file or a folder: which ones are taken, and what is refused."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
from PIL import Image

from transprune.errors import ImageError, MissingExtra
from transprune.models.clips import open_clip
from transprune.video import decode
from transprune.video.clip import sample_uniform
from video.folders import square, write_film, write_folder


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        (20, 4, (2, 7, 12, 17)),
        (10, 1, (5,)),
        (3, 8, (0, 1, 2)),
        (1, 1, (0,)),
        (0, 4, ()),
        (7, 3, (1, 3, 5)),
    ],
)
def test_frames_at_even_distances(total, count, expected):
    assert sample_uniform(total, count) == expected


@pytest.mark.parametrize("count", range(1, 40))
def test_frames_are_distinct_and_as_many_as_asked_for(count):
    for total in range(1, 40):
        found = sample_uniform(total, count)
        assert len(found) == min(total, count)
        assert sorted(set(found)) == list(found)
        assert found[-1] < total


def test_a_file(film):
    steps = []
    clip = open_clip(film, 4, lambda done, total: steps.append((done, total)))
    assert (clip.indices, clip.total, clip.fps) == ((2, 7, 12, 17), 20, 10)
    assert clip.pixels.shape == (4, 48, 64, 3)
    # decoding goes through all frames up to the last one that is taken
    assert steps == [(frame, 18) for frame in range(1, 19)]
    for index, frame in zip(clip.indices, clip.frames, strict=True):
        difference = np.asarray(frame).astype(int) - np.asarray(square(index))
        assert abs(difference).mean() < 4  # compressed
        assert np.asarray(frame)[12, 2 * index + 3, 0] > 180  # the square is where it was drawn
    assert str(clip) == f"{film}: 4 of 20 frames, 2 s"


def test_one_frame_is_a_video(tmp_path):
    clip = open_clip(write_film(tmp_path / "one.mp4", frames=1), 8)
    assert clip.indices == (0,) and clip.total == 1


def test_fewer_frames_than_asked_for(film):
    assert open_clip(film, 1000).indices == tuple(range(20))


def test_a_folder_of_pictures(tmp_path):
    folder = write_folder(tmp_path / "frames")
    clip = open_clip(folder, 3)
    assert (clip.indices, clip.total, clip.fps) == ((1, 3, 5), 6, 1)
    assert (np.asarray(clip.frames[1]) == np.asarray(square(3))).all()


def test_a_cut_file_is_refused(tmp_path):
    whole = write_film(tmp_path / "whole.avi", frames=40)
    data = whole.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match="is damaged"):
        open_clip(cut, 5)


def test_packets_without_a_frame_do_not_count(film, monkeypatch):
    """Some codecs store packets that are never shown: then the frames are counted, and taken again."""
    monkeypatch.setattr(decode, "_measure", lambda av, file: (30, 10.0))
    clip = open_clip(film, 4)
    assert (clip.indices, clip.total) == ((2, 7, 12, 17), 20)


def test_what_cannot_be_read(tmp_path):
    nothing = tmp_path / "nothing.mp4"
    text = tmp_path / "text.mp4"
    text.write_text("this is no video, whatever its name says")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    bare = tmp_path / "folder"
    bare.mkdir()
    for place, expected in (
        (nothing, "no video file"),
        (text, "no video that FFmpeg can read"),
        (empty, "no video that FFmpeg can read"),
        (bare, "no picture in it"),
    ):
        with pytest.raises(ImageError, match=expected):
            open_clip(place)


def test_a_sound_file_has_no_frame(tmp_path):
    file = tmp_path / "sound.wav"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ImageError, match="no video frame"):
        open_clip(file)


def test_frames_of_several_sizes(tmp_path):
    folder = write_folder(tmp_path / "frames")
    Image.new("RGB", (10, 20)).save(folder / "last.png")
    with pytest.raises(ImageError, match="10 x 20, 64 x 48"):
        open_clip(folder, 100)


def test_without_pyav_the_extra_is_named_and_folders_still_work(film, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"transprune\[video\]"):
        open_clip(film)
    assert len(open_clip(write_folder(tmp_path / "frames")).frames) == 6
