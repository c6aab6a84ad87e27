"""The tables of the page, as plain text cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transprune.bench.results.summary import Row
from transprune.report.results import Results, budget_name, in_words

BILL_COLUMNS = (
    "prefill, paper",
    "share",
    "prefill, exact",
    "share",
    "prefill time",
    "of unpruned",
    "per new token",
    "of unpruned",
    "K/V",
    "share",
    "peak memory",
    "share",
)


def conditions(results: Results) -> list[dict[str, Any]]:
    """Rows by budget; the best method of a budget marked."""
    groups = [{"name": "unpruned", "rows": [_condition(results.unpruned, False)]}]
    for budget, rows in results.budgets:
        top = max((r.relative.value for r in rows if results.competes(r)), default=None)
        groups.append(
            {
                "name": f"at {budget_name(budget)}",
                "rows": [_condition(row, _is_best(row, row.relative.value, top)) for row in rows],
            }
        )
    return groups


def tasks(results: Results) -> list[dict[str, Any]]:
    """Scores by budget and task; the best method of each task and budget marked."""
    names = [task.name for task in results.run.manifest.tasks]
    groups = [{"name": "unpruned", "rows": [_scores(results.unpruned, names, {})]}]
    for budget, rows in results.budgets:
        methods = [row for row in rows if results.competes(row)]
        tops = {
            name: max((_score(row, name) or 0.0 for row in methods), default=None)
            for name in (*names, "mean")
        }
        groups.append(
            {
                "name": f"at {budget_name(budget)}",
                "rows": [_scores(row, names, tops) for row in rows],
            }
        )
    return groups


def bill(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was measured, one row per condition; `-` where a figure is missing."""
    return [{"name": row["condition"], "cells": _bill(row)} for row in rows]


def aucs(curves: Mapping[str, Sequence[float]]) -> tuple[range, list[dict[str, Any]]]:
    """Layers, and a row per curve."""
    last = max((len(values) for values in curves.values()), default=0)
    rows = [
        {"name": name, "cells": [f"{v:.2f}" for v in values] + ["-"] * (last - len(values))}
        for name, values in curves.items()
    ]
    return range(1, last + 1), rows


def certificate(results: Results) -> list[tuple[str, str]]:
    """What identifies the run."""
    paper = results.run.manifest
    settings = paper.settings
    return [
        ("model", f"{settings.model}, weights {settings.weights or 'not fingerprinted'}"),
        ("questions", f"{settings.tasks} {settings.split}, fingerprint {settings.items}"),
        (
            "n",
            f"{settings.n if settings.n is not None else 'all'}; {sum(t.items for t in paper.tasks)} questions",
        ),
        ("seed", str(settings.seed)),
        (
            "intervals",
            f"95 %, {results.unpruned.n_resamples:,} paired bootstrap resamples of the images",
        ),
        ("numbers", f"{settings.dtype}, attention {settings.attention}, {settings.device}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in paper.versions.items())),
        ("code", paper.commit or "not from a checkout"),
        ("started", paper.started),
        ("machine", ", ".join(f"{key} {value}" for key, value in paper.machine.items())),
    ]


def _condition(row: Row, best: bool) -> dict[str, Any]:
    a = row.relative
    return {
        "name": row.condition.method + ("" if row.condition.reached else " †"),
        "acc": f"{a.value:.1f} [{a.low:.1f}, {a.high:.1f}]",
        "best": best,
        "exact": f"{100 * row.exact_share:.1f} %",
        "paper": f"{100 * row.paper_share:.1f} %",
        "kv": f"{100 * row.kv_share:.1f} %",
        "unpruned": "" if row.against_unpruned is None else in_words(row.against_unpruned),
        "transprune": "" if row.against_transprune is None else in_words(row.against_transprune),
        "n": row.n,
    }


def _scores(row: Row, names: Sequence[str], tops: Mapping[str, float | None]) -> dict[str, Any]:
    cells = []
    for name in (*names, "mean"):
        score = _score(row, name)
        text = "-" if score is None else f"{score:.1f}"
        cells.append(
            {"text": text, "best": score is not None and _is_best(row, score, tops.get(name))}
        )
    return {"name": row.condition.method, "cells": cells}


def _score(row: Row, name: str) -> float | None:
    if name == "mean":
        return row.score.value
    return next((task.score.value for task in row.tasks if task.task == name), None)


def _is_best(row: Row, value: float, top: float | None) -> bool:
    return top is not None and Results.competes(row) and round(value, 1) == round(top, 1)


def _bill(row: Mapping[str, Any]) -> list[str]:
    paper, exact = row["paper"], row["exact"]
    return [
        _amount(paper.get("prefill"), paper.get("unit", "MACs")),
        _share(paper.get("prefill_share")),
        _amount(exact.get("prefill"), exact.get("unit", "FLOPs")),
        _share(exact.get("prefill_share")),
        _ms(row.get("prefill_ms")),
        _share((row.get("prefill_ratio") or {}).get("median")),
        _ms(row.get("decode_ms")),
        _share((row.get("decode_ratio") or {}).get("median")),
        _bytes(row.get("kv_bytes")),
        _share(row.get("kv_share")),
        _bytes(row.get("peak_bytes")),
        _share(row.get("peak_share")),
    ]


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    for letter, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.0f} {unit}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
