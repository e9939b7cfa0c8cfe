"""An adapted model: a Hugging Face causal language model seen as writers and readers.

Three shadows of the model do what happens outside its blocks, by its own code: `outer` (embeddings, masks,
rotary angles) is the base model with blocks that write nothing, `head` the whole model fed with final
hidden states. What lies between is `blocks`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from edgewise.errors import ModelError
from edgewise.graph import Embeddings, Graph
from edgewise.models.block import Block, Norm
from edgewise.models.family import Family
from edgewise.models.shadow import Call, Feed, Nothing, Sink, exchange_at, recorder, shadow
from edgewise.models.tokens import Tokens


@dataclass
class _Hidden(BaseModelOutputWithPast):
    """Final hidden states, with every field some head looks at."""

    cross_attentions: Any = None
    router_logits: Any = None


@dataclass(frozen=True, eq=False)
class Outer:
    """What surrounds the blocks for one batch: the embedding writes and each block's attention call."""

    tokens: Tokens
    embeddings: tuple[Float[Tensor, "N D"], ...]  # one, or tok and pos
    calls: tuple[Call, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A frozen causal language model and its graph.

    hf          the `transformers` model itself, in eval mode, its parameters without gradient
    tokenizer   its tokenizer, or None
    name        what it was loaded from
    family      how it was read
    """

    hf: nn.Module
    tokenizer: Any
    name: str
    family: Family
    graph: Graph
    blocks: tuple[Block, ...]

    @property
    def config(self) -> Any:
        return self.hf.config

    @property
    def device(self) -> torch.device:
        return self.hf.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.get_input_embeddings().weight.dtype

    @property
    def width(self) -> int:
        """D."""
        return self.blocks[0].sink.width

    @property
    def coupled(self) -> bool:
        """Whether what one head of a block reads changes what its other heads write."""
        post_norm = self.blocks[0].attention_post_norm is not None
        return post_norm or bool(self.family.setting("joint_qk_norm", self.config))

    def outer(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"] | None = None
    ) -> Outer:
        """Embeddings and attention arguments of a batch, as the model's own forward makes them."""
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
        """Logits of final stream states: the model's own final norm, unembedding and what follows it."""
        twin, feed, norm = self._head_shadow
        feed.value = _Hidden(last_hidden_state=norm(hidden)[None])
        ids = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
        logits = twin(input_ids=ids, use_cache=False).logits[0]
        feed.value = None
        return logits

    @cached_property
    def _outer_shadow(self) -> tuple[nn.Module, list[Call], list[Tensor]]:
        base, family = self.hf.base_model, self.family
        calls: list[Call] = []
        entry: list[Tensor] = []
        twins = []
        for block in base.get_submodule(family.layers):
            quiet = exchange_at(block, family.mlp, Nothing())
            listen = recorder(block.get_submodule(family.attention), calls)
            twins.append(exchange_at(quiet, family.attention, listen))

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry.append(args[0] if args else kwargs["hidden_states"])

        twins[0].register_forward_pre_hook(enter, with_kwargs=True)
        outer = exchange_at(base, family.layers, nn.ModuleList(twins))
        return exchange_at(outer, family.final_norm, nn.Identity()), calls, entry

    @cached_property
    def _head_shadow(self) -> tuple[nn.Module, Feed, nn.Module]:
        feed = Feed()
        twin = shadow(self.hf, **{self.hf.base_model_prefix: feed})
        return twin, feed, self.hf.base_model.get_submodule(self.family.final_norm)


def build(
    hf: nn.Module, tokenizer: Any, name: str, family: Family, embeddings: Embeddings
) -> Model:
    """Lay out a model's readers and writers by its family; nothing is computed yet."""
    if embeddings == "split" and not family.positions:
        raise ModelError(
            f"{family.model_type} has no learned positions to split from its tokens: "
            "use embeddings='joint' or 'free'"
        )
    config = hf.config
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    parallel = bool(family.setting("parallel", config))
    blocks = tuple(
        _block(module, family, config, heads, groups, parallel)
        for module in hf.base_model.get_submodule(family.layers)
    )
    graph = Graph(len(blocks), heads, groups, parallel, embeddings)
    return Model(hf, tokenizer, name, family, graph, blocks)


def _block(
    module: nn.Module, family: Family, config: Any, heads: int, groups: int, parallel: bool
) -> Block:
    attention = module.get_submodule(family.attention)
    out = attention.get_submodule(family.out)
    feeds = tuple(Feed() for _ in family.qkv)
    sink = Sink(config.hidden_size)
    twin = exchange_at(attention, family.out, sink)
    for path, feed in zip(family.qkv, feeds, strict=True):
        twin = exchange_at(twin, path, feed)

    def norm(field: str) -> nn.Module | None:
        path = family.setting(field, config)
        return None if path is None else module.get_submodule(path)

    def arithmetic(field: str) -> Norm | None:
        found = norm(field)
        return None if found is None else Norm.of(found, family.norm_offset)

    multiplier = family.residual_multiplier
    return Block(
        module=module,
        family=family,
        n_heads=heads,
        n_kv_heads=groups,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        parallel=parallel,
        scale=1.0 if multiplier is None else float(getattr(config, multiplier)),
        projections=tuple(attention.get_submodule(path) for path in family.qkv),
        out=out,
        attention=twin,
        feeds=feeds,
        sink=sink,
        attention_norm=arithmetic("attention_norm"),
        mlp_norm=norm("mlp_norm"),
        attention_post_norm=arithmetic("attention_post_norm"),
        mlp_post_norm=norm("mlp_post_norm"),
    )
