"""Runs in 1, 2 and 4 processes, for `test_processes`: `python processes.py FOLDER`.

Importing torch takes longer than all of the runs, so one process forks the others. What each found
goes to FOLDER/NAME/RANK.json, and to the run folders of the first.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

import tiny
import toy
from edgewise import evaluate, load, runtime
from edgewise.discovery import ACDC, EAPIG, EdgePruning, discover
from edgewise.errors import ConfigError, LostProcessError
from edgewise.models.fingerprint import weights_fingerprint
from edgewise.models.model import Model, cast
from edgewise.prepared import prepare
from edgewise.shard import mesh_of, shard
from edgewise.stream import as_mask
from edgewise.tasks import Task

STEPS = 20
TRAIN = 11  # in batches of 3, 3, 3 and 2: more than some have processes
BUDGET = EdgePruning(
    density=0.3, steps=STEPS, batch_size=3, noise=1.0, checkpoint_every=5, precision="model"
)
METHODS = {
    "budget": BUDGET,
    "lagrangian": replace(
        BUDGET,
        control="lagrangian",
        noise=0.0,
        init="open",
        init_log_alpha=0.5,
        nodes=True,
        clip=0.5,
    ),
    "eap-ig": EAPIG(density=0.3, steps=2, batch_size=2),
    "acdc": ACDC(threshold=0.05, prompts=3, batch_size=2),
}
PATIENCE = 300  # seconds


def task() -> Task:
    prompts = toy.task(TRAIN + 7).splits["train"]
    return replace(toy.task(1), splits={"train": prompts[:TRAIN], "test": prompts[TRAIN:]})


def model() -> Model:
    return tiny.model("gpt2", dtype=torch.float64)


class Deadly(Sequence):
    """Examples that kill the process which reads too many of them."""

    def __init__(self, examples: Sequence, reads: int):
        self.examples, self.reads = examples, reads

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i):
        self.reads -= 1
        if self.reads < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.examples[i]


def everything(out: Path) -> dict:
    """What a process finds by each method, and the report of the first circuit."""
    found = {name: discover(model(), task(), m, out=out / name) for name, m in METHODS.items()}
    report = evaluate(model(), task(), found["budget"].circuit, batch_size=2, samples=3)
    by_mean = discover(model(), task(), replace(BUDGET, steps=2), ablation="mean")
    return {
        "scores": {name: one.scores.values.tolist() for name, one in found.items()},
        "edges": {name: one.circuit.edges for name, one in found.items()},
        "report": report.to_json(),
        "mean": by_mean.scores.values.tolist(),
    }


def sharded(out: Path) -> dict:
    """The same with weights that two processes share, of two or of four."""
    mesh = mesh_of(2, "cpu")
    own = toy.fresh("gpt2", torch.float64)
    mine = shard(own, mesh)
    found = discover(mine, task(), BUDGET, out=out)
    report = evaluate(mine, task(), found.circuit, batch_size=2, samples=3)
    others = {name: discover(mine, task(), METHODS[name]) for name in ("acdc", "eap-ig")}
    said = {
        "scores": found.scores.values.tolist(),
        "others": {name: one.scores.values.tolist() for name, one in others.items()},
        "report": report.to_json(),
        "held": [one for block in mine.blocks.parts for one in slices(block.module)],
        "differ": {},
    }
    for name in ("gpt2-scaled", "llama-rope", "parallel", "post-norm"):
        for dtype in (torch.float32, torch.bfloat16):
            whole, mine = cast(tiny.model(name), dtype), shard(toy.fresh(name), mesh, dtype)
            pairs = [(gradient(whole, kind), gradient(mine, kind)) for kind in ("zero", "mean")]
            pairs.append((gradient(whole), gradient(mine)))  # after fingerprints and other runs
            same = [torch.equal(ours, theirs) for ours, theirs in pairs]
            same.append(weights_fingerprint(whole.hf) == weights_fingerprint(mine.hf))
            said["differ"][f"{name} {dtype}"] = same
    try:
        mesh_of(3, "cpu")
    except ConfigError as error:
        said["refused"] = str(error)
    return said


def gradient(model: Model, kind: str = "interchange") -> torch.Tensor:
    means = tiny.reference(model) if kind == "mean" else None
    mask = as_mask(model, tiny.random_mask(model)).requires_grad_()
    ready = prepare(model, toy.task(3).batch("train", range(3)), kind, means)
    ready.logits(mask).square().sum().backward()
    return mask.grad


def slices(module: torch.nn.Module) -> list[tuple[int, int]]:
    """Elements that this process holds, and that there are, of each matrix of a block."""
    state = module.state_dict()
    return [(t.to_local().numel(), t.numel()) for t in state.values() if t.ndim > 1]


def loaded(out: Path) -> dict:
    """How memory grows while a checkpoint is loaded by four processes that share its weights."""
    load(out / "small", device="cpu", shards=4)  # imports what is imported
    stop, highest, before = threading.Event(), [0], anonymous()

    def watch() -> None:
        while not stop.wait(0.0005):
            highest[0] = max(highest[0], anonymous())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    # no check, because a proof makes kernels for the model's shapes, which take what they take
    model = load(out / "large", dtype="bfloat16", device="cpu", shards=4, check=False)
    stop.set()
    watcher.join()
    size = sum(p.numel() * p.element_size() for p in model.hf.parameters())
    return {
        "grew": highest[0] - before,
        "size": size,
        "fingerprint": weights_fingerprint(model.hf),
        "tokenizer": model.tokenizer is None,
    }


def anonymous() -> int:
    """Bytes of this process's memory that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def save_models(out: Path) -> str:
    """A small and a large checkpoint, of 50 MB in several files; the large one's fingerprint."""
    for name, width in (("small", 16), ("large", 512)):
        config = {"num_hidden_layers": 12, "hidden_size": width, "intermediate_size": 2 * width}
        model = tiny.llama(**config, num_attention_heads=4, head_dim=width // 4)
        model.to(torch.bfloat16).save_pretrained(out / name, max_shard_size="20MB")
    return weights_fingerprint(model)


def killed(out: Path) -> dict:
    """What the others say when the last process dies on the way."""
    given = task()
    if runtime.rank() == runtime.world_size() - 1:
        splits = {**given.splits, "train": Deadly(given.splits["train"], 50)}
        given = replace(given, splits=splits)
    try:
        discover(model(), given, replace(BUDGET, cache_gb=0.0), out=out / "run")
    except LostProcessError as error:
        return {"said": str(error)}
    return {}


def resumed(out: Path) -> dict:
    """What comes of the run that was killed."""
    found = discover(model(), task(), replace(BUDGET, cache_gb=0.0), out=out / "run")
    return {"scores": found.scores.values.tolist(), "history": len(found.history)}


def refused(out: Path) -> dict:
    """What each process says of a folder of another run, and of being given different seeds."""
    said = []
    for seed, folder in ((1, out), (runtime.rank(), None)):
        try:
            discover(model(), task(), BUDGET, out=folder, seed=seed)
        except (ValueError, LostProcessError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return {"said": said}


def group(root: Path, name: str, processes: int, work: Callable[[Path], dict], out: Path) -> None:
    """Does `work` in so many forked processes and waits for all of them."""
    (root / name).mkdir()
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            os._exit(member(root, name, rank, processes, work, out))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    (root / name / "codes.json").write_text(json.dumps(codes))


def member(root: Path, name: str, rank: int, processes: int, work: Callable, out: Path) -> int:
    signal.alarm(PATIENCE)
    meeting = f"file://{root / name / 'meeting'}"
    if processes > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    (root / name / f"{rank}.json").write_text(json.dumps(work(out)))
    return 0


def main(root: Path) -> None:
    for processes in (1, 2, 4):
        out = root / f"out {processes}"
        group(root, f"{processes}", processes, everything, out)
    for processes in (2, 4):
        out = root / f"out sharded {processes}"
        group(root, f"sharded {processes}", processes, sharded, out)
    out = root / "models"
    (root / "fingerprint.json").write_text(json.dumps(save_models(out)))
    group(root, "loaded", 4, loaded, out)
    group(root, "killed", 2, killed, root / "out killed")
    group(root, "resumed", 4, resumed, root / "out killed")
    group(root, "refused", 2, refused, root / "out 2" / "budget")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
