"""Small drafts for the tests of passes: a graph in text form and values of its variables."""

from __future__ import annotations

import numpy as np

from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.freezer.draft import Draft
from tfpersist.freezer.options import Options
from tfpersist.graph.structure.lowered import Lowered


def node(name, op, *inputs, **attrs):
    """Return a node in text form; its attrs are values in text form."""
    text = f'node {{ name: "{name}" op: "{op}" '
    text += "".join(f'input: "{source}" ' for source in inputs)
    for key, value in attrs.items():
        text += f'attr {{ key: "{key}" value {{ {value} }} }} '
    return text + "}\n"


def placeholder(name, shape="unknown_rank: true"):
    return node(name, "Placeholder", dtype="type: DT_FLOAT", shape=f"shape {{ {shape} }}")


def variable(name, *reads):
    """Return a resource variable of three floats, and the nodes that read it."""
    shape = "shape { dim { size: 3 } }"
    text = node(name, "VarHandleOp", dtype="type: DT_FLOAT", shape=shape)
    for read in reads:
        text += node(read, "ReadVariableOp", name, dtype="type: DT_FLOAT")
    return text


def negative(name, source):
    return node(name, "Neg", source, T="type: DT_FLOAT")


def draft(text, values=None, lowered=None, **options):
    """Return the draft of a graph; `values` are those of its variables."""
    payloads = {
        name: payload_of(np.asarray(value, np.float32)) for name, value in (values or {}).items()
    }
    source = Lowered(parse_text(text.encode()), payloads, **(lowered or {}))
    return Draft.of(source, Options(**options))
