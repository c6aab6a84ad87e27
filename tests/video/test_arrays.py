"""Frames as arrays: against numbers and loops written by hand, and true processor classes where they run here."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.utils import is_torchvision_available

from transprune.errors import ImageError
from transprune.families.videos import CLIP_MEAN, CLIP_STD, READERS, PatchReader, SquareReader
from transprune.video.patches import cut_patches, normalised
from transprune.video.resize import (
    cropped,
    resized,
    size_of_clip,
    size_of_frame,
    size_of_shortest,
)
from video.folders import square

# transformers lists the file as unavailable without torchvision, but most of it needs none
qwen3 = importlib.import_module("transformers.models.qwen3_vl.video_processing_qwen3_vl")

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def noise(frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (17 * 28, 23 * 28)),  # 17.1 and 22.9 tokens
        ((1080, 1920), (20 * 28, 36 * 28)),  # 3.44 times 602112 pixels: 20.8 and 36.9, rounded down
        ((90, 120), (10 * 28, 14 * 28)),  # 100352 are 9.29 times as many: 9.8 and 13.1, rounded up
    ],
)
def test_the_size_of_a_frame_by_hand(size, expected):
    assert size_of_frame(size, 28, 128 * 28**2, 768 * 28**2) == expected


def test_the_size_of_a_frame_is_that_of_the_image_processor():
    """The same rule as of Qwen's pictures, whose class runs without torchvision."""
    rng = np.random.default_rng(1)
    for height, width in rng.integers(20, 2500, (300, 2)).tolist():
        least, most = 56 * 56, 28 * 28 * 1280
        expected = smart_resize(height, width, 28, least, most)
        assert size_of_frame((height, width), 28, least, most) == expected


@pytest.mark.parametrize(
    ("frames", "size", "expected"),
    [
        (4, (480, 640), (384, 512)),  # 1.5625 times 786432 pixels in all: both over 1.25
        (1, (64, 64), (384, 384)),  # counted twice and still too few: both times 5.66, rounded up
        (3, (320, 320), (320, 320)),  # 3 frames are 4 when they are counted
    ],
)
def test_the_size_of_a_clip_by_hand(frames, size, expected):
    assert size_of_clip(frames, size, 32, 2, 128 * 32**2, 768 * 32**2) == expected


def test_the_size_of_a_clip_is_that_of_the_video_processor():
    """This file of transformers can be imported without torchvision, its class cannot be made."""
    rng = np.random.default_rng(2)
    for frames, height, width in rng.integers([2, 10, 10], [60, 1500, 1500], (300, 3)).tolist():
        least, most = 4096, 768 * 32**2
        expected = qwen3.smart_resize(frames, height, width, 2, 32, least, most)
        assert size_of_clip(frames, (height, width), 32, 2, least, most) == expected


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_patches_are_those_of_the_video_processor(frames):
    pixels = normalised(noise(frames, 32, 64), MEAN, STD)
    patches, grid = cut_patches(pixels, 4, 2, 2)
    true, *true_grid = qwen3.Qwen3VLVideoProcessor.patchify(
        None, torch.from_numpy(pixels)[None], patch_size=4, merge_size=2, temporal_patch_size=2
    )
    assert list(grid) == true_grid
    assert (patches == true[0].numpy()).all()


def test_a_frame_that_is_smaller_than_a_token_grows_first():
    # 16 x 64 becomes 32 x 128, and 2 of these fill 8192 pixels
    assert size_of_clip(2, (16, 64), 32, 2, 1024, 10**6) == (32, 128)


def test_impossible_proportions_are_refused():
    for refuse in (
        lambda: size_of_frame((3, 700), 28, 1, 10**6),
        lambda: size_of_clip(2, (40, 9000), 32, 2, 1, 10**9),
    ):
        with pytest.raises(ImageError, match="200 times as long"):
            refuse()


def test_the_shorter_side():
    assert size_of_shortest((480, 640), 224) == (224, 298)
    assert size_of_shortest((640, 480), 224) == (298, 224)
    assert size_of_shortest((50, 50), 224) == (224, 224)


def test_the_middle_is_cut_out_and_missing_borders_are_black():
    frames = noise(2, 7, 10)
    assert (cropped(frames, (4, 4)) == frames[:, 1:5, 3:7]).all()
    wide = cropped(frames, (10, 4))
    assert (wide[:, 1:8] == frames[:, :, 3:7]).all()
    assert not wide[:, 0].any() and not wide[:, 8:].any()


