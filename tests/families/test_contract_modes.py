"""Every family in every mode of `generate` and of training: pruned, it is still its replay, or refused with the reason.

Each mode is a function of a model beside its replay. What is refused, and in which words, stands in `refusals.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, QuantizedCache

from families.case import SPECIAL, Sample
from families.cases import MODELS, greedy
from families.contract import (
    PLACES,
    Beside,
    apart,
    case_of,
    declared,
    forced,
    products,
)
from reference import Forced, draw_keeps
from replay import decoder_layers
from transprune import prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import TransformersError

MODES: dict[str, Callable[[Beside], None]] = {}
AFTER_MIDDLE = PLACES["middle"]

# `generate` of these classes repeats the pictures of a prompt one by one (A, A, B, B) for several sequences, pruned
# or not; so prompts of two pictures have no right answer there
MIXES_IMAGES = ("glm4v", "glm4v_moe", "glm46v", "glm_ocr")


def mode(name: str) -> Callable[[Callable[[Beside], None]], Callable[[Beside], None]]:
    """Add a function to the table of modes."""

    def add(run: Callable[[Beside], None]) -> Callable[[Beside], None]:
        MODES[name] = run
        return run

    return add


def ragged(beside: Beside) -> tuple[list[Sample], Forced, list[Any], dict[str, Tensor]]:
    """A left-padded batch: samples, what keeps drawn tokens, what the replay is told, and the inputs."""
    samples = beside.case.ragged()
    method, told = forced(samples, AFTER_MIDDLE)
    return samples, method, told, beside.case.batch(samples)


def alone(beside: Beside) -> tuple[Sample, Forced, dict[str, Any], dict[str, Tensor]]:
    """The same for one prompt."""
    sample = beside.case.even()[0]
    method, told = forced([sample], AFTER_MIDDLE)
    return sample, method, told[0], beside.case.batch([sample])


# ---------------------------------------------------------------------------------------- generation


def expanding(beside: Beside) -> tuple[list[Sample], Forced, list[Any], dict[str, Tensor]]:
    """A batch of which `generate` runs several sequences per prompt."""
    samples = beside.case.ragged()
    if beside.name in MIXES_IMAGES:
        samples = [beside.case.sample([0], [3, 6]), samples[1]]
    method, told = forced(samples, AFTER_MIDDLE)
    return samples, method, told, beside.batch(samples)


@mode("sampling")
def sampling(beside: Beside) -> None:
    samples, method, told, inputs = expanding(beside)
    torch.manual_seed(0)
    options = {"do_sample": True, "temperature": 3.0, "num_return_sequences": 2}
    with prune(beside.model, method):
        run = greedy(beside.model, inputs, **options)
    assert not torch.equal(run.sequences[0], run.sequences[1])
    twice = [number for number in range(len(samples)) for _ in range(2)]
    beside.check([samples[n] for n in twice], run, [told[n] for n in twice])


@mode("beams")
def beams(beside: Beside) -> None:
    samples, method, told, inputs = expanding(beside)
    with prune(beside.model, method):
        run = greedy(beside.model, inputs, steps=5, num_beams=3, output_scores=True)
    for row, sample in enumerate(samples):
        new = run.sequences[row, -5:]
        expected = beside.expected(sample, extra=new[:-1], **told[row])[-5:]
        chosen = expected.log_softmax(dim=-1).gather(1, new[:, None])
        beside.near(apart(run.sequences_scores[row], chosen.sum() / 5), samples)


def check_drafts(beside: Beside, **options: Any) -> None:
    """Whatever is drafted, the answer is the greedy one."""
    sample, method, told, inputs = alone(beside)
    with prune(beside.model, method):
        plain = greedy(beside.model, inputs, steps=12)
        drafted = greedy(beside.model, inputs, steps=12, **options)
    assert torch.equal(plain.sequences, drafted.sequences)
    beside.check([sample], drafted, [told])


@mode("assisted")
def assisted(beside: Beside) -> None:
    assistant = beside.zoo.fresh(beside.name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        weight = assistant.get_output_embeddings().weight
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    assistant.generation_config.assistant_confidence_threshold = 0.0  # draft on, however unsure
    check_drafts(beside, assistant_model=assistant)


@mode("prompt lookup")
def prompt_lookup(beside: Beside) -> None:
    check_drafts(beside, prompt_lookup_num_tokens=3)


@mode("second turn")
def second_turn(beside: Beside) -> None:
    sample, method, told, inputs = alone(beside)
    with prune(beside.model, method):
        first = greedy(beside.model, inputs, steps=4)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        cache = cache_argument(beside.model, cache_of_output(first))
        second = greedy(beside.model, beside.case.text_turn(ids), steps=4, **cache)
    new = second.sequences[0, len(sample.ids) : -1]
    expected = beside.expected(sample, extra=new, **told)[-4:]
    beside.near(apart(torch.stack(second.logits, dim=1)[0], expected), [sample])


@mode("image in a later turn")
def later_image(beside: Beside) -> None:
    case, model = beside.case, beside.model
    first, second = case.sample([0], [3, 2]), case.sample([1], [1, 4], seed=1)
    joint = Sample((*first.ids, *second.ids), (*first.images, *second.images))
    early, late = draw_keeps(first, AFTER_MIDDLE), draw_keeps(second, AFTER_MIDDLE)

    turn = inputs_of_turn(beside, first, second, joint)
    cache = empty_cache(model)
    with torch.no_grad(), prune(model, Forced.of([first, second], [early, late])):
        model(**case.batch([first]), **cache, use_cache=True)
        logits = model(**turn, **cache, use_cache=True).logits[0]

    keeps = {}
    for boundary in AFTER_MIDDLE:
        of_second = (first.visual_tokens + token for token in late[boundary])
        keeps[boundary] = [*early[boundary], *of_second]
    expected = beside.expected(joint, keeps, None)[len(first.ids) :]
    alive = ~expected.isnan().any(dim=-1)
    beside.near(apart(logits[alive], expected[alive]), [joint])


def inputs_of_turn(
    beside: Beside, first: Sample, second: Sample, joint: Sample
) -> dict[str, Tensor]:
    """Inputs of a second prompt behind a cache of the first, with which the unpruned model is its replay."""
    model, past = beside.model, len(first.ids)
    turn, whole = beside.batch([second]), beside.batch([joint])
    turn["attention_mask"] = whole["attention_mask"]
    turn["position_ids"] = positions_of(model, whole)[..., past:]
    expected = beside.expected(joint, {}, None)[past:]

    # where masks are made from token types, the types of the whole conversation are wanted
    types = {name: value for name, value in whole.items() if name.endswith("token_type_ids")}
    for inputs in (turn, {**turn, **types}):
        cache = empty_cache(model)
        with torch.no_grad():
            model(**beside.batch([first]), **cache, use_cache=True)
            logits = model(**inputs, **cache, use_cache=True).logits[0]
        if apart(logits, expected) < 1e-3:
            return inputs
    pytest.skip("unpruned, the class takes no image behind a filled cache either")


def empty_cache(model: Any) -> dict[str, Any]:
    """A cache as the argument that this release names it."""
    return cache_argument(model, DynamicCache(config=model.config.get_text_config()))


def positions_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The position ids that the model gives its decoder for a whole prompt."""
    seen: list[Any] = []
    decoder = model.get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("position_ids")), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs, use_cache=False)
    hook.remove()
    length = inputs["input_ids"].shape[1]
    return torch.arange(length)[None] if seen[0] is None else seen[0]


