"""Visual tokens of one nominal input, for the cost of a bare configuration.

It stands apart from the families because counting from a configuration loads no torch.
"""

from __future__ import annotations

# fields that say how many visual tokens one picture (or tile) becomes
TOKENS = ("image_seq_length", "mm_tokens_per_image", "vision_soft_tokens_per_image")
# patches along one side that become one token
MERGED = ("spatial_merge_size", "downsample_factor", "scale_factor")

# full grids of tokens, by model type
NOMINAL_VIEWS = {
    "llava_next": 5,  # four tiles and the whole image
    "video_llava": 8,  # frames
}


def nominal_views(model_type: str) -> int:
    """Full grids of tokens in one nominal input; 1 where the model type is not listed."""
    return NOMINAL_VIEWS.get(model_type, 1)
