"""Pure tensor algebra: choosing, grouping and placing tokens. Tensors in, indices out; never a model."""
