"""One file a family, named by its `model_type`, holding one `FAMILY`."""
