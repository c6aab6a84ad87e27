"""Claims about the score: its two criteria, the terms of TTV, the weight."""

from __future__ import annotations

from ..claim import HIGH_EXACT, Claim, Comparison, Pair, Printed, kept

OWN = "transprune"
EQUAL = "All variants run at the same exact cost."

TOGETHER = Claim(
    "together",
    "TTV and IGA together beat each alone",
    "Scoring by how much a token changes (TTV) and by the attention of the question (IGA) together "
    "is better than by one of them.",
    "Tables 7 and 12",
    (
        Comparison.of(
            "both over IGA alone",
            Pair(OWN, "transprune-iga"),
            Printed("table12", "IGA + TTV", "IGA only"),
        ),
        Comparison.of(
            "both over TTV alone",
            Pair(OWN, "transprune-ttv"),
            Printed("table7", "TransPrune-High", "TTV only", better_in="table1"),
        ),
    ),
    further=(
        *(
            Comparison.of(
                f"both over {name} alone, {100 * share:.0f} %",
                Pair(OWN, f"transprune-{name.lower()}", share),
            )
            for share in (0.60, 0.31, 0.20, 0.12)
            for name in ("IGA", "TTV")
        ),
        *(
            Comparison.of(
                f"positions kept: both over {name} alone, {100 * share:.0f} %",
                Pair(kept(OWN), kept(f"transprune-{name.lower()}"), share),
            )
            for share in (HIGH_EXACT, 0.20)
            for name in ("IGA", "TTV")
        ),
    ),
    note=f"{EQUAL} The released code renumbers the tokens that stay; with positions kept they have "
    "the places of the whole picture.",
)

TERMS = Claim(
    "terms",
    "Magnitude and direction both help",
    "TTV of magnitude and direction together, with IGA, is better than with one of the two terms, "
    "and each term is better than IGA alone.",
    "Table 12",
    (
        Comparison.of(
            "both terms over magnitude",
            Pair(OWN, "transprune/magnitude"),
            Printed("table12", "IGA + TTV", "IGA + magnitude"),
        ),
        Comparison.of(
            "both terms over direction",
            Pair(OWN, "transprune/direction"),
            Printed("table12", "IGA + TTV", "IGA + direction"),
        ),
        Comparison.of(
            "IGA + magnitude over IGA",
            Pair("transprune/magnitude", "transprune-iga"),
            Printed("table12", "IGA + magnitude", "IGA only"),
        ),
        Comparison.of(
            "IGA + direction over IGA",
            Pair("transprune/direction", "transprune-iga"),
            Printed("table12", "IGA + direction", "IGA only"),
        ),
    ),
    further=(
        Comparison.of(
            "TTV alone: both terms over magnitude",
            Pair("transprune-ttv", "transprune/ttv-magnitude"),
        ),
        Comparison.of(
            "TTV alone: both terms over direction",
            Pair("transprune-ttv", "transprune/ttv-direction"),
        ),
    ),
    note=EQUAL,
)

DIRECTION = Claim(
    "direction",
    "The direction is measured by 1 - |cos|",
    "1 - |cos| between input and output of a module is the best of four forms of the direction term.",
    "Table S2 of the supplement; the released code uses 1 - cos",
    (
        Comparison.of(
            "over 1 - cos",
            Pair(OWN, "transprune/direction=one_minus_cos"),
            Printed("tableS2", "1 - |cos|", "1 - cos"),
        ),
        Comparison.of(
            "over cos",
            Pair(OWN, "transprune/direction=cos"),
            Printed("tableS2", "1 - |cos|", "cos"),
        ),
        Comparison.of(
            "over |cos|",
            Pair(OWN, "transprune/direction=abs_cos"),
            Printed("tableS2", "1 - |cos|", "|cos|"),
        ),
    ),
    note=EQUAL,
)

ALPHA = Claim(
    "alpha",
    "Both criteria weigh alike",
    "A weight of 0.5 for TTV and 0.5 for IGA is better than 0.4 or 0.6 for TTV.",
    "Table 13",
    (
        Comparison.of(
            "0.5 over 0.4",
            Pair(OWN, "transprune/alpha=0.4"),
            Printed("table13", "alpha 0.5", "alpha 0.4"),
        ),
        Comparison.of(
            "0.5 over 0.6",
            Pair(OWN, "transprune/alpha=0.6"),
            Printed("table13", "alpha 0.5", "alpha 0.6"),
        ),
    ),
    further=(
        Comparison.of("0.5 over 0.2", Pair(OWN, "transprune/alpha=0.2")),
        Comparison.of("0.5 over 0.8", Pair(OWN, "transprune/alpha=0.8")),
    ),
    note=EQUAL,
)
