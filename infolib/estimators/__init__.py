"""Information estimators: pure functions, tensors in, bits out, unclipped."""
