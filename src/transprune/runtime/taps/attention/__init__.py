"""Attention probabilities of a few query rows, from a layer's own modules."""
