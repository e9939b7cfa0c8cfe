"""Equation (1) one edge at a time, by hooks on the Hugging Face model: what the engine is held to.

    x_r = x~_r + sum_{w<r} z_rw (x_w - x~_w)

The model itself is never changed: it runs its own forward pass while hooks put in what each reader
sees. A projection returns, for each of its readers, that reader's rows of `projection(norm(x_r))`;
what the heads hand to the output projection is taken apart head by head; the block's MLP is called
on its own norm of its own x_r; the final norm gets what the logits read. The stream that the model
adds up itself is ignored. Nothing here is fast, no engine code is used (`Graph` for indices and
`Family` for where things are), and autograd differentiates all of it.

Some `transformers` norms round to float32 whatever the model's dtype, so only models with LayerNorm
are exact in float64. Tensors are (B, T, D), pads included; values at pads mean nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.graph import Graph
from edgewise.models.family import Family


@dataclass(frozen=True, eq=False)
class Setting:
    """A model and where its parts are."""

    hf: nn.Module
    family: Family
    graph: Graph

    @property
    def base(self) -> nn.Module:
        return self.hf.base_model.get_submodule(self.family.base)

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.base.get_submodule(self.family.layers))

    def part(self, block: nn.Module, field: str) -> nn.Module | None:
        """A block's norm, by its field of the family."""
        path = self.family.setting(field, self.hf.config)
        return None if path is None else block.get_submodule(path)

    @property
    def multiplier(self) -> float:
        name = self.family.residual_multiplier
        return 1.0 if name is None else getattr(self.hf.config, name)


@dataclass(frozen=True, eq=False)
class Run:
    """What every writer wrote, what every reader saw, and the logits (of an ablated run: None)."""

    writes: list[Tensor]
    reads: list[Tensor]
    logits: Tensor | None = None


