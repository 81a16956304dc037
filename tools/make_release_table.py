"""Make graph/runtimes/releases.txt: the ops of old releases, and the attrs they lack.

In an environment of each old release, 1.4, 1.15 and 2.4:
    python tools/make_release_table.py list > ops-1.15.txt
Then, in an environment with tfpersist:
    python tools/make_release_table.py merge 1.4=ops-1.4.txt ... 2.4=ops-2.4.txt > releases.txt
"""

import sys


def registered():  # noqa: ANN201
    """Yield a line for each op that this TensorFlow registers: its name and its attrs."""
    from tensorflow.core.framework import op_def_pb2

    try:
        from tensorflow.python.client import pywrap_tf_session as c
    except ImportError:
        from tensorflow.python import pywrap_tensorflow as c
    ops = op_def_pb2.OpList()
    ops.ParseFromString(c.TF_GetBuffer(c.TF_GetAllOpList()))
    for op in sorted(ops.op, key=lambda op: op.name):
        yield " ".join([op.name, *sorted(attr.name for attr in op.attr)])


def merged(releases):  # noqa: ANN001, ANN201
    """Yield the lines of releases.txt, from the list of each release."""
    from tfpersist.graph.structure import ops

    for release, lines in releases.items():
        yield "[" + release + "]"
        for line in lines:
            name, *attrs = line.split()
            known = ops.table().get(name)
            missing = {attr.name for attr in known.attr} - set(attrs) if known is not None else ()
            yield " ".join([name, *sorted(missing)])


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print("\n".join(registered()))
    else:
        releases = {}
        for argument in sys.argv[2:]:
            name, _, path = argument.partition("=")
            with open(path) as file:
                releases[name] = file.readlines()
        print("\n".join(merged(releases)))
