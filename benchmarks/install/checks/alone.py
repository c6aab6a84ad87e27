"""The wheel alone: the demo, far from the clone; and no model of a hub."""

import json
import subprocess
from pathlib import Path

told = subprocess.run(
    ["transprune", "demo", "--out", "pictures", "--json"],
    capture_output=True,
    text=True,
    check=True,
)
result = json.loads(told.stdout)
rows = {row["method"]: row for row in result["methods"]}

assert len(result["questions"]) == 24
assert rows["unpruned"]["right"] >= 22, rows["unpruned"]
assert rows["transprune-high"]["exact_share"] < 0.6, rows["transprune-high"]
assert len(list(Path("pictures").glob("*.png"))) == 7
