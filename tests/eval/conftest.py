"""Only where lmms-eval is installed: `make test-eval`."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = (
    []
    if find_spec("lmms_eval")
    else ["test_lmms_eval.py", "test_metrics.py", "test_tasks.py", "test_engine.py"]
)
