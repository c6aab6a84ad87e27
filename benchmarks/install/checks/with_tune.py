"""A search of two trials, and its recipe."""

import subprocess
from pathlib import Path

search = "transprune tune --budget 0.4 --out found --trials 2 --n 3 --batch-size 9 --threads 1"
subprocess.run(search.split(), check=True, capture_output=True)
assert Path("found/pruning_config.json").is_file()
assert Path("found/front.png").is_file()
