"""What a model says of itself."""

import tiny


def test_a_line_at_a_prompt() -> None:
    model = tiny.model("gpt2")
    graph = model.graph
    assert repr(model) == (
        f"<Model {model.name}: {graph.n_layers} layers of {graph.n_heads} heads, "
        f"{graph.n_edges:,} edges, float32 on cpu>"
    )
