"""What is learnt from: prompts with answers, attention of the frozen model, pictures held out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from PIL import Image

from families.cases import MODELS
from replay import decoder_layers
from transprune import prune
from transprune.core.views import Selection
from transprune.errors import TrainingError
from transprune.families import find_family
from transprune.methods import ProjectorPruner
from transprune.training.asymvlm import Watching, divergence
from transprune.training.lessons import Answers
from transprune.training.questions import batches, load_lessons


def test_targets_are_the_answers_at_the_end_of_their_prompts(prepared, items):
    lesson = Answers(prepared).lesson(items)
    tokenizer = prepared.checkpoint.processor.tokenizer
    ids = lesson.inputs["input_ids"]
    rows = lesson.targets.shape[1]
    for row, item in enumerate(items):
        targets = lesson.targets[row]
        assert tokenizer.decode(targets[targets >= 0]).split() == [*item.answers[0].split(), "</s>"]

        # each target is the token behind the row that predicts it
        predicts = ids[row, -rows + 1 :]
        real = targets[:-1] >= 0
        assert torch.equal(targets[:-1][real], predicts[real])
        assert lesson.answer_rows[row] == int((targets >= 0).sum()) - 1
        assert int(lesson.inputs["attention_mask"][row].sum()) == (
            prepared.count(item).length + lesson.answer_rows[row]
        )


def test_the_frozen_model_knows_these_answers(prepared, items):
    """Otherwise rows and targets do not belong together: the bundled model is right 99 times in 100."""
    lesson = Answers(prepared).lesson(items)
    rows = lesson.targets.shape[1]
    with torch.no_grad():
        logits = prepared.checkpoint.model(**lesson.inputs, logits_to_keep=rows).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), lesson.targets.flatten())
    assert float(loss) < 0.1


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "qwen3_5"])
@torch.no_grad()
def test_attention_that_is_learnt_is_that_of_eager_maps(zoo, name):
    case, model = MODELS[name], zoo(name, "eager")
    sample = case.even()[0]
    inputs = case.batch([sample])
    layers = decoder_layers(model)
    attends = [hasattr(layer, "self_attn") for layer in layers]
    boundaries = tuple(number + 1 for number, own in enumerate(attends[:-1]) if own)

    watching = Watching(boundaries)
    with prune(model, watching):
        model(**inputs, use_cache=False)
    maps = [
        found for found in model(**inputs, output_attentions=True).attentions if found is not None
    ]
    family = find_family(model)
    visual = family.visual_mask(family.base(model), inputs["input_ids"])[0]
    first = int(visual.nonzero()[-1]) + 1
    received = sum(
        found[0, :, first:, :][..., visual].mean(dim=(0, 1)) for found in maps[: len(boundaries)]
    )
    (target,) = watching.targets()
    torch.testing.assert_close(target, received / received.sum(), atol=1e-5, rtol=0)


@dataclass(frozen=True)
class Looking(ProjectorPruner):
    """Keeps everything in front of the language model, and what it sees there."""

    seen: list = field(default_factory=list)

    name: ClassVar[str] = "looking"

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view):
        self.seen.append((view.features, view.instruction))
        return Selection(torch.arange(len(view.candidates)))


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "internvl"])
@torch.no_grad()
def test_the_scorer_learns_from_the_rows_it_is_given_later(zoo, name):
    case, model = MODELS[name], zoo(name, "sdpa")
    inputs = case.batch(case.ragged())
    watching, looking = Watching((2, 5)), Looking()
    for method in (watching, looking):
        with prune(model, method):
            model(**inputs, use_cache=False)
    assert len(watching.rows) == len(looking.seen) == 2
    for learnt, given in zip(watching.rows, looking.seen, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(learnt, given, strict=True))


def test_the_divergence_is_zero_for_equal_shares_and_known_for_others():
    target = torch.tensor([0.5, 0.25, 0.25, 0.0])
    assert float(divergence(target[:3], target[:3].log())) == pytest.approx(0, abs=1e-6)
    flat = float(divergence(target, torch.zeros(4)))
    assert flat == pytest.approx(0.5 * math.log(2), abs=1e-5)


# ---------------------------------------------------------------------------- questions


def test_pictures_are_held_out_whole_and_the_seed_decides():
    first = load_lessons("nano", n=10, held_out=0.3, seed=0)
    trained = {item.image for item in first.trained}
    apart = {item.image for item in first.held_out}
    assert len(apart) == 3
    assert not trained & apart
    assert load_lessons("nano", n=10, held_out=0.3, seed=0).digest == first.digest
    assert load_lessons("nano", n=10, held_out=0.3, seed=1).digest != first.digest


def test_only_training_scenes_are_learnt_from():
    images = {
        item.image.split("/")[0] for item in load_lessons("nano", n=3, held_out=0.3, seed=0).items
    }
    assert images == {"train"}


def test_batches_are_a_function_of_the_step():
    numbers = list(range(7))
    whole = list(batches(numbers, 3, 0, 0, 6))
    assert list(batches(numbers, 3, 0, 4, 6)) == whole[4:]
    # an epoch has two batches; nothing comes twice in it
    for epoch in range(3):
        drawn = whole[2 * epoch] + whole[2 * epoch + 1]
        assert len(set(drawn)) == 6
    assert list(batches(numbers, 3, 1, 0, 6)) != whole
    (everything,) = batches(numbers, 9, 0, 0, 1)
    assert sorted(everything) == numbers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "nothing to learn from: .* the file is empty"),
        ('{"image": "0.png", "question": "what?"}', "give either 'answer'"),
        ('{"question": "what?", "answer": "a"}', "image must be a path"),
        ('{"image": "gone.png", "question": "what?", "answer": "a"}', "gone.png"),
        ('{"image": "0.png", "question": "what?", "answer": "a"}', "two or more pictures"),
    ],
)
def test_questions_that_teach_nothing(tmp_path, content, words):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "0.png")
    (tmp_path / "questions.jsonl").write_text(content)
    with pytest.raises(TrainingError, match=words):
        load_lessons(str(tmp_path), n=None, held_out=0.5, seed=0)
