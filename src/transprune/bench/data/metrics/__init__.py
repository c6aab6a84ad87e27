"""The metrics of the tasks, as their benchmarks define them.

base      counts of an answer, and scores of summed counts
text      texts as metrics compare them
vqa_text  the same as VQA does
answers   means over answers: exact match, VQA accuracy, multiple choice
pope      F1 of three splits
grouped   several answers about one image: MME's pairs, MMBench's rotations
options   the option that a free answer to MMBench means
"""

from __future__ import annotations

from collections.abc import Mapping

from transprune.bench.data.metrics.answers import (
    ExactMatch,
    ExactText,
    FirstCharacter,
    LeadingLetter,
    MultipleChoice,
    TextVqa,
    Vqa,
)
from transprune.bench.data.metrics.base import Floats as Floats
from transprune.bench.data.metrics.base import Metric as Metric
from transprune.bench.data.metrics.grouped import PERCEPTION as PERCEPTION
from transprune.bench.data.metrics.grouped import Circular, Mme
from transprune.bench.data.metrics.pope import SPLITS as SPLITS
from transprune.bench.data.metrics.pope import Pope
from transprune.bench.data.metrics.text import normalise as normalise
from transprune.bench.data.metrics.text import option_letter as option_letter

_GENERAL = (ExactMatch(), Vqa(), Pope(), MultipleChoice(), ExactText())

# those that a questions file may name: the others read ids and categories of their own benchmark
GENERAL_METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _GENERAL}
_OWN = (TextVqa(), LeadingLetter(), FirstCharacter(), Mme(), Circular())
METRICS: Mapping[str, Metric] = {
    **GENERAL_METRICS,
    **{metric.name: metric for metric in _OWN},
}
