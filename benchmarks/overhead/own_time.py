"""Time spent in the files of transprune during a run: the sum of the parts that pruning adds.

The interpreter reports every call. The clock is read whenever the owner of the time changes: a
function of transprune owns it, with all it calls in torch, until a module of the model runs. So the
projections, rotations and norms that a method computes for itself count, and those of a layer do
not. No name within transprune is assumed, so a rewritten engine is measured the same way.

The reports themselves take time, in short runs more than the code they report on. What one costs is
measured on an unpruned prefill of a small model, and subtracted; a sum of a few milliseconds is
right to about a fifth. The sum is gross in another way: where keys that were computed to choose
tokens are handed to the layer, the layer saves time that is not subtracted here.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Any

import torch

import transprune

from .model import TOY, build_inputs, build_model
from .rows import Row
from .runs import prefill

ROOT = Path(transprune.__file__).parent
MODEL = ""  # the owner outside transprune

# modules of a model whose forward takes the time over, also where a hook or a wrapper calls it. A
# norm is not among them: methods call norms to compute rows of their own.
MODULES = re.compile(r"(Model|Generation|CausalLM|Layer|Attention|MLP|Projector)$")

PRICE_ROUNDS = 15  # to find out what a report costs
SHOWN = 8  # files with a row of their own


def own_time(run: Callable[[], Any], rounds: int) -> dict[str, float]:
    """CPU seconds per file of transprune, medians over `rounds` runs after an uncounted one.

    Args:
        run: what is measured.
        rounds: how often.

    Returns:
        Path below the package -> seconds, largest first; empty for a run without pruning.
    """
    run()
    price = _price()
    measured = [_watched(run).seconds(price) for _ in range(rounds)]

    files = set().union(*measured) - {MODEL}
    medians = {}
    for file in files:
        medians[file] = median(seconds.get(file, 0.0) for seconds in measured)
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


def part_rows(group: str, seconds: dict[str, float], base: float) -> list[Row]:
    """The sum and the largest parts as rows, relative to `base` seconds."""
    named = list(seconds.items())[:SHOWN]
    rest = sum(seconds.values()) - sum(value for _, value in named)

    parts = [("sum of parts, gross", sum(seconds.values())), *named, ("other files", rest)]
    rows = []
    for what, value in parts:
        rows.append(Row(group, what, 1000 * value, 1000 * base, "ms", value / base))
    return rows


def largest(seconds: dict[str, float], count: int = 3) -> str:
    """The files that took longest, as a sentence."""
    named = [f"{file} {1000 * value:.2f} ms" for file, value in list(seconds.items())[:count]]
    total = 1000 * sum(seconds.values())
    return f"{total:.2f} ms in transprune, most in {', '.join(named)}"


class _Watch:
    """A profile function that adds up the time, and the calls, of each owner."""

    def __init__(self) -> None:
        self.raw: dict[str, float] = defaultdict(float)
        self.python_calls: dict[str, int] = defaultdict(int)
        self.c_calls: dict[str, int] = defaultdict(int)

        self._owners = [MODEL]  # of the Python functions that are running
        self._known: dict[CodeType, str | None] = {}
        self._since = time.thread_time()

    def reports(self, owner: str) -> float:
        """Reports of an owner's calls, in those of a Python function; a C call is half of one."""
        return self.python_calls[owner] + self.c_calls[owner] / 2

    def seconds(self, price: float) -> dict[str, float]:
        """Seconds of each owner without its reports, at `price` seconds each."""
        spent = {}
        for owner, raw in self.raw.items():
            spent[owner] = max(0.0, raw - price * self.reports(owner))
        return spent

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        owners = self._owners
        here = owners[-1]

        # C functions have an owner already: the Python function they are called from
        if event == "c_call":
            self.c_calls[here] += 1
        elif event == "call":
            owner = self._owner(frame, here)
            self.python_calls[owner] += 1
            owners.append(owner)
            if owner != here:
                self._charge(here)
        elif event == "return":
            owners.pop()
            if owners[-1] != here:
                self._charge(here)

    def _owner(self, frame: FrameType, here: str) -> str:
        """Owner of a function that was called by one of `here`."""
        code = frame.f_code
        if code not in self._known:
            self._known[code] = _owner_of(code, frame)
        owner = self._known[code]
        return here if owner is None else owner

    def _charge(self, owner: str) -> None:
        now = time.thread_time()
        self.raw[owner] += now - self._since
        self._since = now


def _watched(run: Callable[[], Any]) -> _Watch:
    """The watch after one run."""
    watch = _Watch()
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(before)

    watch._charge(MODEL)
    return watch


@cache
def _price() -> float:
    """CPU seconds of a report, from prefills of a small model with and without a watch."""
    model = build_model(TOY, torch.float32)
    inputs = build_inputs(TOY, torch.float32)
    prefill(model, inputs)

    prices = []
    for _ in range(PRICE_ROUNDS):
        start = time.thread_time()
        prefill(model, inputs)
        plain = time.thread_time() - start

        watch = _watched(partial(prefill, model, inputs))
        prices.append((watch.raw[MODEL] - plain) / watch.reports(MODEL))
    return median(prices)


def _owner_of(code: CodeType, frame: FrameType) -> str | None:
    """The file of transprune, MODEL, or None for a function that works for its caller."""
    path = Path(code.co_filename)
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()

    if code.co_name == "forward":
        # the class that defines it: one code object is one function
        module = type(frame.f_locals.get("self")).__name__
        if MODULES.search(module):
            return MODEL
    return None
