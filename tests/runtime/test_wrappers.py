"""Models that others have wrapped: LoRA adapters, layers moved in and out by accelerate, bfloat16."""

import accelerate
import pytest
import torch
from peft import LoraConfig, get_peft_model

from families.cases import FAMILIES, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps, reference
from transprune import Compose, FastV, TransPrune, prune
from transprune.core.library import cache_of_output

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing.*:FutureWarning"
)  # peft's own

SCORING = Compose([FastV(layer=2, keep_ratio=0.7), TransPrune({3: 0.8, 5: 0.4})])
TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|down_proj)"


def with_lora(model):
    wrapped = get_peft_model(
        model, LoraConfig(r=4, target_modules=TARGETS, lora_dropout=0.0)
    ).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2, generator=generator)
    return wrapped


def kept(model, inputs, method=SCORING):
    with torch.no_grad(), prune(model, method) as session:
        logits = model(**inputs).logits
    return [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages], logits


@pytest.mark.parametrize("places", PLACES, ids=str)
def test_lora_equals_the_oracle(zoo, family, attn, samples, inputs, places):
    model = with_lora(zoo.fresh(family, attn))
    keeps = [draw_keeps(sample, places) for sample in samples]
    with prune(model, Forced.of(samples, keeps)):
        run = greedy(model, inputs)
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        alone = FAMILIES[family].batch([sample])
        expected = reference(model.get_base_model(), alone, keep, run.sequences[row, -9:-1])[-9:]
        torch.testing.assert_close(
            torch.stack(run.logits, dim=1)[row], expected, atol=TOLERANCE, rtol=0
        )


def test_lora_changes_what_a_method_reads_as_merging_it_does(zoo, family, attn, inputs):
    """Scores come from the adapted projections, not from the base weights."""
    wrapped = with_lora(zoo.fresh(family, attn))
    adapted, adapted_logits = kept(wrapped, inputs)
    merged, merged_logits = kept(wrapped.merge_and_unload(), inputs)
    plain, _ = kept(zoo(family, attn), inputs)
    assert adapted == merged
    assert adapted != plain
    torch.testing.assert_close(adapted_logits[:, -1], merged_logits[:, -1], atol=5e-5, rtol=0)


def test_a_wrapper_and_its_base_are_one_model(zoo, family):
    base = zoo.fresh(family)
    wrapped = with_lora(base)
    with prune(wrapped, SCORING), pytest.raises(RuntimeError, match="pruned already"):
        prune(base, SCORING).attach()


@pytest.mark.parametrize("order", ["offload, then prune", "prune, then offload"])
def test_layers_that_accelerate_moves_in_and_out(zoo, family, inputs, order):
    expected, expected_logits = kept(zoo(family, "sdpa"), inputs)
    model = zoo.fresh(family, "sdpa")
    session = prune(model, SCORING)
    if order == "prune, then offload":
        session.attach()
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    session.attached or session.attach()
    with torch.no_grad():
        logits = model(**inputs).logits
    session.detach()
    assert [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages] == expected
    torch.testing.assert_close(logits, expected_logits, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_keeps_its_dtype(zoo, family, attn, samples, inputs, dtype):
    model = zoo.fresh(family, attn).to(dtype)
    inputs = {key: t.to(dtype) if t.is_floating_point() else t for key, t in inputs.items()}
    with prune(model, SCORING) as session:
        run = greedy(model, inputs, steps=3)
    layers = cache_of_output(run).layers
    assert all(layer.keys.dtype == dtype for layer in layers)
    assert torch.stack(run.logits).isfinite().all()
    stored = sum(
        t.numel() * t.element_size() for layer in layers for t in (layer.keys, layer.values)
    )
    per_entry = stored // sum(layer.keys.shape[-2] for layer in layers)
    assert session.trace.kv_bytes == per_entry * sum(session.trace.kv_lengths)
