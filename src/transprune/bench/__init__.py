"""The accuracy benchmark: how many answers stay right under each method, at equal computation.

Imports between the folders go one way:

    data      questions, metrics, and the files of a run
    results   tables from the records; imports data
    run       methods at budgets, and their answers; imports data
    measure   time and memory; imports run and data
    plan      the options of a run
    describe  the manifest of a run that begins; imports all of the above but results
    launch    the whole benchmark from one `Plan`; imports all but results

A run is a folder (`run.json`, `records.jsonl`, `bill.json`), and everything shown is computed from
it. docs/benchmark.md describes the format.
"""
