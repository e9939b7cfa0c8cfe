"""Edge Pruning: sizes, gradients by the oracle and finite differences, the optimiser's settings."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
import tiny
import toy
from edgewise.circuit import Circuit
from edgewise.discovery import EAP, EdgePruning, discover
from edgewise.models.model import Model
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare
from edgewise.stream import as_mask
from edgewise.tasks import Task
from prunings import EVERY, OPEN, TASK, pruning, saved


@dataclass
class Steps:
    """What the optimiser was given at every step: rates, values and gradients, group by group."""

    rates: list[list[float]] = field(default_factory=list)
    values: list[list[Tensor]] = field(default_factory=list)
    gradients: list[list[Tensor]] = field(default_factory=list)
    groups: list[dict] = field(default_factory=list)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    seen, step = Steps(), torch.optim.AdamW.step

    def watched(optimiser: torch.optim.AdamW) -> None:
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        seen.groups[:] = optimiser.param_groups
        seen.rates.append([group["lr"] for group in optimiser.param_groups])
        seen.values.append([p.detach().clone() for p in trained])
        seen.gradients.append([p.grad.clone() for p in trained])
        step(optimiser)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return seen


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The uniform noise of every gate that was sampled with it, in order."""
    seen, sample = [], gates.sample

    def watched(log_alpha: Tensor, u: Tensor, *others: float) -> Tensor:
        seen.append(u)
        return sample(log_alpha, u, *others)

    monkeypatch.setattr(gates, "sample", watched)
    return seen


# The size of the circuit


@pytest.mark.parametrize("control", ["budget", "lagrangian"])
@pytest.mark.parametrize(
    ("asked", "edges"),
    [
        ({"density": 0.3}, 22),  # round(22.5): to even
        ({"density": 1.0}, 75),
        ({"density": None, "edges": 75}, 75),
        ({"density": None, "edges": 13}, 13),
        ({"density": 0.5, "init": "open"}, 38),
    ],
)
def test_the_circuit_has_as_many_edges_as_asked(control, asked, edges):
    found = discover(tiny.model("gpt2"), TASK, pruning(control=control, **asked))
    assert len(found.circuit) == edges
    assert found.circuit == found.scores.top(edges)


def test_a_single_edge():
    """With a free embedding one edge into the logits is a path."""
    model = tiny.model("gpt2", "free")
    found = discover(model, TASK, pruning(density=None, edges=1, steps=12, start_density=0.2))
    assert len(found.circuit) == 1
    assert found.circuit.edges[0].endswith("->logits")
    least = discover(model, TASK, pruning(density=1e-4, steps=12, start_density=0.2))
    assert least.circuit == found.circuit


def test_a_circuit_without_a_path_is_a_result_with_a_warning():
    model = tiny.model("gpt2")
    best = discover(model, TASK, EAP(density=1.0)).scores.top(1)
    assert not best.alive.any(), "the case needs another best edge"
    untrained = pruning(density=None, edges=1, lr=0.0, steps=1)
    with pytest.warns(UserWarning, match=r"none of the circuit's 1 edges .* steps \(now 1\)"):
        assert len(discover(model, TASK, untrained).circuit) == 1
    with pytest.warns(UserWarning, match="none of the circuit's 1 edges"):
        found = discover(model, TASK, EAP(density=None, edges=1))
    assert found.circuit == best


# What it learns


def divergence(model: Model, task: Task, circuit: Circuit) -> float:
    """KL(full || circuit) over the training prompts, in nats."""
    batch = task.batch("train", range(len(task.splits["train"])))
    ready = prepare(model, batch)
    rows = kl_rows(ready.full, ready.logits(as_mask(model, circuit)))
    return (rows * ready.batch.weights).sum().item()


