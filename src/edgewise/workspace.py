"""Memory for wide buffers, used again by the next step.

A CPU's fresh pages cost more than filling them: zeros for 200 MB take 130 ms, and 5 ms where there
was something before. A GPU's allocator keeps its memory itself.
"""

import math
import weakref

from torch import Tensor

CLOSE = 0.8  # of what is kept, that a smaller buffer must need


class Workspace:
    """Buffers by name, each of which grows and shrinks with what is asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}
        self._lent: dict[str, weakref.ref[Tensor]] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory of any values, in the dtype and on the device of `like`.

        It is what the name had before, unless someone still holds that tensor itself (a view of it
        doesn't count): then it is new, and theirs stays as it is.
        """
        needed, lent = math.prod(shape), self._lent.get(name)
        held = lent is not None and lent() is not None
        if held or not self._fits(name, like, needed):
            self._kept.pop(name, None)  # and free, before there is another
            self._kept[name] = like.new_empty(needed)
        found = self._kept[name][:needed].view(shape)
        self._lent[name] = weakref.ref(found)
        return found

    def _fits(self, name: str, like: Tensor, needed: int) -> bool:
        kept = self._kept.get(name)
        if kept is None or kept.dtype != like.dtype or kept.device != like.device:
            return False
        return CLOSE * kept.numel() <= needed <= kept.numel()
