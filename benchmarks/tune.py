"""Settings found by `transprune tune` against others of one benchmark run, picture by picture.

    python -m benchmarks.tune out/tune/bench within-0.41 transprune@41 divprune@41

The first condition is the found one. Prints relative accuracy of each, and the differences from the
first with their 95 % intervals (a paired bootstrap over pictures).
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

from transprune.bench.data.records import read_run
from transprune.bench.results.scores import Scores, relative_accuracy
from transprune.bench.results.statistics import RESAMPLES, difference_of, interval_of
from transprune.core.plan import UNPRUNED


def main(folder: str, found: str, *others: str) -> None:
    run = read_run(Path(folder))
    scores = Scores(run, RESAMPLES, seed=0)
    keys = scores.shared(found, *others)
    unpruned = scores.by_task(UNPRUNED, keys)
    print(f"{len(keys)} questions, {scores.images} pictures, split {run.manifest.settings.split}")

    mine = relative_accuracy(scores.by_task(found, keys), unpruned)  # [R + 1]
    for name in (found, *others):
        own = relative_accuracy(scores.by_task(name, keys), unpruned)
        share = 100 * fmean(record.exact_share for record in scores.records(name, keys))
        interval = interval_of(own)
        line = f"{name:24} {share:5.1f} %  {interval.value:6.1f} "
        line += f"({interval.low:.1f}..{interval.high:.1f})"

        if name != found:
            # positive: the found setting is better
            more = difference_of(mine - own, scores.images)
            line += f"  found {more.value:+.1f} ({more.low:+.1f}..{more.high:+.1f})"
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
