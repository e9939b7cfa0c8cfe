"""The training loop of Edge Pruning: a step, its state on disk, and the rounding at the end.

Noise and batches of a step follow from the seed and the step's number, so the state is what the
optimiser holds and nothing else, and a resumed run is the uninterrupted one bit for bit.

Several processes each take a share of every batch. Gates and optimiser are the same in all of them;
once a step the gradient of the gates is summed over them, and they take the main process's gates.
"""

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import runtime
from edgewise.discovery import budget, lagrangian
from edgewise.discovery.attribution import eap_values
from edgewise.discovery.batches import Batches
from edgewise.discovery.edge_pruning import EdgePruning
from edgewise.discovery.found import Result, Search, n_kept
from edgewise.discovery.journal import Journal
from edgewise.errors import NonFiniteError
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import Prepared
from edgewise.scores import EdgeScores
from edgewise.stream import dense_mask
from edgewise.workspace import Workspace


def train(method: EdgePruning, search: Search) -> Result:
    """Train the gates, from the last checkpoint if there is one, and round them."""
    run = _Training(method, search)
    saved = run.journal.restore()
    if saved is None:
        run.start()
        run.save(0)
    else:
        run.first, tensors, _ = saved
        run.restore(tensors)
    run.entered = time.monotonic()
    for step in range(run.first, method.steps):
        run.advance(step)
        if (step + 1) % method.checkpoint_every == 0 or step + 1 == method.steps:
            run.save(step + 1)
    return run.result()


