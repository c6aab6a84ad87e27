"""Make an SVG of matplotlib small, and fit for being part of a page.

Text stays text, in the font of the page. Colours become variables of the page's style sheet, so
one drawing serves light, dark and print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

# DejaVu Sans is as wide as Verdana and wider than other sans-serif fonts, so text that fits in it
# fits in the reader's font
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,  # a dollar in a name is a dollar
}

_OPENING = re.compile(r"<svg\b[^>]*>")
_VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
# comments, provenance, and a style that would apply to the whole page
_REMOVED = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_IDS = re.compile(r'(<(?:g|image|text)\b[^>]*?) id="[^"]*"')  # nothing refers to these
_TAG = re.compile(r"<[^>]+>")
_LONG_NUMBER = re.compile(r"(\d\.\d{3})\d+")
_FONT = re.compile(r"font: ((?:\d+ |bold )?)([\d.]+px) [^;\"]*")
_SPACE = re.compile(r"\s*\n\s*")


def tidy(text: str, alt: str, colors: Mapping[str, str]) -> str:
    """The `<svg>` element of a document that matplotlib wrote.

    Args:
        text: the document, with text as text (`SETTINGS`).
        alt: what it shows, in words.
        colors: name of a variable -> colour as `#rrggbb`, which becomes `var(--name)`.
    """
    opening = _OPENING.search(text)
    view = _VIEW.search(text)
    assert opening is not None
    assert view is not None

    body = _REMOVED.sub("", text[opening.end() :])
    body = _IDS.sub(r"\1", body)
    body = _TAG.sub(lambda tag: _shorten(tag.group(), colors), body)
    body = _SPACE.sub("\n", body).strip()

    width, height = view.groups()
    # without a width of its own it takes that of the column
    return f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width} {height}">{body}'


def color_rules(light: Mapping[str, str], dark: Mapping[str, str]) -> str:
    """The variables of both themes as CSS; print is light."""
    return (
        f":root {{ {_declare(light)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_declare(dark)} }} }}"
    )


def _declare(colors: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def _shorten(tag: str, colors: Mapping[str, str]) -> str:
    """One tag with shorter numbers and fonts, and with variables for colours."""
    if tag.startswith("<image"):
        # its pixels are text of several kilobytes, in which there is nothing to replace
        head, pixels, tail = tag.partition('xlink:href="')
        return _LONG_NUMBER.sub(r"\1", head) + pixels + tail

    tag = _LONG_NUMBER.sub(r"\1", tag)
    tag = _FONT.sub(_short_font, tag)
    for name, color in colors.items():
        tag = tag.replace(color, f"var(--{name})")
    return tag


def _short_font(found: re.Match[str]) -> str:
    """Size and weight only: the family is the page's."""
    weight, size = found.groups()
    if not weight:
        return f"font-size: {size}"
    return f"font-size: {size}; font-weight: {weight.strip()}"
