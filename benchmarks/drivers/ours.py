"""A step of edgewise on a new batch: reference logits, corrupted run, masked run, update."""

import torch
from measure import arguments, prompts, report
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare
from edgewise.stream import dense_mask
from edgewise.tasks.example import Example, collate
from edgewise.workspace import Workspace

given = arguments(__doc__)
model = edgewise.adapt(GPT2LMHeadModel(GPT2Config(n_layer=given.layers)))
pairs = zip(*(ids.tolist() for ids in prompts(given.batch, given.tokens)), strict=True)
last = (given.tokens - 1,)
batch = collate([Example(tuple(a), tuple(b), last, (0,)) for a, b in pairs], 0)
log_alpha = torch.zeros(model.graph.n_edges, requires_grad=True)
optimiser = torch.optim.AdamW([log_alpha], 0.01)
workspace = Workspace()
noise = torch.rand(len(log_alpha)) * 0.6 + 0.2  # every gate is open in part


def step() -> float:
    ready = prepare(model, batch)
    mask = dense_mask(model.graph, gates.sample(log_alpha, noise))
    loss = (kl_rows(ready.full, ready.logits(mask, workspace=workspace)) * batch.weights).sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


report(step, model.graph.n_edges, given.repeats)
