"""The base class of methods: what a plugin written for 0.1.0 is told."""

from typing import ClassVar

import pytest

from transprune.errors import MethodError
from transprune.methods.common.projector import KeepPruner


def test_a_name_of_0_1_is_an_error_and_not_ignored() -> None:
    with pytest.raises(
        MethodError,
        match=r"Old uses names.*deviates is now differs_from_code, readings is now reads_at",
    ):

        class Old(KeepPruner):
            deviates: ClassVar[str] = "somewhere"

            def readings(self, num_layers):
                return ()