@pytest.mark.parametrize("control", ["budget", "lagrangian"])
def test_it_is_more_faithful_than_attribution(control):
    """On each of several random models, at the same number of edges."""
    settings = {"n_embd": 24, "n_layer": 2}
    task = toy.task(8)
    ratios = []
    for seed in (1, 2):
        hf = tiny.filled(tiny.gpt2(**settings), seed)
        family = tiny.MODELS["gpt2"][0]
        model = tiny.build(hf, None, "gpt2", family, "joint")
        method = pruning(density=0.35, steps=60, batch_size=8, control=control, lr=0.3)
        found = discover(model, task, method)
        baseline = discover(model, task, EAP(density=0.35))
        assert len(found.circuit) == len(baseline.circuit)
        ratios.append(
            divergence(model, task, found.circuit) / divergence(model, task, baseline.circuit)
        )
    assert max(ratios) < {"budget": 0.6, "lagrangian": 0.9}[control], ratios


def test_training_lowers_its_own_loss():
    """With the density held, from gates all alike: later steps beat earlier ones."""
    method = pruning(
        density=0.4, start_density=0.4, reach=0.0, steps=60, init="open", lr=0.3,
        temperature=0.1, final_temperature=0.1,
    )  # fmt: skip
    history = discover(tiny.model("gpt2"), TASK, method).history
    losses = [record["loss"] for record in history]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


# Gradients


