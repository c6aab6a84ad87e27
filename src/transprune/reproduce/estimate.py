"""How long a table takes on one GPU, counted, so that nobody starts a week of work unawares.

Nothing is measured here. The assumptions are those of an A100: a prefill at 40 % of its peak in
half precision, a decoded token as fast as the weights can be read for a batch, and some host time
for a picture. A run on the machine itself measures a few questions first and says what it expects.
"""

from __future__ import annotations

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.cost.count import count_method, unpruned_cost
from transprune.cost.geometry import Geometry, known_geometry
from transprune.reproduce.exhibits import NONE, Exhibit, Row

PREFILL = 0.4 * 312e12  # FLOP/s
READING = 1.5e12  # bytes/s
BATCH = 8
ANSWER = 4  # new tokens of a short answer
HOST = 0.04  # seconds to read, resize and encode a picture
HOUR = 3600.0


def hours(exhibit: Exhibit, limit: int | None = None) -> float:
    """Hours on one GPU for every row that can run, from no answer at all."""
    total = 0.0
    for row in exhibit.rows:
        if row.recipe and exhibit.columns:
            total += _row_questions(exhibit, row, limit) * _seconds(exhibit, row)
    return total / HOUR


def _row_questions(exhibit: Exhibit, row: Row, limit: int | None) -> int:
    """Questions of the benchmarks for which the row has a published cell."""
    count = 0
    for name, cell in zip(exhibit.columns, row.cells, strict=True):
        if cell == NONE or name not in BENCHMARKS or BENCHMARKS[name].answers_of:
            continue
        questions = BENCHMARKS[name].questions
        count += questions if limit is None else min(limit, questions)
    return count


def _seconds(exhibit: Exhibit, row: Row) -> float:
    """Seconds of one question."""
    geometry = known_geometry(exhibit.geometry)
    method = row.method()
    if method is None:
        cost = unpruned_cost(geometry, geometry.visual_tokens, geometry.text_tokens, "exact")
    else:
        cost = count_method(geometry, method, convention="exact")

    decoding = ANSWER * 2 * _parameters(geometry) / READING / BATCH
    return cost.prefill / PREFILL + decoding + HOST


def _parameters(geometry: Geometry) -> int:
    """Weights of the language model."""
    attention = 2 * geometry.hidden * (geometry.q_width + geometry.kv_width)
    layer = attention + 3 * geometry.hidden * geometry.intermediate
    return geometry.layers * layer + 2 * geometry.vocab * geometry.hidden
