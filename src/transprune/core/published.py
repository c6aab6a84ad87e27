"""Schedules of the TransPrune paper (Li et al., CVPR 2026, https://arxiv.org/abs/2507.20630).

Methods and cost tables share them, so this module needs no torch.
"""

from __future__ import annotations

from transprune.core.schedule import Schedule

# The two budgets of the supplement, section B, written for LLaVA-1.5-7B with 32 layers.
HIGH = Schedule({7: 0.875, 9: 0.625, 12: 0.125}, depth=32)
LOW = Schedule({7: 0.625, 9: 0.1875, 12: 0.0625}, depth=32)

# Behind VisionZip or CDPruner. The paper does not print it: it is inferred from the cost in Tables
# 4 and 5, which neither High nor Low gives.
COMBINED = Schedule({7: 0.5, 9: 0.25, 12: 0.125}, depth=32)
