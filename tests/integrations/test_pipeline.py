"""transformers' own `pipeline` with the argument `pruning`: the answers of the model inside a session."""

import pytest
import torch
import transformers
from PIL import Image
from transformers import pipeline
from transformers.pipelines import PIPELINE_REGISTRY

import transprune.integrations.pipeline as ours
from transprune import TransPrune, nano, prune
from transprune.demo.questions import picture_file, read_questions
from transprune.errors import MethodError, ScheduleError, SessionError, UnknownMethod
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load

METHOD = "transprune-high"
TASK = "image-text-to-text"
GREEDY = {"max_new_tokens": 2, "do_sample": False}
ASKED = read_questions()


def made(**kwargs):
    return pipeline(TASK, model=str(nano.path()), dtype=torch.float32, **kwargs)


@pytest.fixture(scope="module")
def pipe():
    return made(pruning=METHOD)


def chat(asked):
    picture = {"type": "image", "image": Image.open(picture_file(asked.picture))}
    question = {"type": "text", "text": asked.question}
    return [{"role": "user", "content": [picture, question]}]


def answers(pipe, chats, **kwargs):
    found = pipe(text=chats, return_full_text=False, generate_kwargs=GREEDY, **kwargs)
    return [(one[0] if isinstance(one, list) else one)["generated_text"].strip() for one in found]


@pytest.fixture(scope="module")
def expected():
    """What `transprune run` answers, pruned and not."""
    checkpoint = load("nano")
    found = {}
    for method in (METHOD, None):
        found[method] = []
        for asked in ASKED:
            inputs = prepare(checkpoint, [Image.open(picture_file(asked.picture))], asked.question)
            found[method].append(ask(checkpoint, inputs, method, 2))
    return found


def test_answers_are_those_of_run(pipe, expected):
    assert answers(pipe, [chat(asked) for asked in ASKED]) == [one.text for one in expected[METHOD]]
    assert pipe.session.trace.to_dict() == expected[METHOD][-1].trace.to_dict()


def test_a_batch_answers_as_one_by_one(pipe, expected):
    pipe.tokenizer.padding_side = "left"
    found = answers(pipe, [chat(asked) for asked in ASKED], batch_size=3)
    assert found == [one.text for one in expected[METHOD]]


def test_without_pruning_nothing_is_pruned(pipe, expected):
    chats = [chat(asked) for asked in ASKED]
    unpruned = [one.text for one in expected[None]]
    assert answers(pipe, chats, pruning=None) == unpruned
    assert answers(made(), chats) == unpruned
    # the method makes a difference to be seen
    assert unpruned != [one.text for one in expected[METHOD]]


def test_a_call_may_name_another_method(pipe):
    answers(pipe, [chat(ASKED[0])], pruning="fastv:layer=3,keep_ratio=0.25")
    assert pipe.session.method.name == "fastv"
    answers(pipe, [chat(ASKED[0])])
    assert pipe.session.method == TransPrune.high()


def test_several_turns_and_pictures(pipe):
    first, second = (chat(asked) for asked in ASKED[:2])
    reply = [{"role": "assistant", "content": [{"type": "text", "text": "red"}]}]
    turns = first + reply + second
    tokens = pipe(text=turns, return_tensors=True, generate_kwargs=GREEDY)
    assert pipe.session.trace.visual_tokens == (2 * 144,)

    inputs = pipe.processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    with prune(pipe.model, METHOD):
        expected = pipe.model.generate(**inputs, **GREEDY)
    assert tokens[0]["generated_token_ids"].tolist() == expected[0].tolist()


def test_a_conversation_goes_on(pipe):
    """The same chat asked turn by turn, each time with all that was said, as a chat window sends it."""
    first, second = (chat(asked) for asked in ASKED[:2])
    said = answers(pipe, [first])[0]
    told = pipe(text=first, generate_kwargs=GREEDY)[0]["generated_text"]
    assert [message["role"] for message in told] == ["user", "assistant"]
    assert told[1]["content"].strip() == said

    longer = [*first, {"role": "assistant", "content": [{"type": "text", "text": said}]}, *second]
    answers(pipe, [longer])
    assert pipe.session.trace.visual_tokens == (2 * 144,)

    # a pool for each picture, and each keeps its own share
    answers(pipe, [longer], pruning=METHOD, pruning_options={"pool": "image"})
    kept = pipe.session.trace.stages[-1].keep[0]
    assert [int((kept < 144).sum()), int((kept >= 144).sum())] == [18, 18]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_conversations_of_different_length_are_each_answered_as_alone(pipe, batch_size):
    first, second, third = (chat(asked) for asked in ASKED[:3])
    reply = [{"role": "assistant", "content": [{"type": "text", "text": "red"}]}]
    chats = [[*first, *reply, *second], second, third]
    alone = [answers(pipe, [one])[0] for one in chats]
    pipe.tokenizer.padding_side = "left"
    assert answers(pipe, chats, batch_size=batch_size) == alone


def test_options_of_prune_are_passed_on():
    pipe = made(pruning=METHOD, pruning_options={"positions": "keep"})
    answers(pipe, [chat(ASKED[0])])
    assert pipe.session.trace.positions == "keep"


def test_hooks_are_on_the_model_only_while_it_generates(pipe):
    def hooks(model):  # transformers has some of its own
        return [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]

    before = hooks(pipe.model)
    answers(pipe, [chat(ASKED[0])])
    assert hooks(pipe.model) == before
    assert not pipe.session.attached


def test_what_does_not_fit_is_refused_when_the_pipeline_is_made():
    with pytest.raises(UnknownMethod, match="transprune-high"):
        made(pruning="transprune-hihg")
    with pytest.raises(ScheduleError):
        made(pruning="fastv:layer=16")
    with pytest.raises(MethodError, match="pruning_options"):
        made(pruning_options={"pool": "image"})


def test_the_session_of_a_pipeline_that_never_pruned():
    with pytest.raises(SessionError, match="pruning="):
        _ = made().session


def test_registered_once_and_with_what_the_task_had():
    entry = dict(PIPELINE_REGISTRY.supported_tasks[TASK])
    ours.register()
    assert PIPELINE_REGISTRY.supported_tasks[TASK] == entry
    assert entry["pt"] == (transformers.AutoModelForImageTextToText,)
    assert entry["type"] == "multimodal"
    assert "model" in entry["default"]
