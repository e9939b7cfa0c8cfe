"""Tensors in, tensors out: the masked read, hard-concrete gates and the KL, none of which knows a model."""
