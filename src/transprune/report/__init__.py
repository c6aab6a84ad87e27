"""The report: one page and its pictures, from any run of the benchmark.

Data flows one way: `results` reads the run, `insight` asks the model about the run's own pictures, `figures` draw,
`page` writes. Whatever is missing (no bill, no model, no scenes) is left out with a sentence that says so.
"""
