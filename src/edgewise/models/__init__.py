"""Hugging Face decoders as readers and writers."""
