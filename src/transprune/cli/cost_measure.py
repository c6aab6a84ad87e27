"""`transprune cost --measure`: from which prompt, batch and answer on a method pays here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transprune.cli.console import RIGHT, WRONG, legend, new_table, print_json, show, status
from transprune.cli.cost_words import TOKENS, break_even_lines, caveats, span_words
from transprune.cli.options import Device, Dtype
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.speed.breakeven import Point
    from transprune.speed.points import Left
    from transprune.speed.ratios import Ratio
    from transprune.speed.subjects import Subject

MEASURED_METHODS = ("transprune-high", "fastv")
ANSWERS = (1, 20, 100)  # new tokens of the answers in the table
MARKS = {"pays": RIGHT, "costs": WRONG, "unclear": "?"}

Options = tuple[Device, Dtype, int | None]  # of the command: device, dtype, threads


def print_break_even(
    model: str,
    methods: Sequence[str] | None,
    seconds: float,
    options: Options,
    as_json: bool,
) -> None:
    """Measure a few points and print where each method pays.

    Raises:
        PruneError: the model cannot be measured, or a method is unknown.
        BenchError: no point could be measured.
    """
    device, dtype, threads = options
    use_threads(threads)

    from transprune.cli.guard import quiet_libraries
    from transprune.cli.options import Attention, load_options
    from transprune.errors import BenchError
    from transprune.methods.common.recipe import resolve
    from transprune.speed.points import measure_points
    from transprune.speed.subjects import find_subject

    texts = list(methods or MEASURED_METHODS)
    for text in texts:
        resolve(text)  # a typo is found before anything is loaded

    with status(as_json) as progress, quiet_libraries(bars=False):
        progress(f"loading {model}")
        loading = load_options(dtype, device, Attention.sdpa, None)
        subject = find_subject(model, loading, seconds)
        points, left_out = measure_points(subject, texts, seconds, on_point=progress)

    if not points:
        reasons = "; ".join(dict.fromkeys(left.reason for left in left_out))
        raise BenchError(
            f"no prompt of {model} could be measured: {reasons}. Give more --budget-seconds, or a "
            "smaller model"
        )

    if as_json:
        print_json(_document(subject, texts, points, left_out))
        return

    _show(subject, texts, points, left_out)


def _show(
    subject: Subject, methods: Sequence[str], points: Sequence[Point], left_out: Sequence[Left]
) -> None:
    """The answer in words, then the table it rests on, for each method."""
    for method in methods:
        show("", f"{method} on {subject.name}, {_machine(subject)}, answers of {TOKENS} tokens", "")
        for line in break_even_lines(points, method):
            show(f"- {line}")
        if any(method in point.samples for point in points):
            show("", _table(points, method))

    show("", _legend(), "")
    for line in caveats(subject, points, left_out):
        show(line)


def _machine(subject: Subject) -> str:
    """`CPU (x86_64), float32, 2 threads`."""
    import torch

    from transprune.speed.provenance import card_name

    model = subject.model
    dtype = str(model.dtype).removeprefix("torch.")
    words = f"{card_name(model.device)}, {dtype}"
    if model.device.type != "cpu":
        return words

    count = torch.get_num_threads()
    return f"{words}, {count} thread{'s' if count > 1 else ''}"


def _table(points: Sequence[Point], method: str) -> Table:
    from transprune.speed.breakeven import answer_ratio, phase_ratio, span
    from transprune.speed.runs import PER_TOKEN, PREFILL

    answers = [f"{tokens} new" for tokens in ANSWERS]
    columns = ("visual\ntokens", "batch", "prefill", "each\ntoken", *answers, "pays for answers of")
    table = new_table("Time, as a part of the unpruned time", columns, left=columns[-1:])

    for point in sorted(points, key=lambda point: (point.visual_tokens, point.batch)):
        # a method that failed at this point has no times
        if method not in point.samples:
            continue

        phases = [phase_ratio(point, method, what) for what in (PREFILL, PER_TOKEN)]
        wholes = [answer_ratio(point, method, tokens) for tokens in ANSWERS]
        table.add_row(
            str(point.visual_tokens),
            str(point.batch),
            *map(_marked, [*phases, *wholes]),
            span_words(span(point, method)),
        )

    return table


def _marked(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} {MARKS[ratio.verdict]}"


def _legend() -> Table:
    return legend(
        {
            RIGHT: "faster: the interval of the median (95 %) lies below 1",
            WRONG: "slower: it lies above 1",
            "?": "not certain: it includes 1",
            "new": "a whole answer of so many new tokens: prefill and decode",
        }
    )


def _document(
    subject: Subject, methods: Sequence[str], points: Sequence[Point], left_out: Sequence[Left]
) -> dict[str, Any]:
    from transprune.speed.breakeven import LONGEST
    from transprune.speed.clocks import clock_of
    from transprune.speed.points import STEPS
    from transprune.speed.provenance import describe_run

    return {
        "model": subject.name,
        "random_weights": subject.random_weights,
        "clock": clock_of(subject.model.device).name,
        "provenance": describe_run(subject.model.device, subject.model.dtype, 0),
        "measured_new_tokens": STEPS + 1,
        "longest_answer": LONGEST,
        "points": [_point(point, methods) for point in points],
        "left_out": [asdict(left) for left in left_out],
        "answers": {method: break_even_lines(points, method) for method in methods},
    }


def _point(point: Point, methods: Sequence[str]) -> dict[str, Any]:
    from transprune.speed.breakeven import answer_ratio, phase_ratio, span
    from transprune.speed.runs import PER_TOKEN, PREFILL

    found: dict[str, Any] = {}
    for method in methods:
        if method not in point.samples:
            found[method] = asdict(point.failures[method])
            continue

        entry: dict[str, Any] = {"pays_for_answers": asdict(span(point, method))}
        for what in (PREFILL, PER_TOKEN):
            entry[what] = _ratio(phase_ratio(point, method, what))
        for tokens in ANSWERS:
            entry[f"answer_{tokens}"] = _ratio(answer_ratio(point, method, tokens))
        found[method] = entry

    return {
        "visual_tokens": point.visual_tokens,
        "text_tokens": point.text_tokens,
        "batch": point.batch,
        "seconds": dict(point.samples),
        "methods": found,
    }


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {**asdict(ratio), "verdict": ratio.verdict}
