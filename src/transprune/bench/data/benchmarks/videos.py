"""Questions about videos, answered freely: TGIF-QA and MSVD-QA.

The protocol is that of Video-ChatGPT (Maaz et al., ACL 2024), in the layout in which Video-LLaVA's
evaluation data (`GPT_Zero_Shot_QA`) holds them: questions in `test_q.json`, answers in
`test_a.json`, videos in a folder. A language model judges whether an answer means the right one, and
gives it 0 to 5; without a judge an answer is right if it equals the right one.
"""

from __future__ import annotations

from dataclasses import replace

from transprune.bench.data.benchmarks.base import Asked, Benchmark, Row
from transprune.bench.data.benchmarks.words import SHORT


def _ask(row: Row) -> Asked:
    """A question and its answer, which two files hold under the same id."""
    question = str(row["question"]).strip()
    answer = str(row["answer"]).strip()
    if not answer:
        raise ValueError("the answer is empty")
    return Asked(str(row["question_id"]), str(row["video_name"]), question + SHORT, (answer,))


TGIF = Benchmark(
    name="tgif",
    title="TGIF",
    dataset="TGIF_Zero_Shot_QA",
    split="test",
    columns=("video_name", "question_id", "question", "answer"),
    ask=_ask,
    metric="exact_match",
    questions=25751,
    videos="mp4",
    judged="right",
)

MSVD = replace(
    TGIF,
    name="msvd",
    title="MSVD",
    dataset="MSVD_Zero_Shot_QA",
    questions=13157,
    videos="videos",
)

TGIF_GRADE = replace(
    TGIF, name="tgif-grade", title="TGIF grade", answers_of="tgif", judged="grade", scale=5
)
MSVD_GRADE = replace(
    MSVD, name="msvd-grade", title="MSVD grade", answers_of="msvd", judged="grade", scale=5
)
