"""Which row is what: prompts written as strings, one letter per slot.

`t` text, `v` a visual token, `w` one of the next image, `.` padding.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from transprune.core.layout import Layout, gather_rows
from transprune.core.prompt import PromptTable
from transprune.core.rows import Rows, number

CPU = torch.device("cpu")


def layout_of(*prompts: str) -> Layout:
    visual = np.array([[slot in "vw" for slot in prompt] for prompt in prompts])
    valid = np.array([[slot != "." for slot in prompt] for prompt in prompts])
    image = np.array([[{"v": 0, "w": 1}.get(slot, -1) for slot in prompt] for prompt in prompts])
    return Layout.of_prompt(PromptTable(visual, valid, image, CPU))


def slots(flags: Tensor | np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in np.asarray(flags)]


def instruction(layout: Layout) -> list[list[int]]:
    return [listed(layout.instruction_rows(sample)) for sample in range(layout.batch)]


def listed(rows: Rows) -> list[int]:
    return number(rows, CPU).tolist()


def drop(layout: Layout, *rows: list[int]) -> tuple[Tensor, Layout]:
    """The layout without these rows, which are visual."""
    stay = layout.valid.clone()
    for sample, dropped in enumerate(rows):
        stay[sample, dropped] = False
    gone = [len(dropped) for dropped in rows]
    kept = tuple(n - m for n, m in zip(layout.lengths, gone, strict=True))
    visual = tuple(n - m for n, m in zip(layout.visual_counts, gone, strict=True))
    return layout.survivors(stay, kept, visual)


def test_a_plain_prompt() -> None:
    layout = layout_of("ttvvvttt")
    assert slots(layout.visual) == [[2, 3, 4]]
    assert instruction(layout) == [[5, 6, 7]]
    assert layout.origin.tolist() == [list(range(8))]
    assert layout.token.tolist() == [[-1, -1, 0, 1, 2, -1, -1, -1]]
    assert layout.image.tolist() == [[-1, -1, 0, 0, 0, -1, -1, -1]]
    assert (layout.batch, layout.rows_total, layout.dense) == (1, 8, True)
    assert (layout.lengths, layout.visual_counts) == ((8,), (3,))
    assert (layout.text_counts, layout.prompt.instruction_counts) == ((5,), (3,))


def test_the_instruction_starts_after_the_last_visual_token_of_each_sample() -> None:
    layout = layout_of("tvvtttt", "tvvvvvt", "vtvtvtt")
    assert instruction(layout) == [[3, 4, 5, 6], [6], [5, 6]]


def test_without_instruction_the_last_token_stands_in() -> None:
    layout = layout_of("ttvvv", "tvvtt", "tvv..", "..tvv")
    assert instruction(layout) == [[4], [3, 4], [2], [4]]
    assert layout.visual[0, 4], "the stand-in is a visual token here"


def test_without_image_all_text_is_instruction() -> None:
    layout = layout_of("ttt.", ".ttt")
    assert instruction(layout) == [[0, 1, 2], [1, 2, 3]]
    assert layout.visual_counts == (0, 0)


def test_left_and_right_padding() -> None:
    layout = layout_of("..tvvt", "tvvt..", "tvvttt")
    assert slots(layout.valid) == [[2, 3, 4, 5], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert slots(layout.visual) == [[3, 4], [1, 2], [1, 2]]
    assert instruction(layout) == [[5], [3], [3, 4, 5]]
    assert layout.lengths == (4, 4, 6)
    assert not layout.dense
    assert [listed(layout.rows(sample)) for sample in range(3)] == slots(layout.valid)
    assert [listed(layout.visual_rows(sample)) for sample in range(3)] == slots(layout.visual)


def test_a_masked_visual_slot_is_padding() -> None:
    seen, valid = np.array([[False, True, False]]), np.array([[False, True, True]])
    layout = Layout.of_prompt(PromptTable(seen, valid, np.zeros((1, 3), dtype=np.int64), CPU))
    assert slots(layout.visual) == [[1]]
    assert layout.token.tolist() == [[-1, 0, -1]]
    assert layout.image.tolist() == [[-1, 0, -1]]


def test_tokens_are_numbered_through_all_images_of_a_sample() -> None:
    layout = layout_of("tvvtwwt", "tttvtww")
    assert layout.token.tolist() == [[-1, 0, 1, -1, 2, 3, -1], [-1, -1, -1, 0, -1, 1, 2]]
    assert layout.image.tolist() == [[-1, 0, 0, -1, 1, 1, -1], [-1, -1, -1, 0, -1, 1, 1]]
    assert instruction(layout) == [[6], [6]]


def test_survivors_of_an_even_batch() -> None:
    index, after = drop(layout_of("tvvvtt", "ttvvvt"), [1, 3], [2, 3])
    assert index.tolist() == [[0, 2, 4, 5], [0, 1, 4, 5]]
    assert after.dense
    assert after.origin.tolist() == index.tolist()
    assert after.token.tolist() == [[-1, 1, -1, -1], [-1, -1, 2, -1]]
    assert slots(after.visual) == [[1], [2]]
    assert instruction(after) == [[2, 3], [3]]
    assert (after.lengths, after.visual_counts) == ((4, 4), (1, 1))


def test_survivors_of_a_ragged_batch_have_fillers_on_the_left() -> None:
    before = layout_of("tvvvtt", "tvvvvt")
    index, after = drop(before, [2], [1, 2, 3])
    assert index.shape == (2, 5)
    assert index[0].tolist() == [0, 1, 3, 4, 5]
    assert index[1, 2:].tolist() == [0, 4, 5]
    assert set(index[1, :2].tolist()) <= {1, 2, 3}, "a filler points at a row that was dropped"
    assert slots(after.valid) == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert after.token.tolist() == [[-1, 0, 2, -1, -1], [-1, -1, -1, 3, -1]]
    assert after.image.tolist() == [[-1, 0, 0, -1, -1], [-1, -1, -1, 0, -1]]
    assert slots(after.visual) == [[1, 2], [3]]
    assert instruction(after) == [[3, 4], [4]]
    assert (after.lengths, after.visual_counts, after.text_counts) == ((5, 3), (2, 1), (3, 2))


def test_padding_goes_and_the_newest_token_stays_last() -> None:
    before = layout_of("tvvvt..", "..tvvvt", "ttvvvtt")
    index, after = drop(before, [1], [3, 4], [2, 3, 4])
    assert after.lengths == (4, 3, 4)
    assert index.shape == (3, 4)
    assert index.tolist()[0] == [0, 2, 3, 4]
    assert index.tolist()[1][1:] == [2, 5, 6]
    assert index.tolist()[2] == [0, 1, 5, 6]
    assert [after.origin[sample, -1].item() for sample in range(3)] == [4, 6, 6]
    assert index.tolist()[1][0] in {0, 1, 3, 4}, "a filler points at padding or at a dropped row"


def test_nested_prunes_keep_the_first_numbering() -> None:
    first = layout_of("tvvvvtt", "tvvvvvt")
    _, second = drop(first, [2], [1, 3, 4])  # sample 1 keeps 2 and 5 behind two fillers
    assert second.lengths == (6, 4)
    assert listed(second.visual_rows(0)) == [1, 2, 3]
    assert listed(second.visual_rows(1)) == [3, 4]
    index, third = drop(second, [1, 2], [4])
    assert third.lengths == (4, 3)
    assert [third.token[s, third.visual_rows(s)].tolist() for s in range(2)] == [[3], [1]]
    assert [third.origin[s, third.rows(s)].tolist() for s in range(2)] == [[0, 4, 5, 6], [0, 2, 6]]
    filler = third.origin[1, 0].item()
    assert filler in {1, 3, 4, 5}, "the slot of a filler is one that nobody kept"
    assert index[:, -1].tolist() == [5, 5]


def test_nothing_dropped_is_the_same_layout() -> None:
    before = layout_of("tvvtt", "ttvvt")
    index, after = drop(before, [], [])
    assert index.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert (after.lengths, after.visual_counts) == (before.lengths, before.visual_counts)
    for name in ("origin", "valid", "visual", "token", "image"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_take_leaves_the_old_layout_alone() -> None:
    before = layout_of("tvvvt")
    drop(before, [1, 2])
    assert slots(before.visual) == [[1, 2, 3]]
    assert before.lengths == (5,)


@pytest.mark.parametrize("seed", range(20))
def test_survivors_against_plain_lists(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def rand(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    length, prompts = 14, []
    for _ in range(3):
        body = "".join("vt"[rand(2)] for _ in range(6 + rand(7))) + "t"
        left = rand(length - len(body) + 1)
        prompts.append("." * left + body + "." * (length - left - len(body)))
    layout = layout_of(*prompts)
    kept = [[slot for slot, letter in enumerate(prompt) if letter != "."] for prompt in prompts]
    for _ in range(2):  # prune twice, by slots of the prompt
        dropped = []
        for sample, prompt in enumerate(prompts):
            visual = [slot for slot in kept[sample] if prompt[slot] == "v"]
            gone = [slot for slot in visual if rand(2)]
            rows = [
                row
                for row in listed(layout.rows(sample))
                if layout.origin[sample, row].item() in gone
            ]
            assert len(rows) == len(gone)
            dropped.append(rows)
            kept[sample] = [slot for slot in kept[sample] if slot not in gone]
        _, layout = drop(layout, *dropped)
        assert layout.rows_total == max(map(len, kept))
        for sample, prompt in enumerate(prompts):
            rows = layout.rows(sample)
            assert layout.origin[sample, rows].tolist() == kept[sample]
            assert listed(rows) == list(
                range(layout.rows_total - len(kept[sample]), layout.rows_total)
            )
            numbers = [
                prompt[:slot].count("v") if prompt[slot] == "v" else -1 for slot in kept[sample]
            ]
            assert layout.token[sample, rows].tolist() == numbers
            fillers = layout.origin[sample, ~layout.valid[sample]].tolist()
            assert not set(fillers) & set(kept[sample])
            assert layout.lengths[sample] == len(kept[sample])
            assert layout.visual_counts[sample] == len([n for n in numbers if n >= 0])


def test_gather_rows() -> None:
    rows = torch.arange(12.0).reshape(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 1]])
    assert gather_rows(rows, index).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_gather_rows_shared_by_the_batch() -> None:
    """cos and sin come as [1, L, D] however large the batch is."""
    shared = torch.arange(6.0).reshape(1, 3, 2)
    assert gather_rows(shared, torch.tensor([[2, 0], [1, 2]])).tolist() == [
        [[4, 5], [0, 1]],
        [[2, 3], [4, 5]],
    ]
    assert gather_rows(shared, torch.tensor([[2, 0]])).tolist() == [[[4, 5], [0, 1]]]
