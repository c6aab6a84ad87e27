"""Every error and warning transprune raises itself.

    PruneError
    ├── MethodError             a method that cannot be what was asked
    │   ├── UnknownMethod       no method, preset or recipe of that name
    │   ├── RecipeError         a recipe with unknown keys, bad values or a newer schema
    │   └── ScheduleError       boundaries or keep ratios that make no schedule
    ├── FamilyError             a model this library cannot prune
    │   ├── UnknownFamily       no family knows this model type
    │   ├── MissingSignal       the method needs something this model does not have
    │   └── WeightsError        a trained method has no weights for this model, or damaged ones
    ├── SessionError            attached twice, or used after the end
    ├── LayoutError             prompt and image features do not fit each other
    ├── CacheError              a key/value cache class that pruning does not understand
    ├── PositionsError          positions that have no definition here (renumbering under M-RoPE)
    ├── ImageError              an image file that cannot be read
    ├── CheckpointError         a model directory with missing or mismatched weights
    ├── SceneError              a scene that cannot be drawn as asked
    ├── BenchError              a benchmark that cannot run as asked
    │   ├── TaskError           questions, answers or images that cannot be used
    │   ├── RecordError         a run folder that is damaged, in use, or of another run
    │   └── TuneError           a search for settings that cannot run as asked
    ├── BatchError              a batch job that cannot start or go on as asked
    ├── ServeError              a server that cannot start, or a request it cannot answer
    ├── TrainingError           a training run that cannot go on as asked
    ├── TransformersError       a transformers release without something pruning builds on
    └── MissingExtra            an optional dependency is not installed

Each keeps the built-in parent a caller would expect to catch.
"""

from __future__ import annotations


class PruneError(Exception):
    """Base of every error raised by transprune."""


class MethodError(PruneError, ValueError):
    """A method cannot be built or cannot run as asked."""


class UnknownMethod(MethodError, LookupError):
    """No method, preset or recipe has this name."""


class RecipeError(MethodError):
    """A recipe has unknown keys, values of the wrong kind, or a schema from a newer release."""


class ScheduleError(MethodError):
    """Boundaries or keep ratios do not make a schedule for this model."""


class FamilyError(PruneError, TypeError):
    """This model cannot be pruned as asked."""


class UnknownFamily(FamilyError, LookupError):
    """No family knows this model type."""


class MissingSignal(FamilyError):
    """A method asks for something this model does not have, such as a CLS token."""


class WeightsError(FamilyError):
    """A trained method has no weights, damaged ones, or weights that do not fit this model."""


class SessionError(PruneError, RuntimeError):
    """A session was attached twice, or a second one was attached to the same model."""


class LayoutError(PruneError, ValueError):
    """The prompt and its image features do not fit each other."""


class CacheError(PruneError, NotImplementedError):
    """The key/value cache is of a class that pruning does not understand."""


class PositionsError(PruneError, ValueError):
    """The position policy has no definition for this model."""


class ImageError(PruneError, ValueError):
    """An image file is missing, truncated or not an image."""


class CheckpointError(PruneError, ValueError):
    """A model directory lacks weights, or its weights do not match its configuration."""


class SceneError(PruneError, ValueError):
    """A scene cannot be drawn as asked."""


class TrainingError(PruneError, ValueError):
    """A training run cannot start or go on as asked."""


class ServeError(PruneError, RuntimeError):
    """A server cannot start as asked, or cannot answer a request."""


class BatchError(PruneError, RuntimeError):
    """A batch job cannot start or go on: its input, its folder, or a device that failed."""


class BenchError(PruneError, ValueError):
    """A benchmark cannot run as asked."""


class TaskError(BenchError):
    """A task has questions, answers or images that cannot be used."""


class RecordError(BenchError):
    """A run folder is damaged, in use by another process, or holds a run with other settings."""


class TuneError(BenchError):
    """A search for settings cannot run as asked: no such budget, or another search's folder."""


class TransformersError(PruneError, ImportError):
    """The installed transformers lacks something pruning builds on."""


class MissingExtra(PruneError, ImportError):
    """An optional dependency is not installed."""


class PruneWarning(UserWarning):
    """Something a user should know, and that did not stop the run."""
