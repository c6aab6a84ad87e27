"""The distance from the unpruned model, by hand and on the bundled one."""

from __future__ import annotations

import math

import pytest
import torch

from transprune import DivPrune, TransPrune
from transprune.bench.run.answers import answer
from transprune.errors import TuneError
from transprune.methods import PLPHP
from transprune.tune.loss import compare, distance, losses
from transprune.tune.unpruned import Reference, _real, references


@pytest.fixture(scope="module")
def reference(prepared, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpruned")
    return references(prepared, [items], folder, 2, lambda done, total: None)[0]


def test_the_divergence_of_hand_made_distributions():
    # one question, two tokens; the second lies behind the end of the answer
    known = Reference(
        tokens=torch.tensor([[0, 1]]),
        real=torch.tensor([[True, False]]),
        log_probs=torch.tensor([[[0.75, 0.25], [0.5, 0.5]]]).log().half(),
        last=torch.zeros(1, 1),
    )
    given = torch.tensor([[[0.5, 0.5], [0.01, 0.99]]]).log()
    found = compare(known, given)

    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert found.kl[0] == pytest.approx(expected, abs=1e-3)


def test_a_token_that_cannot_follow_takes_no_part():
    """A model may give some tokens a logit of minus infinity, or of the lowest number there is."""
    lowest = torch.finfo(torch.float32).min
    given = torch.tensor([[[0.3, 0.1, lowest], [0.2, 0.5, -math.inf]]])
    known = Reference(
        tokens=torch.tensor([[0, 1]]),
        real=torch.tensor([[True, True]]),
        log_probs=given.log_softmax(dim=-1).half(),
        last=torch.zeros(1, 1),
    )
    assert compare(known, given).kl == [pytest.approx(0, abs=1e-3)]


def test_unpruned_answers_that_are_not_numbers_are_refused(prepared, items, tmp_path, monkeypatch):
    """A model that overflows in half precision: every distance from it would be NaN."""
    head = prepared.checkpoint.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, logits: logits * math.nan)
    try:
        with pytest.raises(TuneError, match=r"not numbers.*--dtype float32"):
            references(prepared, [items], tmp_path, 2, lambda done, total: None)
    finally:
        handle.remove()
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_same_answer_is_that_of_the_real_tokens():
    known = Reference(
        tokens=torch.tensor([[0, 1], [0, 1], [0, 1]]),
        real=torch.tensor([[True, True], [True, False], [True, True]]),
        log_probs=torch.full((3, 2, 2), math.log(0.5)).half(),
        last=torch.zeros(3, 1),
    )
    logits = torch.tensor([[[2.0, 0], [0, 2.0]], [[2.0, 0], [2.0, 0]], [[0, 2.0], [0, 2.0]]])
    assert compare(known, logits).same == [True, True, False]


def test_an_answer_ends_with_its_first_end():
    tokens = torch.tensor([[5, 2, 2], [2, 0, 0], [5, 6, 7]])
    expected = [[True, True, False], [True, False, False], [True, True, True]]
    assert _real(tokens, 2).tolist() == expected
    assert _real(tokens, [2, 6]).tolist()[2] == [True, True, False]
    assert _real(tokens, None).all()


@pytest.mark.parametrize("kind", ["kl", "last-token"])
def test_a_method_that_keeps_all_has_no_loss(prepared, items, reference, kind):
    everything = TransPrune({5: 1.0}, positions="keep")
    assert losses(prepared, items, reference, everything, kind) == pytest.approx(
        [0.0] * len(items), abs=2e-4
    )


@pytest.mark.parametrize("kind", ["kl", "last-token"])
def test_keeping_less_is_further_away(prepared, items, reference, kind):
    far = sum(losses(prepared, items, reference, DivPrune(0.02), kind))
    near = sum(losses(prepared, items, reference, DivPrune(0.6), kind))
    assert 0 <= near < far


def test_the_same_answers_are_those_of_the_benchmark(prepared, items, reference):
    method = DivPrune(0.03)
    unpruned = answer(prepared, items, None, 2)
    pruned = answer(prepared, items, method, 2)
    expected = [one.text == other.text for one, other in zip(unpruned, pruned, strict=True)]

    assert distance(prepared, items, reference, method).same == expected
    assert False in expected


def test_the_loss_does_not_depend_on_the_batch(prepared, items, reference, tmp_path):
    together = losses(prepared, items, reference, TransPrune.low(), "kl")
    alone = []
    for item in items:
        folder = tmp_path / item.id.replace("/", "-")
        known = references(prepared, [[item]], folder, 2, lambda done, total: None)[0]
        alone += losses(prepared, [item], known, TransPrune.low(), "kl")
    assert together == pytest.approx(alone, abs=1e-3)


def test_the_unpruned_pass_runs_once(prepared, items, tmp_path, monkeypatch):
    batches = [items[:2], items[2:4]]
    calls = []
    first = references(prepared, batches, tmp_path, 2, lambda done, total: calls.append(done))
    assert calls == [0, 1, 2]

    # the second time nothing is generated
    monkeypatch.setattr(prepared.checkpoint.model, "generate", None)
    again = references(prepared, batches, tmp_path, 2, lambda done, total: None)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_a_damaged_file_is_named(prepared, items, tmp_path):
    (tmp_path / "00000.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TuneError, match=r"00000\.safetensors is damaged"):
        references(prepared, [items[:2]], tmp_path, 2, lambda done, total: None)


def test_a_file_of_another_batch_is_refused(prepared, items, tmp_path):
    references(prepared, [items[:2]], tmp_path, 2, lambda done, total: None)
    with pytest.raises(TuneError, match="holds 2 answers, but its batch has 3"):
        references(prepared, [items[:3]], tmp_path, 2, lambda done, total: None)


def test_a_loss_about_the_prompt_is_refused_where_only_the_cache_changes(
    prepared, items, reference
):
    # every setting would look perfect
    with pytest.raises(TuneError, match=r"evicts keys behind it.*use --loss kl"):
        losses(prepared, items, reference, PLPHP(), "last-token")

    # the first token is the model's own, those behind it are not
    few = PLPHP(rate=0.01, step=0.0, layer=0)
    assert max(losses(prepared, items, reference, few, "kl")) > 0
