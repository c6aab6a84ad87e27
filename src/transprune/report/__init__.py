"""The report: one page and its figures, from any run of the benchmark.

Data flows one way. `results` reads the run; `gallery` runs the model on the images of the run
(`insight`, `blank`); `figures` draws; `tables` and `words` describe; `page` writes the HTML. Whatever
is missing (measured costs, the model, the images) is left out, and a sentence says so.
"""
