"""Published accuracies, as printed in the tables of the TransPrune paper. Data only.

Li et al., CVPR 2026, https://arxiv.org/abs/2507.20630. Its authors measured all of them, the other
methods too, so the figures of one table may be compared; those of two tables average other
benchmarks. The papers of the other methods have figures of their own, which are not collected here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SOURCE = "TransPrune (arXiv 2507.20630)"


@dataclass(frozen=True)
class Published:
    """One printed row.

    Attributes:
        method: name or recipe in `transprune suggest`.
        model: name of a `Geometry`.
        row: the method as the table calls it.
        share: percent of the unpruned prefill, as printed (`paper` convention).
        accuracy: `Acc.`, relative to unpruned, 100 is as good.
        table: where it is printed.
    """

    method: str
    model: str
    row: str
    share: float
    accuracy: float
    table: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping, with the paper."""
        return {**asdict(self), "source": SOURCE}


LLAVA = "LLaVA-1.5-7B"
NEXT = "LLaVA-NeXT-7B"
QWEN = "Qwen2.5-VL-7B"

# the mean of four printed scores relative to unpruned; the table itself prints no mean
COMPUTED = "Table 3, the mean computed from its four scores"

PUBLISHED: tuple[Published, ...] = (
    Published("fastv", LLAVA, "FastV K=2 R=0.5", 52.6, 97.8, "Table 1"),
    Published("fastv", LLAVA, "FastV K=2 R=0.75", 29.3, 94.4, "Table 1"),
    Published("pdrop", LLAVA, "PDrop", 46.6, 98.8, "Table 1"),
    # the printed mean; its own columns give 96.9
    Published("pdrop", LLAVA, "PDrop, smaller budget", 33.5, 96.5, "Table 1"),
    Published("sparsevlm", LLAVA, "SparseVLM", 41.1, 98.8, "Table 1"),
    Published("sparsevlm", LLAVA, "SparseVLM, smaller budget", 33.5, 97.9, "Table 1"),
    Published("transprune", LLAVA, "TransPrune-High", 40.8, 100.0, "Table 1"),
    # the method at its second budget, and the preset of that budget
    Published("transprune", LLAVA, "TransPrune-Low", 31.2, 98.4, "Table 1"),
    Published("transprune-low", LLAVA, "TransPrune-Low", 31.2, 98.4, "Table 1"),
    Published("fastv", NEXT, "FastV K=2 R=0.5", 50.6, 98.9, "Table 2"),
    Published("fastv", NEXT, "FastV K=2 R=0.75", 27.8, 95.5, "Table 2"),
    Published("pdrop", NEXT, "PDrop", 45.4, 99.3, "Table 2"),
    Published("pdrop", NEXT, "PDrop, smaller budget", 31.9, 98.2, "Table 2"),
    Published("transprune", NEXT, "TransPrune-High", 40.0, 99.8, "Table 2"),
    Published("transprune", NEXT, "TransPrune-Low", 30.8, 98.4, "Table 2"),
    Published("transprune-low", NEXT, "TransPrune-Low", 30.8, 98.4, "Table 2"),
    Published("fastv", QWEN, "FastV", 53.6, 97.5, COMPUTED),
    Published("transprune", QWEN, "TransPrune", 45.1, 98.5, COMPUTED),
    Published("visionzip", LLAVA, "VisionZip 288", 49.5, 98.5, "Table 4"),
    Published("visionzip", LLAVA, "VisionZip 192", 32.7, 97.2, "Table 4"),
    Published(
        "visionzip-288-transprune", LLAVA, "VisionZip 288 + TransPrune", 17.3, 98.0, "Table 4"
    ),
    Published(
        "visionzip-288-transprune", LLAVA, "VisionZip 192 + TransPrune", 11.5, 97.2, "Table 4"
    ),
    Published("cdpruner", LLAVA, "CDPruner 288", 49.5, 98.8, "Table 5"),
    Published("cdpruner", LLAVA, "CDPruner 192", 32.7, 98.3, "Table 5"),
    Published("cdpruner-288-transprune", LLAVA, "CDPruner 288 + TransPrune", 17.3, 98.3, "Table 5"),
    Published("cdpruner-288-transprune", LLAVA, "CDPruner 192 + TransPrune", 11.5, 97.6, "Table 5"),
)
