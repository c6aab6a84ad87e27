"""How lmms-eval finds transprune: the entry point `lmms_eval.models`."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The manifest of the model `transprune`, for chat tasks and for simple ones."""
    from lmms_eval.models.registry_v2 import ModelManifest

    module = "transprune.integrations.lmms_eval"
    return ModelManifest(
        model_id="transprune",
        chat_class_path=f"{module}.TransPruneChat",
        simple_class_path=f"{module}.TransPruneSimple",
    )
