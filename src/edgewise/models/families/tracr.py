"""Tracr's compiled programs: sequential blocks without norms, attention that may look ahead."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="tracr",
    layers="layers",
    final_norm="final_norm",
    attention="attention",
    mlp="mlp",
    mlp_out="mlp.2",
    out="linear",
    qkv=("query", "key", "value"),
    positions=True,
    looks_ahead=lambda config: not config.causal,
    handled=frozenset({"causal", "n_outputs"}),
)
