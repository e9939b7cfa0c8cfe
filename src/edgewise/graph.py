"""The graph of a transformer: which component's output can reach which component's input.

The residual stream is a sum, so what reader r reads is a sum over the writers before it, and every
term is an edge that can be cut:

    x_r = x~_r + sum_{w<r} z_rw (x_w - x~_w)

Writers, in order: the embedding ("input", or "tok" and "pos"); per layer l its H heads "a{l}.h{h}",
then its MLP "m{l}". Readers: per layer H queries "a{l}.h{h}<q>", G keys "a{l}.h{g}<k>", G values
"a{l}.h{g}<v>" (g counts key/value heads: G < H under grouped-query attention), the MLP "m{l}"; last
"logits".

All is index arithmetic on six settings. What a reader sees is always a prefix of the writer order,
so an edge's index is its row's start plus its column; edges are numbered reader by reader.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int32, Int64, Integer, Shaped

from edgewise.errors import GraphError

Embeddings = Literal["joint", "split", "free"]


@dataclass(frozen=True)
class Graph:
    """The writers, readers and edges of a transformer with `n_layers` blocks of `n_heads` heads.

    n_kv_heads    key/value heads G; query head h uses the keys and values of kv head h // (H / G)
    parallel      attention and MLP of a block read the same stream (NeoX, GPT-J, Phi, Falcon), so
                  the MLP doesn't see its own layer's heads
    embeddings    "joint": one writer "input"; "split": "tok" and "pos"; "free": one writer "input"
                  that every reader sees and that no edge can cut
    coupled       a norm spans all heads of a block (a post-norm, a joint q/k norm), so that what
                  one head reads changes what all of them write; the edges are the same

    Two graphs are equal when their settings are. Arrays are computed once and read-only:
    `torch.tensor(graph.valid)` copies. Raises GraphError for settings that make no graph.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False
    embeddings: Embeddings = "joint"
    coupled: bool = False

    def __post_init__(self) -> None:
        for field in ("n_layers", "n_heads", "n_kv_heads"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise GraphError(f"{field} must be a whole number from 1, not {value!r}")
        if self.n_heads % self.n_kv_heads:
            raise GraphError(
                f"{self.n_heads} heads can't share {self.n_kv_heads} key/value heads evenly: "
                f"n_kv_heads must divide n_heads"
            )
        for field in ("parallel", "coupled"):
            if not isinstance(value := getattr(self, field), bool):
                raise GraphError(f"{field} must be True or False, not {value!r}")
        if self.embeddings not in get_args(Embeddings):
            allowed = ", ".join(map(repr, get_args(Embeddings)))
            raise GraphError(f"embeddings must be one of {allowed}, not {self.embeddings!r}")

    # --- names, in order -------------------------------------------------------------------------

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """The writers' names (W), in the order in which they write."""
        names = ["tok", "pos"] if self.embeddings == "split" else ["input"]
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}" for head in range(self.n_heads)]
            names.append(f"m{layer}")
        return tuple(names)

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """The readers' names (R), in the order in which they read."""
        names = []
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}<q>" for head in range(self.n_heads)]
            names += [f"a{layer}.h{group}<k>" for group in range(self.n_kv_heads)]
            names += [f"a{layer}.h{group}<v>" for group in range(self.n_kv_heads)]
            names.append(f"m{layer}")
        return (*names, "logits")

    # --- counts ----------------------------------------------------------------------------------

    @property
    def n_inputs(self) -> int:
        """Embedding writers: the first 1 or 2 columns."""
        return 2 if self.embeddings == "split" else 1

    @property
    def n_writers(self) -> int:
        """W, counting the free input."""
        return self.n_inputs + self.n_layers * (self.n_heads + 1)

    @property
    def n_readers(self) -> int:
        """R."""
        return self.n_layers * self._rows_per_layer + 1

    @cached_property
    def n_edges(self) -> int:
        """E."""
        return int(self._row_starts[-1])

    # --- arrays ----------------------------------------------------------------------------------

    @cached_property
    def causal(self) -> Bool[np.ndarray, "R W"]:
        """Whether the reader sees the writer, counting the free input."""
        return _frozen(np.arange(self.n_writers) < self._seen[:, None])

    @cached_property
    def valid(self) -> Bool[np.ndarray, "R W"]:
        """Whether an edge joins the writer to the reader: `causal` less the free input's column.

        `matrix[graph.valid]` takes the edges' values, in edge order, out of an (R, W) matrix.
        """
        valid = self.causal.copy()
        valid[:, : self._first_column] = False
        return _frozen(valid)

    @cached_property
    def reader_of(self) -> Int32[np.ndarray, " E"]:
        """Each edge's reader: its row."""
        edges_per_row = np.diff(self._row_starts)
        return _frozen(np.repeat(np.arange(self.n_readers, dtype=np.int32), edges_per_row))

    @cached_property
    def writer_of(self) -> Int32[np.ndarray, " E"]:
        """Each edge's writer: its column."""
        starts = self._row_starts[:-1].astype(np.int32)
        edges = np.arange(self.n_edges, dtype=np.int32)
        return _frozen(edges - starts[self.reader_of] + np.int32(self._first_column))

    def dense(
        self, values: Shaped[np.ndarray, " E"], fill_free: float = 1.0
    ) -> Shaped[np.ndarray, "R W"]:
        """The (R, W) matrix of `values`, in their dtype; 0 where there is no edge, and `fill_free`
        in the column of a free input, which every reader sees."""
        values = self.edge_array(values)
        matrix = np.zeros((self.n_readers, self.n_writers), values.dtype)
        matrix[:, : self._first_column] = fill_free
        matrix[self.valid] = values
        return matrix

    def edge_array(
        self, values: npt.ArrayLike, dtype: npt.DTypeLike = None
    ) -> Shaped[np.ndarray, " E"]:
        """A read-only copy of `values`; GraphError unless there is one for every edge."""
        values = np.array(values, dtype)
        if values.shape != (self.n_edges,):
            raise GraphError(
                f"values have shape {values.shape}, but the graph has {self.n_edges} edges"
            )
        return _frozen(values)

    # --- index arithmetic ------------------------------------------------------------------------

    def head_writer(self, layer: int, head: int) -> int:
        """The column of head `head` of layer `layer`."""
        return self.writers_before_attention(layer) + self._checked("head", head, self.n_heads)

    def mlp_writer(self, layer: int) -> int:
        """The column of layer `layer`'s MLP."""
        return self.writers_before_attention(layer) + self.n_heads

    def q_reader(self, layer: int, head: int) -> int:
        """The row of the queries of head `head`."""
        return self.attention_readers(layer).start + self._checked("head", head, self.n_heads)

    def k_reader(self, layer: int, group: int) -> int:
        """The row of the keys of kv head `group`."""
        start = self.attention_readers(layer).start + self.n_heads
        return start + self._checked("kv head", group, self.n_kv_heads)

    def v_reader(self, layer: int, group: int) -> int:
        """The row of the values of kv head `group`."""
        return self.k_reader(layer, group) + self.n_kv_heads

    def mlp_reader(self, layer: int) -> int:
        """The row of layer `layer`'s MLP."""
        return self.attention_readers(layer).stop

    @property
    def n_attention_readers(self) -> int:
        """H + 2G, of one layer."""
        return self.n_heads + 2 * self.n_kv_heads

    @property
    def logits_reader(self) -> int:
        """The last row."""
        return self.n_readers - 1

    def attention_readers(self, layer: int) -> slice:
        """The H + 2G rows of layer `layer`'s queries, keys and values."""
        start = self._checked("layer", layer, self.n_layers) * self._rows_per_layer
        return slice(start, start + self._rows_per_layer - 1)

    def place(self, reader: int) -> tuple[int, int]:
        """A reader's layer and its row among the layer's; the logits begin a layer of their own."""
        return divmod(self._checked("reader", reader, self.n_readers), self._rows_per_layer)

    def writers_before_attention(self, layer: int) -> int:
        """How many leading columns layer `layer`'s queries, keys and values see."""
        return self.n_inputs + self._checked("layer", layer, self.n_layers) * (self.n_heads + 1)

    def writers_before_mlp(self, layer: int) -> int:
        """How many leading columns layer `layer`'s MLP sees: its own heads too, unless parallel."""
        own_heads = 0 if self.parallel else self.n_heads
        return self.writers_before_attention(layer) + own_heads

    def edges_into(self, reader: int) -> range:
        """The edges into a reader, by writer."""
        starts = self._row_starts
        reader = self._checked("reader", reader, self.n_readers)
        return range(int(starts[reader]), int(starts[reader + 1]))

    # --- edges by name ---------------------------------------------------------------------------

    def name(self, edge: int) -> str:
        """Edge `edge` as "writer->reader"; GraphError unless 0 <= edge < n_edges."""
        self._checked("edge", edge, self.n_edges)
        reader = int(np.searchsorted(self._row_starts, edge, side="right")) - 1
        writer = edge - int(self._row_starts[reader]) + self._first_column
        return f"{self.writers[writer]}->{self.readers[reader]}"

    def names(self, edges: Integer[np.ndarray, " K"]) -> list[str]:
        """`name` of many edges."""
        writers, readers = self.writer_of[edges].tolist(), self.reader_of[edges].tolist()
        return [
            f"{self.writers[w]}->{self.readers[r]}" for w, r in zip(writers, readers, strict=True)
        ]

    def index(self, name: str) -> int:
        """The edge called "writer->reader"; GraphError says which part of the name is wrong."""
        writer_name, arrow, reader_name = name.partition("->")
        if not arrow:
            raise GraphError(f"{name!r} is no edge name: write 'writer->reader', as in 'input->m0'")
        writer = self._writer_index.get(writer_name)
        if writer is None:
            raise GraphError(f"edge {name!r}: {_unknown('writer', writer_name, self.writers)}")
        reader = self._reader_index.get(reader_name)
        if reader is None:
            raise GraphError(f"edge {name!r}: {_unknown('reader', reader_name, self.readers)}")
        if writer < self._first_column:
            raise GraphError(
                f"edge {name!r}: the embeddings of this graph are free, {writer_name!r} is always "
                f"read and no edge; use a graph with embeddings='joint'"
            )
        if writer >= self._seen[reader]:
            raise GraphError(
                f"edge {name!r}: {writer_name!r} writes only after {reader_name!r} reads"
            )
        return int(self._row_starts[reader]) + writer - self._first_column

    # --- saving ----------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The settings: all that `from_json` needs, and no model."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Graph":
        """The graph that `to_json` described; GraphError for missing or unknown settings."""
        if not isinstance(data, Mapping):
            raise GraphError(f"a graph is described by a JSON object, not {data!r}")
        known = {field.name for field in fields(cls)}
        needed = {"n_layers", "n_heads", "n_kv_heads"}
        if unknown := sorted(set(data) - known):
            raise GraphError(f"unknown graph settings {unknown}: allowed are {sorted(known)}")
        if missing := sorted(needed - set(data)):
            raise GraphError(f"graph settings {missing} are missing")
        return cls(**data)

    # --- inner arithmetic ------------------------------------------------------------------------

    @property
    def _rows_per_layer(self) -> int:
        return self.n_attention_readers + 1

    @property
    def _first_column(self) -> int:
        """The first column that has edges."""
        return 1 if self.embeddings == "free" else 0

    @cached_property
    def _seen(self) -> Int64[np.ndarray, " R"]:
        """How many leading columns each row sees."""
        seen = np.full(self.n_readers, self.n_writers)
        for layer in range(self.n_layers):
            seen[self.attention_readers(layer)] = self.writers_before_attention(layer)
            seen[self.mlp_reader(layer)] = self.writers_before_mlp(layer)
        return _frozen(seen)

    @cached_property
    def _row_starts(self) -> Int64[np.ndarray, " R_plus_1"]:
        """The first edge of each row, then E."""
        return _frozen(np.concatenate([[0], np.cumsum(self._seen - self._first_column)]))

    @cached_property
    def _writer_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.writers)}

    @cached_property
    def _reader_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.readers)}

    def _checked(self, what: str, index: int, count: int) -> int:
        if not 0 <= index < count:
            raise GraphError(f"the graph has no {what} {index}: they run from 0 to {count - 1}")
        return index


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(map(repr, close))}?" if close else f"the last is {known[-1]!r}"
    )
    return f"there is no {kind} {name!r}; {hint}"
