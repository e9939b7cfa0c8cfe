"""Circuits drawn as GraphML (Gephi, Cytoscape, yEd, networkx) and as DOT (Graphviz).

The nodes are the components that keep an edge: writers and the logits. A key or value edge is drawn
to each query head of its group, so a drawing can have more lines than the circuit has edges.
"""

from xml.etree.ElementTree import ParseError

import numpy as np

from edgewise.circuit import Circuit
from edgewise.errors import RunError
from edgewise.scores import EdgeScores


def to_graphml(circuit: Circuit, scores: EdgeScores | None) -> str:
    """Nodes with their layer; lines with their edge's name, kind, aliveness and score."""
    import networkx  # slow to import, and only needed here

    drawing = networkx.MultiDiGraph()
    for component in _components(circuit):
        layer = _layer(component)
        drawing.add_node(component, **({} if layer is None else {"layer": layer}))
    for edge, writer, reader, kind in _links(circuit):
        attributes = {"edge": circuit.graph.name(edge), "alive": bool(circuit.alive[edge])}
        if scores:
            attributes["score"] = float(scores.values[edge])
        drawing.add_edge(writer, reader, key=f"{writer}->{reader}<{kind}>", kind=kind, **attributes)
    lines = networkx.generate_graphml(drawing)
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', *lines, ""])


def from_graphml(text: str) -> list[str]:
    """The names of the edges drawn, some more than once; RunError if it is no such drawing."""
    import networkx

    try:
        drawing = networkx.parse_graphml(text)
    except (ParseError, networkx.NetworkXError) as error:
        raise RunError(f"no GraphML: {error}") from error
    names = []
    for writer, reader, attributes in drawing.edges(data=True):
        if not isinstance(attributes.get("edge"), str):
            raise RunError(
                f"the line from {writer} to {reader} has no attribute 'edge' with its name"
            )
        names.append(attributes["edge"])
    return names


def to_dot(circuit: Circuit, scores: EdgeScores | None) -> str:
    """Colours tell queries, keys and values apart, widths the scores' magnitudes; edges of negative
    score are dashed, dead ones dotted."""
    colours = {"q": "#c2410c", "k": "#15803d", "v": "#1d4ed8", "": "#404040"}
    largest = (
        max((abs(float(scores.values[e])) for e, *_ in _links(circuit)), default=0) if scores else 0
    )
    components = _components(circuit)
    lines = [
        "digraph circuit {",
        "  rankdir=BT;",
        '  node [shape=box, style=rounded, fontname="Helvetica"];',
        '  edge [fontname="Helvetica", fontsize=10];',
    ]
    lines += [f'  "{component}";' for component in components if _layer(component) is None]
    for layer in range(circuit.graph.n_layers):
        for block in ("a", "m"):
            row = [c for c in components if c.startswith(block) and _layer(c) == layer]
            if row:
                lines.append("  { rank=same; " + " ".join(f'"{name}";' for name in row) + " }")
    for edge, writer, reader, kind in _links(circuit):
        score = float(scores.values[edge]) if scores else 0.0
        look = [f'color="{colours[kind]}"']
        if kind:
            look.append(f'label="{kind}"')
        if largest:
            look.append(f"penwidth={0.5 + 4 * abs(score) / largest:.3g}")
        if not circuit.alive[edge]:
            look.append("style=dotted")
        elif score < 0:
            look.append("style=dashed")
        lines.append(f'  "{writer}" -> "{reader}" [{", ".join(look)}];')
    return "\n".join([*lines, "}", ""])


def _links(circuit: Circuit) -> list[tuple[int, str, str, str]]:
    """(edge, writer, component that reads it, "q", "k", "v" or ""), one for every line to draw."""
    graph = circuit.graph
    group_size = graph.n_heads // graph.n_kv_heads
    links = []
    for edge in np.flatnonzero(circuit.kept).tolist():
        writer, reader = graph.name(edge).split("->")
        component, _, kind = reader.rstrip(">").partition("<")
        if kind in ("k", "v"):
            block, group = component.split(".h")
            first = int(group) * group_size
            heads = [f"{block}.h{head}" for head in range(first, first + group_size)]
        else:
            heads = [component]
        links += [(edge, writer, head, kind) for head in heads]
    return links


def _layer(component: str) -> int | None:
    """The layer of "a3.h1" and "m3", None for inputs and logits."""
    number = component[1:].split(".")[0]
    return int(number) if number.isdigit() else None


def _components(circuit: Circuit) -> list[str]:
    """The components that keep an edge, in writer order."""
    touched = {end for _, writer, reader, _ in _links(circuit) for end in (writer, reader)}
    return [name for name in (*circuit.graph.writers, "logits") if name in touched]
