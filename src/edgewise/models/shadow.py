"""Shadows: shallow copies of a model's own modules with a few submodules exchanged.

A masked run needs what a `transformers` model computes around and between its projections (masks,
rotary angles, ALiBi, soft-caps, sinks, q/k norms, the head's scaling) with other inputs and
outputs. A shadow shares every parameter and all code with the original and has its own table of
submodules, so an exchange is seen by the shadow alone: the user's model is never touched and
nothing of it is rewritten.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def shadow(module: nn.Module, **exchange: nn.Module) -> nn.Module:
    """A shallow copy of `module` without its hooks, with the named direct submodules exchanged.

    Nor has it a `forward` of that instance's own (`edgewise.applied`), which would call `module`.
    """
    twin = object.__new__(type(module))  # copy.copy would ask the class, which may make a new one
    vars(twin).update(vars(module))
    vars(twin).pop("forward", None)
    twin._modules = dict(module._modules)
    for name in list(vars(twin)):
        if "_hooks" in name:  # also _forward_hooks_with_kwargs and its like
            setattr(twin, name, OrderedDict())
    for name, replacement in exchange.items():
        assert name in twin._modules, (type(module).__name__, name)
        twin._modules[name] = replacement
    return twin


def exchange_at(module: nn.Module, path: str, replacement: nn.Module) -> nn.Module:
    """A shadow of `module` whose submodule at the dotted `path` is `replacement`."""
    head, _, rest = path.partition(".")
    inner = exchange_at(module.get_submodule(head), rest, replacement) if rest else replacement
    return shadow(module, **{head: inner})


class _Stand(nn.Module):
    """A module without parameters, whose values come and go some thousand times a step."""

    __setattr__ = object.__setattr__  # nn.Module's, which looks for parameters, takes much longer


class Feed(_Stand):
    """Stands where a projection stood and returns what it was given instead; a copy, if asked."""

    value: Any = None

    def __init__(self, copies: bool = False):
        super().__init__()
        self.copies = copies

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.value.clone() if self.copies else self.value


class Sink(_Stand):
    """Stands where an output projection stood, keeps its input and returns zeros of the width D."""

    value: Tensor | None = None

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        self.value = x
        return x.new_zeros(1).expand(*x.shape[:-1], self.width)


class Call:
    """The arguments of one call of an attention module, its hidden states apart."""

    def __init__(self, hidden: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.shape, self.args, self.kwargs = hidden.shape, args, kwargs

    def mapped(self, change: Callable[[Any], Any]) -> "Call":
        """This call with other arguments."""
        twin = copy.copy(self)
        twin.args, twin.kwargs = change(self.args), change(self.kwargs)
        return twin

    def replay(self, module: Callable[..., Any], like: Tensor) -> None:
        """Call `module` so again; its hidden states are zeros that take no memory."""
        hidden = like.new_zeros(1).expand(self.shape)
        module(hidden, *self.args, **self.kwargs)


def recorder(module: nn.Module, calls: list[Call]) -> nn.Module:
    """A shadow whose forward appends its `Call` to `calls` and returns (zeros, None)."""
    twin = shadow(module)

    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        if args:
            hidden, args = args[0], args[1:]
        else:
            hidden = kwargs.pop("hidden_states")
        calls.append(Call(hidden, args, kwargs))
        return torch.zeros_like(hidden), None

    twin.forward = forward
    return twin


class Nothing(nn.Module):
    """Stands where an MLP stood and writes zeros, and None for each further output."""

    def __init__(self, outputs: int = 1):
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Any:
        y = torch.zeros_like(x)
        return y if self.outputs == 1 else (y, *[None] * (self.outputs - 1))
