"""Speed: what pruning saves and costs in time and memory on the machine at hand.

Data flow one way: `shapes` -> `cells` (the plan) -> `benchmark` (runs them) -> `records` -> `tables`
and `statement`. For users `points` measures a few prompts and batches of one model, and `breakeven`
says from where on a method pays.
"""
