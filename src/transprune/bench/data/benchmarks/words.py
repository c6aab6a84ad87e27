"""Benchmarks answered by a word or two: MME, POPE, GQA, VQAv2, TextVQA.

The prompts are those of LLaVA-1.5's evaluation (Liu et al., Improved Baselines with Visual
Instruction Tuning, CVPR 2024), which the pruning papers follow.
"""

from __future__ import annotations

from transprune.bench.data.benchmarks.base import Asked, Benchmark, Row
from transprune.bench.data.metrics import PERCEPTION

SHORT = "\nAnswer the question using a single word or phrase."
_MME_ENDING = " Please answer yes or no."


def _mme(row: Row) -> Asked | None:
    """A perception question; the cognition categories are not part of MME-P."""
    category = str(row["category"])
    if category not in PERCEPTION:
        return None

    # two rows share an id, that of their image, and differ in the question
    image = str(row["question_id"])
    question = str(row["question"]).strip()
    answer = str(row["answer"])
    text = question.replace(_MME_ENDING, "") + SHORT
    return Asked(f"{category}/{image}/{question}", f"{category}/{image}", text, (answer,), category)


def _pope(row: Row) -> Asked:
    """A question of one of the three splits."""
    split = str(row["category"])
    return Asked(
        id=f"{split}/{row['question_id']}",
        image=str(row.get("image_source") or row["question_id"]),
        question=str(row["question"]).strip() + SHORT,
        answers=(str(row["answer"]),),
        kind=split,
    )


def _gqa(row: Row) -> Asked:
    """A question whose picture lies in another table."""
    question = str(row["question"]) + SHORT
    return Asked(str(row["id"]), str(row["imageId"]), question, (str(row["answer"]),))


def _vqav2(row: Row) -> Asked:
    """A question with the answers of ten people."""
    answers = tuple(str(one["answer"]) for one in row["answers"])
    image = str(row.get("image_id") or row["question_id"])
    return Asked(str(row["question_id"]), image, str(row["question"]) + SHORT, answers)


def _textvqa(row: Row) -> Asked:
    """A question with the words that an OCR system read, as LLaVA-1.5 was evaluated."""
    question = str(row["question"]).capitalize()
    tokens = ", ".join(row["ocr_tokens"])
    return Asked(
        id=str(row["question_id"]),
        image=str(row.get("image_id") or row["question_id"]),
        question=f"{question}\nReference OCR token: {tokens}{SHORT}",
        answers=tuple(str(one) for one in row["answers"]),
    )


MME = Benchmark(
    name="mme",
    title="MME-P",
    dataset="MME",
    split="test",
    columns=("question_id", "image", "question", "answer", "category"),
    ask=_mme,
    metric="mme",
    scale=2000,
    questions=2114,
)

POPE = Benchmark(
    name="pope",
    title="POPE",
    dataset="POPE",
    split="test",
    columns=("question_id", "image", "question", "answer", "category"),
    ask=_pope,
    metric="pope",
    questions=9000,
)

GQA = Benchmark(
    name="gqa",
    title="GQA",
    dataset="GQA",
    config="testdev_balanced_instructions",
    split="testdev",
    columns=("id", "imageId", "question", "answer"),
    ask=_gqa,
    metric="exact_text",
    questions=12578,
    pictures_config="testdev_balanced_images",
    picture_id="id",
)

VQAV2 = Benchmark(
    name="vqav2",
    title="VQAv2",
    dataset="VQAv2",
    split="validation",
    columns=("question_id", "image", "question", "answers"),
    ask=_vqav2,
    metric="vqa",
    questions=214354,
    note="here the validation split; the published figures are of test-dev, whose answers are on "
    "a server only",
)

TEXTVQA = Benchmark(
    name="textvqa",
    title="TextVQA",
    dataset="textvqa",
    split="validation",
    columns=("question_id", "image", "question", "ocr_tokens", "answers"),
    ask=_textvqa,
    metric="textvqa",
    questions=5000,
)