class _Training:
    """Trained tensors, their optimiser, and the clock."""

    def __init__(self, method: EdgePruning, search: Search):
        self.method, self.search = method, search
        self.graph = search.model.graph
        self.kept = n_kept(self.graph, method.density, method.edges)
        device = search.model.device
        self.writer_of = torch.tensor(self.graph.writer_of, device=device, dtype=torch.long)
        self.log_alpha = torch.zeros(self.graph.n_edges, device=device, requires_grad=True)
        self.nodes = torch.zeros(self.graph.n_writers, device=device, requires_grad=True)
        self.multipliers = torch.zeros(2, device=device, requires_grad=True)
        trained = [self.log_alpha, *([self.nodes] if method.nodes else [])]
        groups: list[dict[str, Any]] = [{"params": trained, "lr": method.lr}]
        if method.control == "lagrangian":
            groups.append(
                {"params": [self.multipliers], "lr": method.lr_multiplier, "maximize": True}
            )
        self.optimiser = torch.optim.AdamW(groups, weight_decay=method.weight_decay)
        self.rates = [group["lr"] for group in groups]
        memory = method.cache_gb * 1e9
        self.batches = Batches(search, method.batch_size, memory, method.steps)
        self.workspace = Workspace()
        self.journal = Journal(search, "training", method.steps)
        # Where this process takes the steps up, and when.
        self.first, self.entered = 0, self.journal.began

    @property
    def trained(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    # --- start, save, restore --------------------------------------------------------------------

    @torch.no_grad()
    def start(self) -> None:
        """Initial gates."""
        method = self.method
        if method.init != "open":
            steps = method.init_steps if method.init == "eap-ig" else 1
            with torch.enable_grad():
                scores = eap_values(
                    self.search, method.batch_size, method.init_prompts, steps
                ).abs()
            place = torch.empty_like(scores)
            order = torch.argsort(scores, stable=True)
            place[order] = torch.arange(len(scores), device=place.device, dtype=place.dtype)
            self.log_alpha += method.spread * torch.logit((place + 0.5) / len(scores))
            return
        for number, tensor in enumerate((self.log_alpha, self.nodes)):
            noise = torch.randn(tensor.shape, generator=self._noise(self.method.steps, number))
            tensor += (method.init_log_alpha + 0.01 * noise).to(tensor.device)

    def save(self, step: int) -> None:
        if self.search.folder is None:
            return
        tensors: dict[str, Tensor] = {}
        for i, p in enumerate(self.trained):
            tensors[f"value.{i}"] = p.detach()
            for name, value in self.optimiser.state[p].items():
                tensors[f"{name}.{i}"] = value
        self.search.folder.save_checkpoint(step, tensors, {"seconds": self.journal.seconds})

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for i, p in enumerate(self.trained):
            p.copy_(tensors[f"value.{i}"])
            for key in (k for k in tensors if k.endswith(f".{i}") and not k.startswith("value")):
                name = key.rsplit(".", 1)[0]
                there = "cpu" if name == "step" else p.device
                self.optimiser.state[p][name] = tensors[key].to(there)

    # --- a step ----------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One optimisation step."""
        method = self.method
        if method.control == "budget":
            target, z, logits = self._budgeted(step)
        else:
            z = gates.sample(self.log_alpha, self._uniform(step, 0, self.log_alpha))
        effective = z
        if method.nodes:
            node = gates.sample(self.nodes, self._uniform(step, 1, self.nodes))
            effective = z * node[self.writer_of]
        kl, gradient = self._kl(step, effective.detach())
        loss, penalty = kl, None
        if method.control == "lagrangian":
            aim = method.sparsity_target(self.graph)
            rises = method.sparsity_warmup
            aim = lagrangian.target_at(step, aim, rises, method.schedule)
            target = 1 - aim
            penalty = lagrangian.penalty(1 - z.mean(), aim, self.multipliers)
            loss = kl + penalty.detach()
        self.optimiser.zero_grad()
        effective.backward(gradient, retain_graph=penalty is not None)
        if penalty is not None:
            penalty.backward()
        if method.control == "budget":
            assert logits.grad is not None
            temperature = self._temperature(step)
            sigmoid = torch.sigmoid(logits.detach() / temperature)
            self.log_alpha.grad = budget.project(logits.grad, sigmoid)
        self._refuse_non_finite(step, loss)
        if method.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, method.clip)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._rate(step)
        self.optimiser.step()
        record = {
            "step": step + 1,
            "loss": loss.item(),
            "kl": kl.item(),
            "density": (effective > 0).float().mean().item(),
            "target": target,
            "seconds": self.journal.seconds,
        }
        self.journal.history.append(record)
        done = (time.monotonic() - self.entered) / (step + 1 - self.first)
        self.search.report(
            record,
            phase="training",
            steps=method.steps,
            steps_per_second=1 / done,
            seconds_left=done * (method.steps - step - 1),
        )

    def _kl(self, step: int, values: Float[Tensor, " E"]) -> tuple[Tensor, Float[Tensor, " E"]]:
        """The batch's KL with gates of these values, and its gradient with respect to them."""
        values = runtime.from_main(values).requires_grad_()
        kl = sum(map(partial(self._piece, values), self.batches.at(step)))
        found = runtime.total(torch.cat([values.grad, kl[None]]))
        return found[-1], found[:-1]

    def _piece(self, values: Float[Tensor, " E"], ready: Prepared) -> Tensor:
        """A piece's part of the KL; its gradient is added to that of `values`."""
        mask = dense_mask(self.graph, values)
        logits = ready.logits(mask, live=True, workspace=self.workspace)
        rows = kl_rows(ready.full, logits, ready.batch.token_set)
        kl = (rows * ready.batch.weights).sum()
        kl.backward()
        return kl.detach()

    def _budgeted(self, step: int) -> tuple[float, Tensor, Tensor]:
        """The density of a step, its gates, which sum to that, and what they are the gates of."""
        method, edges = self.method, self.graph.n_edges
        end = self.kept / edges
        density = budget.fall(
            step, max(method.start_density, end), end, method.reach * method.steps
        )
        temperature = self._temperature(step)
        amount = method.noise * temperature / method.temperature
        noise = gates.logistic(self._uniform(step, 0, self.log_alpha))
        noisy = self.log_alpha.detach() + amount * noise
        logits = noisy - budget.shift(noisy, density * edges, temperature)
        logits.requires_grad_()
        return density, gates.gate(logits, temperature), logits

    def _temperature(self, step: int) -> float:
        start, end = self.method.temperature, self.method.final_temperature
        return start + (end - start) * step / self.method.steps

    def _rate(self, step: int) -> float:
        """Share of the learning rate at a step: linear warm-up, then a linear fall to the floor."""
        method = self.method
        if step < method.warmup:
            return step / method.warmup
        holds = method.reach * method.steps if method.control == "budget" else method.warmup
        falling = (step - holds) / max(1.0, method.steps - holds)
        return max(method.lr_floor, 1 - max(0.0, falling))

    def _noise(self, step: int, number: int) -> torch.Generator:
        """The generator of a step's noise; on the CPU, so that devices agree."""
        seed = np.random.SeedSequence([self.search.seed, step, number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed[0]) >> 1)

    def _uniform(self, step: int, number: int, like: Tensor) -> Tensor:
        noise = torch.rand(like.shape, generator=self._noise(step, number))
        return noise.to(like.device)

    def _refuse_non_finite(self, step: int, loss: Tensor) -> None:
        finite = math.isfinite(loss.item())
        if finite and all(bool(torch.isfinite(p.grad).all()) for p in self.trained):
            return
        folder = self.search.folder
        where = "" if folder is None else f" The last good checkpoint is in {folder.path}."
        raise NonFiniteError(
            f"step {step + 1}: {'the gradient' if finite else 'the loss'} became NaN or infinite."
            f"{where} Try a smaller lr (it is {self.method.lr}) in a new folder, or the model in "
            "float32"
        )

    # --- the end ---------------------------------------------------------------------------------

    @torch.no_grad()
    def result(self) -> Result:
        """Scores and how many edges to keep."""
        if self.method.control == "budget":
            values = self.log_alpha.detach()
            return Result(self._scores(values), self.kept, tuple(self.journal.history))
        soft = gates.deterministic(self.log_alpha.detach())
        if self.method.nodes:
            soft = soft * gates.deterministic(self.nodes.detach())[self.writer_of]
        kept = self.kept
        if self.method.rounding == "threshold":
            kept = round(float(soft.sum(dtype=torch.float64)))
        # Ties at 0 are broken by the gates themselves.
        tie = 1e-6 * torch.sigmoid(self.log_alpha.detach())
        return Result(self._scores(soft + tie), kept, tuple(self.journal.history))

    def _scores(self, values: Float[Tensor, " E"]) -> EdgeScores:
        return EdgeScores(self.graph, values.float().cpu().numpy())
