"""Modules replaced, wrapped or patched around a session: the right answer or an error, never a wrong score."""

import copy
import io
import pickle

import peft
import pytest
import torch

from families.cases import FAMILIES
from transprune import FastV, TransPrune, VisionZip, prune
from transprune.errors import FamilyError, MissingSignal, SessionError
from transprune.methods import SparseVLM

PREVIOUS = FastV(layer=2, keep_ratio=0.5)  # reads what the layer in front projected
NEXT = SparseVLM({2: 0.6, 4: 0.3})  # projects ahead of the layer behind
OBSERVES = TransPrune.ttv(keep={4: 0.5})
TOWER = VisionZip(0.5)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing.*:FutureWarning"
)  # peft's own

METHODS = [PREVIOUS, NEXT, OBSERVES, TransPrune({2: 0.6, 5: 0.3}), TOWER]


@pytest.fixture
def name():
    return "llava"


@pytest.fixture
def inputs(name):
    return FAMILIES[name].batch(FAMILIES[name].ragged())


@pytest.fixture
def model(zoo, name):
    return zoo.fresh(name, "sdpa")


@torch.no_grad()
def run(model, inputs, method):
    with prune(model, method) as session:
        logits = model(**inputs).logits
    return logits, [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages]


def adapter(target):
    torch.manual_seed(0)
    return peft.LoraConfig(r=4, lora_alpha=64, target_modules=target, init_lora_weights=False)


LANGUAGE = r".*language_model.*(q_proj|k_proj|v_proj)"
VISION = r".*vision_tower.*(q_proj|k_proj)"


# ------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("target", [LANGUAGE, VISION], ids=["language model", "tower"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_adapter_between_prune_and_attach(zoo, name, model, inputs, method, target):
    """As if it had been there before."""
    early = zoo.fresh(name, "sdpa")
    peft.inject_adapter_in_model(adapter(target), early)
    expected, kept = run(early, inputs, method)

    session = prune(model, method)
    peft.inject_adapter_in_model(adapter(target), model)
    with torch.no_grad(), session:
        logits = model(**inputs).logits
    assert [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages] == kept
    assert torch.equal(logits, expected)


@pytest.mark.parametrize(
    ("method", "target"), [(PREVIOUS, LANGUAGE), (NEXT, LANGUAGE), (TOWER, VISION)]
)
def test_an_adapter_added_inside_is_refused(model, inputs, method, target):
    with prune(model, method) as session:
        peft.inject_adapter_in_model(adapter(target), model)
        with pytest.raises(SessionError, match="attach it again"):
            model(**inputs)
    # and the cure works
    with torch.no_grad(), session:
        logits = model(**inputs).logits
    assert torch.equal(logits, run(model, inputs, method)[0])


def test_an_adapter_where_nobody_reads_is_fine(model, inputs):
    with torch.no_grad(), prune(model, PREVIOUS):
        peft.inject_adapter_in_model(adapter(r".*language_model.*o_proj"), model)
        logits = model(**inputs).logits
    assert torch.equal(logits, run(model, inputs, PREVIOUS)[0])


@pytest.mark.parametrize("method", [PREVIOUS, NEXT], ids=lambda method: method.name)
def test_merging_inside_is_refused(model, inputs, method):
    wrapped = peft.get_peft_model(model, adapter(LANGUAGE)).eval()
    with prune(wrapped, method), pytest.raises(SessionError, match="merged"):
        wrapped.merge_and_unload()(**inputs)


def test_switching_adapters_inside_is_fine(model, inputs):
    wrapped = peft.get_peft_model(model, adapter(LANGUAGE)).eval()
    wrapped.add_adapter("second", adapter(LANGUAGE))
    with torch.no_grad(), prune(wrapped, PREVIOUS):
        wrapped.set_adapter("second")
        logits = wrapped(**inputs).logits
    assert torch.equal(logits, run(wrapped, inputs, PREVIOUS)[0])


# ------------------------------------------------------------------------------------------- modules of layers


def replace_layer(model):
    stack = model.model.language_model.layers
    stack[3] = copy.deepcopy(stack[3])


def replace_decoder(model):
    model.model.language_model = copy.deepcopy(model.model.language_model)


def clear_layers(model):
    for layer in model.model.language_model.layers:
        layer._forward_pre_hooks.clear()


def clear_decoder(model):
    model.model.language_model._forward_pre_hooks.clear()


def skip_layers(model):
    model.model.language_model.config.num_hidden_layers = 6


@pytest.mark.parametrize(
    "change", [replace_layer, replace_decoder, clear_layers, clear_decoder, skip_layers]
)
def test_layers_that_changed_inside(model, inputs, change):
    with prune(model, PREVIOUS):
        change(model)
        with pytest.raises(SessionError):
            model(**inputs)


def test_a_layer_replaced_before_attach(model, inputs):
    session = prune(model, PREVIOUS)
    replace_layer(model)
    with pytest.raises(SessionError, match="new session"):
        session.attach()
    assert not session.attached
    run(model, inputs, PREVIOUS)


