"""Tensors in, tensors out: the masked read, hard-concrete gates and the KL; none knows a model."""
