"""A benchmark run of two scenes, and its page."""

import subprocess
from pathlib import Path

bench = "transprune bench --out run --n 2 --no-bill --budgets own --methods fastv --threads 1"
subprocess.run(bench.split(), check=True, capture_output=True)
subprocess.run(["transprune", "report", "run", "--out", "page"], check=True, capture_output=True)

assert "fastv" in next(Path("page").glob("*.html")).read_text(encoding="utf-8")
