"""The report: one page and its figures, from any run of the benchmark.

Data flows one way. `results` reads the run; `gallery` runs the model on its images (`insight`,
`blank`); `figures` draws; `tables` and `words` describe; `page` writes the HTML. Whatever is
missing (measured costs, model, images) is left out, and a sentence says so.

This module imports nothing: matplotlib and jinja2 are an extra, and `overlay` works without them.
"""