def test_normalising_by_hand():
    frames = noise(2, 3, 4)
    pixels = normalised(frames, MEAN, STD)
    assert pixels.dtype == np.float32 and pixels.shape == (2, 3, 3, 4)
    for channel in range(3):
        expected = (frames[..., channel] / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(pixels[:, channel], expected, atol=1e-5)


@pytest.mark.parametrize(("frames", "time_step"), [(4, 2), (3, 2), (1, 2), (3, 1), (5, 3)])
def test_patches_by_loops(frames, time_step):
    """Token by token, patch by patch within it, and pixel by pixel."""
    patch, merge, rows, columns = 2, 2, 4, 6
    pixels = normalised(noise(frames, rows * patch, columns * patch), MEAN, STD)
    patches, grid = cut_patches(pixels, patch, time_step, merge)

    times = -(-frames // time_step)
    assert grid == (times, rows, columns)
    expected = []
    for time in range(times):
        for token_row in range(rows // merge):
            for token_column in range(columns // merge):
                for row in range(merge):
                    for column in range(merge):
                        top = (token_row * merge + row) * patch
                        left = (token_column * merge + column) * patch
                        values = []
                        for channel in range(3):
                            for step in range(time_step):
                                frame = min(time * time_step + step, frames - 1)
                                part = pixels[frame, channel, top : top + patch]
                                values.append(part[:, left : left + patch].ravel())
                        expected.append(np.concatenate(values))
    assert (patches == np.array(expected)).all()


@pytest.mark.parametrize("size", [(64, 48), (37, 90), (300, 200)])
def test_a_single_frame_is_read_like_a_picture(size):
    """Qwen's image processor repeats a picture in time, as a video of one frame is."""
    limits = {"shortest_edge": 28 * 28, "longest_edge": 64 * 28 * 28}
    true = hf.Qwen2VLImageProcessorPil(size=limits)(images=[square(0, size)], return_tensors="pt")
    own = PatchReader(limits)([np.asarray(square(0, size))[None]])
    assert torch.equal(own["video_grid_thw"], true["image_grid_thw"])
    torch.testing.assert_close(own["pixel_values_videos"], true["pixel_values"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 48), (37, 90), (300, 200)])
def test_frames_that_are_cut_to_squares_are_read_like_pictures(size):
    crop = {"height": 28, "width": 28}
    settings = {"size": {"shortest_edge": 28}, "crop_size": crop}
    frames = [square(number, size) for number in range(3)]
    true = CLIPImageProcessorPil(**settings)(images=frames, return_tensors="pt")["pixel_values"]
    reader = SquareReader(**settings, do_center_crop=True)
    own = reader([np.stack([np.asarray(frame) for frame in frames])])["pixel_values_videos"]
    assert own.shape == (1, 3, 3, 28, 28)
    torch.testing.assert_close(own[0], true, atol=1e-5, rtol=0)


def test_frames_that_are_stretched():
    frames = noise(2, 20, 30)
    own = SquareReader({"height": 28, "width": 14})([frames])["pixel_values_videos"]
    expected = normalised(resized(frames, (28, 14)), CLIP_MEAN, CLIP_STD)
    assert own.shape == (1, 2, 3, 28, 14)
    assert (own[0].numpy() == expected).all()


@pytest.mark.parametrize("whole", [False, True])
def test_the_cap_on_pixels_per_frame(whole):
    limits = {"shortest_edge": 4 * 28 * 28, "longest_edge": 4000 * 28 * 28}
    options = {"whole_clip": whole, "cap_pixels_per_frame": True, "max_video_tokens": 100}
    reader = PatchReader(limits, **options)
    height, width = reader.target(10, (560, 560))
    # of a clip 100 tokens a frame; of frames 90 tokens for all 10, each token being of 2 frames
    assert height * width // 28**2 == (100 if whole else 16)
    assert PatchReader(limits, whole_clip=whole).target(10, (560, 560)) == (560, 560)


# video processor of each type of model, by its name in transformers
CLASSES = {
    "qwen2_5_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
    "llava_onevision": "LlavaOnevisionVideoProcessor",
    "llava_next_video": "LlavaNextVideoVideoProcessor",
    "video_llava": "VideoLlavaVideoProcessor",
}


@pytest.mark.skipif(
    not is_torchvision_available(),
    reason="transformers' video processors need torchvision, which is not installed here",
)
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_readers_are_the_video_processors(name):
    """At a resized pixel the two may differ by the rounding of their resampling: one of 255 steps."""
    frames = np.stack([np.asarray(square(number, (320, 240))) for number in range(4)])
    true = getattr(hf, CLASSES[name])()([frames], do_sample_frames=False, return_tensors="pt")
    own = READERS[name]([frames])
    for key in ("pixel_values_videos", "video_grid_thw"):
        if key in own:
            torch.testing.assert_close(own[key], true[key], atol=2 / 255 / 0.26, rtol=0)
