"""Run the demo's questions with one method after the other: answers, costs, times, overlays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from PIL.Image import Image

from transprune.core.plan import UNPRUNED
from transprune.demo.first_look import FirstLook, choose_question
from transprune.demo.questions import Question, picture_file
from transprune.demo.results import MethodResult
from transprune.methods.common.method import Method
from transprune.models.answer import Answer, ask, prefill_seconds, prepare
from transprune.models.checkpoint import Checkpoint
from transprune.models.images import open_image
from transprune.report.overlay import Grid, Strip, draw_sheet, find_grid, stage_panels
from transprune.session import prune

NEW_TOKENS = 8  # longest answer; the right ones have one word

Answers = dict[Question, Answer]


class DemoTrial:
    """The bundled model with the prepared prompts of the questions.

    Attributes:
        checkpoint: the model.
        pictures: by file name.
        inputs: the prompt of each question.
        first_questions: by picture, the question that is timed and shown in its overlay.
    """

    def __init__(self, checkpoint: Checkpoint, questions: tuple[Question, ...]) -> None:
        self.checkpoint = checkpoint
        self.pictures: dict[str, Image] = {}
        self.inputs: dict[Question, Any] = {}
        self.first_questions: dict[str, Question] = {}

        # pictures are opened once; their first question becomes the main one
        for question in questions:
            name = question.picture
            if name not in self.pictures:
                self.pictures[name] = open_image(picture_file(name))
                self.first_questions[name] = question
            self.inputs[question] = prepare(checkpoint, [self.pictures[name]], question.question)

        # the first passes through a model are slow, so they are not among the timed ones
        for question in self.first_questions.values():
            prefill_seconds(checkpoint, self.inputs[question])

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of one picture."""
        return int(self.checkpoint.model.config.image_seq_length)

    def answer(self, method: Method | None) -> Answers:
        """The answer to every question; None runs the model unpruned."""
        answers = {}
        for question, inputs in self.inputs.items():
            answers[question] = ask(self.checkpoint, inputs, method, NEW_TOKENS)
        return answers

    def measure(
        self, name: str, method: Method | None, answers: Answers, rounds: int
    ) -> MethodResult:
        """One row of the table: how good the answers are and what they cost."""
        texts = tuple(answer.text for answer in answers.values())
        right = sum(answer.text == question.answer for question, answer in answers.items())
        traces = [answer.trace for answer in answers.values() if answer.trace is not None]
        if method is None:  # nothing to compare, so nothing to time
            return MethodResult(name, texts, right, (), (self.visual_tokens,), 1.0, 1.0, 1.0, 1.0)

        # stages are those of the first question; where they depend on the data others differ
        first = traces[0]
        boundaries = tuple(stage.boundary for stage in first.stages)
        remaining = [len(stage.keep[0]) for stage in first.stages]
        costs = [trace.cost("exact") for trace in traces]
        paper_shares = [trace.cost("paper").prefill_share for trace in traces]
        exact_shares = [cost.prefill_share for cost in costs]
        kv_bytes = sum(trace.kv_bytes for trace in traces)
        full_kv_bytes = sum(cost.full_kv_bytes for cost in costs)

        return MethodResult(
            name,
            texts,
            right,
            boundaries=boundaries,
            tokens=(first.visual_tokens[0], *remaining),
            paper_share=fmean(paper_shares),
            exact_share=fmean(exact_shares),
            time_share=self._time_share(method, rounds),
            kv_share=kv_bytes / full_kv_bytes,
        )

    def first_look(self, name: str, answers: Mapping[str, Answers], file: Path) -> FirstLook:
        """One question in detail with the method `name`, which drops tokens; written as `file`."""
        question = choose_question(list(self.inputs))
        unpruned = answers[UNPRUNED][question].text
        answer = answers[name][question]
        trace = answer.trace
        grid = self._grid(question)
        assert trace is not None and grid is not None  # it drops tokens; the bundled tower is CLIP

        title = f"{name}: {answer.text}"
        picture = self.pictures[question.picture]
        strip = Strip(title, picture, grid, stage_panels(trace), self.visual_tokens)
        subtitle = f"unpruned model: {unpruned}   bright patches stay, dark ones are dropped"
        draw_sheet(question.question, [strip], subtitle).save(file)

        cost = trace.cost("exact")
        remaining = [len(stage.keep[0]) for stage in trace.stages]

        return FirstLook(
            question,
            unpruned,
            name,
            answer.text,
            boundaries=tuple(stage.boundary for stage in trace.stages),
            tokens=(trace.visual_tokens[0], *remaining),
            exact_share=cost.prefill_share,
            kv_share=trace.kv_bytes / cost.full_kv_bytes,
            rows=grid.rows,
            columns=grid.columns,
            kept=tuple(trace.stages[-1].keep[0].tolist()),
            file=file,
        )

    def draw(self, picture: str, answers: Mapping[str, Answers], file: Path) -> Path:
        """Write the overlay of one picture: a row per method, for the picture's first question."""
        question = self.first_questions[picture]
        grid = self._grid(question)

        strips = []
        for name, given in answers.items():
            answer = given[question]
            if answer.trace is None or not answer.trace.stages:
                continue  # nothing was dropped, so there is nothing to show
            verdict = "right" if answer.text == question.answer else "wrong"
            title = f"{name}: {answer.text} ({verdict})"
            panels = stage_panels(answer.trace)
            strips.append(Strip(title, self.pictures[picture], grid, panels, self.visual_tokens))

        # the unpruned model runs first
        unpruned = next(iter(answers.values()))[question].text
        subtitle = (
            f"right answer: {question.answer}   unpruned model: {unpruned}   "
            "bright patches stay, dark ones are dropped"
        )
        draw_sheet(question.question, strips, subtitle).save(file)
        return file

    def _grid(self, question: Question) -> Grid | None:
        """Where the tokens of the question's picture lie."""
        return find_grid(
            self.checkpoint.model.config,
            self.inputs[question],
            0,
            self.visual_tokens,
            cropped=self.checkpoint.crops,
        )

    def _time_share(self, method: Method, rounds: int) -> float:
        """Pruned over unpruned prefill time, median of all pairs."""
        ratios = []
        for _ in range(rounds):
            for question in self.first_questions.values():
                inputs = self.inputs[question]

                # back to back, so that a slow moment of the machine affects both
                unpruned = prefill_seconds(self.checkpoint, inputs)
                with prune(self.checkpoint.model, method):
                    pruned = prefill_seconds(self.checkpoint, inputs)
                ratios.append(pruned / unpruned)

        return median(ratios)
