"""Training of the methods that are trained: LVPruning's modules and AsymVLM's scorer.

The model stays frozen. `launch.train_pruner` runs it all; `lvpruning` and `asymvlm` hold the losses
and `loop` the steps. Masks and attention rows come from an ordinary session of `prune`, so every
family can be trained on.
"""
