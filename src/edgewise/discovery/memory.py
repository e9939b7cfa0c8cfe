"""How many prompts fit in a budget of memory.

A prompt of T tokens takes, in a step forward and backward, with W writers, L layers and vocabulary
V, values of the model's dtype for

    2.5 W T D                    differences and their gradients, with slices of both
    L T (4 D + 2 R C + H C)      what is kept of each block, ablated run included
    4 T F                        the activations of one MLP

and for each position that predicts, V values of float32 four times beside the model's own two. It
is meant to err on the safe side: `forecast` counts, by running a step, which takes longer.
"""

import math
from typing import Any

from edgewise.errors import ConfigError
from edgewise.models.model import Model
from edgewise.tasks.task import Task

ASKED = 1000


def prompts_within(model: Model, task: Task, gigabytes: float | int) -> int:
    """How many of the longest training prompts a step can hold; ConfigError if not one.

    Of a large split, the longest of `ASKED` evenly spaced prompts.
    """
    if not gigabytes > 0:
        raise ConfigError(f"memory of {gigabytes} GB: it must be above 0")
    examples = task.examples("train")
    asked = [examples[i] for i in range(0, len(examples), math.ceil(len(examples) / ASKED))]
    longest = max(len(example.clean) for example in asked)
    answers = max(len(example.answers) for example in asked)
    each = prompt_bytes(model, longest, answers)
    fit = int(gigabytes * 1e9 / each)
    if not fit:
        raise ConfigError(
            f"memory of {gigabytes} GB: one prompt of {longest} tokens takes about "
            f"{each / 1e9:.3g} GB in {model.graph.n_writers:,} writers of width {model.width}: "
            "give that, or take shorter prompts"
        )
    return fit


def prompt_bytes(model: Model, tokens: int, answers: int = 1) -> int:
    """What a step takes for a prompt, in bytes, to a few tenths."""
    graph, config, width = model.graph, model.config, model.width
    channels = model.blocks.parts[0].head_dim
    block = 4 * width + (2 * graph.n_attention_readers + graph.n_heads) * channels
    hidden = _hidden(config) or 4 * width
    values = tokens * (2.5 * graph.n_writers * width + graph.n_layers * block + 4 * hidden)
    vocabulary = answers * config.vocab_size
    return round(model.dtype.itemsize * (values + 2 * vocabulary) + 16 * vocabulary)


def _hidden(config: Any) -> int | None:
    """Width of an MLP's hidden layer, by the names that families give it."""
    names = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    return next(filter(None, (getattr(config, name, None) for name in names)), None)
