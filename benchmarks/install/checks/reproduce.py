"""The tables are listed, and one that is only counted is made."""

import subprocess
from pathlib import Path

listed = subprocess.run(
    ["transprune", "reproduce", "--list"], check=True, capture_output=True, text=True
)
assert "table1" in listed.stdout

made = "transprune reproduce table8 --smoke --out made --limit 2"
subprocess.run(made.split(), check=True, capture_output=True)
assert list(Path("made").rglob("*.html"))
