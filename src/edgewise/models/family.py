"""What tells one architecture from another: where its submodules are and how its projections are laid out.

A family is data. It names submodules of `transformers`' own classes and says which of a few layouts hold;
whatever those submodules compute themselves (activations, rotary angles, masks, soft-caps, experts) needs
no word here. The file of a family is named by its `model_type`, and found by that name.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from torch import Tensor, nn

import edgewise.models.families as families
from edgewise.errors import ModelError

# Settings that change shapes, or numbers inside submodules that are called as they are.
HANDLED = frozenset(
    """
    vocab_size hidden_size n_embd num_hidden_layers n_layer num_attention_heads n_head num_key_value_heads
    head_dim intermediate_size n_inner max_position_embeddings n_positions n_ctx
    hidden_act activation_function hidden_activation rms_norm_eps layer_norm_eps layer_norm_epsilon
    initializer_range initializer_cutoff_factor rope_parameters rope_theta rope_scaling
    attention_bias mlp_bias attention_dropout attn_pdrop embd_pdrop resid_pdrop hidden_dropout resid_dropout
    embedding_dropout residual_dropout tie_word_embeddings use_cache torch_dtype dtype transformers_version
    architectures model_type _name_or_path bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id
    id2label label2id task_specific_params is_decoder return_dict output_hidden_states output_attentions
    _attn_implementation _attn_implementation_internal attn_implementation _attn_implementation_autoset
    base_model_tp_plan base_model_pp_plan pretraining_tp chunk_size_feed_forward problem_type
    """.split()
)


@dataclass(frozen=True)
class Family:
    """Where the parts of an architecture are. Paths are dotted names of submodules.

    layers, final_norm     in the base model (`hf.base_model`)
    attention, mlp         in a block; likewise every norm
    qkv                    in the attention module: three projections, or one fused
    layout                 rows of a fused projection: "concat" [q | k | v], or "grouped" by kv head,
                           [q of the group, k, v] for each
    out                    in the attention module: the output projection W_O
    attention_norm, mlp_norm            what a reader applies to what it read (None: nothing)
    attention_post_norm, mlp_post_norm  RMS norms on what a block writes, before it is added
    joint_qk_norm          the attention normalises queries or keys over all heads at once (OLMoE)
    norm_offset            added to a norm's weight (Gemma: 1)
    parallel               attention and MLP of a block read the same stream
    positions              learned absolute positions: the embedding can be split into tok and pos
    residual_multiplier    config setting that scales every write of a block
    write_mlp              how the block's MLP is called, where it isn't `block.<mlp>(x)`
    handled                config settings that may differ from their defaults, beside `HANDLED`
    """

    model_type: str
    layers: str
    final_norm: str
    attention: str
    mlp: str
    out: str
    qkv: tuple[str, ...]
    layout: Literal["concat", "grouped"] = "concat"
    attention_norm: str | Callable[[Any], str | None] | None = None
    mlp_norm: str | Callable[[Any], str | None] | None = None
    attention_post_norm: str | None = None
    mlp_post_norm: str | None = None
    joint_qk_norm: bool | Callable[[Any], bool] = False
    norm_offset: float = 0.0
    parallel: bool | Callable[[Any], bool] = False
    positions: bool = False
    residual_multiplier: str | None = None
    write_mlp: Callable[[nn.Module, Tensor], Tensor] | None = None
    handled: frozenset[str] = field(default=frozenset())

    def setting(self, name: str, config: Any) -> Any:
        """A field of this family, resolved where it depends on the config."""
        value = getattr(self, name)
        return value(config) if callable(value) else value


def known_families() -> tuple[str, ...]:
    """The `model_type`s that have a file, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(families.__path__)))


def family_of(config: Any) -> Family:
    """The family of a `transformers` config; ModelError for an unknown type or an unhandled setting."""
    kind = config.model_type
    name = f"{families.__name__}.{kind}"
    if not kind.isidentifier() or find_spec(name) is None:
        raise ModelError(
            f"no family for model_type {kind!r}; there are: {', '.join(known_families())}. "
            "CONTRIBUTING.md tells how to add one"
        )
    family = importlib.import_module(name).FAMILY
    refuse_unhandled(config, family)
    return family


def refuse_unhandled(config: Any, family: Family) -> None:
    """ModelError naming every setting that isn't at its default and that no one answers for."""
    default = type(config)().to_dict()
    given = config.to_dict()
    odd = {
        key: given[key]
        for key in sorted(given.keys() & default.keys() - HANDLED - family.handled)
        if given[key] != default[key]
    }
    if odd:
        listed = ", ".join(
            f"{key}={value!r} (default {default[key]!r})" for key, value in odd.items()
        )
        raise ModelError(f"{family.model_type}: settings edgewise doesn't handle: {listed}")
