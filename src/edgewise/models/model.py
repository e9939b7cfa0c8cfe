"""An adapted model: a Hugging Face causal language model seen as writers and readers.

Three shadows of the model do what happens outside its blocks, by its own code: `outer` (embeddings,
masks, rotary angles) is the base model with blocks that write nothing, `head` the whole model fed
with final hidden states. What lies between is `blocks`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.utils import ModelOutput

from edgewise.errors import ConfigError, DataError, ModelError
from edgewise.graph import Embeddings, Graph
from edgewise.models.block import Block, Norm, takes_mean_off
from edgewise.models.blocks import Blocks
from edgewise.models.family import Family
from edgewise.models.shadow import Call, Feed, Nothing, Sink, exchange_at, recorder
from edgewise.models.tokens import Tokens
from edgewise.ops.product import linears


@dataclass
class _Hidden(ModelOutput):
    """Final hidden states, with every field some head looks at."""

    last_hidden_state: Any = None
    past_key_values: Any = None
    hidden_states: Any = None
    attentions: Any = None
    cross_attentions: Any = None
    router_logits: Any = None


@dataclass(frozen=True, eq=False)
class Outer:
    """What surrounds the blocks for a batch: embedding writes and each block's attention call."""

    tokens: Tokens
    embeddings: tuple[Float[Tensor, "N D"], ...]  # one, or tok and pos
    calls: tuple[Call, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A frozen causal language model and its graph.

    hf          the `transformers` model itself, in eval mode, its parameters without gradient
    tokenizer   its tokenizer, or None
    name        what it was loaded from
    family      how it was read
    blocks      each is usable until another is taken (`Blocks`)
    """

    hf: nn.Module
    tokenizer: Any
    name: str
    family: Family
    graph: Graph
    blocks: Blocks

    def __repr__(self) -> str:
        return f"<Model {self.summary}>"

    @property
    def summary(self) -> str:
        """ "smollm2-135m: 30 layers of 9 heads, 70,651 edges, float32 on cpu"."""
        graph = self.graph
        return (
            f"{self.name}: {graph.n_layers} layers of {graph.n_heads} heads, "
            f"{graph.n_edges:,} edges, {self.dtype_name} on {self.device}"
        )

    @property
    def config(self) -> Any:
        return self.hf.config

    @property
    def whole(self) -> bool:
        """Whether all weights are here at all times, so that they can be copied."""
        return self.blocks.keeper is None

    @property
    def device(self) -> torch.device:
        return self.hf.get_input_embeddings().weight.device

    @property
    def dtype_name(self) -> str:
        """ "float32", "bfloat16", ..."""
        return str(self.dtype).removeprefix("torch.")

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, special ones too; their numbers for a model without a tokenizer."""
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.get_input_embeddings().weight.dtype

    @property
    def looks_ahead(self) -> bool:
        """Whether a token depends on those after it."""
        return bool(self.family.setting("looks_ahead", self.config))

    @property
    def width(self) -> int:
        """D."""
        return self.config.hidden_size

    def centre(self, x: Float[Tensor, "*n D"]) -> Float[Tensor, "*n D"]:
        """What readers leave of a stream, by no block's weights: see `Block.centre`."""
        return self.blocks.parts[0].centre(x)

    def outer(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"] | None = None
    ) -> Outer:
        """Embeddings and attention arguments of a batch, as the model's own forward makes them.

        DataError for a token that the model doesn't have.
        """
        known = self.hf.get_input_embeddings().weight.shape[0]
        low, high = map(int, input_ids.aminmax())
        if low < 0 or high >= known:
            raise DataError(
                f"token {low if low < 0 else high} is none of the model's {known:,}: make the "
                "prompts with its own tokenizer (model.tokenizer)"
            )
        length = input_ids.shape[1]
        most = getattr(self.config, "max_position_embeddings", length)
        if self.family.setting("positions", self.config) and length > most:
            raise DataError(
                f"prompts of {length:,} tokens: the model has {most:,} learned positions; take "
                "shorter prompts"
            )
        base, calls, entry = self._outer_shadow
        calls.clear()
        entry.clear()
        mask = None if attention_mask is None else attention_mask.long()
        base(input_ids=input_ids, attention_mask=mask, use_cache=False)
        tokens = Tokens.of(tuple(input_ids.shape), attention_mask)
        stream = tokens.pack(entry.pop())
        writes: tuple[Tensor, ...] = (stream,)
        if self.graph.embeddings == "split":
            tok = tokens.pack(self.hf.get_input_embeddings()(input_ids))
            writes = (tok, stream - tok)
        made, calls[:] = tuple(calls), []
        assert len(made) == len(self.blocks)
        return Outer(tokens, writes, made)

    def head(self, hidden: Float[Tensor, "A D"]) -> Float[Tensor, "A V"]:
        """Logits of final stream states: the model's own final norm, head and what follows."""
        twin, feed, finish = self._head_shadow
        for module in finish:
            hidden = module(hidden)
        feed.value = _Hidden(last_hidden_state=hidden[None])
        ids = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
        with linears(hidden):
            logits = twin(input_ids=ids, use_cache=False, return_dict=True).logits[0]
        feed.value = None
        return logits

    @cached_property
    def _outer_shadow(self) -> tuple[nn.Module, list[Call], list[Tensor]]:
        base, family = self.hf.base_model.get_submodule(self.family.base), self.family
        calls: list[Call] = []
        entry: list[Tensor] = []
        blocks = base.get_submodule(family.layers)
        twins = [listener(block, family, self.config, calls) for block in blocks]

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry.append(args[0] if args else kwargs["hidden_states"])

        twins[0].register_forward_pre_hook(enter, with_kwargs=True)
        outer = exchange_at(base, family.layers, nn.ModuleList(twins))
        return exchange_at(outer, family.final_norm, nn.Identity()), calls, entry

    @cached_property
    def _head_shadow(self) -> tuple[nn.Module, Feed, tuple[nn.Module, ...]]:
        family, feed = self.family, Feed()
        base = self.hf.base_model.get_submodule(family.base)
        names = (family.final_norm, family.setting("unproject", self.config))
        finish = tuple(base.get_submodule(name) for name in names if name is not None)
        path = ".".join(filter(None, (self.hf.base_model_prefix, family.base)))
        return exchange_at(self.hf, path, feed), feed, finish


def check_model(model: Any) -> None:
    """ConfigError for anything but a Model, such as the `transformers` model inside one."""
    if not isinstance(model, Model):
        raise ConfigError(
            f"model is a {type(model).__name__}, not an edgewise Model: type "
            "edgewise.load('smollm2-135m'), or edgewise.adapt(model, tokenizer) if it is "
            "transformers' own"
        )


def listener(block: nn.Module, family: Family, config: Any, calls: list[Call]) -> nn.Module:
    """A shadow of a block that computes and writes nothing, and appends its attention's `Call` to
    `calls`."""
    listen = recorder(block.get_submodule(family.attention), calls)
    twin = exchange_at(without_mlp(block, family), family.attention, listen)
    for norm in family.norms(config):
        twin = exchange_at(twin, norm, nn.Identity())
    return twin


def without_mlp(block: nn.Module, family: Family) -> nn.Module:
    """A shadow of a block whose MLP writes nothing."""
    first, *rest = family.mlp_path
    twin = exchange_at(block, first, Nothing(family.mlp_outputs))
    for path in rest:
        twin = exchange_at(twin, path, Nothing())
    return twin


def graph_of(config: Any, family: Family, embeddings: Embeddings) -> Graph:
    """A model's graph, from its config alone."""
    if embeddings == "split" and not family.setting("positions", config):
        raise ModelError(
            f"{family.model_type} has no learned positions to split from its tokens: "
            "use embeddings='joint' or 'free'"
        )
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    if family.kv_heads is not None:
        groups = family.kv_heads(config)
    parallel = bool(family.setting("parallel", config))
    post_norm = family.setting("attention_post_norm", config) is not None
    coupled = post_norm or bool(family.setting("joint_qk_norm", config))
    return Graph(config.num_hidden_layers, heads, groups, parallel, embeddings, coupled)


def cast(model: Model, dtype: torch.dtype) -> Model:
    """A copy of a model with weights of another dtype, or the model itself if it has that one.

    Buffers stay as they are, as when `transformers` loads a model in that dtype: the rotary
    frequencies of a bfloat16 model are float32.
    """
    if model.dtype == dtype:
        return model
    hf = copy.deepcopy(model.hf)
    for parameter in hf.parameters():
        parameter.data = parameter.data.to(dtype)
    return build(hf, model.tokenizer, model.name, model.family, model.graph.embeddings)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16 products, and isn't slower with them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def build(
    hf: nn.Module, tokenizer: Any, name: str, family: Family, embeddings: Embeddings
) -> Model:
    """Lay out a model's readers and writers by its family; nothing is computed yet.

    Raises ModelError where a part that the family names isn't there, or where some readers take the
    mean off what they see and others don't.
    """
    graph = graph_of(hf.config, family, embeddings)
    try:
        base = hf.base_model.get_submodule(family.base)
        modules = list(base.get_submodule(family.layers))
        blocks = tuple(read_block(module, family, hf.config, graph) for module in modules)
        final = base.get_submodule(family.final_norm)
    except AttributeError as error:
        raise ModelError(f"{name}, read as {family.model_type!r}: {error}") from error
    if len(blocks) != graph.n_layers:
        raise ModelError(f"{name}: its config counts {graph.n_layers} layers, it has {len(blocks)}")
    norms = {takes_mean_off(final), *(block.centred for block in blocks)}
    norms |= {takes_mean_off(block.mlp_norm) for block in blocks}
    if len(norms) > 1:
        raise ModelError(
            f"{name}: some of its parts read through a LayerNorm and others don't, "
            "which can't be read here"
        )
    return Model(hf, tokenizer, name, family, graph, Blocks(blocks))


