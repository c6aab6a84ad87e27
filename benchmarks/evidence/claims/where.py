"""Claims about layers: where TTV is accumulated, and where tokens are dropped."""

from __future__ import annotations

from ..claim import HIGH_EXACT, LOW_EXACT, Claim, Comparison, Pair, Printed

OWN = "transprune"
SCALED = (
    "Layers are written for the 32 of LLaVA-1.5-7B and run at the same relative depth. All variants "
    "run at the same exact cost."
)

LAYERS = Claim(
    "layers",
    "Middle layers are where to look",
    "TTV accumulated over layers 7 to 12 is better than over the shallow layers 1 to 6.",
    "Table 10",
    (
        Comparison.of(
            "7 to 12 over 1 to 6",
            Pair(OWN, "transprune/accumulate=1-6"),
            Printed("table10", "layers 7-12", "layers 1-6"),
        ),
    ),
    further=(
        Comparison.of("7 to 12 over 1 to 3", Pair(OWN, "transprune/accumulate=1-3")),
        Comparison.of("7 to 12 over 1 alone", Pair(OWN, "transprune/accumulate=1-1")),
    ),
    note=SCALED
    + " The paper sums layer 1 at its first boundary, 1 to 3 at the second and 1 to 6 at "
    "the third; here one of these sums serves all three boundaries.",
)

ACCUMULATION = Claim(
    "accumulation",
    "Accumulation over layers helps",
    "TTV summed over several layers is better than TTV of the one layer in front of each boundary.",
    "Table 11",
    (
        Comparison.of(
            "with over without",
            Pair(OWN, "transprune/accumulation=False"),
            Printed("table11", "with", "without accumulation"),
        ),
    ),
    note=SCALED,
)

BOUNDARIES = Claim(
    "boundaries",
    "Tokens are best dropped at layers 7, 9 and 12",
    "Dropping behind layers 7, 9 and 12 is better than one or two layers earlier or later.",
    "Table 9, of MME alone and at unequal cost: earlier boundaries are cheaper, later ones dearer",
    tuple(
        Comparison.of(
            f"7-9-12 over {other}",
            Pair(OWN, f"transprune/layers={other}"),
            Printed("table9", "7-9-12", other),
        )
        for other in ("5-7-10", "6-8-11", "8-10-13", "9-11-14")
    ),
    note=SCALED + " Here earlier boundaries leave more tokens and later ones fewer.",
)

SHAPE = Claim(
    "shape",
    "Each of the two schedules is for its own budget",
    "At High's budget High's schedule is better than Low's, and at Low's budget the reverse. The "
    "paper does not say so; that it has one for each budget implies it.",
    "Table S1 of the supplement has the two schedules; no comparison is printed",
    (
        Comparison.of(
            "High's shape over Low's at High's budget",
            Pair(OWN, "transprune-low", HIGH_EXACT),
        ),
        Comparison.of(
            "Low's shape over High's at Low's budget",
            Pair("transprune-low", OWN, LOW_EXACT),
        ),
    ),
    further=(
        Comparison.of(
            "High's shape over halving three times", Pair(OWN, "transprune-combined", HIGH_EXACT)
        ),
        Comparison.of(
            "Low's shape over halving three times",
            Pair("transprune-low", "transprune-combined", LOW_EXACT),
        ),
    ),
    note=SCALED
    + " Both shapes are multiplied by one factor until they cost the same. Halving three "
    "times is the schedule that Tables 4 and 5 use behind other methods.",
)
