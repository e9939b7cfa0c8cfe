"""The most memory that a piece of work takes, weights included.

On a GPU that is what torch allocated there. On a CPU it is the process's resident memory: on Linux
the kernel's high-water mark, set back when the work begins; elsewhere, where it can't be set back,
the highest since the process began, and on Windows nothing is known.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Peak:
    """Begins to watch when it is made by `begin`."""

    device: torch.device

    @classmethod
    def begin(cls, device: torch.device) -> "Peak":
        """Forget earlier peaks."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):  # no Linux, or one that doesn't let processes do this
                RESET.write_text("5")
        return cls(device)

    def n_bytes(self) -> int | None:
        """The highest since then; None where it isn't known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if STATUS.exists():
            for line in STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        if sys.platform == "win32":
            return None
        import resource  # Windows has none

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024
