"""Make graph/runtimes/releases.txt: the ops of old releases, and what they lack.

In an environment of each old release, and of the newest:
    python tools/make_release_table.py list > ops-1.15.txt
Then, in an environment with tfpersist, oldest first and the newest last:
    python tools/make_release_table.py merge 1.4=ops-1.4.txt ... 2.21=ops-2.21.txt > releases.txt

The newest release has no section of its own: the others are compared with it.
"""

import importlib
import itertools
import sys

# The data types that there were before those of less than a byte, by number.
TYPES = range(1, 24)


def registered():  # noqa: ANN201
    """Yield a line for each op that this TensorFlow registers.

    The line has its name, "#" and its number of inputs where that is fixed, its attrs, and for one
    or two attrs that are data types the numbers for which there is a kernel on CPUs: "T!1,2" or
    "Tin&Tout!1:3,1:9".
    """
    from tensorflow.core.framework import op_def_pb2

    try:
        from tensorflow.python.client import pywrap_tf_session as c
    except ImportError:
        from tensorflow.python import pywrap_tensorflow as c
    find_kernel = _kernel_finder()
    ops = op_def_pb2.OpList()
    ops.ParseFromString(c.TF_GetBuffer(c.TF_GetAllOpList()))
    for op in sorted(ops.op, key=lambda op: op.name):
        words = sorted(attr.name for attr in op.attr)
        if not any(arg.number_attr or arg.type_list_attr for arg in op.input_arg):
            words.append("#" + str(len(op.input_arg)))
        typed = [attr for attr in op.attr if attr.type == "type"]
        if 0 < len(typed) < 3:
            found = [":".join(map(str, types)) for types in _with_kernel(op, typed, find_kernel)]
            words.append("&".join(attr.name for attr in typed) + "!" + ",".join(found))
        yield " ".join([op.name, *words])


def _kernel_finder():  # noqa: ANN202
    for module in ("util._pywrap_kernel_registry", "_pywrap_kernel_registry"):
        try:
            return importlib.import_module("tensorflow.python." + module).TryFindKernelClass
        except ImportError:
            continue
    return importlib.import_module("tensorflow.python.pywrap_tensorflow").TryFindKernelClass


def _with_kernel(op, typed, find_kernel):  # noqa: ANN001, ANN202
    from tensorflow.core.framework import node_def_pb2

    node = node_def_pb2.NodeDef(name="n", op=op.name, device="/cpu:0")
    for attr in op.attr:
        if attr.HasField("default_value"):
            node.attr[attr.name].CopyFrom(attr.default_value)
        elif attr.type == "list(type)":
            node.attr[attr.name].list.type.append(1)
    allowed = [set(attr.allowed_values.list.type) or set(TYPES) for attr in typed]
    for types in itertools.product(TYPES, repeat=len(typed)):
        if all(number in numbers for number, numbers in zip(types, allowed)):  # noqa: B905
            for attr, number in zip(typed, types):  # noqa: B905
                node.attr[attr.name].type = number
            if find_kernel(node.SerializeToString()):
                yield types


def merged(releases):  # noqa: ANN001, ANN201
    """Yield the lines of releases.txt, from the list of each release.

    A section has the ops that differ from the section before, and the ops that went, as "-Op".
    """
    from tfpersist.graph.structure import ops

    *older, newest = releases
    before = {}
    for release in older:
        lines = {}
        for name, words in releases[release].items():
            known = ops.table().get(name)
            missing = {attr.name for attr in known.attr} - set(words) if known is not None else ()
            later = releases[newest].get(name, words)
            lines[name] = [*sorted(missing), *_lacking(words, later)]
        yield "[" + release + "]"
        for name, line in lines.items():
            if before.get(name) != line:
                yield " ".join([name, *line])
        yield from ("-" + name for name in before if name not in lines)
        before = lines


def _lacking(words, newest):  # noqa: ANN001, ANN202
    """Yield another number of inputs, and the data types that only the newest has kernels for."""
    for word, types in words.items():
        if word.startswith("#") and word not in newest:
            yield word
        gone = newest.get(word, set()) - types
        names = word.split("&")
        for place, name in enumerate(names):
            held = {each[place] for each in types}
            never = {each[place] for each in gone} - held
            if never:
                yield name + "!" + ",".join(map(str, sorted(never)))
                gone = {each for each in gone if each[place] not in never}
        if gone and types:
            yield word + "!" + ",".join(":".join(map(str, each)) for each in sorted(gone))


def _read(path):  # noqa: ANN001, ANN202
    ops = {}
    with open(path) as file:
        for line in file:
            name, *words = line.split()
            ops[name] = {}
            for word in words:
                key, _, types = word.partition("!")
                ops[name][key] = {
                    tuple(map(int, each.split(":"))) for each in types.split(",") if each
                }
    return ops


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print("\n".join(registered()))
    else:
        pairs = (argument.partition("=") for argument in sys.argv[2:])
        print("\n".join(merged({release: _read(path) for release, _, path in pairs})))
