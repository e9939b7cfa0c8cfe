"""The like step of the paper's own implementation, from a copy of its repository (--paper).

Its trainer's `compute_loss` and optimiser, for prompts with one answer at their end. It has two
embedding writers, gates of nodes beside those of edges, and a Lagrangian.
"""

import sys

import torch
from measure import arguments, prompts, report
from torch.nn.functional import kl_div
from transformers import GPT2Config

given = arguments(__doc__)
sys.path.insert(0, str(given.paper / "src" / "modeling"))
from modeling_fpt2 import FPT2LMHeadModel  # noqa: E402  where --paper says

config = GPT2Config(n_layer=given.layers, attn_implementation="eager")
full, model = (FPT2LMHeadModel(config, with_embedding_nodes=True) for _ in range(2))
model.load_state_dict(full.state_dict())
trained = {n: p for n, p in model.named_parameters() if "log_alpha" in n or "lambda" in n}
for each in (*full.parameters(), *model.parameters()):
    each.requires_grad_(False)
for name, parameter in trained.items():
    parameter.requires_grad_()
    if "log_alpha" in name:
        parameter.data.zero_()  # gates open in part, as ours
full.eval()
model.train()
clean, corrupted = prompts(given.batch, given.tokens)
multipliers = [p for n, p in trained.items() if "lambda" in n]
others = [p for n, p in trained.items() if "lambda" not in n]
optimiser = torch.optim.AdamW(
    [{"params": others}, {"params": multipliers, "maximize": True}], lr=0.01
)


def step() -> float:
    with torch.no_grad():
        reference = full(input_ids=clean).logits[:, -1].log_softmax(-1)
        states = full(input_ids=corrupted, output_writer_states=True).writer_states
    out = model(
        input_ids=clean,
        target_edge_sparsity=0.5,
        target_node_sparsity=0.5,
        corr_x=states.transpose(0, 1),
    )
    circuit = out.logits[:, -1].log_softmax(-1)
    kl = kl_div(circuit, reference, reduction="batchmean", log_target=True)
    optimiser.zero_grad()
    (kl + out.edge_loss + out.node_loss).backward()
    optimiser.step()
    return kl.item()


report(step, model.transformer.n_edges, given.repeats)
