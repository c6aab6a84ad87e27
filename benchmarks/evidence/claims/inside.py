"""Claims about what happens inside the model: what TTV marks, and where tokens stay."""

from __future__ import annotations

from ..claim import Claim, Comparison
from ..places import FARTHER, FROM_OBJECTS, LOWER
from ..signal import ACCUMULATED, over_chance

SIGNAL = Claim(
    "signal",
    "Middle layers change the tokens that matter",
    "A middle layer changes tokens of objects more than tokens of the background, so TTV ranks "
    "them above it.",
    "Figures 2 and S1, maps of single pictures; no figure is printed",
    (
        Comparison("middle third of the layers, over chance", over_chance("middle"), unit="AUC"),
        Comparison(
            "TTV summed over the accumulation layers, over chance",
            over_chance(ACCUMULATED),
            unit="AUC",
        ),
    ),
    further=(
        Comparison("shallow third, over chance", over_chance("shallow"), unit="AUC"),
        Comparison("deep third, over chance", over_chance("deep"), unit="AUC"),
    ),
    note="AUC is the chance that a token of an object changes more than one of the background; 0.5 "
    "is chance. The layers are cut into thirds. The accumulation layers are the paper's 7 to 12 of "
    "32, at the same relative depth. In TTV the direction enters by a softmax of numbers between 0 and "
    "1, so its weights differ by a factor of e at most, and the magnitude mostly decides.",
)

LEANING = (
    ("TransPrune", "transprune"),
    ("TTV alone", "transprune-ttv"),
    ("IGA alone", "transprune-iga"),
    ("FastV", "fastv"),
)

BIAS = Claim(
    "bias",
    "TTV has no positional bias",
    "Tokens that TTV keeps are spread more evenly over the picture than those that attention keeps.",
    "Figure 4, histograms of TTV and IGA; no figure is printed",
    (
        Comparison(
            "IGA alone is farther from even than TTV alone",
            FARTHER.format("transprune-iga", "transprune-ttv"),
            unit="%",
        ),
        Comparison(
            "FastV is farther from even than TransPrune",
            FARTHER.format("fastv", "transprune"),
            unit="%",
        ),
    ),
    further=(
        Comparison(
            "IGA alone is farther from the objects' rows than TTV alone",
            FROM_OBJECTS.format("transprune-iga", "transprune-ttv"),
            unit="%",
        ),
        Comparison(
            "FastV is farther from the objects' rows than TransPrune",
            FROM_OBJECTS.format("fastv", "transprune"),
            unit="%",
        ),
        *(
            Comparison(
                f"{name}, lower half minus upper half", LOWER.format(method), unit="%", neutral=True
            )
            for name, method in LEANING
        ),
    ),
    note="Rows of the picture are compared: how many of the finally kept tokens would have to move "
    "to another row for every row to have as many. FastV keeps several times as many tokens in the "
    "end as TransPrune at the same cost, which alone brings it nearer to even; TTV and IGA alone keep "
    "nearly equally many.",
)
