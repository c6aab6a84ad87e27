"""What a family reads of its vision tower, for methods that announce signals of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.capture import TapPoints, VisionCapture, VisionRows


class VisionReader(ABC):
    """Where the vision tower is tapped, and what the taps captured means.

    The functions share arguments: `base` is the module that merges features, and `capture` is what
    was captured of one call of the vision tower.

    Attributes:
        title: the family's name for people.
    """

    title: ClassVar[str] = ""

    @abstractmethod
    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """Where to tap the vision tower for these signals (`transprune.core.signals`)."""

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Small tensors of a call of the tower that the functions below need on the host.

        They are copied together, and are then in `capture.on_host`.
        """
        return {}

    def candidate_rows(self, base: Any, capture: VisionCapture) -> Tensor:
        """Rows of one call of the tower that may become visual tokens. [R, D].

        The projector's rows, unless a model makes tokens of them behind it (LLaVA-OneVision).
        `vision_rows` and `vision_signal` describe these rows, in this order.
        """
        assert capture.rows is not None
        return capture.rows

    def crop_looks(self, base: Any, capture: VisionCapture) -> Tensor | None:
        """A small picture of each input of the tower, [C, channels, n, n] fp32.

        From these the runtime tells how the tiles of a picture lie where their order does not
        (`families.tilings.IN_A_ROW`); None in families that need none.
        """
        return None

    @abstractmethod
    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Where the projector rows come from, of one call of the tower."""

    @abstractmethod
    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """One signal per projector row, [R] or [R, d]; whole numbers on the host."""

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """Features [rows * columns, D] of one crop's picture, resized to a smaller grid.

        Raises:
            MissingSignal: a tower that takes pictures of one size, or needs more than pixels.
        """
        raise MissingSignal(
            f"{self.title} cannot encode a picture at another size; use 'pool' as a control here"
        )
