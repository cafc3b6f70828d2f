"""An ONNX model without what only a reader of its graph needs."""

from collections.abc import Iterator
from itertools import count, product
from string import ascii_letters

import onnx


def compacted(model: onnx.ModelProto) -> bytes:
    """Return a model's bytes, the same each time.

    Long names, and where each operation stood in our source, take as much room as the weights of a
    small student.

    Args:
        model: one graph without subgraphs; it is changed.
    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    names = {part.name: part.name for part in (*graph.input, *graph.output)} | {"": ""}
    short = _short_names()
    for initializer in graph.initializer:
        initializer.name = names.setdefault(initializer.name, next(short))
    for node in graph.node:
        node.ClearField("name")
        for tensors in (node.input, node.output):
            for place, name in enumerate(tensors):
                if name not in names:
                    names[name] = next(short)
                tensors[place] = names[name]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _short_names() -> Iterator[str]:
    """Yield names of letters alone.

    Where a bias is used twice, ONNX Runtime's quantisation makes copies of it, whose names have a
    number after the bias's own: one that no other tensor may have.
    """
    for length in count(1):
        for letters in product(ascii_letters, repeat=length):
            yield "".join(letters)