def run(
    setting: Setting,
    mask: Tensor,
    input_ids: Tensor,
    ablated: Run,
    attention_mask: Tensor | None = None,
) -> Run:
    """The model's run in which every reader sees equation (1)."""
    hf, family, graph = setting.hf, setting.family, setting.graph
    writes: list[Tensor] = []
    reads: list[Tensor | None] = [None] * graph.n_readers
    handles = []

    def read(reader: int) -> Tensor:
        x = ablated.reads[reader]
        for writer in range(graph.n_writers):
            if graph.causal[reader, writer]:
                x = x + mask[reader, writer] * (writes[writer] - ablated.writes[writer])
        reads[reader] = x
        return x

    def embed(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream = args[0] if args else kwargs["hidden_states"]
        if graph.embeddings == "split":
            tok = hf.get_input_embeddings()(input_ids)
            writes.extend([tok, stream - tok])
        else:
            writes.append(stream)

    def project(
        layer: int, block: nn.Module, labels: Tensor
    ) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(projection: nn.Module, _: Any, output: Tensor) -> Tensor:
            norm = setting.part(block, "attention_norm")
            replaced = torch.zeros_like(output)
            for row in labels.unique().tolist():
                x = read(graph.attention_readers(layer).start + row)
                own = projection.forward(x if norm is None else norm.forward(x))
                replaced = torch.where(labels == row, own, replaced)
            return replaced

        return hook

    def take_heads(block: nn.Module) -> Callable[[nn.Module, Any], None]:
        def hook(out: nn.Module, args: tuple[Tensor]) -> None:
            writes.extend(head_writes(setting, block, out, args[0]))

        return hook

    def take_mlp(layer: int, block: nn.Module) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            writes.append(mlp_write(setting, block, read(graph.mlp_reader(layer))))

        return hook

    handles.append(setting.blocks[0].register_forward_pre_hook(embed, with_kwargs=True))
    for layer, block in enumerate(setting.blocks):
        attention = block.get_submodule(family.attention)
        for path, labels in zip(family.qkv, reader_rows(setting, attention), strict=True):
            hook = project(layer, block, labels)
            handles.append(attention.get_submodule(path).register_forward_hook(hook))
        out = attention.get_submodule(family.out)
        handles.append(out.register_forward_pre_hook(take_heads(block)))
        handles.append(attention.register_forward_hook(take_mlp(layer, block)))
    final = setting.base.get_submodule(family.final_norm)
    handles.append(final.register_forward_pre_hook(lambda *_: (read(graph.logits_reader),)))
    logits = forward(hf, input_ids, attention_mask, handles)
    return Run(writes, reads, logits)


def forward(
    hf: nn.Module, input_ids: Tensor, attention_mask: Tensor | None, handles: Iterable[Any] = ()
) -> Tensor:
    """The model's own logits; hooks are taken off again."""
    given = None if attention_mask is None else attention_mask.long()
    try:
        return hf(input_ids=input_ids, attention_mask=given, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def reader_rows(setting: Setting, attention: nn.Module) -> list[Tensor]:
    """For each projection, the row of its block's H + 2G readers that each output belongs to."""
    graph, family = setting.graph, setting.family
    layout = family.setting("layout", setting.hf.config)
    heads, groups = graph.n_heads, graph.n_kv_heads
    q, k = list(range(heads)), list(range(heads, heads + groups))
    v = [row + groups for row in k]
    if len(family.qkv) == 3:
        orders = [q, k, v]
    elif layout == "concat":
        orders = [q + k + v]
    elif layout == "grouped":
        share = heads // groups
        orders = [
            [row for g in range(groups) for row in (*q[g * share : (g + 1) * share], k[g], v[g])]
        ]
    else:
        raise NotImplementedError(f"the oracle has no layout {layout!r}")
    found = []
    for path, order in zip(family.qkv, orders, strict=True):
        projection = attention.get_submodule(path)
        outputs = projection.weight.numel() // setting.hf.config.hidden_size
        found.append(torch.tensor(order).repeat_interleave(outputs // len(order)))
    return found


def head_writes(setting: Setting, block: nn.Module, out: nn.Module, heads: Tensor) -> list[Tensor]:
    """What each head adds to the stream: its slice through W_O, and its share of what all share."""
    count = setting.graph.n_heads
    width = heads.shape[-1] // count
    bias = out.forward(torch.zeros_like(heads))
    writes = []
    for head in range(count):
        alone = torch.zeros_like(heads)
        alone[..., head * width : (head + 1) * width] = heads[
            ..., head * width : (head + 1) * width
        ]
        writes.append(out.forward(alone) - bias + bias / count)
    norm = setting.part(block, "attention_post_norm")
    if norm is not None:
        total = out.forward(heads)
        eps = getattr(norm, "eps", None) or norm.variance_epsilon
        ones = torch.ones_like(total)
        gain = norm.forward(ones) * (1 + eps) ** 0.5
        scale = (total.square().mean(-1, keepdim=True) + eps).rsqrt()
        writes = [write * scale * gain for write in writes]
        torch.testing.assert_close(sum(writes), norm.forward(total), rtol=1e-4, atol=1e-4)
    return [write * setting.multiplier for write in writes]


def mlp_write(setting: Setting, block: nn.Module, x: Tensor) -> Tensor:
    """What the MLP adds to the stream when it reads x."""
    norm, post = setting.part(block, "mlp_norm"), setting.part(block, "mlp_post_norm")
    h = x if norm is None else norm.forward(x)
    first, *rest = (block.get_submodule(path) for path in setting.family.mlp_path)
    y = (
        first.forward(h, torch.zeros_like(h))
        if setting.family.mlp_adds_stream
        else first.forward(h)
    )
    for module in rest:
        y = module.forward(y)
    y = y[0] if isinstance(y, tuple) else y
    return (y if post is None else post.forward(y)) * setting.multiplier


# Ablated runs


def nothing(setting: Setting, input_ids: Tensor) -> Run:
    """Zero ablation: nobody writes and every stream is 0."""
    zero = torch.zeros(*input_ids.shape, setting.hf.config.hidden_size, dtype=dtype_of(setting.hf))
    return Run([zero] * setting.graph.n_writers, [zero] * setting.graph.n_readers)


def plain(setting: Setting, input_ids: Tensor, attention_mask: Tensor | None = None) -> Run:
    """The unmasked model's writes: every edge kept, over nothing."""
    ones = torch.ones(setting.graph.n_readers, setting.graph.n_writers, dtype=dtype_of(setting.hf))
    return run(setting, ones, input_ids, nothing(setting, input_ids), attention_mask)


def interchange(
    setting: Setting, counterfactual_ids: Tensor, attention_mask: Tensor | None = None
) -> Run:
    """The corrupted run: its writes, and the streams that hooks find in the model."""
    writes = plain(setting, counterfactual_ids, attention_mask).writes
    return Run(writes, streams(setting, counterfactual_ids, attention_mask))


def mean(
    setting: Setting,
    reference: Iterable[tuple[Tensor, Tensor | None]],
    like: Tensor,
    per_position: bool,
) -> Run:
    """Every writer's mean over the reference's kept tokens, laid out like the prompts `like`."""
    graph = setting.graph
    kept: list[list[tuple[int, Tensor]]] = [[] for _ in range(graph.n_writers)]
    for ids, attention_mask in reference:
        for writer, write in enumerate(plain(setting, ids, attention_mask).writes):
            for b in range(ids.shape[0]):
                for t in range(ids.shape[1]):
                    if attention_mask is None or attention_mask[b, t]:
                        kept[writer].append((t, write[b, t]))
    writes = []
    for values in kept:
        columns = []
        for t in range(like.shape[1]):
            here = [value for at, value in values if at == t or not per_position]
            columns.append(torch.stack(here).mean(0) if here else torch.zeros_like(values[0][1]))
        writes.append(torch.stack(columns).expand(*like.shape, -1))
    reads = [
        sum(writes[w] for w in range(graph.n_writers) if graph.causal[r, w])
        for r in range(graph.n_readers)
    ]
    return Run(writes, reads)


def streams(
    setting: Setting, input_ids: Tensor, attention_mask: Tensor | None = None
) -> list[Tensor]:
    """The residual stream at every reader of the model as it is, by hooks that only look."""
    graph, family = setting.graph, setting.family
    seen: dict[tuple[str, int], Tensor] = {}
    handles = []

    def look(kind: str, layer: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[kind, layer] = args[0] if args else kwargs["hidden_states"]

        return hook

    for layer, block in enumerate(setting.blocks):
        handles.append(block.register_forward_pre_hook(look("block", layer), with_kwargs=True))
        if not graph.parallel:
            first = setting.part(block, "mlp_norm")
            first = block.get_submodule(family.mlp_path[0]) if first is None else first
            handles.append(first.register_forward_pre_hook(look("mlp", layer), with_kwargs=True))
    final = setting.base.get_submodule(family.final_norm)
    handles.append(final.register_forward_pre_hook(look("final", 0), with_kwargs=True))
    forward(setting.hf, input_ids, attention_mask, handles)
    found = []
    for layer in range(graph.n_layers):
        entry = seen["block", layer]
        found += [entry] * (graph.n_heads + 2 * graph.n_kv_heads)
        found.append(entry if graph.parallel else seen["mlp", layer].view_as(entry))
    return [*found, seen["final", 0]]


def dtype_of(hf: nn.Module) -> torch.dtype:
    return hf.get_input_embeddings().weight.dtype
