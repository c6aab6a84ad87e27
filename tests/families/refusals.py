"""What a family refuses, and the words of the error: the contracts expect them, and docs/support.md gives the reasons.

What is not in a table here must work; what is must raise exactly this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transprune.families.base import Family
from transprune.families.placeholders import Placeholders
from transprune.methods import Method


@dataclass(frozen=True)
class Refusal:
    """A method or mode that raises.

    Attributes:
        words: part of the error.
        why: a sentence for people.
    """

    words: str
    why: str


NO_STATIC = Refusal(
    "pruning fills static caches of plain full attention",
    "static caches are filled where every layer is plain full attention; this model has sliding "
    "windows, recurrent layers or shared keys. A dynamic cache takes all of them.",
)
STATEFUL = Refusal(
    "assisted generation is not supported with stateful models",
    "transformers itself cannot take back a draft from a recurrent layer.",
)
NO_SLOTS = Refusal(
    "those of a smaller picture have no slots",
    "the picture's features are added behind the first layers too (DeepStack), and those of a "
    "smaller picture would have no slots.",
)
NO_TOWER = Refusal(
    "which is not described for",
    "the method reads the vision tower, which is not described for this model.",
)
NO_ENCODE = Refusal(
    "cannot encode a picture at another size",
    "the tower takes pictures of one size, or needs more than pixels for another one.",
)
UNKNOWN_TILES = Refusal(
    "ptp:tiles=false gives each of them",
    "several images of a prompt may be the tiles of one picture, and nothing in the call tells how "
    "it was cut; with tiles=false each has its proportional part of the budget.",
)
KEYS_ARE_VALUES = Refusal(
    "freezing needs k_proj and v_proj",
    "ShortV freezes tokens of layers with keys and values of their own; here keys are values.",
)

WINDOWS = Refusal(
    "attend to the newest tokens only",
    "PLPHP lets every head keep other keys, and in layers with a sliding window it matters how old each "
    "key is.",
)
WINDOWED = {"static cache": NO_STATIC, "plphp": WINDOWS}

RECURRENT = {"static cache": NO_STATIC, "assisted": STATEFUL, "prompt lookup": STATEFUL}

# family -> what it refuses. What: a method, a mode of `test_contract_modes`, or something that methods
# read: "vision" (signals of the tower) or "picture" (encoded at another size)
REFUSES: Mapping[str, Mapping[str, Refusal]] = {
    "aya_vision": WINDOWED,
    "cohere2_vision": WINDOWED,
    "exaone4_5": WINDOWED,
    "gemma3": WINDOWED,
    "gemma4": {**WINDOWED, "shortv": KEYS_ARE_VALUES},
    "gemma4_small": WINDOWED,
    "idefics3": {"ptp": UNKNOWN_TILES},
    "lfm2_vl": {"static cache": NO_STATIC},
    "minicpmv4_6": RECURRENT,
    "qwen3_5": RECURRENT,
    "qwen3_5_moe": RECURRENT,
    "qwen3_vl": {"picture": NO_SLOTS},
    "qwen3_vl_moe": {"picture": NO_SLOTS},
    "smolvlm": {"ptp": UNKNOWN_TILES},
}

# what no family can do
EVERYWHERE: Mapping[str, Refusal] = {
    "flex attention": Refusal(
        "pruning projects tensor masks; the layer was given a BlockMask",
        "the block masks of flex attention cannot be projected onto the rows that stay; SDPA, "
        "eager and FlashAttention masks can.",
    ),
    "offloaded cache": Refusal(
        "DynamicCache", "an offloaded cache stores its entries in a way pruning does not know."
    ),
    "quantised cache": Refusal(
        "DynamicCache", "a quantised cache stores its entries in a way pruning does not know."
    ),
}


def refusal(
    name: str, item: str, method: Method | None = None, family: Family | None = None
) -> Refusal | None:
    """What the row `name` says when it is asked for a method or mode; None where it works."""
    table = {**_of_tower(family), **EVERYWHERE, **REFUSES.get(name, {})}
    for asked in (item, *_reads(method)):
        if asked in table:
            return table[asked]
    return None


def _reads(method: Method | None) -> list[str]:
    """What the steps of a method read of the tower, by the names of the tables."""
    steps = () if method is None else method.steps
    signals = {name for step in steps for name in step.reads.vision}
    return [*(["picture"] if "picture" in signals else []), *(["vision"] if signals else [])]


def _of_tower(family: Family | None) -> dict[str, Refusal]:
    """What a family refuses that describes no tower, or cannot encode a picture again."""
    if family is None:
        return {}
    kind = type(family)
    if kind.vision_tap_points is Placeholders.vision_tap_points:
        return {"vision": NO_TOWER, "picture": NO_TOWER}
    return {"picture": NO_ENCODE} if kind.encode is Family.encode else {}
