"""A folder in which one long piece of work goes on: with the same settings, in one process at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import write_json
from transprune.core import strict_json
from transprune.core.lock import hold
from transprune.core.targets import folder_problem
from transprune.errors import PruneError

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class WorkFolder:
    """A folder of some kind of work.

    Attributes:
        path: the folder, which may be missing.
        file: name of the JSON file of settings in it, by which its kind is known.
        noun: what the work is called, as `"search"`.
        error: the type of error that is raised.
    """

    path: Path
    file: str
    noun: str
    error: type[PruneError]

    def check(self) -> None:
        """Refuse a folder that cannot hold this work, before anything is loaded.

        Raises:
            PruneError: of the type `error`: it cannot be written, or holds something else.
        """
        if problem := folder_problem(self.path):
            raise self.error(problem)
        # the lock comes first: a process that ends behind it has left nothing else
        names = {file.name for file in self.path.iterdir()} if self.path.exists() else set()
        if names - {LOCK_FILE} and not (self.path / self.file).exists():
            raise self.error(
                f"{self.path} exists and holds no {self.noun}; choose an empty or new folder for "
                "--out"
            )

    def open(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of new work, or check that they are those of the work that is there.

        Raises:
            PruneError: of the type `error`: as `check`; the settings are others, each is named; or
                their file is damaged.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / self.file).exists():
            write_json(self.path / self.file, dict(settings))
            return

        known = self._read()
        differing = []
        for name, value in settings.items():
            if known.get(name) != value:
                differing.append(f"{name} was {known.get(name)!r}, now {value!r}")
        if differing:
            raise self.error(
                f"{self.path} holds a {self.noun} with other settings ({'; '.join(differing)}). "
                "Nothing was changed; choose another --out, or the same settings to continue it."
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second process out, where the system can (POSIX); the lock ends with the process.

        Raises:
            PruneError: of the type `error`: another process works here.
        """
        busy = self.error(
            f"another process has a {self.noun} going on in {self.path}; wait for it, or choose "
            "another --out"
        )
        with (self.path / LOCK_FILE).open("w") as stream:
            hold(stream, busy)
            yield

    def _read(self) -> dict[str, Any]:
        file = self.path / self.file
        try:
            data = strict_json.read(file.read_bytes())
        except (OSError, ValueError) as error:
            raise self.error(f"{file} is damaged ({error}); choose another folder") from error

        if not isinstance(data, dict):
            raise self.error(f"{file} is damaged: it must be an object; choose another folder")
        return data
