"""Import nodes with random attrs, of every op that the default policy lets through.

    python fuzz/ops.py --seconds 600            as many as there is time for
    python fuzz/ops.py --inputs 60000           this many
    python fuzz/ops.py --first 5127 --inputs 1  one input again

Input number n is the same in every run. A child process imports it, as a model that is loaded and
run does. A failure is: the child ends or hangs, or raises an error that is not tfpersist's. An op
that fails belongs into a capability that the default policy refuses, or its attrs are checked in
graph/structure/trusted_values.py.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import attrs

from tfpersist.errors import TFPersistError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import split
from tfpersist.graph.structure import capabilities, ops
from tfpersist.safety import HARMLESS

HANG = 30
BATCH = 2000
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 3e38, float("inf"), float("nan"))
TEXTS = (
    b"",
    b"x",
    b"SAME",
    b"VALID",
    b"EXPLICIT",
    b"NHWC",
    b"NCHW",
    b"NCHW_VECT_C",
    b"a,b->ab",
    b"\xff" * 9,
)
TYPES = (*range(24), 27, 101, 120)


def harmless():
    """Return the ops that the default policy lets through."""
    table = capabilities.table()
    return sorted(op for op in table if table[op].issubset(HARMLESS))


def shape(draw):
    """Return a random shape as a message."""
    if draw.random() < 0.2:
        return {"unknown_rank": True}
    sizes = [draw.choice((*NUMBERS, 2, 3, 4)) for _ in range(draw.choice((0, 1, 1, 2, 3, 4, 5, 9)))]
    return {"dim": [{"size": size} for size in sizes]}


def value(draw, kind):
    """Return a random AttrValue of a kind of attr."""
    made = schema.AttrValue()
    if kind.startswith("list("):
        for _ in range(draw.choice((0, 1, 1, 2, 3, 4, 5, 8))):
            made.list.MergeFrom(listed(value(draw, kind[5:-1])))
        made.list.SetInParent()
    elif kind == "int":
        made.i = draw.choice(NUMBERS)
    elif kind == "float":
        made.f = draw.choice(FLOATS)
    elif kind == "bool":
        made.b = draw.random() < 0.5
    elif kind == "string":
        made.s = draw.choice(TEXTS)
    elif kind == "type":
        made.type = draw.choice(TYPES)
    elif kind == "shape":
        made.shape.CopyFrom(schema.AttrValue(shape=shape(draw)).shape)
    elif kind == "tensor":
        made.tensor.CopyFrom(tensor(draw))
    elif kind == "func":
        made.func.name = draw.choice(("f", "", "NoOp", "Identity"))
    return made


def tensor(draw):
    """Return a random TensorProto, whose elements need not fit."""
    spec = {"dtype": draw.choice(TYPES), "tensor_shape": shape(draw)}
    made = schema.AttrValue(tensor=spec).tensor
    if draw.random() < 0.5:
        made.tensor_content = draw.randbytes(draw.choice((0, 1, 4, 16)))
    return made


def listed(single):
    """Return a ListValue with one value."""
    field = single.WhichOneof("value")
    made = schema.AttrValue()
    target = getattr(made.list, {"placeholder": "s"}.get(field, field))
    item = getattr(single, field)
    if field in ("shape", "tensor", "func"):
        target.add().CopyFrom(item)
    else:
        target.append(item)
    return made.list


def graph_of(number, names):
    """Return input number n: a node of an op, and what it takes, as the bytes of a GraphDef."""
    draw = random.Random(number)
    op = ops.table()[names[number % len(names)]]
    node = schema.NodeDef(name="z", op=op.name)
    for attr in op.attr:
        has_default = attr.HasField("default_value")
        if has_default and draw.random() < 0.4:
            continue
        node.attr[attr.name].CopyFrom(value(draw, attr.type))
        if attr.type == "int" and attr.name in ("N", "num_split", "n") and draw.random() < 0.8:
            node.attr[attr.name].i = draw.choice((0, 1, 2, 3))
    proto = schema.GraphDef(versions={"producer": draw.choice((21, 1395, 2000))})
    for at, arg in enumerate(op.input_arg):
        count = 1
        if arg.number_attr:
            count = min(4, max(0, node.attr[arg.number_attr].i))
        elif arg.type_list_attr:
            count = len(node.attr[arg.type_list_attr].list.type)
        for index in range(count):
            kind = arg.type or (node.attr[arg.type_attr].type if arg.type_attr else 1)
            if arg.type_list_attr:
                kind = node.attr[arg.type_list_attr].list.type[index]
            source = schema.NodeDef(name=f"i{at}_{index}", op="Placeholder")
            source.attr["dtype"].type = draw.choice(TYPES) if draw.random() < 0.05 else kind or 1
            if draw.random() < 0.7:
                source.attr["shape"].shape.CopyFrom(schema.AttrValue(shape=shape(draw)).shape)
            proto.node.add().CopyFrom(source)
            node.input.append(source.name)
    if draw.random() < 0.05:
        node.input.append("i0_0")
    proto.node.add().CopyFrom(node)
    return proto.SerializeToString(deterministic=True)


def child(first, last, log):
    """Import the inputs, and write the number of each before and after."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # This takes long, and is not a part of the first input.
    import tensorflow as tf  # noqa: F401

    from tfpersist.tf.run.imported import import_graph

    names = harmless()
    with open(log, "w", buffering=1) as file:
        for number in range(first, last):
            graph = split(graph_of(number, names))
            file.write(f"{number}\n")
            try:
                import_graph(graph).close()
            except TFPersistError:
                pass
            except Exception as error:
                file.write(f"! {number} {type(error).__name__}: {str(error)[:200]!r}\n")
        file.write("end\n")


