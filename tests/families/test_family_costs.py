"""What a run of each family cost is what its configuration alone says beforehand."""

import warnings

import pytest
import torch

from families.cases import MODELS, build
from families.contract import case_of
from transprune import FastV, Geometry, TransPrune, prune
from transprune.cost import count_method
from transprune.errors import MissingSignal

METHODS = [FastV(layer=1, keep_ratio=0.5), TransPrune({2: 0.6, 4: 0.3})]


@pytest.mark.parametrize("name", MODELS)
def test_the_run_costs_what_was_counted(name):
    case = case_of(name)
    model = build(case).eval()
    inputs = case.batch(case.even()[:1])
    geometry = Geometry.from_config(model.config)

    for method in METHODS:
        try:
            session = prune(model, method)
        except MissingSignal:  # no attention that can be read
            continue
        with warnings.catch_warnings(), session, torch.no_grad():
            warnings.simplefilter("ignore", UserWarning)
            model(**inputs)
        trace = session.trace
        for convention in ("paper", "exact"):
            counted = count_method(
                geometry,
                method,
                trace.visual_tokens[0],
                trace.text_tokens[0],
                convention,
                instruction=trace.instruction_tokens[0],
                dtype_bytes=4,
            )
            assert trace.cost(convention) == counted
        # layers with a window may forget older keys, which is not counted
        windows = getattr(model.config.get_text_config(), "sliding_window", None)
        assert trace.kv_bytes == counted.kv_bytes or (windows and trace.kv_bytes < counted.kv_bytes)
