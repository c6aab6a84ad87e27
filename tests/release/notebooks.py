"""The notebooks, executed. Their outputs are real and stand in the files:

    PYTHONPATH=tests python -m release.notebooks        # make notebooks

executes all of them and writes the outputs in place; a test executes them again and compares.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("quick_start", "add_a_method", "cost_against_quality")
SECONDS = 400  # that a cell may take where tests share the cores

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # so that sums have one order
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # a progress bar that would like widgets
}
# files in place of open ports
CONFIG = Config({"KernelManager": {"transport": "ipc"}})


def read(name: str) -> nbformat.NotebookNode:
    """A notebook as it stands."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def execute(name: str) -> nbformat.NotebookNode:
    """A notebook with the outputs it has now, and nothing that differs from run to run."""
    notebook = read(name)
    options = {"timeout": SECONDS, "kernel_name": "python3", "record_timing": False}
    # lines of one cell arrive in pieces that depend on the machine
    options["coalesce_streams"] = True
    client = NotebookClient(notebook, config=CONFIG, **options)
    client.execute(env={**os.environ, **ENVIRONMENT})

    # the version of Python, and the like: a matter of the machine
    notebook.metadata.pop("language_info", None)
    for output in (output for cell in outputs(notebook) for output in cell):
        # a picture is offered as PNG and as JPEG
        output.get("data", {}).pop("image/jpeg", None)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[list[nbformat.NotebookNode]]:
    """The outputs of each code cell."""
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def text_of(output: nbformat.NotebookNode) -> str:
    """What an output says; that of a picture is its kind."""
    if output.output_type == "stream":
        return str(output.text)
    data = output.get("data", {})
    return "picture" if "image/png" in data else str(data.get("text/plain", output.output_type))


def main() -> None:
    """Execute all of them in place."""
    for name in NAMES:
        notebook = execute(name)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print(f"{name}.ipynb", flush=True)


if __name__ == "__main__":
    main()