def read_block(module: nn.Module, family: Family, config: Any, graph: Graph) -> Block:
    """One block of a model; AttributeError where a part that the family names isn't there."""
    attention = module.get_submodule(family.attention)
    out = attention.get_submodule(family.out)
    projections = tuple(attention.get_submodule(path) for path in family.qkv)
    feeds = tuple(Feed(family.overwrites) for _ in family.qkv)
    sink = Sink(config.hidden_size)
    twin = exchange_at(attention, family.out, sink)
    for path, feed in zip(family.qkv, feeds, strict=True):
        twin = exchange_at(twin, path, feed)
    mlp_out, mlp_sink, mlps = None, Sink(config.hidden_size), module
    for path, part in module.named_modules():
        if type(part) is NewGELUActivation:  # the same function in one operation for eight
            mlps = exchange_at(mlps, path, GELUTanh())
    if family.mlp_out is not None:
        mlp_out = module.get_submodule(family.mlp_out)
        mlps = exchange_at(mlps, family.mlp_out, mlp_sink)

    def norm(field: str) -> nn.Module | None:
        path = family.setting(field, config)
        return None if path is None else module.get_submodule(path)

    def arithmetic(field: str) -> Norm | None:
        found = norm(field)
        return None if found is None else Norm.of(found, family)

    multiplier = family.residual_multiplier
    return Block(
        module=module,
        layout=family.setting("layout", config),
        n_heads=graph.n_heads,
        n_kv_heads=graph.n_kv_heads,
        head_dim=out.weight.numel() // config.hidden_size // graph.n_heads,
        parallel=graph.parallel,
        scale=1.0 if multiplier is None else float(getattr(config, multiplier)),
        projections=projections,
        out=out,
        attention=twin,
        feeds=feeds,
        sink=sink,
        mlp=tuple(mlps.get_submodule(path) for path in family.mlp_path),
        mlp_out=mlp_out,
        mlp_sink=mlp_sink,
        mlp_adds_stream=family.mlp_adds_stream,
        attention_norm=arithmetic("attention_norm"),
        mlp_norm=norm("mlp_norm"),
        attention_post_norm=arithmetic("attention_post_norm"),
        mlp_post_norm=norm("mlp_post_norm"),
    )
