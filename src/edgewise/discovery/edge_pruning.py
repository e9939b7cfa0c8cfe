"""Edge Pruning (Bhaskar et al., arXiv 2406.16778): learn which edges to keep.

Every edge has a hard-concrete gate z in [0, 1]; weights are frozen; the gates are trained so that
the circuit predicts what the full model does, at a given number of edges:

    min over log_alpha of  E_z KL( p_full(y | x) || p_circuit(y | x, x~; z) )

The number of edges is controlled in one of two ways. "lagrangian" is the paper's: hard-concrete
noise and a penalty with learned multipliers (`lagrangian`). "budget" (the default) makes the gates
of every step sum to the number of edges scheduled for it (`budget`), starts from the order of the
EAP-IG scores, and needs no noise: the gates' temperature falls until they are hard.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from edgewise.discovery.found import check_fields, check_size, n_kept
from edgewise.discovery.lagrangian import Schedule, target_at
from edgewise.errors import ConfigError
from edgewise.graph import Graph

# Final sparsity targets at the centre of the paper's sweeps (its run scripts).
PAPER_TARGETS = {"ioi": 0.98, "ioi-t1": 0.98, "greater-than": 0.985, "gendered-pronoun": 0.98}


@dataclass(frozen=True)
class EdgePruning:
    """Hyperparameters of Edge Pruning. The circuit has the density or number of edges asked for.

    density, edges     size of the circuit: one of the two
    steps              optimisation steps
    batch_size         prompts a step
    control            "budget" or "lagrangian"
    init               "eap-ig" and "eap" start from the rank of each edge's score by that method,
                       either way it acts; "open" from gates open alike
    init_prompts       training prompts that those scores are taken over
    init_steps         steps of "eap-ig" along the line from corrupted to clean inputs
    spread             how far apart the EAP start puts gates: log_alpha = spread * logit(rank)
    noise              budget: how much of the hard-concrete noise the gates have at the start (1:
                       all of it); it falls with the temperature
    temperature        budget: the gates' temperature at the start, falling linearly; 2/3 is the
                       paper's
    final_temperature  and at the end
    start_density      budget: where the density starts
    reach              budget: share of the steps after which it has arrived
    lr                 Adam's rate on log_alpha, in log-odds a step
    warmup             steps over which the rate rises from 0
    lr_floor           share of the rate that is left at the last step; the fall is linear, and
                       begins when the budget has arrived (budget) or after the warm-up (lagrangian)
    weight_decay       decoupled, on every trained tensor
    clip               largest gradient norm over all trained tensors (None: no clipping)
    nodes              lagrangian: one more gate for each writer, multiplying its edges
    target_sparsity    lagrangian: the target that the penalty ends at (None: 1 - density)
    sparsity_warmup    lagrangian: steps over which the target gets there
    schedule           lagrangian: "linear" or "logarithmic" in the density
    lr_multiplier      lagrangian: Adam's rate of the multipliers
    init_log_alpha     "open": the gates' start, in log-odds
    rounding           "count" keeps the best edges, as many as asked; "threshold" (lagrangian) as
                       many as the mean gate says, which is the paper's, and is not a number that
                       can be asked for
    precision          "auto" trains the gates of a float32 model on a bfloat16 copy where the
                       hardware multiplies bfloat16, two to three times faster; "model", and "auto"
                       where processes share the weights or they are left on disk, on the model as
                       it is. Gates, losses and the optimiser are float32 either way, and so is any
                       evaluation later
    cache_gb           memory for what depends on the prompts alone, kept from epoch to epoch
    checkpoint_every   steps between checkpoints
    """

    name: ClassVar[str] = "edge-pruning"
    density: float | None = 0.02
    edges: int | None = None
    steps: int = 200
    batch_size: int = 16
    control: Literal["budget", "lagrangian"] = "budget"
    init: Literal["eap-ig", "eap", "open"] = "eap-ig"
    init_prompts: int | None = 32
    init_steps: int = 5
    spread: float = 2.0
    noise: float = 0.0
    temperature: float = 1.0
    final_temperature: float = 0.05
    start_density: float = 0.15
    reach: float = 0.4
    lr: float = 0.15
    warmup: int = 0
    lr_floor: float = 0.05
    weight_decay: float = 0.0
    clip: float | None = None
    nodes: bool = False
    target_sparsity: float | None = None
    sparsity_warmup: int = 0
    schedule: Schedule = "linear"
    lr_multiplier: float = 0.8
    init_log_alpha: float = 10.0
    rounding: Literal["count", "threshold"] = "count"
    precision: Literal["auto", "model"] = "auto"
    cache_gb: float = 4.0
    checkpoint_every: int = 25

    @classmethod
    def paper(cls, task: str = "ioi", **changes: Any) -> "EdgePruning":
        """The published hyperparameters for a GPT-2 task, at a target amid the paper's sweep.

        3,000 steps of 32 prompts; gates from N(10, 0.01), rates 0.8 with 200 steps of warm-up and a
        linear fall to 0; AdamW's weight decay of 0.01; node gates without a node loss; a target
        sparsity rising linearly over 2,500 steps; the circuit cut at the mean gate; the model's own
        precision. `changes` override fields. ConfigError for a task that the paper has not, and for
        a density or a number of edges without the `target_sparsity` to go with it.
        """
        if task not in PAPER_TARGETS:
            raise ConfigError(f"the paper has no task {task!r}; it has {', '.join(PAPER_TARGETS)}")
        sizes = [f"{name}={changes[name]}" for name in ("density", "edges") if name in changes]
        if sizes and "target_sparsity" not in changes:
            raise ConfigError(
                f"{', '.join(sizes)}: the preset ends at target_sparsity={PAPER_TARGETS[task]}, "
                "and its circuit has as many edges as its gates say then: give another "
                "target_sparsity instead, such as 0.95"
            )
        published: dict[str, Any] = {
            "control": "lagrangian",
            "init": "open",
            "steps": 3000,
            "batch_size": 32,
            "lr": 0.8,
            "lr_multiplier": 0.8,
            "warmup": 200,
            "lr_floor": 0.0,
            "sparsity_warmup": 2500,
            "weight_decay": 0.01,
            "clip": 1.0,
            "nodes": True,
            "target_sparsity": PAPER_TARGETS[task],
            "rounding": "threshold",
            "precision": "model",
        }
        return cls(**{**published, **changes})

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, **_AT_LEAST)
        check_size(self.density, self.edges, graph)
        for field in fields(self):
            control, value = _ONLY.get(field.name), getattr(self, field.name)
            if control not in (None, self.control) and value != field.default:
                raise ConfigError(
                    f"{field.name}={value!r} is for control={control!r}; control={self.control!r} "
                    f"doesn't read it: leave it {field.default!r}"
                )
        for name in ("reach", "lr_floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}: it must be between 0 and 1")
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"clip={self.clip}: it must be above 0, or None for no clipping")
        if not 0 < self.start_density <= 1:
            raise ConfigError(f"start_density={self.start_density}: it must be in (0, 1]")
        if self.control == "lagrangian" and self.target_sparsity is not None:
            target_at(0, self.target_sparsity, self.sparsity_warmup, self.schedule)

    def sparsity_target(self, graph: Graph) -> float:
        """Where the Lagrangian's target ends."""
        if self.target_sparsity is not None:
            return self.target_sparsity
        return 1 - n_kept(graph, self.density, self.edges) / graph.n_edges


_AT_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "init_prompts": 1,
    "init_steps": 1,
    "spread": 0,
    "noise": 0,
    "temperature": 0.01,
    "final_temperature": 0.01,
    "lr": 0,
    "warmup": 0,
    "weight_decay": 0,
    "target_sparsity": 0,
    "sparsity_warmup": 0,
    "lr_multiplier": 0,
    "cache_gb": 0,
    "checkpoint_every": 1,
}

_ONLY = {
    "noise": "budget",
    "temperature": "budget",
    "final_temperature": "budget",
    "start_density": "budget",
    "reach": "budget",
    "nodes": "lagrangian",
    "target_sparsity": "lagrangian",
    "sparsity_warmup": "lagrangian",
    "schedule": "lagrangian",
    "lr_multiplier": "lagrangian",
    "rounding": "lagrangian",
}
