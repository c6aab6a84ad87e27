"""Pruning as an argument of transformers' pipeline for pictures and text.

    import transprune.integrations.pipeline  # registers it, once per process
    from transformers import pipeline

    pipe = pipeline("image-text-to-text", model="llava-hf/llava-1.5-7b-hf", pruning="transprune-high")
    pipe(text=messages, max_new_tokens=64)
    print(pipe.session.trace)

The task keeps its name and every other argument. A pipeline without `pruning` is transformers' own.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

from transformers import ImageTextToTextPipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from transprune.errors import MethodError, SessionError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import resolve
from transprune.session import Session, prune

TASK = "image-text-to-text"

Pruning = Method | str | os.PathLike[str] | None


class PrunedPipeline(ImageTextToTextPipeline):
    """transformers' `ImageTextToTextPipeline` with two more arguments, at construction or per call.

    Args of both:
        pruning: what `transprune.prune` takes as its method: a Method, a preset or recipe text, a
            recipe file, folder or hub repository. None runs the model as it is, also in a call of
            a pipeline that was made with a method.
        pruning_options: keyword arguments of `transprune.prune`, as `{"pool": "image"}`.

    Hooks are on the model only while it generates.

    Raises:
        UnknownMethod, RecipeError, ScheduleError, MethodError: the method, or its fit to this
            depth; when the pipeline is made, not in its first call.
        UnknownFamily, MissingSignal: the model.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sessions: dict[tuple[Any, ...], Session] = {}
        self._latest: Session | None = None
        super().__init__(*args, **kwargs)

    @property
    def session(self) -> Session:
        """The session of the last call that pruned; its `trace` says what was kept.

        Raises:
            SessionError: no call has pruned yet.
        """
        if self._latest is None:
            raise SessionError("nothing was pruned yet: give the pipeline pruning=..., and call it")
        return self._latest

    def _sanitize_parameters(self, **kwargs: Any) -> Any:
        """Split the arguments of a call among the steps of the pipeline.

        The pipeline calls this with its own arguments when it is made, so a method that does not
        fit is refused there.
        """
        ours = {}
        if "pruning" in kwargs:
            options = kwargs.pop("pruning_options", None)
            ours["session"] = self._session_of(kwargs.pop("pruning"), options)
        elif "pruning_options" in kwargs:
            raise MethodError("pruning_options says how pruning=... runs; give both in one place")

        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        return preprocess, {**forward, **ours}, postprocess

    def _session_of(self, pruning: Pruning, options: dict[str, Any] | None) -> Session | None:
        """The session of a method, made once."""
        if pruning is None:
            return None

        method = resolve(pruning)
        settings = options or {}
        # a session per setting, kept for the calls to come
        key = (method, *sorted((name, repr(value)) for name, value in settings.items()))
        if key not in self._sessions:
            self._sessions[key] = prune(self.model, method, **settings)
        return self._sessions[key]

    def _forward(self, model_inputs: Any, session: Session | None = None, **parameters: Any) -> Any:
        with session or nullcontext():
            output = super()._forward(model_inputs, **parameters)
        self._latest = session or self._latest
        return output


def register() -> None:
    """Make `pipeline("image-text-to-text", ...)` take `pruning`. Harmless when done before."""
    entry = PIPELINE_REGISTRY.supported_tasks[TASK]
    if entry["impl"] is PrunedPipeline:
        return

    # the registry warns that the task has a pipeline already, which is what is meant here
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=PrunedPipeline,
            pt_model=entry["pt"],
            default=entry.get("default"),
            type=entry["type"],
        )
    finally:
        logging.set_verbosity(level)


register()
