"""What every test runs under: no hub, no progress bars."""

import os

# Before transformers and huggingface_hub are imported, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
