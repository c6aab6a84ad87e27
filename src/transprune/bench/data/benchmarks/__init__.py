"""Public benchmarks, read from the files in which they are published.

base      what is known of a benchmark
words     MME, POPE, GQA, VQAv2, TextVQA
choices   SEED-Image, ScienceQA-IMG, MMBench-EN
files     where the files are
parquet   their rows and pictures
read      a benchmark as questions
"""

from __future__ import annotations

from collections.abc import Mapping

from transprune.bench.data.benchmarks.base import Benchmark as Benchmark
from transprune.bench.data.benchmarks.choices import MMBENCH, SCIENCEQA, SEED
from transprune.bench.data.benchmarks.words import GQA, MME, POPE, TEXTVQA, VQAV2

_ALL = (MME, VQAV2, SEED, TEXTVQA, SCIENCEQA, POPE, GQA, MMBENCH)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
