"""What we use of transformers: a name that moved is our own error, a release nobody tried is one clear warning."""

import warnings

import pytest
from torch import nn

from families.cases import FAMILIES, greedy
from transprune import Uniform, prune
from transprune.core import library
from transprune.errors import PruneWarning, TransformersError


def test_a_private_name_that_moved_is_our_error():
    with pytest.raises(TransformersError, match=r"no transformers\.masking_utils\.flash_mask"):
        library.private("transformers.masking_utils", "flash_mask")
    with pytest.raises(TransformersError, match=r"no transformers.no_such_module.x.*pip install"):
        library.private("transformers.no_such_module", "x")


def test_a_layer_with_another_cache_argument_is_refused_at_attach(zoo, monkeypatch):
    """The next rename must not run with a cache that nobody shortens."""
    model = zoo("llava", "sdpa")

    def forward(self, hidden_states, attention_mask=None, position_embeddings=None, kv_store=None):
        raise AssertionError("never reached")

    monkeypatch.setattr(type(model.get_decoder().layers[0]), "forward", forward)
    with pytest.raises(TransformersError, match="key/value cache"):
        prune(model, Uniform({2: 0.5})).attach()
    monkeypatch.undo()
    with prune(model, Uniform({2: 0.5})):
        greedy(model, FAMILIES["llava"].batch(FAMILIES["llava"].even()), steps=1)


def test_every_missing_argument_is_named():
    class Layer(nn.Module):
        def forward(self, hidden_states):
            return hidden_states

    with pytest.raises(
        TransformersError, match="attention_mask, position_embeddings, the key/value cache"
    ):
        library.check_decoder_layer(Layer())


@pytest.mark.parametrize(
    ("version", "warned"), [("5.18.0", True), ("5.99.0.dev0", True), ("5.23.0+local", False)]
)
def test_an_untested_release_is_one_warning(monkeypatch, version, warned):
    monkeypatch.setattr("transformers.__version__", version)
    monkeypatch.setattr(library, "_warned", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        library.warn_if_untested()
        library.warn_if_untested()
    assert [w.category for w in caught] == [PruneWarning] * warned
    assert all(version.partition("+")[0] in str(w.message) for w in caught)


def test_the_cache_is_found_under_both_names():
    assert library.cache_of({"cache": 1}) == library.cache_of({"past_key_values": 1}) == 1
    assert library.cache_of({"cache": None, "past_key_values": 2}) == 2
    assert library.cache_of({}) is None
    assert library.cache_keyword({"past_key_values": None}) == "past_key_values"
    assert library.cache_keyword({"cache": None, "x": 1}) == "cache"