@attrs.define
class Failure:
    """An input that ended its process, hung it, or raised a foreign error."""

    number: int
    op: str
    problem: str


def run_batch(first, last, log):
    """Run one child; return the failures, and the number to go on from."""
    command = [sys.executable, __file__, "--child", str(first), str(last), str(log)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = -1, started
    problem = ""
    while process.poll() is None:
        time.sleep(0.2)
        size = log.stat().st_size if log.exists() else -1
        if size != seen[0]:
            seen = size, time.monotonic()
        elif size >= 0 and time.monotonic() - seen[1] > HANG:
            process.kill()
            process.wait()
            problem = f"no answer for {HANG} s"
            break
    lines = log.read_text().splitlines() if log.exists() else []
    found = []
    for line in lines:
        if line.startswith("! "):
            number, text = line[2:].split(" ", 1)
            found.append((int(number), text))
    if lines and lines[-1] == "end":
        return found, last
    numbers = [int(line) for line in lines if line.isdecimal()]
    if not numbers:
        raise SystemExit(f"the child did not start: {problem or process.returncode}")
    found.append((numbers[-1], problem or f"the process ended with {process.returncode}"))
    return found, numbers[-1] + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), int(options.child[1]), options.child[2])
        return 0
    names = harmless()
    end = time.monotonic() + options.seconds if options.seconds else None
    last = options.first + (options.inputs or 10**12)
    at, failures = options.first, []
    with tempfile.TemporaryDirectory() as folder:
        while at < last and (end is None or time.monotonic() < end):
            log = pathlib.Path(folder) / f"{at}.log"
            found, after = run_batch(at, min(at + BATCH, last), log)
            for number, problem in found:
                failures.append(Failure(number, names[number % len(names)], problem))
                print(f"FAILED input {number}: {failures[-1].op}: {problem}", flush=True)
            at = after
    counts = {"inputs": at - options.first, "ops": len(names), "failures": len(failures)}
    print(json.dumps(counts))
    print(f"{counts['inputs']} inputs, {len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