def fuse_attention(layer):
    """As kernels that join query and key in one product."""
    layer.self_attn.forward = lambda hidden_states, **options: (hidden_states, None)


def fuse_layer(layer):
    layer.forward = lambda hidden_states, *args, **options: hidden_states * 1.1


def clear_mlp(layer):
    """Take the hooks off when the layer begins, because ours come with each prompt."""
    layer.register_forward_pre_hook(lambda module, args: layer.mlp._forward_hooks.clear())


@pytest.mark.parametrize(
    ("method", "patch", "named"),
    [
        (PREVIOUS, fuse_attention, "q_proj"),
        (PREVIOUS, fuse_layer, "q_proj"),
        (OBSERVES, fuse_layer, "mlp"),
        (TransPrune({2: 0.6, 5: 0.3}), fuse_layer, "mlp"),
    ],
)
def test_a_tap_that_did_not_fire_is_an_error(model, inputs, method, patch, named):
    for layer in model.model.language_model.layers:
        patch(layer)
    with prune(model, method), pytest.raises(MissingSignal, match=named):
        model(**inputs)


def test_a_layer_that_stores_no_keys(model, inputs):
    fuse_layer(model.model.language_model.layers[6])
    with prune(model, PREVIOUS), pytest.raises(SessionError, match="layer 6 stored no keys"):
        model(**inputs)


def test_hooks_that_others_removed_are_missed(model, inputs):
    with prune(model, OBSERVES):
        for layer in model.model.language_model.layers:
            clear_mlp(layer)
        with pytest.raises(MissingSignal, match="mlp"):
            model(**inputs)


def test_recording_misses_layers_behind_the_last_boundary(model, inputs):
    with prune(model, PREVIOUS, record="changes"):
        clear_mlp(model.model.language_model.layers[-1])
        with pytest.raises(MissingSignal, match="layer 7"):
            model(**inputs)


def test_a_patched_tower(model, inputs):
    for layer in model.model.vision_tower.encoder.layers:
        layer.self_attn.forward = lambda hidden_states, *args, **options: (hidden_states, None)
    with prune(model, TOWER), pytest.raises(MissingSignal, match="key, query"):
        model(**inputs)


# ---------------------------------------------------------------------------------------- wrappers and copies


def test_data_parallel_is_unwrapped(zoo, name, model, inputs):
    expected, _ = run(zoo(name, "sdpa"), inputs, PREVIOUS)
    wrapped = torch.nn.DataParallel(model)
    with torch.no_grad(), prune(wrapped, PREVIOUS):
        assert torch.equal(wrapped.module(**inputs).logits, expected)


def test_replicas_of_data_parallel_are_refused(model, inputs):
    with prune(model, PREVIOUS):
        model.model._is_replica = True
        with pytest.raises(SessionError, match="one process per GPU"):
            model(**inputs)


def test_wrappers_inside_wrappers(zoo, name, model, inputs):
    expected, _ = run(zoo(name, "sdpa"), inputs, PREVIOUS)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=LANGUAGE)).eval()
    wrapped = torch.nn.DataParallel(tuned)
    with torch.no_grad(), prune(wrapped, PREVIOUS):
        torch.testing.assert_close(wrapped.module(**inputs).logits, expected)


def test_a_sharding_wrapper_is_refused(model):
    class FullyShardedDataParallel(torch.nn.Module):
        """The real one needs a process group."""

    with pytest.raises(FamilyError, match="pieces"):
        prune(FullyShardedDataParallel(), PREVIOUS)


def test_a_wrapped_layer_is_refused(model):
    class Wrapper(torch.nn.Module):
        """Like those that recompute activations."""

        def __init__(self, module):
            super().__init__()
            self.module = module
            self.self_attn = module.self_attn
            self.mlp = module.mlp

        def forward(self, *args, **options):
            return self.module(*args, **options)

    stack = model.model.language_model.layers
    stack[0] = Wrapper(stack[0])
    with pytest.raises(FamilyError, match="Wrapper"):
        prune(model, PREVIOUS).attach()


def test_a_deep_copy_is_not_pruned(model, inputs):
    with torch.no_grad():
        plain = model(**inputs).logits
        with prune(model, TransPrune({2: 0.6, 5: 0.3})):
            twin = copy.deepcopy(model)
            assert torch.equal(twin(**inputs).logits, plain)
            expected = run(twin, inputs, PREVIOUS)
    assert torch.equal(run(model, inputs, PREVIOUS)[0], expected[0])


def test_saving_an_attached_model_is_refused_and_its_weights_are_not(model):
    with prune(model, PREVIOUS) as session:
        with pytest.raises(SessionError, match="detach"):
            torch.save(model, io.BytesIO())
        torch.save(model.state_dict(), io.BytesIO())
    torch.save(model, io.BytesIO())
    for copies in (copy.deepcopy, pickle.dumps):
        with pytest.raises(SessionError, match="one model"):
            copies(session)
