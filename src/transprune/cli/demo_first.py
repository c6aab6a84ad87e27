"""What `transprune demo` prints first: one question, the patches that stay, and what that saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transprune.cli.units import percent

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from transprune.demo import FirstLook

KEPT = "██"
DROPPED = " ·"


def first_look(first: FirstLook) -> Table:
    """The kept patches on the left; question, answers and savings on the right."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(_patches(first), Text("\n".join(_story(first))))
    return grid


def _patches(first: FirstLook) -> Text:
    """The grid of the picture: a block in the patch's colour where it stays to the end."""
    from rich.text import Text

    colors = _colors(first)
    kept = set(first.kept)
    text = Text()
    for token in range(first.rows * first.columns):
        if token in kept:
            red, green, blue = colors[token]
            text.append(KEPT, style=f"rgb({red},{green},{blue})")
        else:
            text.append(DROPPED, style="dim")
        if token % first.columns == first.columns - 1:
            text.append("\n")

    return text


def _colors(first: FirstLook) -> list[tuple[int, int, int]]:
    """The mean colour of each patch."""
    import numpy as np
    from PIL import Image

    from transprune.demo.questions import picture_file
    from transprune.models.images import open_image

    picture = open_image(picture_file(first.question.picture))
    small = picture.convert("RGB").resize((first.columns, first.rows), Image.Resampling.BOX)
    colors = np.asarray(small).reshape(-1, 3)  # [rows * columns, 3]
    return [(int(red), int(green), int(blue)) for red, green, blue in colors]


def _story(first: FirstLook) -> list[str]:
    """The lines beside the grid."""
    total = first.tokens[0]
    verdict = "The same answer" if first.same_answer else "Another answer"

    return [
        f"{first.question.picture}: {first.question.question}",
        "",
        f"The model cuts the picture into {total} patches (visual tokens). Few of them "
        "matter for the question; the others cost time and memory in every layer.",
        "",
        f"unpruned: {total} tokens; answer: {first.unpruned}",
        f"{first.method}: {_count_down(first)} tokens; answer: {first.pruned}",
        "",
        f"{verdict} with {percent(first.exact_share)} of the work and "
        f"{percent(first.kv_share)} of the memory.",
        "",
        f"On the left: the {first.tokens[-1]} that stay to the end.",
    ]


def _count_down(first: FirstLook) -> str:
    """`81, then 24`: the tokens that are left, step by step."""
    return ", then ".join(map(str, first.tokens[1:]))
