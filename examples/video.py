"""A picture and a video in one prompt, each frame pruned by itself, and then by what moves.

Runs on a tiny random Qwen2.5-VL, because the bundled model takes pictures only. With a checkpoint,
`transprune run --video FILE` does all of this.
"""

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from transprune import prune
from transprune.families.videos import PatchReader

IMAGE, VIDEO, START, END = 90, 91, 92, 93  # ids of the placeholders

torch.manual_seed(0)
rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
config = Qwen2_5_VLConfig(
    text_config={
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": rope,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    vision_config={
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 7,
        "window_size": 28,
        "fullatt_block_indexes": [1],
    },
    image_token_id=IMAGE,
    video_token_id=VIDEO,
    vision_start_token_id=START,
    vision_end_token_id=END,
)
model = Qwen2_5_VLForConditionalGeneration(config).eval()

# eight frames of noise that stands still, but for a square that moves to the right
frames = np.random.default_rng(0).integers(0, 90, (1, 56, 56, 3), dtype=np.uint8).repeat(8, axis=0)
for number, frame in enumerate(frames):
    frame[16:32, 6 * number : 6 * number + 12] = 230

# what a processor would do: two frames to a patch, 2 x 2 patches to a token
reader = PatchReader({"shortest_edge": 56 * 56, "longest_edge": 56 * 56}, patch_size=7)
video = reader([frames])
picture = reader([frames[:1]])

ids = [1, START, *[IMAGE] * 16, END, START, *[VIDEO] * 64, END, 5, 6, 7]
ids = torch.tensor([ids])
inputs = {
    "input_ids": ids,
    "mm_token_type_ids": (ids == IMAGE).int() + 2 * (ids == VIDEO).int(),
    "pixel_values": picture["pixel_values_videos"],
    "image_grid_thw": picture["video_grid_thw"],
    "pixel_values_videos": video["pixel_values_videos"],
    "video_grid_thw": video["video_grid_thw"],
}

for method, pool in (("fastv:layer=3,keep_ratio=0.25", "frame"), ("evs:keep_ratio=0.4", "image")):
    with torch.no_grad(), prune(model, method, pool=pool) as session:
        model(**inputs)
    print(f"{method}, pool={pool!r}")
    print("   tokens of each frame of each picture or video:", session.trace.frames[0])
    print("   kept:                                         ", session.trace.kept_per_frame()[0])
