"""Which settings a stand-in for a video processor takes, and when there is one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from transprune.errors import MissingExtra
from transprune.families.videos import READERS, grid_of_frame, let_read_videos

TYPE = "qwen2_5_vl"


def reader_of(folder, **files):
    """What a processor gets in a folder with these files."""
    for name, settings in files.items():
        (folder / f"{name}.json").write_text(json.dumps(settings))
    processor = SimpleNamespace()
    let_read_videos(processor, str(folder), TYPE)
    return processor.video_processor


def test_without_a_file_the_defaults_of_the_class(tmp_path):
    assert reader_of(tmp_path) == READERS[TYPE]


def test_the_file_of_videos_comes_before_that_of_pictures(tmp_path):
    reader = reader_of(
        tmp_path,
        preprocessor_config={"patch_size": 16, "image_mean": [0, 0, 0]},
        video_preprocessor_config={"patch_size": 7, "size": {"shortest_edge": 1}},
    )
    assert (reader.patch_size, reader.size) == (7, {"shortest_edge": 1})
    assert reader.image_mean == READERS[TYPE].image_mean


def test_the_file_of_all_parts_comes_first(tmp_path):
    reader = reader_of(
        tmp_path,
        processor_config={"patch_size": 3, "video_processor": {"patch_size": 8, "fps": 2}},
        video_preprocessor_config={"patch_size": 7},
    )
    assert reader.patch_size == 8


def test_old_limits_of_pictures_hold_for_videos(tmp_path):
    """As in Qwen2.5-VL's published files, from which transformers reads them as well."""
    reader = reader_of(
        tmp_path,
        processor_config={"processor_class": "Qwen2_5_VLProcessor"},
        preprocessor_config={"min_pixels": 28 * 28, "max_pixels": 5 * 28 * 28},
    )
    assert reader.target(2, (300, 300)) == (56, 56)
    assert reader.target(2, (10, 10)) == (28, 28)


def test_a_processor_with_a_video_part_keeps_it(tmp_path):
    processor = SimpleNamespace(video_processor=print)
    let_read_videos(processor, str(tmp_path), "a type that nobody knows")
    assert processor.video_processor is print


def test_an_empty_part_is_replaced(tmp_path):
    """Processors loaded without torchvision have one for their chat templates to look at."""
    processor = SimpleNamespace(video_processor=SimpleNamespace(num_frames=None, fps=None))
    let_read_videos(processor, str(tmp_path), TYPE)
    reader = processor.video_processor
    assert reader == READERS[TYPE] and reader.fps is None and reader.num_frames is None


def test_other_types_need_torchvision(tmp_path):
    with pytest.raises(MissingExtra, match=r"torchvision.*qwen2_5_vl"):
        let_read_videos(SimpleNamespace(), str(tmp_path), "glm4v")


def test_grids_of_frames():
    config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))
    grids = {"video_grid_thw": torch.tensor([[1, 6, 10]])}
    grid = grid_of_frame(config, grids, 0, 15)
    assert (grid.rows, grid.columns) == (3, 5)
    assert grid_of_frame(config, grids, 0, 14) is None
    assert grid_of_frame(config, {}, 0, 16).columns == 4
    assert grid_of_frame(config, {}, 0, 17) is None
