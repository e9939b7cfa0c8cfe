"""Circuits in the files of other programs, and back.

    eap-ig          JSON of EAP-IG and the MIB benchmark
    mib             a folder: a submission to MIB's circuit track; only written
    edge-pruning    edges.json of the original Edge Pruning code: [["a5.h1", "a7.h2.q"], ...]
    csv             a table, one kept edge a row
    graphml         for Gephi, Cytoscape, yEd and networkx
    dot             for Graphviz; only written

`eap_ig`, `mib` and `drawing` say more. Whatever is read is checked against a graph, edge by edge.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from edgewise import drawing, eap_ig, mib
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.files import atomic_write
from edgewise.graph import Graph
from edgewise.scores import EdgeScores

Written = Literal["eap-ig", "mib", "edge-pruning", "csv", "graphml", "dot"]
Read = Literal["eap-ig", "edge-pruning", "csv", "graphml"]


def export(
    circuit: Circuit,
    path: str | os.PathLike[str],
    format: Written = "eap-ig",
    scores: EdgeScores | None = None,
) -> Path:
    """Writes the circuit, with the scores of its edges if given, to the file `path`.

    "mib" writes into the folder `path`, and what it writes is the ranking by `scores`, named by the
    task that they were found for. Raises ConfigError for an unknown format, for "mib" without
    scores or for what MIB doesn't have, GraphError if the scores are of another graph or the format
    can't hold this one.
    """
    if format not in get_args(Written):
        raise ConfigError(f"format must be one of {', '.join(get_args(Written))}, not {format!r}")
    if scores is not None and scores.graph != circuit.graph:
        raise GraphError(f"the scores are of {scores.graph}, the circuit of {circuit.graph}")
    if format == "mib":
        return _to_mib(path, scores)
    writers: dict[str, Callable[[Circuit, EdgeScores | None], str]] = {
        "eap-ig": _to_eap_ig,
        "edge-pruning": _to_edge_pruning,
        "csv": _to_csv,
        "graphml": drawing.to_graphml,
        "dot": drawing.to_dot,
    }
    return atomic_write(path, writers[format](circuit, scores))


def import_circuit(path: str | os.PathLike[str], graph: Graph, format: Read = "eap-ig") -> Circuit:
    """Reads a circuit of `graph` from the file `path`.

    Raises ConfigError for an unknown format, RunError for a file that isn't of it, GraphError at
    the first edge that `graph` doesn't have.
    """
    if format not in get_args(Read):
        raise ConfigError(f"format must be one of {', '.join(get_args(Read))}, not {format!r}")
    readers: dict[str, Callable[[str, Graph], Circuit]] = {
        "eap-ig": lambda text, graph: Circuit(graph, eap_ig.read_kept(text, graph)),
        "edge-pruning": lambda text, graph: Circuit.of(graph, _from_edge_pruning(text)),
        "csv": lambda text, graph: Circuit.of(graph, _from_csv(text)),
        "graphml": lambda text, graph: Circuit.of(graph, drawing.from_graphml(text)),
    }
    kept = _read(path, lambda text: readers[format](text, graph).kept)
    return Circuit(graph, kept, {"imported": Path(path).name, "format": format})


def import_scores(path: str | os.PathLike[str], graph: Graph) -> EdgeScores:
    """Reads scores of `graph`'s edges from an EAP-IG file; errors as for `import_circuit`."""
    values = _read(path, lambda text: eap_ig.read_scores(text, graph))
    return EdgeScores(graph, values, {"imported": Path(path).name, "format": "eap-ig"})


def _read(path: str | os.PathLike[str], parse: Callable[[str], np.ndarray]) -> np.ndarray:
    """Parses a file's text, naming the file in what goes wrong."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is no text file: {error}") from error
    except (GraphError, RunError) as error:
        raise type(error)(f"{path}: {error}") from error


# --- EAP-IG --------------------------------------------------------------------------------------


def _to_eap_ig(circuit: Circuit, scores: EdgeScores | None) -> str:
    values = None if scores is None else scores.values
    return eap_ig.to_json(circuit.graph, circuit.kept, values)


def _to_mib(folder: str | os.PathLike[str], scores: EdgeScores | None) -> Path:
    if scores is None:
        raise ConfigError("MIB takes a ranking, and there are no scores: give scores=found.scores")
    task = scores.provenance.get("task")
    if not isinstance(task, Mapping) or not isinstance(task.get("name"), str):
        raise ConfigError(
            "the scores don't say for which task they were found: use edgewise.mib.submission"
        )
    return mib.submission(scores, folder, task["name"])


# --- Edge Pruning --------------------------------------------------------------------------------

_THEIR_WRITERS = {"input": "embeds", "tok": "tok_embeds", "pos": "pos_embeds"}
_OUR_WRITERS = {theirs: ours for ours, theirs in _THEIR_WRITERS.items()} | {"token_embeds": "tok"}


def _to_edge_pruning(circuit: Circuit, _: EdgeScores | None) -> str:
    pairs = []
    for name in circuit.edges:
        writer, reader = name.split("->")
        reader = reader.replace("<", ".").rstrip(">").replace("logits", "resid_post")
        pairs.append([_THEIR_WRITERS.get(writer, writer), reader])
    return json.dumps(pairs, indent=4)


def _from_edge_pruning(text: str) -> list[str]:
    try:
        pairs = json.loads(text)
    except ValueError as error:
        raise RunError(f"no JSON: {error}") from error
    if not isinstance(pairs, list):
        raise RunError('no edges.json: it must be a list of pairs such as ["a5.h1", "a7.h2.q"]')
    names = []
    for place, pair in enumerate(pairs):
        match pair:
            case [str(writer), str(reader)]:
                head, dot, kind = reader.rpartition(".")
                if dot and kind in ("q", "k", "v"):
                    reader = f"{head}<{kind}>"
                elif reader == "resid_post":
                    reader = "logits"
                names.append(f"{_OUR_WRITERS.get(writer, writer)}->{reader}")
            case _:
                raise RunError(f'edge {place} is {pair!r}, not a pair such as ["a5.h1", "a7.h2.q"]')
    return names


# --- tables --------------------------------------------------------------------------------------


def _to_csv(circuit: Circuit, scores: EdgeScores | None) -> str:
    graph = circuit.graph
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["edge", "writer", "reader", "alive", *(["score"] if scores else [])])
    for edge in np.flatnonzero(circuit.kept).tolist():
        name = graph.name(edge)
        score = [float(scores.values[edge])] if scores else []
        rows.writerow([name, *name.split("->"), int(circuit.alive[edge]), *score])
    return table.getvalue()


def _from_csv(text: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(text))
    if "edge" not in (rows.fieldnames or []):
        raise RunError(f"its columns are {rows.fieldnames or []}; one must be 'edge'")
    return [row["edge"] or "" for row in rows]
