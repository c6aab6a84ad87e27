"""The system's own chromium for tests of pages, and WCAG's contrast. No browser is ever downloaded."""

from __future__ import annotations

import re
import shutil

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
NONE = "no chromium on this machine; apt-get install chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, WCAG 2.2."""
    total = 0.0
    for channel, weight in zip(re.findall(r"\d+", color), (0.2126, 0.7152, 0.0722), strict=False):
        value = int(channel) / 255
        # the inverse of the sRGB transfer curve
        linear = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        total += weight * linear
    return total


def contrast(one: float, other: float) -> float:
    """Contrast ratio of two luminances, WCAG 2.2."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
