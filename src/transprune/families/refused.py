"""Model types that pruning does not fit, each with the reason: a refusal by name says more.

Types that are neither listed by a family nor here are looked at by their shape (`families.shape`).
"""

from __future__ import annotations

_OUTSIDE = (
    "its text layers attend to the picture from outside (cross-attention), so there are no visual "
    "tokens in the prompt to drop"
)
_ENCODER = (
    "it is an encoder with a decoder: the picture is read by the encoder, and the decoder's prompt "
    "holds no visual tokens"
)
_QUERY = (
    "its language model may be OPT or T5, whose decoder layers are called otherwise, and a picture "
    "is 32 tokens already"
)

REFUSED = {
    "blip": _OUTSIDE,
    "blip-2": _QUERY,
    "florence2": _ENCODER,
    "gemma3n": (
        "its layers carry several versions of each row (AltUp), which have an axis of their own, "
        "and read inputs by layer; rows cannot be taken out of them in the common way"
    ),
    "git": "its features are put in front of the prompt, and no placeholders stand for them",
    "granite4_vision": (
        "its visual rows are empty as they enter, and features of the picture are added in front of "
        "several layers on the way, so there is nothing to choose among before the last of them"
    ),
    "idefics": _OUTSIDE,
    "instructblip": _QUERY,
    "instructblipvideo": _QUERY,
    "kosmos-2": "a mask says where its 64 features of a picture go, and no placeholder id does",
    "llama4": (
        "its rotation is one complex table and its attention is cut into chunks, neither of which "
        "pruning takes apart"
    ),
    "mllama": _OUTSIDE,
    "phi4_multimodal": (
        "its projections are one fused qkv_proj, and its pictures come as image_pixel_values, "
        "merged by the embedding layer of the language model"
    ),
    "pix2struct": _ENCODER,
    "t5gemma2": _ENCODER,
    "udop": _ENCODER,
    "vision-encoder-decoder": _ENCODER,
}


def reason_against(model_type: str) -> str | None:
    """Why models of this type cannot be pruned, a clause; None where nothing is known against it."""
    return REFUSED.get(model_type)
