"""Views of one nominal input, by model type, for the cost of a bare configuration.

It stands apart from the families because counting from a configuration loads no torch.
"""

from __future__ import annotations

NOMINAL_VIEWS = {
    "llava_next": 5,  # four tiles and the whole image
    "video_llava": 8,  # frames
}


def nominal_views(model_type: str) -> int:
    """Full grids of tokens in one nominal input; 1 where the model type is not listed."""
    return NOMINAL_VIEWS.get(model_type, 1)
