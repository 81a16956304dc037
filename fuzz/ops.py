"""Import nodes with random attrs, of every op that the default policy lets through.

    python fuzz/ops.py --seconds 600            as many as there is time for
    python fuzz/ops.py --inputs 60000           this many
    python fuzz/ops.py --first 5127 --inputs 1  one input again

Input number n is the same in every run with the same TensorFlow. A child process imports it, as a
model that is loaded and run does. Inputs whose op the default policy refuses are passed over. A
failure is: the child ends, hangs, takes gigabytes, or raises an error that is not tfpersist's. An
op that fails belongs into a capability that the default policy refuses, or its attrs are checked in
graph/structure/trusted_values.py.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

import attrs
import numpy as np

from tfpersist.errors import TFPersistError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import split
from tfpersist.graph.structure import capabilities, ops
from tfpersist.safety import HARMLESS

HANG = 30
BATCH = 4000
# Bytes of address space that a child may take beyond those of TensorFlow itself.
MEMORY = 3 << 30
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
INTEGERS = {3: "i4", 9: "i8"}


def harmless():
    """Return the ops that the default policy lets through."""
    table = capabilities.table()
    return {op for op in table if table[op].issubset(HARMLESS)}


def op_of(number):
    """Return the op of input number n, whatever the policy says of it."""
    names = all_ops()
    return names[number % len(names)]


@functools.cache
def all_ops():
    return sorted(capabilities.table())


def shape(draw):
    """Return a random shape as a message."""
    if draw.random() < 0.2:
        return {"unknown_rank": True}
    sizes = [draw.choice((*NUMBERS, 2, 3, 4)) for _ in range(draw.choice((0, 1, 1, 2, 3, 4, 5, 9)))]
    return {"dim": [{"size": size} for size in sizes]}


@functools.cache
def definitions():
    """Return the OpDefs of this TensorFlow, which say what it allows as the values of attrs."""
    from tensorflow.python.client import pywrap_tf_session

    listed = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name: op for op in schema.OpList.FromString(bytes(listed)).op}


def value(draw, kind, allowed=None):
    """Return a random AttrValue of a kind of attr, more often one that TensorFlow allows."""
    made = schema.AttrValue()
    choices = [*allowed.list.type, *allowed.list.s] if allowed is not None else []
    choice = draw.choice(choices) if choices and draw.random() < 0.8 else None
    if kind.startswith("list("):
        for _ in range(draw.choice((0, 1, 1, 2, 3, 4, 5, 8))):
            made.list.MergeFrom(listed(value(draw, kind[5:-1], allowed)))
        made.list.SetInParent()
    elif kind == "int":
        made.i = draw.choice(NUMBERS)
    elif kind == "float":
        made.f = draw.choice(FLOATS)
    elif kind == "bool":
        made.b = draw.random() < 0.5
    elif kind == "string":
        made.s = choice or draw.choice(TEXTS)
    elif kind == "type":
        made.type = choice or draw.choice(TYPES)
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


def source(draw, name, kind):
    """Return a node that gives a tensor of a data type: fed, or a constant of a few integers."""
    node = schema.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = kind
    if kind in INTEGERS and draw.random() < 0.6:
        node.op = "Const"
        numbers = [draw.choice(NUMBERS) for _ in range(draw.choice((0, 1, 2, 2, 3, 4, 5, 6, 9)))]
        shape_ = {"dim": [{"size": len(numbers)}]} if len(numbers) != 1 else {}
        content = np.array(numbers, "i8").astype(INTEGERS[kind]).tobytes()
        tensor = {"dtype": kind, "tensor_shape": shape_, "tensor_content": content}
        node.attr["value"].tensor.CopyFrom(schema.AttrValue(tensor=tensor).tensor)
    elif draw.random() < 0.7:
        node.attr["shape"].shape.CopyFrom(schema.AttrValue(shape=shape(draw)).shape)
    return node


def graph_of(number):
    """Return input number n: a node of an op, and what it takes, as the bytes of a GraphDef."""
    draw = random.Random(number)
    op = definitions().get(op_of(number)) or ops.table()[op_of(number)]
    node = schema.NodeDef(name="z", op=op.name)
    for attr in op.attr:
        has_default = attr.HasField("default_value")
        if has_default and draw.random() < 0.4:
            continue
        node.attr[attr.name].CopyFrom(value(draw, attr.type, attr.allowed_values))
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
            kind = draw.choice(TYPES) if draw.random() < 0.05 else kind or 1
            proto.node.add().CopyFrom(source(draw, f"i{at}_{index}", kind))
            node.input.append(f"i{at}_{index}")
    if draw.random() < 0.05:
        node.input.append("i0_0")
    proto.node.add().CopyFrom(node)
    return proto.SerializeToString(deterministic=True)


def child(first, count, log):
    """Import so many inputs; write the number of each before, and where to go on at the end."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # This takes long, and is not a part of the first input.
    import tensorflow as tf  # noqa: F401

    from tfpersist.tf.run.imported import import_graph

    taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    names = harmless()
    with open(log, "w", buffering=1) as file:
        allowed = (number for number in itertools.count(first) if op_of(number) in names)
        for number in itertools.islice(allowed, count):
            graph = split(graph_of(number))
            file.write(f"{number}\n")
            try:
                import_graph(graph).close()
            except TFPersistError:
                pass
            except Exception as error:
                file.write(f"! {number} {type(error).__name__}: {str(error)[:200]!r}\n")
        file.write(f"end {number + 1}\n")


@attrs.define
class Failure:
    """An input that ended its process, hung it, or raised a foreign error."""

    number: int
    op: str
    problem: str


def run_batch(first, count, log):
    """Run one child; return the failures, the count of inputs, and the number to go on from."""
    command = [sys.executable, __file__, "--child", str(first), str(count), str(log)]
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
    numbers = [int(line) for line in lines if line.isdecimal()]
    if lines and lines[-1].startswith("end "):
        return found, len(numbers), int(lines[-1].split()[1])
    if not numbers:
        raise SystemExit(f"the child did not start: {problem or process.returncode}")
    found.append((numbers[-1], problem or f"the process ended with {process.returncode}"))
    return found, len(numbers), numbers[-1] + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="count after each batch")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), int(options.child[1]), options.child[2])
        return 0
    most = options.inputs or 10**12
    end = time.monotonic() + options.seconds if options.seconds else None
    at, count, failures = options.first, 0, []
    with tempfile.TemporaryDirectory() as folder:
        while (left := most - count) > 0 and (end is None or time.monotonic() < end):
            log = pathlib.Path(folder) / f"{at}.log"
            found, done, at = run_batch(at, min(BATCH, left), log)
            count += done
            for number, problem in found:
                failures.append(Failure(number, op_of(number), problem))
                print(f"FAILED input {number}: {failures[-1].op}: {problem}", flush=True)
            log.unlink()
            if options.verbose:
                print(f"{count} inputs, next is {at}, {len(failures)} failures", flush=True)
    counts = {"inputs": count, "ops": len(harmless()), "failures": len(failures)}
    print(json.dumps(counts))
    print(f"{counts['inputs']} inputs, {len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
