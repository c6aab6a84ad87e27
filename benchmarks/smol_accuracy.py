"""Accuracy of the methods on the second test bed: the run that its pages are written from.

    python -m benchmarks.smol_accuracy out/smol-bench
    python -m benchmarks.accuracy_page out/smol-bench
    python -m benchmarks.evidence --measure smol out/smol-bench --pictures 60

Hours on two cores. Run it again to go on: no question is answered twice. What the pages need most
comes first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transprune.bench.plan import Plan
from transprune.bench.run.trials import default_methods
from transprune.cli.bench import launch_shown
from transprune.cli.guard import quiet_libraries
from transprune.errors import PruneError
from transprune.models.checkpoint import LoadOptions
from transprune.smol import SMOL

from .evidence.claim import behind_substitute, kept, substituted
from .evidence.claims.cost import BEHIND

SCENES = 60
# answered far better than with grey pictures on validation scenes (docs/smol.md)
SEEN = ("exist", "what", "where", "count", "color")

OWN = ("transprune", "transprune-low", "transprune-ttv", "transprune-iga")
COMPARED = ("fastv", "pdrop", "sparsevlm", "visionzip", "divprune", "topv")
CONTROLS = ("random", "oracle")
BEHIND_VISIONZIP = ("visionzip-288-transprune", "visionzip-288-fastv", "visionzip-288-pdrop")

# these renumber the tokens that stay, unless told otherwise
RENUMBERING = ("transprune", "transprune-ttv", "transprune-iga", "pdrop", "sparsevlm")
ALSO_RENUMBERING = ("fastervlm", "vispruner", "prumerge", "scope", "vscan", "star")

# they read the question in CLIP's space, which needs its text tower; here their substitute reads it
IN_CLIPS_SPACE = ("cdpruner", "gridprune", "atp")

# it makes the cache smaller and not the prefill, so it has no budget
ITS_OWN = ("plphp",)

# they need trained weights, or belong to another model
NOT_HERE = ("asymvlm", "lvpruning", "transprune-nano")


@dataclass(frozen=True)
class Part:
    """Methods at budgets, in percent; without budgets with their own settings."""

    methods: tuple[str, ...]
    budgets: tuple[float, ...] = ()
    ablations: bool = False


def parts() -> Iterator[Part]:
    """Everything, the most wanted first."""
    compared = (*OWN, *COMPARED, *CONTROLS)
    yield Part((*compared, "transprune-combined", "shortv"), (41,), ablations=True)
    yield Part(tuple(map(kept, RENUMBERING)), (41, 20))
    yield Part(("transprune-smol",))
    yield Part((*compared, kept("transprune-low")), (31,))
    yield Part((*compared, *BEHIND_VISIONZIP), (20,))

    # by the paper's count these are 40.8 and 31.2 %
    yield Part(("transprune", "transprune-low", "fastv", "pdrop", "sparsevlm"), (42.3, 33))
    yield Part(("transprune", "transprune-ttv", "transprune-iga"), (60, 12))

    yield Part(tuple(map(substituted, IN_CLIPS_SPACE)), (41, 31, 20))
    yield Part(tuple(map(behind_substitute, BEHIND)), (20,))
    yield Part(ITS_OWN)

    left_out = (*IN_CLIPS_SPACE, *ITS_OWN, *NOT_HERE)
    others = [name for name in default_methods() if not name.startswith(left_out)]
    yield Part(tuple(others), (41, 20))

    yield Part(tuple(map(kept, ALSO_RENUMBERING)), (41,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the run")
    out = parser.parse_args().out

    with quiet_libraries(bars=False):
        for part in parts():
            try:
                launch_shown(plan(out, part), print)
            except PruneError as error:
                raise SystemExit(f"error: {error}") from error


def plan(out: Path, part: Part) -> Plan:
    """The options of `transprune bench` for a part."""
    return Plan(
        out=out,
        model=SMOL,
        tasks=SMOL,
        only=SEEN,
        n=SCENES,
        methods=part.methods,
        budgets=tuple(round(budget / 100, 3) for budget in part.budgets) or (None,),
        ablations=part.ablations,
        bill=False,
        loading=LoadOptions(dtype="bfloat16"),
        command="python -m benchmarks.smol_accuracy",
    )


if __name__ == "__main__":
    main()
