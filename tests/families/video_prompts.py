"""Prompts of words, pictures and videos for LLaVA-OneVision, LLaVA-NeXT-Video and Video-LLaVA."""

from __future__ import annotations

import torch

from families.case import IMAGE, VIDEO, Image, Sample
from families.models.onevision import FRAMES, video

# tokens of a video: four pooled patches a frame, with one newline at its end; and 16 patches with a CLS row
TOKENS = {
    "llava_next_video": FRAMES * 4,
    "llava_onevision": FRAMES * 4 + 1,
    "video_llava": FRAMES * 17,
}


def prompt(name: str, parts: list[Image | int]) -> tuple[Sample, dict[str, torch.Tensor]]:
    """Words (a number of them), pictures and videos in that order."""
    ids: list[int] = []
    images = []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            ids += list(range(5 + 7 * place, 5 + 7 * place + part))
            continue
        images.append(part)
        ids += [VIDEO if "pixel_values_videos" in part.tensors else IMAGE] * part.tokens
    inputs = {"input_ids": torch.tensor([ids])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for image in images:
        for key, value in image.tensors.items():
            inputs[key] = torch.cat([inputs[key], value]) if key in inputs else value
    return Sample(tuple(ids), tuple(images)), inputs


def clip(name: str, number: int = 0) -> Image:
    return video(number, TOKENS[name])