def weighted_kl(model: Model, task: Task, mask: Tensor) -> Tensor:
    """The loss by its definition and the oracle, prompt by prompt, in the model's precision."""
    setting, total = tiny.setting(model), torch.zeros((), dtype=mask.dtype)
    for one in task.splits["train"]:
        clean, other = torch.tensor([one.clean]), torch.tensor([one.corrupted])
        rows = list(one.positions)
        log_p = oracle.forward(model.hf, clean, None)[0, rows].log_softmax(-1)
        ablated = oracle.interchange(setting, other)
        log_q = oracle.run(setting, mask, clean, ablated).logits[0, rows].log_softmax(-1)
        total = total + (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    return total / len(task.splits["train"])


def dense(model: Model, z: Tensor) -> Tensor:
    graph = model.graph
    mask = torch.zeros(graph.n_readers, graph.n_writers, dtype=z.dtype)
    at = tuple(torch.from_numpy(i.astype(np.int64)) for i in (graph.reader_of, graph.writer_of))
    return mask.index_put(at, z)


def gate(log_alpha: Tensor, u: Tensor) -> Tensor:
    """The hard-concrete gate as the paper writes it."""
    s = torch.sigmoid((torch.log(u) - torch.log(1 - u) + log_alpha) / (2 / 3))
    return (s * 1.2 - 0.1).clamp(0, 1)


def slope(f: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> float:
    """The derivative of `f` along a direction, by central differences in float64."""
    h = 1e-6
    with torch.no_grad():
        return (f(at + h * direction) - f(at - h * direction)).item() / (2 * h)


@pytest.mark.parametrize("schedule", ["linear", "logarithmic"])
def test_the_lagrangians_gradients(steps, noise, schedule):
    """Of the second step's loss, with its noise, by the oracle and by finite differences.

    Everything on the right is float64. On the left gates, probabilities and sums over gates are
    float32, good to 1e-6 of the largest entry; a wrong term is off by more than 1e-2.
    """
    model = tiny.model("gpt2", dtype=torch.float64)
    method = pruning(
        **EVERY,
        steps=2,
        clip=None,
        lr=0.1,
        sparsity_warmup=2,
        target_sparsity=0.8,
        schedule=schedule,
    )
    history = discover(model, TASK, method).history
    target = 0.4 if schedule == "linear" else 1 - 0.2**0.5
    assert history[1]["target"] == pytest.approx(1 - target)
    u_edges, u_nodes = (u.double() for u in noise[2:4])
    values = [v.double() for v in steps.values[1]]
    assert values[2].abs().min() > 0, "the multipliers must have moved"
    writer = torch.from_numpy(model.graph.writer_of.astype(np.int64))

    def loss(log_alpha: Tensor, nodes: Tensor, multipliers: Tensor) -> Tensor:
        z = gate(log_alpha, u_edges)
        kl = weighted_kl(model, TASK, dense(model, z * gate(nodes, u_nodes)[writer]))
        gap = 1 - z.mean() - target
        return kl + multipliers[0] * gap + multipliers[1] * gap**2

    leaves = [v.clone().requires_grad_() for v in values]
    total = loss(*leaves)
    assert history[1]["loss"] == pytest.approx(total.item(), rel=1e-5)
    assert history[1]["loss"] != pytest.approx(history[1]["kl"], rel=1e-2)
    expected = torch.autograd.grad(total, leaves)
    z = gate(values[0], u_edges)
    assert 0 < int((z == 0).sum()) < int((z < 1).sum()) < len(z), "gates of every kind"
    for found, right in zip(steps.gradients[1], expected, strict=True):
        assert right.abs().max() > 1e-3
        assert tiny.relative(found, right) < 1e-5
    draw = torch.Generator().manual_seed(0)
    for i in range(3):
        direction = torch.randn(values[i].shape, generator=draw).double()

        def along(value: Tensor, i: int = i) -> Tensor:
            return loss(*(value if j == i else v for j, v in enumerate(values)))

        found = (steps.gradients[1][i].double() * direction).sum().item()
        assert found == pytest.approx(slope(along, values[i], direction), rel=1e-4)


@pytest.mark.parametrize("amount", [0.0, 0.7])
def test_the_budgets_gradient(steps, noise, amount):
    """The loss's at a fixed shift, by the oracle in float64, less its part along the common shift.

    Log-odds are kept by temperature and shift as the module says, found again here.
    """
    model = tiny.model("gpt2", dtype=torch.float64)
    method = pruning(
        density=0.2, start_density=0.4, reach=1.0, steps=2, clip=None, noise=amount,
        temperature=0.9, final_temperature=0.1,
    )  # fmt: skip
    history = discover(model, TASK, method).history
    share, temperature = (0.4 * 0.2) ** 0.5, (0.9 + 0.1) / 2
    assert history[1]["target"] == pytest.approx(share)
    drawn = torch.logit(next_noise(model, 1).double())
    at = steps.values[1][0].double() + amount * temperature / 0.9 * drawn

    def sigmoid(c: float) -> Tensor:
        return torch.sigmoid((at - c) / temperature)

    low, high = -100.0, 100.0
    for _ in range(100):
        c = (low + high) / 2
        too_many = (sigmoid(c) * 1.2 - 0.1).clamp(0, 1).sum().item() > share * len(at)
        low, high = (c, high) if too_many else (low, c)
    leaf = (at - low).requires_grad_()
    z = (torch.sigmoid(leaf / temperature) * 1.2 - 0.1).clamp(0, 1)
    total = weighted_kl(model, TASK, dense(model, z))
    assert history[1]["loss"] == pytest.approx(total.item(), rel=1e-4)
    assert history[1]["kl"] == history[1]["loss"]
    assert history[1]["density"] == pytest.approx((z > 0).double().mean().item())
    (g,) = torch.autograd.grad(total, leaf)
    s = sigmoid(low)
    expected = g - s * (1 - s) * g.sum() / (s * (1 - s)).sum()
    found = steps.gradients[1][0]
    assert tiny.relative(found, expected) < 1e-4
    assert found.double().sum().abs() < 1e-5 * found.abs().sum()


def next_noise(model: Model, step: int) -> Tensor:
    """The uniform noise of a step's edge gates under seed 0."""
    seed = np.random.SeedSequence([0, step, 0]).generate_state(1, np.uint64)
    return torch.rand(
        model.graph.n_edges, generator=torch.Generator().manual_seed(int(seed[0]) >> 1)
    )


# The optimiser


def test_the_rate_under_a_lagrangian(steps):
    """Up from 0 in `warmup` steps, then straight down to the floor; multipliers alike."""
    method = pruning(**EVERY, steps=10, warmup=4, lr=0.8, lr_multiplier=0.4, lr_floor=0.0)
    discover(tiny.model("gpt2"), TASK, method)
    shares = [0, 1 / 4, 1 / 2, 3 / 4, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    expected = [[0.8 * share, 0.4 * share] for share in shares]
    np.testing.assert_allclose(steps.rates, expected, atol=1e-12)


def test_the_rate_under_a_budget(steps):
    """Held until the budget has arrived, after which it falls, to the floor at the least."""
    method = pruning(steps=8, warmup=2, reach=0.5, lr=2.0, lr_floor=0.4)
    discover(tiny.model("gpt2"), TASK, method)
    shares = [0, 1 / 2, 1, 1, 1, 3 / 4, 1 / 2, 0.4]
    np.testing.assert_allclose([rate for (rate,) in steps.rates], 2 * np.array(shares))


def test_the_density_and_the_temperature_of_each_step():
    method = pruning(density=None, edges=15, start_density=0.8, reach=0.5, steps=6)
    history = discover(tiny.model("gpt2"), TASK, method).history
    expected = [
        0.8,
        0.8 ** (2 / 3) * 0.2 ** (1 / 3),
        0.8 ** (1 / 3) * 0.2 ** (2 / 3),
        0.2,
        0.2,
        0.2,
    ]
    assert [record["target"] for record in history] == pytest.approx(expected)


def test_a_start_below_the_end_is_the_end():
    history = discover(tiny.model("gpt2"), TASK, pruning(density=0.6, start_density=0.1)).history
    assert [record["target"] for record in history] == pytest.approx([0.6] * 4)


def test_weight_decay_is_decoupled(tmp_path):
    """Certain gates get no gradient: each step scales their log-odds by 1 - rate * decay."""
    method = pruning(**OPEN, steps=3, lr=0.8, weight_decay=0.01, lr_floor=0.5)
    discover(tiny.model("gpt2"), TASK, method, out=tmp_path)
    scale = math.prod(1 - 0.8 * rate * 0.01 for rate in (1, 2 / 3, 0.5))
    for name in ("value.0", "value.1"):
        assert saved(tmp_path, 3)[name].mean().item() == pytest.approx(1000 * scale, rel=1e-5)


def test_no_weight_decay_unless_asked(tmp_path):
    method = pruning(**OPEN, weight_decay=0.0)
    discover(tiny.model("gpt2"), TASK, method, out=tmp_path)
    assert saved(tmp_path, 4)["value.0"].mean().item() == pytest.approx(1000, rel=1e-5)


def test_gradients_are_clipped_together(steps):
    """One norm over edges, nodes and multipliers; a small enough gradient is left alone."""
    for clip in (None, 1e-3, 1e6):
        discover(tiny.model("gpt2"), TASK, pruning(**EVERY, steps=1, clip=clip))
    free, cut, loose = (torch.cat([g.flatten() for g in gs]) for gs in steps.gradients)
    assert free.norm() > 1e-2
    assert cut.norm().item() == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(cut / cut.norm(), free / free.norm())
    assert torch.equal(loose, free)


def test_multipliers_ascend(tmp_path):
    """At open gates the sparsity is below its target, so the first falls and the second rises."""
    method = pruning(**OPEN, target_sparsity=0.9)
    discover(tiny.model("gpt2"), TASK, method, out=tmp_path)
    first, second = saved(tmp_path, 4)["value.2"].tolist()
    assert first < 0 < second


def test_the_presets_optimiser(steps):
    given = {"steps": 1, "batch_size": 6, "warmup": 0, "sparsity_warmup": 1, "rounding": "count"}
    method = EdgePruning.paper(**given, target_sparsity=0.5, density=0.5)
    discover(tiny.model("gpt2"), TASK, method)
    for group in steps.groups:
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.01)
    assert [group["maximize"] for group in steps.groups] == [False, True]
    assert [len(group["params"]) for group in steps.groups] == [2, 1]
