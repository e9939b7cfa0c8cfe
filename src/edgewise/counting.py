"""What a computation takes: the bytes alive at its peak and the operations of its matrix products.

A `Counter` watches every tensor operation inside its `with` block. On the meta device nothing is
computed, so a step of a model of any size can be counted where it could never run.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgewise.ops.product import ONEDNN

aten = torch.ops.aten
# Where the left factor is among the arguments of a product; its last dimension is summed over.
_LEFT = {
    aten.mm: 0,
    aten.bmm: 0,
    aten.addmm: 1,
    aten.addmm_: 1,
    aten.baddbmm: 1,
    aten.baddbmm_: 1,
    aten._grouped_mm: 0,
}
if ONEDNN is not None:
    _LEFT[ONEDNN] = 0


class Counter(TorchDispatchMode):
    """Counts the storages that operations make, by the stage in which they were made.

    stage     set by the caller: what is being done
    live      bytes alive by stage of birth
    peaks     by stage, `live` at its fullest moment since `restart`
    peak      the fullest of them
    flops     operations of matrix products since `restart`: two for each multiply-add

    What depends on values is answered for meta tensors so: a number read out is 0, a truth is True
    (masks without padding keep all), values are distinct. What a kernel allocates for itself isn't
    seen.
    """

    def __init__(self, stage: str = ""):
        super().__init__()
        self.stage = stage
        self.live: dict[str, int] = defaultdict(int)
        self._seen: dict[int, tuple[weakref.ref, str, int]] = {}
        self._total = 0
        self.restart()

    def restart(self) -> None:
        """Begin to look for other peaks, from what is alive now."""
        self.peaks, self.flops = {self.stage: dict(self.live)}, 0
        self._highest = {self.stage: self._total}

    @property
    def peak(self) -> dict[str, int]:
        """`live` at its fullest moment since `restart`."""
        return self.peaks[max(self._highest, key=self._highest.__getitem__)]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        meta = bool(args) and isinstance(args[0], Tensor) and args[0].is_meta
        if meta and func is aten._local_scalar_dense.default:
            return args[0].dtype == torch.bool or 0
        out = _on_meta(func, args) if meta else None
        if out is None:
            out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        place = _LEFT.get(func._overloadpacket)
        if place is not None:
            self.flops += 2 * out.numel() * args[place].shape[-1]
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen[key] = (weakref.ref(storage, self._forgetting(key)), self.stage, size)
        self.live[self.stage] += size
        self._total += size
        if self._total > self._highest.get(self.stage, -1):
            self._highest[self.stage] = self._total
            self.peaks[self.stage] = dict(self.live)

    def _forgetting(self, key: int) -> Callable[[object], None]:
        def forget(_: object) -> None:
            _, stage, size = self._seen.pop(key)
            self.live[stage] -= size
            self._total -= size

        return forget


def _on_meta(func: Any, args: tuple[Any, ...]) -> Any:
    """What an operation on meta tensors returns, where PyTorch can't say or takes half a
    millisecond to; None if it must."""
    if func is aten.addmm.default:
        return args[1].new_empty(args[1].shape[0], args[2].shape[1])
    if func is aten._unique2.default:
        values = args[0].new_empty(args[0].numel())
        return values, torch.empty_like(args[0]), args[0].new_empty(0)
    if func._schema.name.endswith("_") and torch.Tag.inplace_view not in func.tags:
        return args[0]
    return None


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """What tensors take together, shared storages once; on the meta device too."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
