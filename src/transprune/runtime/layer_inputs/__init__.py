"""Layer inputs: the arguments of a decoder layer, projected onto the rows that still run."""
