"""Commands of `transprune smol` that train, and those that measure what was trained."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from transprune.cli.console import print_json, show
from transprune.cli.nano import StageProgress, stages, training_code
from transprune.cli.options import Dtype, DtypeOption, Json, OptionalThreads
from transprune.cli.smol_options import HOME, Home, Scenes, Split, SplitName
from transprune.cli.smol_tables import answers_table, talk_table, tower_table
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads
from transprune.smol import ADAPTER_FOLDER, LANGUAGE_FOLDER, MODEL_FOLDER, WORLD_FOLDER

# what `evaluate` asks, by the name of its table; the values are arguments of `smol.evaluate`
CONDITIONS: dict[str, dict[str, Any]] = {
    "known kinds": {},
    "unseen kinds": {"unseen": True},
    "new phrasings": {"held_out": True},
}

Start = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FOLDER", help="Adapter to go on from, with the tower that it has."
    ),
]


def train_command(
    home: Home = HOME,
    start: Start = None,
    threads: OptionalThreads = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, metavar="N", help="Stop after that many minutes."),
    ] = None,
    drawers: Annotated[
        int | None,
        typer.Option(
            "--drawers",
            min=0,
            metavar="N",
            help="Processes that draw pictures. Default: beside a GPU all cores but one, else none.",
        ),
    ] = None,
) -> None:
    """Train tower, then reader; run again to continue. Ctrl-C and SIGTERM stop it after a step."""
    need_folder(home, "--home")
    # before torch is imported
    use_threads(threads)
    import torch

    from transprune.cli.guard import quiet_libraries

    with training_code():
        from transprune.smol.train.home import train_all

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if drawers is None:
        drawers = (os.cpu_count() or 1) - 1 if device.type == "cuda" else 0
    with quiet_libraries(bars=False), stages() as progress, stopped_kindly(minutes) as stop:
        finished = train_all(home, progress, device, stop, drawers, start)

    if finished:
        show(f"adapter: {home / 'adapter'}; to put the model together: transprune smol assemble")
    else:
        option = "" if start is None else f" --from {start}"
        show(f"stopped; to continue: transprune smol train --home {home}{option}")


def adapter_command(
    home: Home = HOME,
    start: Start = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder to write to; default: HOME/adapter."),
    ] = None,
) -> None:
    """Write the adapter as far as it is trained, to look at or to go on from elsewhere."""
    use_threads(1)
    from transprune.cli.guard import quiet_libraries

    with training_code():
        from transprune.smol.train.home import write_adapter

    folder = out or home / ADAPTER_FOLDER
    with quiet_libraries(bars=False):
        over = write_adapter(home, folder, start)
    show(f"adapter: {folder}; stages of the reader that are over: {', '.join(over) or 'none'}")


def measure_command(
    home: Home = HOME,
    scenes: Scenes = 100,
    split: Split = SplitName.validation,
    threads: OptionalThreads = None,
    as_json: Json = False,
) -> None:
    """Measure the tower as far as it is trained, on known kinds and on kinds it never saw."""
    use_threads(threads)
    from transprune.smol.world import load_world

    with training_code():
        from transprune.smol.train.home import vectors_at
        from transprune.smol.train.measure import measure_tower
        from transprune.smol.train.recipe import TOWER
        from transprune.smol.train.run import load_tower

    world = load_world(home / WORLD_FOLDER)
    vectors = vectors_at(home, world)
    module, reached = load_tower(TOWER, vectors, home / "tower")

    found: dict[str, Any] = {"tower": reached, "split": split.value, "scenes": scenes}
    for unseen in (False, True):
        scores = measure_tower(module, world, vectors, split.value, scenes, unseen)
        found["unseen" if unseen else "known"] = scores.to_dict()

    if as_json:
        print_json(found)
    else:
        show(tower_table(found))


def evaluate_command(
    home: Home = HOME,
    scenes: Scenes = 200,
    split: Split = SplitName.validation,
    dtype: DtypeOption = Dtype.auto,
    threads: OptionalThreads = None,
    as_json: Json = False,
) -> None:
    """Score the assembled model: known kinds, unseen kinds, new phrasings, each with grey pictures."""
    use_threads(threads)
    import torch

    from transprune.cli.guard import quiet_libraries
    from transprune.cli.smol_intervals import with_intervals
    from transprune.smol.adapter import load_model
    from transprune.smol.evaluate import evaluate
    from transprune.smol.world import load_world

    found: dict[str, dict[str, Any]] = {}
    world = load_world(home / WORLD_FOLDER)
    with quiet_libraries(bars=False), stages() as progress:
        number_type = torch.float32 if dtype is Dtype.auto else getattr(torch, dtype.value)
        model, tokenizer = load_model(home / MODEL_FOLDER, number_type)

        for name, wanted in CONDITIONS.items():
            asked = partial(evaluate, model, tokenizer, world, split.value, scenes, **wanted)
            scores = asked(progress=_scenes_of(name, progress))
            # the same questions show what is guessed
            blank = asked(blank=True, progress=_scenes_of(f"{name}, grey", progress))
            found[name] = with_intervals(scores, blank)

    if as_json:
        print_json({"model": str(home / MODEL_FOLDER), "scores": found})
    else:
        for name, scores_of_one in found.items():
            show(answers_table(name, scores_of_one))
            show("")


def _scenes_of(name: str, progress: StageProgress) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total, {})


def talk_command(home: Home = HOME, threads: OptionalThreads = None, as_json: Json = False) -> None:
    """Ask the assembled model a dozen texts without pictures, and show what was said before."""
    use_threads(threads)
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.adapter import load_model
    from transprune.smol.talk import answer_all, read_talk

    before = read_talk(home / LANGUAGE_FOLDER)
    with quiet_libraries(bars=False):
        model, tokenizer = load_model(home / MODEL_FOLDER)
        after = answer_all(model, tokenizer, list(before))

    if as_json:
        print_json({"before": before, "after": after})
    else:
        show(talk_table(before, after))


@contextmanager
def stopped_kindly(minutes: float | None) -> Iterator[Callable[[], bool]]:
    """Give a function that says when to stop: after `minutes`, or after Ctrl-C or SIGTERM."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    asked = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked) or (end is not None and time.monotonic() >= end)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
