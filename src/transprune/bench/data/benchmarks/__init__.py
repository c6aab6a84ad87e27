"""Public benchmarks, read from the files in which they are published.

base      what is known of a benchmark
words     MME, POPE, GQA, VQAv2, TextVQA
choices   SEED-Image, ScienceQA-IMG, MMBench-EN
videos    TGIF-QA, MSVD-QA
files     where the files are
parquet   their rows and pictures
read      a benchmark as questions
video_files   the same of a benchmark about videos
"""

from __future__ import annotations

from collections.abc import Mapping

from transprune.bench.data.benchmarks.base import Benchmark as Benchmark
from transprune.bench.data.benchmarks.choices import MMBENCH, SCIENCEQA, SEED
from transprune.bench.data.benchmarks.videos import MSVD, MSVD_GRADE, TGIF, TGIF_GRADE
from transprune.bench.data.benchmarks.words import GQA, MME, POPE, TEXTVQA, VQAV2

_PICTURES = (MME, VQAV2, SEED, TEXTVQA, SCIENCEQA, POPE, GQA, MMBENCH)
_ALL = (*_PICTURES, TGIF, TGIF_GRADE, MSVD, MSVD_GRADE)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
