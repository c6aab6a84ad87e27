"""A whole batch job from one `Plan`: list the rows, run what is left of them, sum up."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transprune.batch import need_pyarrow, need_ray
from transprune.batch.cluster import Cluster, gpus_for
from transprune.batch.drivers.local import run_here
from transprune.batch.drivers.on_ray import run_on_ray
from transprune.batch.files import Opener, absolute, is_address
from transprune.batch.inputs import find_table
from transprune.batch.parts import PARTS, Written, part_files, read_done, remove_unfinished
from transprune.batch.plan import Planned, plan_shards
from transprune.batch.settings import SETTINGS_FILE, Plan, describe, recipe_hash, work_folder
from transprune.batch.summary import SUMMARY_FILE, Summary, summarise
from transprune.bench.data.manifest import write_json
from transprune.bench.data.provenance import fingerprint, machine, versions
from transprune.bench.data.work_folder import WorkFolder
from transprune.errors import BatchError
from transprune.methods.common.recipe import METHODS, preset_names
from transprune.models.source import is_named, locate
from transprune.nano import NANO

OnProgress = Callable[[str, int, int, str], None]  # step, done, total, note
OnNote = Callable[[str], None]


@dataclass
class _Count:
    """What this run has done so far."""

    rows: int = 0
    errors: int = 0


def run_batch(plan: Plan, on_progress: OnProgress, on_note: OnNote) -> Summary:
    """Answer every row that has no answer yet, and write `summary.json`.

    Args:
        plan: the options.
        on_progress: called after every batch, or with Ray after every shard.
        on_note: called with each sentence that the user should read.

    Raises:
        MissingExtra: pyarrow or Ray is not installed.
        BatchError: no rows, a folder that holds another job or is in use, or a failed device.
        MethodError, FamilyError, CheckpointError: the method or the model cannot be used.
    """
    need_pyarrow()
    if plan.ray:
        need_ray()

    plan = _completed(plan)
    folder = work_folder(plan.out)
    folder.check()
    _check_apart(plan)

    work = plan.work
    recipe_hash(work.method)  # a typo shows before a million rows are listed
    table = find_table(work.input, plan.question, work.columns, Opener())
    plan.out.mkdir(parents=True, exist_ok=True)
    # the settings, too: of two jobs that start at once one would write those of the other
    with folder.alone():
        _open(folder, plan)
        (plan.out / PARTS).mkdir(exist_ok=True)
        remove_unfinished(plan.out)
        on_progress("listing rows", 0, 0, "")
        done = read_done(plan.out)
        planned = plan_shards(table, done, plan.part_rows, plan.limit)
        for note in planned.notes:
            on_note(note)
        return _run(plan, planned, on_progress, on_note)


def _open(folder: WorkFolder, plan: Plan) -> None:
    """Write the settings of a new job, or check that they are those of the answers there.

    The folder's lock must be held.
    """
    settings = describe(plan)
    file = plan.out / SETTINGS_FILE
    # a method that did not fit the model has left its settings, and no answer
    if file.exists() and not part_files(plan.out):
        write_json(file, settings)
    folder.open(settings)


def _run(plan: Plan, planned: Planned, on_progress: OnProgress, on_note: OnNote) -> Summary:
    """Answer what is left, with the lock held."""
    start = time.perf_counter()
    count = _Count()
    notes: dict[str, None] = {}
    before = planned.rows - planned.pending

    def on_batch(rows: int, errors: int) -> None:
        """Count, and show it."""
        count.rows += rows
        count.errors += errors
        speed = count.rows / (time.perf_counter() - start)
        note = f"{speed:.1f} rows/s, {count.errors} errors"
        on_progress("answering", before + count.rows, planned.rows, note)

    # a job that has all its answers loads no model
    if planned.shards:
        on_progress(f"loading {plan.work.model}", 0, 0, "")
        for written in _drive(plan, planned, on_batch):
            notes |= dict.fromkeys(written.notes)

    seconds = time.perf_counter() - start

    for note in notes:
        on_note(note)

    _check_complete(plan, planned, on_note)
    summary = summarise(plan.out, count.rows, seconds, plan.workers, (*planned.notes, *notes))
    provenance = {"versions": versions(), "machine": machine(), "command": plan.command}
    write_json(plan.out / SUMMARY_FILE, {**summary.to_dict(), **provenance})
    return summary


def _drive(plan: Plan, planned: Planned, on_batch: Callable[[int, int], None]) -> Iterator[Written]:
    """Each shard as it is written."""
    if not plan.ray:
        yield from run_here(plan.work, plan.out, planned.shards, on_batch)
        return

    workers = min(plan.workers, len(planned.shards))
    cluster = Cluster(
        workers, plan.ray_address, plan.work.threads or 1, gpus_for(plan.work.loading.device)
    )
    for written in run_on_ray(plan.work, plan.out, planned.shards, cluster):
        on_batch(written.rows, written.errors)
        yield written


def _completed(plan: Plan) -> Plan:
    """The plan with places that do not depend on the working directory, and its provenance.

    Raises:
        BatchError: an address that cannot be used, or an empty question.
    """
    # a path has lost one of the two slashes of an address
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(plan.out)):
        raise BatchError(
            f"{plan.out} is an address; --output is a folder of this machine, or of a file system "
            "that all machines share: upload it when the job is done"
        )

    # as of a variable of the shell that nobody has set
    if plan.question is not None and not plan.question.strip():
        raise BatchError(
            "--question is empty; ask something of all rows, or leave it out where each row has its own"
        )

    tower = plan.work.loading.text_tower
    work = replace(
        plan.work,
        input=absolute(plan.work.input),
        model=_placed(plan.work.model),
        method=_placed(plan.work.method),
        loading=replace(plan.work.loading, text_tower=tower and _placed(tower)),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        weights=fingerprint(plan.work.model),
    )
    return replace(plan, work=work, out=Path(os.path.abspath(plan.out)))


def _placed(name: str) -> str:
    """A path of this machine as an absolute one; names stay, as those of the library win."""
    if is_named(name):
        # a worker may run in another folder, where the home of smol would not be found
        return name if name == NANO else os.path.abspath(locate(name))
    if name in (*METHODS, *preset_names()) or not os.path.exists(name):
        return name
    return os.path.abspath(name)


def _check_apart(plan: Plan) -> None:
    """Refuse a folder of answers inside that of the pictures: its files would become rows."""
    place = plan.work.input
    if is_address(place) or not os.path.isdir(place):
        return
    if Path(os.path.realpath(plan.out)).is_relative_to(os.path.realpath(place)):
        raise BatchError(f"{plan.out} lies in the folder of --input; choose another --output")


def _check_complete(plan: Plan, planned: Planned, on_note: OnNote) -> None:
    """Compare the rows of all files with those of the input.

    Raises:
        BatchError: a row is missing, or comes twice.
    """
    done = read_done(plan.out)
    missing = planned.ids - done.keys()
    if missing:
        raise BatchError(
            f"{len(missing)} rows have no answer although every shard was written; run the same "
            "command again, and report this"
        )

    further = len(done) - len(planned.ids)
    if further:
        on_note(f"{further} answers are of rows that the input, or --limit, no longer has")
