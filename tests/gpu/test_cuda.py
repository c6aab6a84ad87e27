"""The core proof again on a CUDA device."""

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import PLACES, Forced, draw_keeps, reference
from transprune import Compose, FastV, TransPrune, VisionZip, prune

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def exact_matmul():
    """No TF32: the oracle is met to float32 rounding."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def on_gpu(inputs, dtype=torch.float32):
    return {
        key: (t.to(dtype) if t.is_floating_point() else t).to("cuda") for key, t in inputs.items()
    }


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_pruned_equals_the_oracle(zoo, family, attn, kind, places):
    case = FAMILIES[family]
    model, samples = zoo.fresh(family, attn).cuda(), getattr(case, kind)()
    keeps = [draw_keeps(sample, places) for sample in samples]
    with prune(model, Forced.of(samples, keeps)):
        run = greedy(model, on_gpu(case.batch(samples)))
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = reference(model, on_gpu(case.batch([sample])), keep, run.sequences[row, -9:-1])[
            -9:
        ]
        torch.testing.assert_close(torch.stack(run.logits, dim=1)[row], expected, atol=5e-5, rtol=0)


def test_keeping_everything_changes_not_a_bit(zoo, family, attn):
    model, samples = zoo.fresh(family, attn).cuda(), FAMILIES[family].ragged()
    inputs = on_gpu(FAMILIES[family].batch(samples))
    plain = greedy(model, inputs)
    with prune(model, Forced.everything(samples, (2, 4))):
        kept = greedy(model, inputs)
    assert all(torch.equal(a, b) for a, b in zip(kept.logits, plain.logits, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_the_oracle(zoo, family, attn, dtype):
    case = FAMILIES[family]
    model, sample = zoo.fresh(family, attn).to(dtype).cuda(), case.even()[0]
    keep = draw_keeps(sample, PLACES[0])
    with prune(model, Forced.of([sample], [keep])):
        run = greedy(model, on_gpu(case.batch([sample]), dtype))
    expected = reference(model, on_gpu(case.batch([sample]), dtype), keep, run.sequences[0, -9:-1])[
        -9:
    ].float()
    error = (torch.stack(run.logits, dim=1)[0].float() - expected).abs().max()
    assert float(error) < 0.1 * float(expected.abs().max())


def test_real_methods_keep_the_same_tokens_as_on_the_cpu(zoo, family, attn):
    method = Compose([VisionZip(0.7), FastV(layer=2, keep_ratio=0.7), TransPrune({4: 0.7, 6: 0.4})])
    inputs = FAMILIES[family].batch(FAMILIES[family].ragged())
    kept = []
    for model, given in (
        (zoo(family, attn), inputs),
        (zoo.fresh(family, attn).cuda(), on_gpu(inputs)),
    ):
        with prune(model, method) as session:
            greedy(model, given, steps=2)
        kept.append([[keep.tolist() for keep in stage.keep] for stage in session.trace.stages])
    assert kept[0] == kept[1]
