"""`transprune cost`: the same figures as the library, as tables and as JSON; and break-even, measured."""

from __future__ import annotations

import pytest

from speed.cases import METHOD, point
from transprune import TransPrune
from transprune.cli.cost_words import break_even_lines, span_words
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.cost.paper import paper_table
from transprune.speed import points, subjects
from transprune.speed.breakeven import span


def test_figures_are_the_library_s(cli):
    result = cli("cost", "--model", "llava-1.5-7b", "--method", "transprune-high", "--json")
    expected = count_method(known_geometry("llava-1.5-7b"), TransPrune.high(), convention="exact")
    assert result.data["methods"]["transprune-high"]["exact"] == expected.to_dict()
    assert (result.data["visual_tokens"], result.data["text_tokens"]) == (576, 64)


def test_token_counts_can_be_given(cli):
    result = cli(
        "cost",
        "--model",
        "qwen2.5-vl-7b",
        "--visual-tokens",
        "300",
        "--text-tokens",
        "20",
        "--json",
    )

    assert (result.data["visual_tokens"], result.data["text_tokens"]) == (300, 20)
    assert set(result.data["methods"]) == {
        "transprune-high",
        "transprune-low",
        "fastv",
        "pdrop",
        "visionzip",
    }


@pytest.mark.parametrize("columns", ["80", "100"])
def test_table_fits_and_cuts_nothing(cli, columns):
    result = cli("cost", env={"COLUMNS": columns})
    assert max(map(len, result.out.splitlines())) <= int(columns)
    assert "…" not in result.out
    row = next(
        line for line in result.out.splitlines() if line.startswith("transprune-high")
    ).split()
    assert row[1:7] == ["1.56", "T", "40.8%", "3.99", "T", "46.9%"]


def test_nano_and_folders(cli, qwen):
    assert cli("cost", "--model", "nano", "--json").data["model"]["layers"] == 16
    assert cli("cost", "--model", qwen, "--json").data["model"]["kv_heads"] == 2
    assert cli("cost", "--model", qwen / "config.json", "--json").data["model"]["layers"] == 14


def test_unknown_model(cli):
    result = cli("cost", "--model", "lava-1.5-7b")
    assert result.code == 1
    assert "Did you mean 'llava-1.5-7b'?" in result.err


def test_unknown_hub_id(cli):
    result = cli("cost", "--model", "nobody/nothing-of-this-name")
    assert result.code == 1
    assert "As a hub id" in result.err


def test_paper_table(cli):
    result = cli("cost", "--paper", env={"COLUMNS": "80"})
    assert max(map(len, result.out.splitlines())) <= 80
    assert "TransPrune-High at 9/11/14" in result.out
    assert result.out.count("✓ matches") == sum(row.verdict == "matches" for row in paper_table())
    assert "match to the printed digit" in result.out


def test_paper_json(cli):
    rows = cli("cost", "--paper", "--json").data["rows"]
    assert len(rows) == len(paper_table())
    assert {"table", "model", "method", "published", "ours", "verdict"} <= set(rows[0])


# ------------------------------------------------------------------------------------ --measure


@pytest.fixture
def one_point(monkeypatch):
    """One prompt and two batches, so that a measurement takes a second."""
    monkeypatch.setattr(points, "PLAN", ((1, 1), (1, 2)))


MEASURE = ("cost", "--measure", "--device", "cpu", "--threads", "1")


@pytest.mark.slow
def test_measured_break_even_of_the_bundled_model(cli, one_point):
    data = cli(*MEASURE, "--method", "fastv", "--json").data

    assert (data["model"], data["random_weights"]) == ("nano", False)
    assert data["clock"] == "CPU time of one thread"
    assert data["provenance"]["threads"] == 1
    places = [(measured["visual_tokens"], measured["batch"]) for measured in data["points"]]
    assert places == [
        (144, 1),
        (144, 2),
    ]

    for measured in data["points"]:
        found = measured["methods"]["fastv"]
        for what in ("prefill", "per_token", "answer_1", "answer_20", "answer_100"):
            ratio = found[what]
            assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
            assert ratio["level"] >= 0.95 and ratio["rounds"] >= 6
            above, below = ratio["low"] > 1, ratio["high"] < 1
            assert ratio["verdict"] == ("costs" if above else "pays" if below else "unclear")
        # the first token comes with the prefill
        assert found["answer_1"]["median"] == pytest.approx(found["prefill"]["median"])
        assert len(measured["seconds"]["fastv"]) == len(measured["seconds"]["unpruned"])

    sentences = data["answers"]["fastv"]
    assert sentences[0].startswith("Prompts with 144 visual tokens: it ")
    assert sentences[-1].startswith("Answers for which it saves time, with 144 visual tokens: ")


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_measured_table_fits_and_says_what_was_not_measured(cli, one_point, columns):
    result = cli(*MEASURE, "--model", "llava-1.5-tiny", env={"COLUMNS": columns})
    assert max(map(len, result.out.splitlines())) <= int(columns)
    assert "…" not in result.out

    text = " ".join(result.out.split())
    assert "transprune-high on llava-1.5-tiny, CPU" in text
    assert "fastv on llava-1.5-tiny, CPU" in text
    assert "The weights are random" in text
    assert "Longer answers are counted from these times, up to 512 tokens." in text
    assert "Longer prompts and larger batches than those in the table were not measured" in text


