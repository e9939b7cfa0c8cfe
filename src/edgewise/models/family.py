"""What tells one architecture from another: where its parts are and how projections are laid out.

A family is data. It names submodules of `transformers`' own classes and says which of a few layouts
hold; whatever those submodules compute themselves (activations, rotary angles, masks, soft-caps,
experts) needs no word here. The file of a family is named by its `model_type`, and found by that
name.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import edgewise.models.families as families
from edgewise.errors import ModelError

# Settings that change shapes, numbers inside submodules called as they are, or training alone.
HANDLED = frozenset(
    """
    vocab_size hidden_size n_embd num_hidden_layers n_layer num_attention_heads n_head
    num_key_value_heads head_dim intermediate_size n_inner max_position_embeddings n_positions n_ctx
    hidden_act activation_function hidden_activation rms_norm_eps layer_norm_eps layer_norm_epsilon
    rope_parameters rope_theta rope_scaling partial_rotary_factor attention_bias mlp_bias
    attention_dropout attn_pdrop classifier_dropout dropout embd_pdrop embed_dropout emb_pdrop
    embedding_dropout hidden_dropout layerdrop resid_dropout resid_pdrop residual_dropout
    initializer_range initializer_cutoff_factor init_std init_device
    tie_word_embeddings use_cache torch_dtype dtype transformers_version
    architectures model_type _name_or_path bos_token_id eos_token_id pad_token_id unk_token_id
    sep_token_id id2label label2id task_specific_params is_decoder return_dict
    output_hidden_states output_attentions attn_implementation
    _attn_implementation _attn_implementation_internal _attn_implementation_autoset
    _experts_implementation _experts_implementation_internal experts_implementation
    base_model_tp_plan base_model_pp_plan pretraining_tp chunk_size_feed_forward problem_type
    """.split()
)

Path = str | Callable[[Any], str]
Flag = bool | Callable[[Any], bool]


@dataclass(frozen=True)
class Family:
    """Where the parts of an architecture are. Paths are dotted names of submodules.

    Fields that are callable take the model's config.

    layers, final_norm     in the base: `hf.base_model`, or what `base` names in it
    unproject              in the base: what stands between the final norm and the head
    attention              in a block; likewise every norm
    mlp                    in a block: the MLP, or the modules that are one in a row
    mlp_out                in a block: the MLP's last projection, if what it returns is what the
                           MLP does (None: it has experts)
    qkv                    in the attention module: three projections, or one fused
    layout                 rows of a fused projection: "concat" [q | k | v], or "grouped" by kv
                           head, [q of the group, k, v] for each
    out                    in the attention module: the output projection W_O
    attention_norm, mlp_norm            what a reader applies to what it read (None: nothing)
    attention_post_norm, mlp_post_norm  RMS norms on what a block writes, before it is added
    joint_qk_norm          the attention normalises queries or keys over all heads at once (OLMo 2)
    norm_offset            added to a norm's weight (Gemma: 1)
    norm_eps               of norms that don't say theirs
    parallel               attention and MLP of a block read the same stream
    positions              learned absolute positions: the embedding can be split into tok and pos
    kv_heads               G, where it isn't the setting num_key_value_heads
    residual_multiplier    setting that scales every write of a block
    mlp_adds_stream        the MLP is called with the stream beside its input, and adds it
    mlp_outputs            how many things the MLP returns; the first is what it writes
    overwrites             the attention writes over what its projections returned
    looks_ahead            a token's attention also sees the tokens after it
    handled                settings that may differ from their defaults, beside `HANDLED`
    refused                settings that can't be read exactly, and why
    """

    model_type: str
    layers: str
    final_norm: str
    attention: str
    mlp: str | tuple[str, ...]
    out: str
    qkv: tuple[str, ...]
    mlp_out: str | None = None
    base: str = ""
    unproject: str | Callable[[Any], str | None] | None = None
    layout: Literal["concat", "grouped"] | Callable[[Any], str] = "concat"
    attention_norm: Path | None = None
    mlp_norm: Path | None = None
    attention_post_norm: Path | None = None
    mlp_post_norm: Path | None = None
    joint_qk_norm: Flag = False
    norm_offset: float = 0.0
    norm_eps: float | None = None
    parallel: Flag = False
    positions: Flag = False
    kv_heads: Callable[[Any], int] | None = None
    residual_multiplier: str | None = None
    mlp_adds_stream: bool = False
    mlp_outputs: int = 1
    overwrites: bool = False
    looks_ahead: Flag = False
    handled: frozenset[str] = field(default=frozenset())
    refused: Mapping[str, str] = field(default_factory=dict)

    def setting(self, name: str, config: Any) -> Any:
        """A field of this family, resolved where it depends on the config."""
        value = getattr(self, name)
        return value(config) if callable(value) else value

    def norms(self, config: Any) -> frozenset[str]:
        """Where a block's norms are, those of its readers and those of its writers."""
        names = ("attention_norm", "mlp_norm", "attention_post_norm", "mlp_post_norm")
        return frozenset(self.setting(name, config) for name in names) - {None}

    @property
    def mlp_path(self) -> tuple[str, ...]:
        """The modules that are the MLP, in the order in which they are called."""
        return (self.mlp,) if isinstance(self.mlp, str) else self.mlp


def known_families() -> tuple[str, ...]:
    """The `model_type`s that have a file, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(families.__path__)))


def family_named(model_type: str) -> Family:
    """The family in the file `model_type`; ModelError if there is none."""
    name = f"{families.__name__}.{model_type}"
    if not model_type.isidentifier() or find_spec(name) is None:
        raise ModelError(
            f"no family for model_type {model_type!r}; there are: {', '.join(known_families())}. "
            "CONTRIBUTING.md tells how to add one"
        )
    return importlib.import_module(name).FAMILY


def described(model_type: str) -> str:
    """A line on what is special about a family: its file's docstring."""
    text = importlib.import_module(f"{families.__name__}.{model_type}").__doc__ or ""
    return text.partition("\n")[0]


def family_of(config: Any) -> Family:
    """The family of a config; ModelError for an unknown type or an unhandled setting."""
    family = family_named(config.model_type)
    refuse_unhandled(config, family)
    return family


def refuse_unhandled(config: Any, family: Family) -> None:
    """ModelError naming every setting that isn't at its default and that no one answers for."""
    given, default = _settings(config), _settings(type(config)())
    odd = [
        f"{key}={given[key]!r} (default {default[key]!r})"
        + (f": {family.refused[key]}" if key in family.refused else "")
        for key in sorted(given.keys() & default.keys() - family.handled)
        if key.rpartition(".")[2] not in HANDLED and _differ(given[key], default[key])
    ]
    if odd:
        raise ModelError(f"{family.model_type}: settings edgewise doesn't handle: {', '.join(odd)}")


def _settings(config: Any) -> dict[str, Any]:
    """All settings by name; those of a config within it as `outer.inner`."""
    found: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if key in config.sub_configs and isinstance(value, dict):
            found |= {f"{key}.{inner}": inside for inner, inside in value.items()}
        else:
            found[key] = value
    return found


def _differ(given: Any, default: Any) -> bool:
    """Whether two values of a setting differ; None and False both switch it off."""
    off = all(value is None or value is False for value in (given, default))
    return given != default and not off
