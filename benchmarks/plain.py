"""What Hugging Face itself does with a step's tokens: the work that steps are measured against.

Two forwards without gradient, on the clean and the corrupted prompts, and one forward and backward
to the embeddings.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel


@torch.no_grad()
def forwards(hf: PreTrainedModel, clean: Tensor, other: Tensor, mask: Tensor | None = None) -> None:
    for ids in (clean, other):
        hf(input_ids=ids, attention_mask=mask, use_cache=False)


def backward(
    hf: PreTrainedModel, clean: Tensor, rows: Tensor, cols: Tensor, mask: Tensor | None = None
) -> None:
    """Of a log-probability at each position (rows, cols) of the answers."""
    embedded = hf.get_input_embeddings()(clean).detach().requires_grad_()
    logits = hf(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits
    logits[rows, cols].float().log_softmax(-1)[:, 0].sum().backward()
