"""A circuit in place of its model, for code that knows nothing of circuits.

    with edgewise.applied(model, circuit, ablation="zero") as hf:
        hf.generate(**tokenizer("When Mary and John", return_tensors="pt"))

Inside the block `model.hf` itself answers with `edgewise.run`'s logits. Two of its methods are
exchanged on that one instance and put back at the end, also after an exception: `forward`, and what
`generate` asks for its inputs, so that each step runs the whole sequence again: what a masked run
computed of a prefix is kept nowhere.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from edgewise.ablation import Ablation, Means, check
from edgewise.errors import ConfigError, DataError
from edgewise.models.model import Model
from edgewise.stream import Mask, as_mask, run

_IDLE = ("use_cache", "return_dict")  # may be said beside the prompts


@contextmanager
def applied(
    model: Model,
    circuit: Mask,
    *,
    counterfactual_ids: Int[Tensor, "B T"] | None = None,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
) -> Iterator[nn.Module]:
    """Within the block `model.hf`, which it gives, behaves as the circuit; arguments as for `run`.

    Called on `input_ids` and `attention_mask` (B, T) it returns its usual output with the logits of
    `run` and nothing else: no cache, no gradient. `generate` works under "zero" ablation and under
    "mean" over positions; under per-position means as far as these go, and under interchange no
    further than the counterfactual prompts, which nobody continues.

    Raises GraphError for a circuit of another graph and ConfigError for an ablation that lacks what
    it needs; inside the block ConfigError for what a circuit can't do, DataError for prompts that
    don't fit the counterfactual ones.
    """
    mask = as_mask(model, circuit)
    check(ablation, counterfactual_ids, reference)
    if ablation != "interchange" and counterfactual_ids is not None:
        warnings.warn(f"counterfactual_ids have no effect on {ablation} ablation", stacklevel=3)
        counterfactual_ids = None

    def forward(
        input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **others: Any
    ) -> CausalLMOutputWithPast | tuple[Tensor]:
        _refuse(input_ids, others)
        if counterfactual_ids is not None and input_ids.shape != counterfactual_ids.shape:
            raise DataError(
                f"the counterfactual prompts are {tuple(counterfactual_ids.shape)}, these "
                f"{tuple(input_ids.shape)}. To generate, where prompts grow, use zero or mean "
                "ablation"
            )
        logits = run(
            model,
            input_ids,
            mask,
            counterfactual_ids=counterfactual_ids,
            ablation=ablation,
            attention_mask=None if attention_mask is None else attention_mask.bool(),
            reference=reference,
        )
        output = CausalLMOutputWithPast(logits=logits)
        return output if others.get("return_dict", True) else output.to_tuple()

    def inputs(
        input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor | None]:
        _refuse_shifted(model, attention_mask)
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    with _exchanged(model.hf, forward=forward, prepare_inputs_for_generation=inputs):
        yield model.hf


@contextmanager
def _exchanged(module: nn.Module, **methods: Callable[..., Any]) -> Iterator[None]:
    """Gives one instance other methods for the length of a block."""
    own = {name: vars(module)[name] for name in methods if name in vars(module)}
    vars(module).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(module)[name]
        vars(module).update(own)


def _refuse(input_ids: Tensor | None, others: dict[str, Any]) -> None:
    """ConfigError for arguments that a masked run has no place for."""
    asked = [name for name, value in others.items() if isinstance(value, Tensor) or value]
    if unknown := [name for name in asked if name not in _IDLE]:
        raise ConfigError(
            "where a circuit is applied a model takes input_ids and attention_mask, not "
            f"{', '.join(unknown)}"
        )
    if input_ids is None:
        raise ConfigError("where a circuit is applied a model needs input_ids")


def _refuse_shifted(model: Model, attention_mask: Tensor | None) -> None:
    """ConfigError where `generate` would number positions by the mask, which a run does not."""
    learned = bool(model.family.setting("positions", model.config))
    if learned and attention_mask is not None and not bool((attention_mask[:, 0] != 0).all()):
        raise ConfigError(
            f"{model.name} has learned positions, and padding on the left shifts them: generate "
            "from prompts of one length, or from one at a time"
        )
