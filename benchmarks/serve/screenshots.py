"""Pictures of the page at `/` for docs/serve.md, taken in the system's chromium.

    python -m benchmarks.serve.screenshots [--folder docs]

Starts the server on the bundled model, asks a question of the demo on a desktop in the light scheme
and on a phone in the dark one, and writes `serve-page.png` and `serve-page-phone.png`.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from .launch import Running, serving

COLORS = 128  # of a palette: a tenth of the bytes
BUDGET = 41  # percent
METHOD = "transprune-nano"

# file -> width, height, color scheme
SCREENS = {
    "serve-page.png": (1280, 900, "light"),
    "serve-page-phone.png": (390, 844, "dark"),
}


def ask(page: Any) -> None:
    """Ask a question whose answer needs a small part of the picture, twice: a first run is slower."""
    page.get_by_role("button", name="Example 2").click()
    page.get_by_label("Method").select_option(METHOD)
    page.get_by_label("Budget").fill(str(BUDGET))
    for _ in range(2):
        page.evaluate("document.getElementById('status').textContent = ''")
        page.get_by_role("button", name="Ask both").click()
        page.get_by_role("status").filter(has_text="Done.").wait_for()


def take(browser: Any, server: Running, file: Path) -> None:
    """One picture of the whole page."""
    width, height, scheme = SCREENS[file.name]
    size = {"width": width, "height": height}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(server.address)
    ask(page)
    shot = page.screenshot(full_page=True)
    page.close()

    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(COLORS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve.screenshots")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    args = parser.parse_args()

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium on this machine; apt-get install chromium")
    with serving("--threads", "1") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in SCREENS:
            take(browser, server, args.folder / name)
        browser.close()


if __name__ == "__main__":
    main()
