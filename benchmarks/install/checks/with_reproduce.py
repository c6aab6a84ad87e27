"""Two drawn questions in a published benchmark's layout are asked, and the page is made."""

import subprocess
from pathlib import Path

asked = "transprune reproduce table1 --smoke --row unpruned --benchmark pope --limit 2 --out made"
subprocess.run(asked.split(), check=True, capture_output=True)
assert list(Path("made").rglob("*.html"))
