"""A record: one answer as one line of JSON, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import SCHEMA, check_schema
from transprune.bench.data.typed import build
from transprune.core import strict_json
from transprune.core.shown import shown
from transprune.errors import RecordError

Key = tuple[str, str, str]  # condition, task, item


@dataclass(frozen=True)
class Record:
    """One answer.

    Attributes:
        condition: name of the condition it was given under.
        task, item: which question; an item's id is unique within its task.
        image: the image of the question; answers about one image are resampled together.
        family, kind: sort of the question, as its task defines them.
        question, answers: the text of the question and the right answers.
        given: the model's answer.
        score: 1 right, 0 wrong; in between for VQA-style scoring.
        method, method_repr, recipe: as in the condition; `method_repr` with the seed really used.
        budget: requested share of the unpruned prefill, or None.
        exact_share, paper_share: measured on this prompt, from the tokens that were really kept.
        kept: boundary -> indices of the visual tokens that stayed, ascending.
        visual_tokens: before pruning.
        kv_bytes: keys and values of this prompt, padding not counted.
        positions: policy for the position ids of the kept tokens.
        model, dtype, attention, seed, versions: where the answer comes from.
        schema: version of this format.
    """

    # the question and its condition
    condition: str
    task: str
    item: str
    image: str
    family: str
    kind: str
    question: str
    answers: tuple[str, ...]

    # the answer
    given: str
    score: float

    # the method, as planned and as it ran
    method: str
    method_repr: str
    recipe: dict[str, Any] | None
    budget: float | None
    exact_share: float
    paper_share: float
    kept: dict[int, list[int]]
    visual_tokens: int
    kv_bytes: int
    positions: str

    # provenance
    model: str
    dtype: str
    attention: str
    seed: int
    versions: dict[str, str]
    schema: int = field(default=SCHEMA, kw_only=True)

    @property
    def key(self) -> Key:
        """Condition, task and item, which together are unique in a run."""
        return self.condition, self.task, self.item

    def to_json(self) -> str:
        """The record as one line, without the line end."""
        # no spaces after separators: `kept` is a long list of indices
        return strict_json.write(asdict(self), compact=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """The record of a line; ValueError, KeyError or TypeError if the line is not a record."""
        data = strict_json.read(line)
        if check_schema(data["schema"]) > SCHEMA:
            raise ValueError(f"schema {data['schema']}, but this release reads up to {SCHEMA}")

        # JSON has text keys only
        data["kept"] = {int(boundary): tokens for boundary, tokens in data["kept"].items()}
        record = build(cls, data)
        if not record.answers:
            raise ValueError("answers must be a list of texts, at least one")
        return record


def parse_lines(data: bytes, file: Path) -> Iterator[Record]:
    """Records of complete lines; `file` is named in errors.

    Raises:
        RecordError: a line that is not a record, or a second record with the same key.
    """
    seen: dict[Key, int] = {}

    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = Record.from_json(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"{file}, line {number} is not a record ({error!r}). A killed run can damage the "
                "last line only; correct or remove this one by hand."
            ) from error

        # two answers to one question would count twice in every mean
        first = seen.setdefault(record.key, number)
        if first != number:
            raise RecordError(
                f"{file}, line {number} answers {shown(record.key)} again; line {first} did before"
            )
        yield record
