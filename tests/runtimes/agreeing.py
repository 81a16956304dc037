"""Find the ops that a runtime computes as TensorFlow does, by the graphs of instances.py.

    python agreeing.py tflite|tfjs folder

Printed are the version, then a line for each op that it computes: its name, and "attr!" with the
numbers of the data types that it does not compute with. An op that it computes otherwise, without
an error, is not among them. Ops of loops, branches and lists are asked for as wholes, in other
tests.
"""

import collections
import pathlib
import sys

import elsewhere
import numpy as np

# A kind of runtime, what its version is asked for in, and the ops that are parts of a whole.
LOOPS = "Const Enter Exit If LoopCond Merge NextIteration NoOp Placeholder StatelessIf"
LOOPS += " StatelessWhile Switch TensorListFromTensor TensorListGetItem TensorListReserve"
LOOPS += " TensorListSetItem TensorListStack While"
WHOLES = {"tflite": f"{LOOPS} Erfc PartitionedCall StatefulPartitionedCall", "tfjs": LOOPS}
MODULES = {"tflite": "tensorflow", "tfjs": "tensorflowjs"}
NAMES = {"tflite": "TensorFlow Lite", "tfjs": "TensorFlow.js"}
# Whole batches go to one process.
BATCH = 150
FLOAT = 1


def jobs_in(folder, only=None):
    """Return {file: (job, results of TensorFlow)}; `only` says which files to take."""
    jobs = {}
    for path in sorted(folder.glob("*.pb")):
        if only is not None and not only(path.name):
            continue
        feeds, expected = (
            dict(np.load(f"{path}.{what}.npz", allow_pickle=True)) for what in ("given", "expected")
        )
        jobs[path.name] = elsewhere.Job(path, feeds, list(expected)), list(expected.values())
    return jobs


def verdicts(kind, interpreter, folder, only=None):
    """Return {file: "equal", "other" or an error}."""
    jobs = jobs_in(folder, only)
    listed = [job for job, _ in jobs.values()]
    for first in range(0, len(listed), BATCH):
        elsewhere.run(kind, interpreter, listed[first : first + BATCH], folder)
    return {name: verdict(kind, job.results(), expected) for name, (job, expected) in jobs.items()}


def verdict(kind, found, expected):
    if isinstance(found, str):
        return found
    for result, wanted in zip(found, expected, strict=True):
        # TensorFlow.js has no other integers.
        dtype = np.int32 if kind == "tfjs" and wanted.dtype == np.int64 else wanted.dtype
        if result.dtype != dtype or result.shape != wanted.shape:
            return "other"
        is_exact = wanted.dtype.kind not in "fc"
        if is_exact and not np.array_equal(result, wanted):
            return "other"
        if not is_exact and not np.allclose(result, wanted, rtol=1e-5, atol=1e-5, equal_nan=True):
            return "other"
    return "equal"


def lines(kind, found, folder):
    """Yield the lines of ops that are computed as TensorFlow does."""
    ops = collections.defaultdict(dict)
    for name, each in found.items():
        op, form, _ = name.split(".")
        ops[op][form] = each
    known = dict.fromkeys(WHOLES[kind].split(), "")
    for op, forms in ops.items():
        some = [each for form, each in forms.items() if form.isdigit()]
        others = {form: each for form, each in forms.items() if not form.isdigit()}
        is_known = "other" not in some and 2 * some.count("equal") >= len(some)
        refused = [form for form, each in others.items() if each != "equal"]
        if is_known or len(refused) < len(others):
            known[op] = types_of(folder, op, ([] if is_known else ["float32"]) + refused)
    yield from sorted(f"{op} {types}".strip() for op, types in known.items())


def types_of(folder, op, names):
    """Return the words of the data types that an op does not compute with."""
    import tensorflow as tf

    proto = tf.compat.v1.GraphDef.FromString((folder / f"{op}.0.pb").read_bytes())
    numbers = ",".join(str(tf.as_dtype(name).as_datatype_enum) for name in names)
    typed = {
        attr
        for node in proto.node
        for attr, value in node.attr.items()
        if node.op == op and value.type == FLOAT
    }
    return " ".join(f"{attr}!{numbers}" for attr in sorted(typed) if numbers)


if __name__ == "__main__":
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    runtime = elsewhere.RUNTIMES[NAMES[kind]]
    print(elsewhere.version(runtime.interpreter(), MODULES[kind]))
    found = verdicts(kind, runtime.interpreter(), folder)
    print("\n".join(lines(kind, found, folder)))
