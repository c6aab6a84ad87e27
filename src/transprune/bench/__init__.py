"""The accuracy benchmark: what each pruner costs in right answers, at equal work.

Data flows one way: tasks give items, budgets turn methods into conditions, the runner answers and appends records, and
the summary reads them back. A run is a folder (`run.json`, `records.jsonl`, `bill.json`) and everything shown is
computed from it. The format is described in docs/benchmark.md.
"""
