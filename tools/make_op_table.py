"""Write graph/structure/ops.binpb: inputs, outputs and attrs of TensorFlow's ops, without docs.

Run it once under each supported TensorFlow, oldest first. Each run adds the ops that the table does
not have yet, and replaces older definitions. Attrs that a newer definition lacks stay in the table.
A default that changed is removed, because leaving the attr out would mean different values:

    python tools/make_op_table.py
"""

from __future__ import annotations

import pathlib
import sys

from tfpersist.formats import schema

TABLE = pathlib.Path(__file__).parent.parent / "tfpersist" / "graph" / "structure" / "ops.binpb"


def registered() -> bytes:
    """Return the OpList of every op in this TensorFlow."""
    import tensorflow as tf  # noqa: F401
    from tensorflow.python.client import pywrap_tf_session

    return bytes(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))


def compact(op: schema.Message) -> schema.Message:
    """Keep names, types, arity, defaults, statefulness and deprecation of an op."""
    short = schema.OpDef(name=op.name, is_stateful=op.is_stateful)
    if op.HasField("deprecation"):
        short.deprecation.CopyFrom(op.deprecation)
    for source, target in ((op.input_arg, short.input_arg), (op.output_arg, short.output_arg)):
        for arg in source:
            target.add(
                name=arg.name,
                type=arg.type,
                type_attr=arg.type_attr,
                number_attr=arg.number_attr,
                type_list_attr=arg.type_list_attr,
                is_ref=arg.is_ref,
            )
    for attr in op.attr:
        kept = short.attr.add(name=attr.name, type=attr.type)
        if attr.HasField("default_value"):
            kept.default_value.CopyFrom(attr.default_value)
    return short


def merged_with(older: schema.Message | None, newer: schema.Message) -> schema.Message:
    """Merge two releases' definitions of an op."""
    attrs = {attr.name: attr for attr in newer.attr}
    for attr in older.attr if older is not None else ():
        known = attrs.get(attr.name)
        if known is None:
            newer.attr.add().CopyFrom(attr)
        elif known.default_value != attr.default_value:
            known.ClearField("default_value")
    return newer


def main() -> int:
    known = schema.OpList.FromString(TABLE.read_bytes()) if TABLE.exists() else schema.OpList()
    table = {op.name: op for op in known.op}
    for op in schema.OpList.FromString(registered()).op:
        table[op.name] = merged_with(table.get(op.name), compact(op))
    merged = schema.OpList(op=[table[name] for name in sorted(table)])
    TABLE.write_bytes(merged.SerializeToString(deterministic=True))
    print(f"{len(table)} ops, {TABLE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
