"""A few drawn rows of every benchmark, in the layout in which its real rows are published.

The pictures are scenes of the bundled model's test split and the questions its own, so the whole
way runs on any machine: files, prompts, answers, metrics, table. The scores say nothing about the
benchmarks.
"""
