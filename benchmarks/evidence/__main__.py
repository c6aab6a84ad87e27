"""`python -m benchmarks.evidence`: docs/evidence.md from docs/evidence/*.json, or measure first."""

from __future__ import annotations

import argparse
from pathlib import Path

from transprune.cli.guard import quiet_libraries
from transprune.errors import PruneError

from . import pictures
from .ladder import LADDERS, read_ladder, write_ladder
from .page import render

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = 200  # test scenes for the signal of the layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", choices=LADDERS, help="measure this model first")
    parser.add_argument("runs", type=Path, nargs="*", help="its runs of `transprune bench`")
    parser.add_argument(
        "--pictures",
        type=int,
        help=f"for the signal of the layers; 0 keeps what was measured before; default {PICTURES}",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep what was measured before, layers too, and add what these runs have besides",
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args()
    if (options.runs or options.add) and not options.measure:
        parser.error("runs are read with --measure MODEL only")
    if options.add and options.pictures is not None:
        parser.error("--add keeps the layers as they are, so it takes no --pictures")

    try:
        if options.measure:
            pictures = PICTURES if options.pictures is None else options.pictures
            measure(options.measure, options.runs, pictures, options.docs, options.add)
        write_page(options.docs)
    except PruneError as error:
        raise SystemExit(f"error: {error}") from error


def measure(name: str, runs: list[Path], pictures: int, docs: Path, add: bool) -> None:
    """Measure one model, or more of it, and write its file."""
    # torch and a model: the page alone needs neither
    from .measure import add_to_ladder, measure_ladder

    with quiet_libraries(bars=False):
        old = read_ladder(name, docs / "evidence")
        if add:
            ladder = add_to_ladder(runs, old, print)
        else:
            ladder = measure_ladder(name, runs, pictures, old, print)
    print(f"wrote {write_ladder(ladder, docs / 'evidence')}")


def write_page(docs: Path) -> None:
    """Write the page and its pictures from the files of the ladders."""
    ladders = [read_ladder(name, docs / "evidence") for name in LADDERS]
    (docs / "evidence.md").write_text(render(ladders), encoding="utf-8")
    pictures.draw(ladders, docs / "evidence")
    print(f"wrote {docs / 'evidence.md'}")


if __name__ == "__main__":
    main()