def test_what_was_left_out_is_said(cli, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((1, 1), (4, 1)))
    result = cli(*MEASURE, "--method", "fastv")
    text = " ".join(result.out.split())
    assert "Left out: 4 pictures in each prompt, batch 1: the prompt of" in text


def test_a_method_that_the_model_cannot_run_has_its_reason(cli, one_point):
    result = cli(*MEASURE, "--model", "llava-1.5-tiny", "--method", "cdpruner", "--method", "fastv")
    assert result.code == 0
    assert "not supported: " in result.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "nothing"), "nothing to measure at 'nothing'"),
        (("--method", "tranprune"), "Did you mean 'transprune'"),
        (("--model", "llava-1.5-tiny", "--method", "cdpruner"), "could be measured: cdpruner: "),
    ],
)
def test_a_measurement_that_cannot_be_made_is_one_error(cli, one_point, options, words):
    result = cli(*MEASURE, *options)
    assert result.code == 1
    assert result.out == ""
    assert words in result.err


def test_too_little_memory_is_one_error(cli, monkeypatch):
    monkeypatch.setattr(subjects, "free_bytes", lambda device: 2**30)
    result = cli(*MEASURE, "--model", "llava-1.5-7b")
    assert result.code == 1
    assert "LLaVA-1.5-7B in float32 needs 26.3 GiB" in result.err


@pytest.mark.parametrize("flag", ["--visual-tokens", "--text-tokens"])
def test_token_counts_do_not_go_with_a_measurement(cli, flag):
    result = cli(*MEASURE, flag, "100")
    assert result.code == 2
    assert "with --measure prompts of one, two and three pictures are measured" in " ".join(
        result.err.replace("│", " ").split()
    )


def synthetic(*parts):
    """Points with these (visual tokens, batch, prefill, per token) ratios to the unpruned model."""
    return [point(*part) for part in parts]


def test_words_for_a_method_that_pays_from_a_batch_on():
    lines = break_even_lines(synthetic((576, 1, 1.2, 1.1), (576, 4, 0.6, 0.9)), METHOD)
    assert lines == [
        "Prompts with 576 visual tokens: it saves time from batch 4 on; at 1 it costs time.",
        "Batch 1: it costs time at 576 visual tokens, the only one measured.",
        "Batch 4: it saves time at 576 visual tokens, the only one measured.",
        "Answers for which it saves time, with 576 visual tokens: no length at batch 1; any length "
        "at batch 4.",
    ]


def test_words_for_a_method_that_always_or_never_pays():
    never = break_even_lines(synthetic((144, 1, 1.2, 1.1), (288, 1, 1.1, 1.1)), METHOD)
    assert "Batch 1: it costs time at every prompt measured (144 to 288 visual tokens)." in never
    always = break_even_lines(synthetic((144, 1, 0.5, 0.9), (144, 4, 0.5, 0.9)), METHOD)
    assert always[0] == (
        "Prompts with 144 visual tokens: it saves time at every batch measured (1 to 4)."
    )


def test_words_for_a_method_that_loses_again():
    lines = break_even_lines(synthetic((576, 1, 0.6, 0.9), (576, 4, 1.2, 1.1)), METHOD)
    assert lines[0] == (
        "Prompts with 576 visual tokens: it does not save time at batch 4, the largest measured; "
        "at 1 it saves time, at 4 it costs time."
    )


@pytest.mark.parametrize(
    ("prefill", "per_token", "words"),
    [
        (0.5, 0.9, "any length"),
        (1.2, 1.1, "no length"),
        (1.2, 0.9, "22 tokens or more"),
        (0.7, 1.1, "up to 30 tokens"),
    ],
)
def test_words_for_answers(prefill, per_token, words):
    assert span_words(span(point(576, 1, prefill, per_token), METHOD)) == words
