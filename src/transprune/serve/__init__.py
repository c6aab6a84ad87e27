"""`transprune serve`: an OpenAI-compatible endpoint with pruning for each request, and a page.

A request passes `guard` (tokens), `admission` (how many), `body`, `request` (fields), `prepare`
(pictures and prompt), `scheduler` (batches) and `runner` (the model), and comes back as `responses`
through `app`. `budgets` scales its method, `kept` says what stayed, `page_files` has the page that
shows both. The modules need the `serve` extra; importing this one does not.
"""

from __future__ import annotations

from importlib.util import find_spec

from transprune.errors import MissingExtra

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "openai", "httpx2")


def check_installed() -> None:
    """Raise MissingExtra unless everything that a server needs is installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"serving needs {', '.join(missing)}: pip install 'transprune[serve]'")