# -------------------------------------------------------------------------------------------- caches


@mode("no cache")
def no_cache(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    with prune(beside.model, method):
        cached = greedy(beside.model, inputs, steps=5)
        uncached = greedy(beside.model, inputs, steps=5, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    beside.check(samples, uncached, told)


@mode("static cache")
def static_cache(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    with prune(beside.model, method, decode="static"):
        run = greedy(beside.model, inputs)
    beside.check(samples, run, told)


@mode("offloaded cache")
def offloaded_cache(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    with prune(beside.model, method):
        greedy(beside.model, inputs, steps=2, cache_implementation="offloaded")


@mode("quantised cache")
def quantised_cache(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    try:
        cache = QuantizedCache("fp8", beside.model.config.get_text_config())
    except ValueError as error:  # up to 5.22
        pytest.skip(f"this transformers has no such cache: {error}")
    with torch.no_grad(), prune(beside.model, method):
        beside.model(**inputs, **cache_argument(beside.model, cache))


@mode("flex attention")
def flex(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    model = beside.zoo.fresh(beside.name, "sdpa")
    try:
        model.set_attn_implementation("flex_attention")
    except ValueError:
        pytest.skip("the class has no flex attention")
    with torch.no_grad(), prune(model, method):
        model(**inputs)


# ------------------------------------------------------------------------------------------ training


def text_labels(inputs: dict[str, Tensor]) -> Tensor:
    """Labels on text behind text: what stands behind an image would be predicted by a dropped token."""
    ids = inputs["input_ids"]
    special = torch.isin(ids, torch.tensor(SPECIAL)) | (inputs["attention_mask"] == 0)
    behind = nn.functional.pad(special[:, :-1], (1, 0), value=True)
    return ids.masked_fill(special | behind, -100)


@mode("labels and loss")
def loss(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    labels = text_labels(inputs)
    with torch.no_grad(), prune(beside.model, method):
        got = beside.model(**inputs, labels=labels).loss

    terms = []
    for row, sample in enumerate(samples):
        logits = beside.expected(sample, extra=None, **told[row])
        wanted = labels[row, -len(sample.ids) :]
        at = (wanted != -100).nonzero().flatten()
        terms.append(nn.functional.cross_entropy(logits[at - 1], wanted[at], reduction="none"))
    beside.near(apart(got, torch.cat(terms).mean()), samples)


@mode("gradient checkpointing")
def checkpointing(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    plain = gradients(beside, method, inputs, checkpoint=False)
    try:
        again = gradients(beside, method, inputs, checkpoint=True)
    except TransformersError as refused:  # up to 5.22
        pytest.skip(str(refused))
    assert plain.keys() == again.keys()
    assert any(bool(gradient.any()) for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def gradients(
    beside: Beside, method: Forced, inputs: dict[str, Tensor], *, checkpoint: bool
) -> dict[str, Tensor]:
    """Gradients of a decoder's weights, of a model of our own in training."""
    model = beside.zoo.fresh(beside.name, beside.attn).train()
    if checkpoint:
        # renamed in 5.23
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    with prune(model, method):
        model(**inputs, labels=text_labels(inputs), use_cache=False).loss.backward()
    named = model.get_decoder().named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


# ---------------------------------------------------------------------------------- wrapped by others


@mode("LoRA")
def lora(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    adapted, slow = (with_adapters(beside, attn) for attn in (beside.attn, "eager"))
    with prune(adapted, method):
        run = greedy(adapted, inputs)
    replace(beside, own=adapted, slow=slow.get_base_model()).check(samples, run, told)


def with_adapters(beside: Beside, attn: str) -> Any:
    """A model of our own with random adapters in its decoder layers, the same every time."""
    from peft import LoraConfig, get_peft_model

    model = beside.zoo.fresh(beside.name, attn)
    inside = {part for layer in decoder_layers(model) for part in layer.modules()}
    ends = ("q_proj", "k_proj", "out_proj", "down_proj")
    named = [name for name, part in model.named_modules() if part in inside]
    targets = [name for name in named if name.endswith(ends)]

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.2, generator=generator)
    return adapted


@mode("offloaded by accelerate")
def offload(beside: Beside) -> None:
    import accelerate

    samples, method, told, inputs = ragged(beside)
    model = beside.zoo.fresh(beside.name, beside.attn)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    try:
        greedy(model, inputs, steps=1)
    except (RuntimeError, NotImplementedError):
        pytest.skip("unpruned, the class cannot be offloaded either")
    with prune(model, method):
        run = greedy(model, inputs)
    beside.check(samples, run, told)


@mode("bfloat16")
def half(beside: Beside) -> None:
    """As far from a replay in bfloat16 as the model itself."""
    samples, method, told, _ = ragged(beside)
    model, slow = (
        beside.zoo.fresh(beside.name, attn).to(torch.bfloat16) for attn in (beside.attn, "eager")
    )
    rounded = replace(beside, own=model, slow=slow, dtype=torch.bfloat16)
    with prune(model, method):
        run = greedy(model, rounded.batch(samples), steps=4)
    rounded.check(samples, run, told)


# ---------------------------------------------------------------------------------------------- tests


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
