"""The registry of methods and families: classes by name, open to other packages.

A third party registers its classes through an entry point in its own package:

    [project.entry-points."transprune.methods"]
    mymethod = "mypackage.mymethod"          # importing the module registers the class

Registries hold classes, never live objects, so one run cannot influence another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import walk_packages
from threading import RLock
from typing import Generic, TypeVar

from transprune.errors import PruneError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1)  # at least 60 % alike
    return f" Did you mean {close[0]!r}?" if close else ""


def _origin(cls: type) -> tuple[str, str]:
    """Where a class was defined: equal for a class and the one of its reloaded module."""
    return cls.__module__, cls.__qualname__


class Registry(Generic[T]):
    """Classes of one kind (`"method"`, `"family"`) by name.

    Args:
        kind: what the classes are, for messages.
        group: entry points of other packages that register more of them.
        error: raised for an unknown name.
        cure: sentence that ends that error.
        home: package whose modules register the built-in ones.
    """

    def __init__(
        self, kind: str, group: str, error: type[PruneError], cure: str = "", home: str = ""
    ) -> None:
        self.kind = kind
        self.group = group
        self.error = error
        self.cure = cure
        self.home = home
        self._classes: dict[str, type[T]] = {}

        # a module that registers itself may look names up while it is imported, so the lock is
        # re-entrant, and a flag stops the second import
        self._lock = RLock()
        self._loaded = False
        self._loading = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: enter the class under `name` and write that name on it."""

        def enter(cls: type[T]) -> type[T]:
            """Enter the class; refuse a second one of that name, unless its module was reloaded."""
            known = self._classes.get(name)
            if known is not None and _origin(known) != _origin(cls):
                raise PruneError(
                    f"two {self.kind}s are called {name!r}: {known.__module__} and {cls.__module__}"
                )

            # T knows no attribute `name`, so a plain assignment does not type-check
            setattr(cls, "name", name)  # noqa: B010
            self._classes[name] = cls
            return cls

        return enter

    def get(self, name: str) -> type[T]:
        """The class called `name`.

        Raises:
            self.error: there is none; the message names the closest one.
        """
        self._load()
        if name not in self._classes:
            known = ", ".join(sorted(self._classes))
            raise self.error(
                f"no {self.kind} {name!r}.{did_you_mean(name, self._classes)} "
                f"Known: {known}.{self.cure}"
            )

        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._classes))

    def _load(self) -> None:
        """Import, once, every module that registers a class here."""
        with self._lock:
            if self._loaded or self._loading:
                return

            self._loading = True
            try:
                self._import_modules()
                # reached only without an error: a broken plugin raises at every look-up, not only
                # at the first
                self._loaded = True
            finally:
                self._loading = False

    def _import_modules(self) -> None:
        """Import the modules of the home package, then those of other packages."""
        if self.home:
            home = import_module(self.home)
            for module in walk_packages(home.__path__, f"{self.home}."):
                import_module(module.name)

        for point in entry_points(group=self.group):
            point.load()
