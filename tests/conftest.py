"""What every test runs under: no hub, no progress bars."""

import os

# Before transformers and huggingface_hub are imported, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Before torch is imported: on tiny tensors a second thread costs more than it does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
