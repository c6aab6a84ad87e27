"""Choose, group and place tokens: tensors in, indices out, never a model."""
