"""`edgewise plan`: what a step of Edge Pruning takes, and what it fits on, from a config alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgewise.cli import flags
from edgewise.cli.flags import MaybeFloat, MaybeInt, MaybePlace, Switch
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.table import aligned

DEVICES = (24, 40, 80, 141)  # GB of memory that GPUs come with
BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
WORK = {"TFLOP": 1e12, "GFLOP": 1e9, "MFLOP": 1e6}


@dataclass(frozen=True)
class Command:
    """Forecast the memory and the work of a step, with every gate open in part."""

    model: str  # a folder with a config.json, a hub id, or a known shape such as codellama-13b
    batch_size: int = 8  # prompts a step, on all ranks together
    tokens: int = 64  # of each prompt
    dtype: str = "bfloat16"  # what the search runs in: float32, bfloat16, float16 or float64
    embeddings: Literal["joint", "split", "free"] = "joint"  # split: tokens apart from positions
    world_size: MaybeInt = None  # ranks that share the blocks and the prompts; one unless given
    offload: MaybePlace = None  # disk: of the blocks, two at a time are in memory
    tflops: MaybeFloat = None  # what a rank keeps up, in 10^12 operations a second: gives the time
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        output = Output(self.json)
        flags.check_least(self, batch_size=1, tokens=1, world_size=1)
        if self.tflops is not None and self.tflops <= 0:
            raise ConfigError(f"--tflops {self.tflops}: it must be above 0")
        from edgewise.forecast import forecast  # loads torch
        from edgewise.loading import DTYPES, config_of

        if self.dtype not in DTYPES:
            raise ConfigError(f"--dtype {self.dtype}: choose {', '.join(DTYPES)}")
        config = config_of(self.model)
        try:
            found = forecast(
                config,
                name=self.model,
                tokens=self.tokens,
                batch_size=self.batch_size,
                dtype=DTYPES[self.dtype],
                embeddings=self.embeddings,
            )
        except ConfigError as error:
            raise ConfigError(flags.as_typed(str(error), Command)) from error
        data = self.data(found.on_disk() if self.offload else found)
        output.result(_text(data), data)

    def data(self, found: Any) -> dict[str, Any]:
        """A `Forecast` as JSON values."""
        ranks = self.world_size or 1
        flops = found.flops.of(self.batch_size)
        busy = min(ranks, self.batch_size)  # any more have no prompt of their own
        return {
            "model": found.name,
            "dtype": found.dtype,
            "batch_size": self.batch_size,
            "tokens": found.tokens,
            "world_size": ranks,
            "parameters": found.parameters,
            "writers": found.graph.n_writers,
            "readers": found.graph.n_readers,
            "edges": found.graph.n_edges,
            "bytes": found.memory(self.batch_size, ranks),
            "peak_bytes": found.peak(self.batch_size, ranks),
            "fits": {
                str(size): {
                    "this": found.fits(size * 1e9, self.batch_size, ranks),
                    "largest_batch": found.largest_batch(size * 1e9, ranks),
                    "ranks": found.ranks(size * 1e9, self.batch_size),
                }
                for size in DEVICES
            },
            "flops": flops,
            "seconds": self.tflops and flops / busy / self.tflops / 1e12,
        }


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "plan")


def _text(data: dict[str, Any]) -> str:
    ranks, prompts = data["world_size"], data["batch_size"]
    on = "" if ranks == 1 else f" on {ranks} ranks"
    time = "" if data["seconds"] is None else f", {data['seconds']:.3g} s at the rate given"
    parts = {**data["bytes"], "together": data["peak_bytes"]}
    unit = _unit(data["peak_bytes"], BYTES)  # one for the column
    memory = [[part, f"{size / BYTES[unit]:.3f} {unit}"] for part, size in parts.items()]
    work = _unit(data["flops"], WORK)
    fits = [["on GPUs of", f"largest batch{on}", f"ranks for {prompts} prompts"]]
    for size, each in data["fits"].items():
        batch, needed = each["largest_batch"], each["ranks"]
        fits.append([f"{size} GB", f"{batch:,}" if batch else "none", f"{needed or 'none'}"])
    return "\n".join(
        [
            f"{data['model']}: {data['parameters']:,} parameters, {data['dtype']}; "
            f"{data['writers']:,} writers, {data['readers']:,} readers, {data['edges']:,} edges",
            f"a step of {prompts} x {data['tokens']} tokens{on}: "
            f"{data['flops'] / WORK[work]:,.4g} {work}{time}",
            "",
            f"memory at its peak{'' if ranks == 1 else ', on each rank'}:",
            aligned(memory),
            "(discover also keeps other batches' runs, as far as cache_gb allows)",
            "",
            aligned(fits),
        ]
    )


def _unit(number: int, units: dict[str, float]) -> str:
    """The largest unit of which there is one at least; else the smallest."""
    return next((unit for unit, size in units.items() if number >= size), [*units][-1])
