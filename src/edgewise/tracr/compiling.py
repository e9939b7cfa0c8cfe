"""A program compiled by Tracr (Lindner et al., arXiv 2301.05062), as a model and a task.

Tracr's weights go into a `transformers` model (`models.tracr`) that is adapted and proven like any
other. Its logits are over the program's answers. A categorical output is one already: Tracr takes
its largest entry. A number y becomes logits over the numbers v that the program can return,

    logit_v = (y v - v^2 / 2) / s^2        so that        softmax(logit)_v ~ exp(-(y - v)^2 / 2 s^2)

with s half the smallest distance between two of them: linear in the stream, largest at the nearest
v, and KL(full || circuit) is 0 only where both write the same number. So one loss, one metric and
one set of methods serve both kinds.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from edgewise.adapt import adapt
from edgewise.errors import ConfigError
from edgewise.models.model import Model
from edgewise.models.tracr import TracrConfig, TracrForCausalLM
from edgewise.prepared import Prepared, prepare
from edgewise.tasks import Example, Task
from edgewise.tracr.programs import PROGRAMS, Program

LONGEST = 5  # tokens after BOS that positions are compiled for, as in Edge Pruning's paper
DIGITS = 6  # numbers that agree to so many decimals are one answer

_PARTS = {
    "attn/query": "attention.query",
    "attn/key": "attention.key",
    "attn/value": "attention.value",
    "attn/linear": "attention.linear",
    "mlp/linear_1": "mlp.0",
    "mlp/linear_2": "mlp.2",
}


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled program.

    own       Tracr's model, which runs on jax
    model     the same, adapted, with its embedding split into tok and pos
    task      all sequences in every split; the answers are the model's own
    answers   what each logit stands for
    """

    program: Program
    own: Any
    model: Model
    task: Task
    answers: tuple[Any, ...]

    @cached_property
    def everything(self) -> Prepared:
        """All sequences as one batch, the absent edges at zero."""
        batch = self.task.batch("test", range(len(self.program.sequences)))
        return prepare(self.model, batch, "zero")


def compiled(program: str | Program) -> Compiled:
    """Compile a program, or the one of that name in `PROGRAMS`.

    Raises ConfigError for an unknown name, for a program that returns one number whatever it is
    given, or where Tracr isn't installed.
    """
    if isinstance(program, str):
        if program not in PROGRAMS:
            raise ConfigError(f"no program {program!r}; there are {', '.join(PROGRAMS)}")
        program = PROGRAMS[program]
    try:
        from tracr.compiler import compiling, lib
        from tracr.rasp import rasp
    except ImportError as error:
        raise ConfigError(
            "programs are compiled by Tracr, which is not installed: pip install 'edgewise[tracr]'"
        ) from error
    expression = program.expression(rasp, lib)
    own = compiling.compile_rasp_to_model(expression, set(program.vocabulary), LONGEST)
    weight = _projection(own)
    if rasp.is_categorical(expression):
        answers, bias = tuple(own.output_encoder.encoding_map), np.zeros(len(weight))
    else:
        returned = {y for sequence in program.sequences for y in expression(list(sequence))}
        answers = tuple(sorted({round(float(y), DIGITS) for y in returned}))
        if len(answers) < 2:
            raise ConfigError(f"{program.name} returns {answers} alone: there is nothing to find")
        weight, bias = _over(np.array(answers), weight)
    hf = _transformer(own, weight, bias)
    model = adapt(hf, name=f"tracr-{program.name}", embeddings="split")
    return Compiled(program, own, model, _task(program, hf, own.input_encoder), answers)


def _projection(own: Any) -> Float[np.ndarray, "V D"]:
    """What Tracr takes a program's output from the final stream with; V = 1 for a number."""
    import haiku

    def unembed(stream: Any) -> Any:
        return own.get_compiled_model().unembed(stream, use_unembed_argmax=False)

    width = len(own.residual_labels)
    found = haiku.transform(unembed).apply({}, None, np.eye(width, dtype=np.float32))
    return np.asarray(found).reshape(width, -1).T


def _over(
    answers: Float[np.ndarray, " V"], number: Float[np.ndarray, "1 D"]
) -> tuple[Float[np.ndarray, "V D"], Float[np.ndarray, " V"]]:
    """Weight and bias of the logits over `answers`, from the projection to a number."""
    variance = (np.diff(answers).min() / 2) ** 2
    return answers[:, None] * number / variance, -(answers**2) / (2 * variance)


def _transformer(
    own: Any, weight: Float[np.ndarray, "V D"], bias: Float[np.ndarray, " V"]
) -> TracrForCausalLM:
    """Tracr's weights in torch; its linear layers are (inputs, outputs)."""
    sizes = own.model_config
    config = TracrConfig(
        vocab_size=own.input_encoder.vocab_size,
        hidden_size=weight.shape[1],
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=sizes.num_heads,
        head_dim=sizes.key_size,
        intermediate_size=sizes.mlp_hidden_size,
        max_position_embeddings=LONGEST + 1,
        n_outputs=weight.shape[0],
        causal=sizes.causal,
    )
    found = {
        "transformer.tokens.weight": own.params["token_embed"]["embeddings"],
        "transformer.positions.weight": own.params["pos_embed"]["embeddings"],
        "unembed.weight": weight,
        "unembed.bias": bias,
    }
    for layer in range(sizes.num_layers):
        for theirs, ours in _PARTS.items():
            linear = own.params[f"transformer/layer_{layer}/{theirs}"]
            found[f"transformer.layers.{layer}.{ours}.weight"] = linear["w"].T
            found[f"transformer.layers.{layer}.{ours}.bias"] = linear["b"]
    hf = TracrForCausalLM(config)
    hf.load_state_dict({name: torch.tensor(np.array(value)) for name, value in found.items()})
    return hf


def _task(program: Program, hf: TracrForCausalLM, encoder: Any) -> Task:
    """Every sequence, its counterfactual, and what the model answers."""
    clean, corrupted = (
        [tuple(encoder.encode([encoder.bos_token, *sequence])) for sequence in sequences]
        for sequences in (program.sequences, program.others)
    )
    with torch.no_grad():
        answers = hf(torch.tensor(clean)).logits.argmax(-1)[:, program.first :].tolist()
    positions = tuple(range(program.first, program.length + 1))
    examples = tuple(
        Example(ids, others, positions, tuple(right))
        for ids, others, right in zip(clean, corrupted, answers, strict=True)
    )
    name = f"tracr-{program.name}"
    described = {"task": name, "vocabulary": program.vocabulary, "length": program.length}
    splits = dict.fromkeys(("train", "validation", "test"), examples)
    return Task(name, splits, encoder.pad_encoding, None, described)
