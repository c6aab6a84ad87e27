"""Verdicts of a judge on the answers of a run, kept beside them, so that none is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from transprune.bench.data.judge import BEST, PROTOCOL, Judge, Verdict
from transprune.bench.data.record import Record
from transprune.bench.data.records import Run
from transprune.core import strict_json
from transprune.errors import BenchError, RecordError

TOGETHER = 8  # requests to the judge at a time
GIVE_UP = 16  # failures one after another, after which the judge is asked no more

Key = tuple[str, str, str]  # condition, item, given answer


@dataclass
class Judged:
    """What a judge said about a run.

    Attributes:
        verdicts: by condition, item and given answer.
        open: condition -> how many of its answers have none.
        problem: the last reason why a verdict is missing; empty if none is.
    """

    verdicts: dict[Key, Verdict] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def scored(self, run: Run, kind: str) -> Run:
        """The run with verdicts as scores; answers without one are left out, not counted as wrong.

        Args:
            run: that was judged.
            kind: `"right"` or `"grade"`, as in `Benchmark.judged`.
        """
        records = []
        for record in run.records:
            verdict = self.verdicts.get(_key(record))
            if verdict is not None:
                score = float(verdict.right) if kind == "right" else verdict.grade / BEST
                records.append(replace(record, score=score))
        return replace(run, records=records)

    def reason(self, condition: str) -> str:
        """Why a condition has not all verdicts; empty if it has."""
        count = self.open.get(condition, 0)
        return f"{count} answers have no verdict and are left out: {self.problem}" if count else ""


def judge_run(run: Run, judge: Judge, on_verdicts: Callable[[int], None]) -> Judged:
    """The verdicts on all answers of a run; those that are missing are asked for.

    Args:
        run: the answers.
        judge: who is asked.
        on_verdicts: called with the number of new verdicts after each group of requests.

    Raises:
        MissingExtra: openai is not installed.
        RecordError: the file of verdicts is damaged or cannot be written.
    """
    file = run.folder / _file_name(judge)
    found = Judged(_read(file))
    # verdicts are kept: a judge is slow, and may be paid for
    waiting = iter([record for record in run.records if _key(record) not in found.verdicts])

    # failures in a row: a single one may pass, a judge that is gone does not come back
    failed = 0
    while failed < GIVE_UP and (group := list(islice(waiting, TOGETHER))):
        replies = _ask_all(judge, group)
        new = {}
        for record, reply in zip(group, replies, strict=True):
            if isinstance(reply, Verdict):
                new[_key(record)] = reply
                failed = 0
            else:
                found.problem = str(reply)
                failed += 1

        _append(file, judge, new)
        found.verdicts |= new
        on_verdicts(len(new))

    for record in run.records:
        missing = _key(record) not in found.verdicts
        found.open[record.condition] = found.open.get(record.condition, 0) + missing

    return found


def _ask_all(judge: Judge, records: Sequence[Record]) -> list[Verdict | BenchError]:
    """A verdict on each record, or the reason why there is none."""

    def ask(record: Record) -> Verdict | BenchError:
        question = record.question.splitlines()[0]
        try:
            return judge.ask(question, record.answers[0], record.given)
        except BenchError as error:
            return error

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(ask, records))


def _key(record: Record) -> Key:
    return record.condition, record.item, record.given


def _file_name(judge: Judge) -> str:
    """One file for each judge: verdicts of two are never mixed."""
    digest = sha256(json.dumps([judge.model, judge.url, PROTOCOL]).encode()).hexdigest()
    return f"verdicts-{digest[:12]}.jsonl"


def _read(file: Path) -> dict[Key, Verdict]:
    """The verdicts so far; an incomplete last line, which a killed process left, is left out."""
    found = {}
    for number, line in enumerate(_lines(file), start=1):
        try:
            data = strict_json.read(line)
            key = (data["condition"], data["item"], data["given"])
            found[key] = Verdict(bool(data["right"]), int(data["grade"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{file}, line {number} is not a verdict ({error!r}); remove it by hand"
            ) from error

    return found


def _lines(file: Path) -> Iterator[bytes]:
    if not file.exists():
        return

    content = file.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    # the next line must not continue what was half written
    if len(complete) < len(content):
        file.write_bytes(complete)
    yield from complete.splitlines()


def _append(file: Path, judge: Judge, verdicts: dict[Key, Verdict]) -> None:
    """Add verdicts to the file, which also names the judge."""
    lines = []
    for (condition, item, given), verdict in verdicts.items():
        data = {
            "condition": condition,
            "item": item,
            "given": given,
            "right": verdict.right,
            "grade": verdict.grade,
            "judge": judge.model,
            "url": judge.url,
            "protocol": PROTOCOL,
        }

        lines.append(strict_json.write(data, compact=True) + "\n")

    try:
        # only added to: a kill costs the newest lines, and no earlier verdict
        with file.open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))
    except OSError as error:
        raise RecordError(f"cannot write {file}: {error.strerror or error}") from error
