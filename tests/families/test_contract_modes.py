"""Every family in every mode of `generate` and of training: pruned, it is still its replay, or refused with the reason.

The modes are the functions of `modes/`. What is refused, and in which words, stands in `refusals.py`.
"""

from __future__ import annotations

import pytest

from families.cases import MODELS
from families.contract import Beside, case_of, declared, products
from families.modes import caches, generation, training, turns, wrapped
from families.modes.common import MODES

# importing them fills the table; in the order of docs/support.md
TABLES = (generation, turns, caches, training, wrapped)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.*:FutureWarning")  # peft's own
@pytest.mark.filterwarnings("ignore:.*flex_attention:UserWarning", "ignore:_compile flag")
@pytest.mark.filterwarnings("ignore:Passing `generation_config`")  # of assisted decoding
@pytest.mark.parametrize(
    ("name", "mode"), products(lambda name, mode: False, list(MODELS), list(MODES))
)
def test_a_mode_is_the_replay(zoo, record_property, name, mode):
    case_of(name)
    with declared(record_property, name, "mode", mode, "sdpa"):
        MODES[mode](Beside(zoo, name, "sdpa"))
