"""The targets of the fuzzer: for each format small real files, mutations, and all readers."""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator

import attrs
import numpy as np
from mutation import Mutation, any_of, spoil_bytes, spoil_message, spoil_table

import tfpersist as tfp
from tfpersist import safety
from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.hdf5 import open_hdf5
from tfpersist.errors import FreezeError
from tfpersist.formats import (
    bundle,
    bundle_tensors,
    bundle_writer,
    graphdef,
    graphdef_writer,
    schema,
    slices,
    sstable_writer,
    state,
    tensor_proto,
    v1,
)
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of
from tfpersist.graph.structure import trusted_values
from tfpersist.matching.pairing.pair_objects import Objects, pair_objects
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.sides import object_graph
from tfpersist.storage import journal, open_storage

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = pathlib.Path(os.environ.get("TFPERSIST_CORPUS", HERE.parent.parent / "shared" / "corpus"))
LARGEST_SEED = 10_000
FOLDER = "memory://fuzz"


@attrs.frozen
class Target:
    """One format.

    Args:
        name: what it is called.
        seeds: whole files.
        mutate: spoils one.
        read: reads one in every way there is; what it returns says how far it came.
    """

    name: str
    seeds: tuple[bytes, ...]
    mutate: Mutation
    read: Callable[[bytes], object]


class Shard(io.BytesIO):
    """A data file that is being written."""

    def reserve(self, size: int) -> None:
        """Do nothing."""


@functools.cache
def written() -> tuple[bytes, bytes]:
    """Index and data of a small checkpoint: numbers, strings, a scalar, a partitioned variable."""
    whole = np.arange(12, dtype=np.float32).reshape(4, 3)
    parts = [(slice(0, 1), (0, 0), (1, 3)), (slice(1, 4), (1, 0), (3, 3))]
    items = [
        bundle_writer.Item("a", payload_of(np.arange(6, dtype=np.float32).reshape(2, 3))),
        bundle_writer.Item("b/strings", payload_of(np.array([b"x", b"", b"yz" * 80], object))),
        bundle_writer.Item("c", payload_of(np.float64(0.5))),
        bundle_writer.Item("d", payload_of(np.zeros((0, 7), np.float16))),
    ]
    items += [
        bundle_writer.Item("p", payload_of(whole[rows]), Slice("p", (4, 3), start, length))
        for rows, start, length in parts
    ]
    shard = Shard()
    index = bundle_writer.write_bundle(items, lambda count: [shard], alignment=1)
    return index, shard.getvalue()


def written_v1() -> bytes:
    """A V1 checkpoint of an ordinary and of a partitioned variable."""
    listed = schema.SavedTensorSlices()
    entries = {}
    for name, cuts in (("v", [[(0, slices.WHOLE)] * 2]), ("w", [[(0, 2)], [(2, 3)]])):
        shape = (2, 2) if name == "v" else (5,)
        variable = listed.meta.tensor.add(name=name, type=1)
        for extent in shape:
            variable.shape.dim.add(size=extent)
        for cut in cuts:
            proto = variable.slice.add()
            for start, length in cut:
                proto.extent.add(start=start, **({} if length < 0 else {"length": length}))
            stored = schema.SavedTensorSlices()
            stored.data.name = name
            count = 4 if name == "v" else cut[0][1]
            stored.data.data.dtype = 1
            stored.data.data.float_val.extend(range(count))
            entries[slices.part_key(name.encode(), cut)] = stored.SerializeToString()
    entries[b""] = listed.SerializeToString()
    return sstable_writer.encode_table(sorted(entries.items())).content


GRAPH = b"""
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: -1 } dim { size: 3 } } } } }
node { name: "a" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: 2 } dim { size: 3 } } } }
  attr { key: "shared_name" value { s: "a" } } }
node { name: "a/read" op: "ReadVariableOp" input: "a"
  attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 3 } }
  float_val: 1 } } } }
node { name: "sum" op: "AddV2" input: "x" input: "c" input: "^a/read"
  attr { key: "T" value { type: DT_FLOAT } } }
node { name: "call" op: "PartitionedCall" input: "sum" input: "a"
  attr { key: "Tin" value { list { type: DT_FLOAT type: DT_RESOURCE } } }
  attr { key: "Tout" value { list { type: DT_FLOAT } } }
  attr { key: "f" value { func { name: "f" } } } }
node { name: "loop" op: "StatelessWhile" input: "call"
  attr { key: "T" value { list { type: DT_FLOAT } } }
  attr { key: "cond" value { func { name: "g" } } }
  attr { key: "body" value { func { name: "h" } } } }
node { name: "y" op: "Identity" input: "loop" attr { key: "T" value { type: DT_FLOAT } } }
library {
  function {
    signature { name: "f" input_arg { name: "v" type: DT_FLOAT }
      input_arg { name: "r" type: DT_RESOURCE } output_arg { name: "o" type: DT_FLOAT } }
    node_def { name: "read" op: "ReadVariableOp" input: "r"
      attr { key: "dtype" value { type: DT_FLOAT } } }
    node_def { name: "mul" op: "Mul" input: "v" input: "read:value:0"
      attr { key: "T" value { type: DT_FLOAT } } }
    ret { key: "o" value: "mul:z:0" }
  }
  function {
    signature { name: "g" input_arg { name: "v" type: DT_FLOAT }
      output_arg { name: "o" type: DT_BOOL } }
    node_def { name: "no" op: "Const" attr { key: "dtype" value { type: DT_BOOL } }
      attr { key: "value" value { tensor { dtype: DT_BOOL tensor_shape { } bool_val: false } } } }
    ret { key: "o" value: "no:output:0" }
  }
  function {
    signature { name: "h" input_arg { name: "v" type: DT_FLOAT }
      output_arg { name: "o" type: DT_FLOAT } }
    node_def { name: "neg" op: "Neg" input: "v" attr { key: "T" value { type: DT_FLOAT } } }
    ret { key: "o" value: "neg:y:0" }
  }
  gradient { function_name: "h" gradient_func: "g" }
}
versions { producer: 1087 }
"""

SAVER = b"""
node { name: "save/Const" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { } string_val: "m" } } } }
node { name: "save/names" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
  string_val: "a" } } } }
node { name: "save/slices" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
  string_val: "" } } } }
node { name: "save/RestoreV2" op: "RestoreV2" input: "save/Const" input: "save/names"
  input: "save/slices" attr { key: "dtypes" value { list { type: DT_FLOAT } } } }
node { name: "save/Assign" op: "AssignVariableOp" input: "a" input: "save/RestoreV2"
  attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "save/restore_all" op: "NoOp" input: "^save/Assign" }
"""


def graph(*, large: bool = False) -> bytes:
    """A GraphDef with a variable, a loop and functions; with a constant that becomes a payload."""
    proto = graphdef.parse_text(GRAPH).proto
    if large:
        node = proto.node.add(name="w", op="Const")
        node.attr["dtype"].type = 1
        node.attr["value"].tensor.CopyFrom(tensor_proto.from_array(np.ones((40, 10), np.float32)))
    return proto.SerializeToString(deterministic=True)


def hostile() -> Iterator[bytes]:
    """Graphs that may end TensorFlow's process: endless calls, large counts, large constants."""

    def calling(**calls: str) -> bytes:
        proto = schema.GraphDef()
        proto.node.add(name="y", op="PartitionedCall").attr["f"].func.name = "f"
        for name, called in calls.items():
            function = proto.library.function.add()
            function.signature.name = name
            for number, other in enumerate(called.split()):
                node = function.node_def.add(name=f"n{number}", op="StatelessIf")
                node.attr["then_branch"].func.name = other
                node.attr["else_branch"].list.func.add(name=other)
            function.node_def.add(name="d", op="SymbolicGradient").attr["f"].func.name = name[:1]
        proto.library.gradient.add(function_name="f", gradient_func="g")
        return proto.SerializeToString(deterministic=True)

    yield calling(f="f")
    yield calling(f="g", g="h h", h="g")
    yield calling(f="f0", **{f"f{n}": f"f{n + 1} f{n + 1}" for n in range(9)}, f9="f10")
    yield calling(f="f0", **{f"f{n}": f"f{n + 1} f{n + 1}" for n in range(40)})
    proto = graphdef.parse_text(GRAPH).proto
    many = proto.node.add(name="many", op="AddN", input=["x", "y"])
    many.attr["N"].i, many.attr["T"].type = 2, 1
    parts = proto.node.add(name="parts", op="Split", input=["x", "y"])
    parts.attr["num_split"].i, parts.attr["T"].type = 3, 1
    for extent in (8, 1 << 20):
        const = proto.node.add(name=f"ones{extent}", op="Const")
        const.attr["dtype"].type = const.attr["value"].tensor.dtype = 1
        const.attr["value"].tensor.float_val.append(1)
        const.attr["value"].tensor.tensor_shape.dim.add(size=extent)
    cycle = proto.node.add(name="cycle", op="Neg", input=["cycle"])
    cycle.attr["T"].type = 1
    yield proto.SerializeToString(deterministic=True)


def meta() -> bytes:
    """A MetaGraphDef of that graph, with a Saver and collections."""
    message = schema.MetaGraphDef()
    message.graph_def.ParseFromString(graph())
    message.graph_def.MergeFrom(graphdef.parse_text(SAVER).proto)
    message.saver_def.filename_tensor_name = "save/Const:0"
    message.saver_def.restore_op_name = "save/restore_all"
    variable = schema.VariableDef(variable_name="a:0", is_resource=True)
    listed = message.collection_def["variables"].bytes_list
    listed.value.append(variable.SerializeToString())
    message.collection_def["train_op"].node_list.value.append("sum")
    signature = message.signature_def["serving_default"]
    signature.inputs["x"].name, signature.outputs["y"].name = "x:0", "y:0"
    return message.SerializeToString(deterministic=True)


def saved_model() -> bytes:
    """A SavedModel of two such graphs."""
    message = schema.SavedModel()
    for _ in range(2):
        message.meta_graphs.add().ParseFromString(meta())
    return message.SerializeToString(deterministic=True)


def trackables() -> bytes:
    """The object graph of a model with an optimizer that has a slot variable."""
    message = schema.TrackableObjectGraph()
    for edges in (
        {"model": 1, "optimizer": 3},
        {"w": 2, "self": 1},
        {},
        {"_variables": 4},
        {"0": 5},
    ):
        node = message.nodes.add()
        for name, child in edges.items():
            node.children.add(node_id=child, local_name=name)
    for number in (2, 5):
        while len(message.nodes) <= number:
            message.nodes.add()
        key = f"{number}/.ATTRIBUTES/VARIABLE_VALUE"
        message.nodes[number].attributes.add(
            name="VARIABLE_VALUE", full_name=str(number), checkpoint_key=key
        )
    message.nodes[3].slot_variables.add(
        original_variable_node_id=2, slot_name="m", slot_variable_node_id=5
    )
    return message.SerializeToString(deterministic=True)


STATE = b"""model_checkpoint_path: "m-2"
all_model_checkpoint_paths: "m-1"
all_model_checkpoint_paths: "m-2"
all_model_checkpoint_timestamps: 1700000000.25
last_preserved_timestamp: 1.5
"""


def found(*patterns: str) -> Iterator[bytes]:
    """Return small files of the corpus, each content once; none without a corpus."""
    seen = set()
    for pattern in patterns:
        for path in sorted(CORPUS.rglob(pattern)):
            if path.is_file() and path.stat().st_size <= LARGEST_SEED:
                seen.add(path.read_bytes())
    yield from sorted(seen)


def read_index(data: bytes) -> object:
    """Read an index, and check it against shards."""
    index = bundle.read_index(memoryview(data), "m.index")
    stored = [*index.entries.values(), *index.parts.values()]
    sizes = {entry.shard: 1 << 20 for entry in stored if entry.shard < index.num_shards}
    bundle.check_ranges(index, sizes, "m.index")
    return len(index.entries)


def read_bundle(data: bytes) -> object:
    """Read every tensor of an index and a shard; the last 4 bytes say where the shard begins."""
    size = int.from_bytes(data[-4:], "little")
    index = bundle.read_index(memoryview(data)[:size], "m.index")
    shard = memoryview(data)[size:-4]
    arrays = []
    problem = None
    for verify in (True, False):
        for key in index.entries:
            try:
                arrays.append(
                    bundle_tensors.read_tensor(
                        index, key, lambda _: (shard, "m.data"), verify=verify
                    )
                )
            except tfp.TFPersistError as error:
                problem = error
    if problem is not None:
        raise problem
    return sum(array.nbytes for array in arrays)


def spoil_bundle(data: bytes, rng: object) -> bytes:
    """Damage the index or the shard in the input of `read_bundle`."""
    size = int.from_bytes(data[-4:], "little")
    index, shard = data[:size], data[size:-4]
    if rng.random() < 0.7:
        index = spoil_table(index, rng)
    if rng.random() < 0.5:
        shard = spoil_bytes(shard, rng)
    return index + shard + len(index).to_bytes(4, "little")


def read_v1(data: bytes) -> object:
    """Read every variable of a V1 file."""
    index = v1.merge([v1.read_v1(memoryview(data), "v1")])
    problem = None
    for key in index.entries:
        try:
            v1.read_tensor(index, key)
        except tfp.TFPersistError as error:
            problem = error
    if problem is not None:
        raise problem
    return len(index.entries)


def put(name: str, data: bytes) -> str:
    """Write a file in memory; return its URL."""
    with open_storage(FOLDER).publish(durable=False) as publication:
        publication.create(name).write(data)
    return f"{FOLDER}/{name}"


def read_pb(data: bytes) -> object:
    """Scan, load, describe, check, copy and freeze a graph."""
    url = put("m.pb", data)
    report = safety.scan(url)
    str(report)
    model = tfp.FrozenModel.load(url)
    str(model.summary()), repr(model), model._repr_html_(), model.inputs
    graphdef_writer.size(model.graph)
    out = Shard()
    graphdef_writer.join(model.graph, out)
    graphdef.split(out.getvalue())
    trusted_values.refuse_invalid(model.graph)
    trusted_values.refuse_growth(model.graph)
    return freeze(tfp.Freezer(model).keep_variables(*{"a"}.intersection(model.graph.nodes)))


def freeze(freezer: tfp.Freezer) -> object:
    """Freeze for the likely outputs, which the error names."""
    try:
        return freezer.freeze()
    except FreezeError as error:
        advice = error.advice or ""
    likely = advice.partition("Likely ones are ")[2].partition(" and ")[0].split(", ")
    names = [each.partition(" ")[0] for each in likely if each]
    return freezer.outputs(*(names or ["y"])).freeze()


def read_meta(data: bytes) -> object:
    """Scan a `.meta`, and freeze it with values for its variables."""
    url = put("m.meta", data)
    str(safety.scan(url))
    encoded, shard = written()
    with open_storage(FOLDER).publish(durable=False) as publication:
        publication.create("m.data-00000-of-00001").write(shard)
        publication.create("m.index").write(encoded)
    checkpoint = tfp.Checkpoint(f"{FOLDER}/m")
    return freeze(tfp.Freezer(checkpoint))


def read_saved_model(data: bytes) -> object:
    """Scan a SavedModel."""
    return str(safety.scan(put("saved_model.pb", data)))


def read_text(data: bytes) -> object:
    """Scan and describe a graph in text form."""
    url = put("m.pbtxt", data)
    str(safety.scan(url))
    return str(tfp.FrozenModel.load(url).summary())


def read_tensor(data: bytes) -> object:
    """Decode a TensorProto."""
    proto = schema.parse(schema.TensorProto, data, file="")
    array = tensor_proto.to_array(proto)
    if array.nbytes < 1 << 16 and array.size < 1 << 12:
        tensor_proto.from_array(array)
    return array.size


def objects_of(graph: object_graph.ObjectGraph) -> Objects:
    """Describe a graph whose tensors are all alike, so that everything might be everything."""
    keys = (a.checkpoint_key for node in graph.message.nodes for a in node.attributes)
    return Saved(dict.fromkeys(keys, TensorSpec("float32", (2,))), graph.message).objects


def read_trackables(data: bytes) -> object:
    """Pair an object graph with an intact one, and with itself."""
    message = schema.parse(schema.TrackableObjectGraph, data, file="")
    saved = object_graph.ObjectGraph.of(message)
    intact = object_graph.ObjectGraph.of(
        schema.parse(schema.TrackableObjectGraph, trackables(), file="")
    )
    sides = [objects_of(saved), objects_of(intact)]
    for live in sides:
        for other in sides:
            pair_objects(live, other)
    object_graph.names_of(message)
    object_graph.averages_in(saved)
    object_graph.slots_of(saved)
    return len(saved.children)


def read_state(data: bytes) -> object:
    """Read a state file, and open the checkpoint that it names."""
    read = state.parse_state(data, "checkpoint")
    state.format_state(read)
    url = put("checkpoint", data)
    for name, content in zip(("m-2.index", "m-2.data-00000-of-00001"), written(), strict=True):
        put(name, content)
    return len(tfp.Checkpoint(url).specs)


def read_facts(data: bytes) -> object:
    """Read a sidecar and a journal; damaged ones are ignored."""
    return sidecar.decode(data), journal.decode(data)


def read_directory(data: bytes) -> object:
    """Open, verify, compare and describe a checkpoint with damaged index and data."""
    size = int.from_bytes(data[-4:], "little")
    with open_storage(FOLDER + "/d").publish(durable=False) as publication:
        publication.create("m.data-00000-of-00001").write(data[size:-4])
        publication.create("m.index").write(data[:size])
    checkpoint = tfp.Checkpoint(FOLDER + "/d/m")
    str(checkpoint.verify()), repr(checkpoint), checkpoint.object_graph
    return str(checkpoint.diff(checkpoint))


def keras_files() -> Iterator[bytes]:
    """Yield small files as Keras 2 and Keras 3 lay them out."""
    import h5py

    training = {"optimizer_config": {"class_name": "Adam", "config": {"learning_rate": 0.5}}}
    named, numbered = io.BytesIO(), io.BytesIO()
    with h5py.File(named, "w") as file:
        file.attrs["training_config"] = json.dumps(training)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["dense"]
        group.create_group("dense").attrs["weight_names"] = ["dense/kernel:0"]
        group["dense/dense/kernel:0"] = np.ones((2, 2), np.float32)
        state = file.create_group("optimizer_weights")
        state.attrs["weight_names"] = ["iteration:0", "Adam/m/dense/kernel:0"]
        state["iteration:0"] = np.int64(3)
        state["Adam/m/dense/kernel:0"] = np.zeros((2, 2), np.float32)
    with h5py.File(numbered, "w") as file:
        for layer in ("layers/dense", "layers/conv2d", "blocks/dense", "optimizer"):
            file[f"{layer}/vars/0"] = np.int64(3) if layer == "optimizer" else np.ones((2, 2))
            file[f"{layer}/vars"].attrs["name"] = layer[-4:]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Net", "config": {}}))
        archive.writestr("model.weights.h5", numbered.getvalue())
    yield from (named.getvalue(), numbered.getvalue(), zipped.getvalue())


def read_keras_file(data: bytes) -> object:
    """Open an HDF5 file of Keras, with all that it says, and read its tensors."""
    opened = open_hdf5(memoryview(data), "fuzz")
    arrays = list(opened.read_many(opened.specs))
    if opened.described.message is not None:
        saved = Saved(opened.specs, opened.described.message, file=opened.described)
        pair_objects(saved.objects, saved.objects)
    return len(arrays), opened.flaw()


def _joined(index: bytes, shard: bytes) -> bytes:
    return index + shard + len(index).to_bytes(4, "little")


def targets() -> list[Target]:
    """Return all formats."""
    tables = any_of(spoil_table, spoil_bytes, weights=(9, 1))
    messages = any_of(spoil_message, spoil_bytes, weights=(8, 2))
    pair = _joined(*written())
    graphs = (graph(), graph(large=True), *hostile(), *found("*.pb"))
    facts = sidecar.Sidecar(1.5, 7, {"loss": 0.25}, 5).encode()
    moves = journal.Journal({"a": journal.staged_name("0" * 16, 0)}, ("b",)).encode()
    tensors = [
        tensor_proto.from_array(np.arange(6, dtype=np.float32).reshape(2, 3)),
        tensor_proto.from_array(np.array([b"a", b"bc"], object)),
        schema.TensorProto(dtype=3, int_val=[7]),
    ]
    tensors[2].tensor_shape.dim.add(size=5)
    encoded = tuple(proto.SerializeToString() for proto in tensors)
    texts = any_of(spoil_bytes, spoil_text)
    return [
        Target("index", (written()[0], *found("*.index")), tables, read_index),
        Target("bundle", (pair,), spoil_bundle, read_bundle),
        Target("checkpoint", (pair,), spoil_bundle, read_directory),
        Target("v1", (written_v1(), *found("*_v1.ckpt*[0-9t]")), tables, read_v1),
        Target("hdf5", tuple(keras_files()), spoil_bytes, read_keras_file),
        Target("object_graph", (trackables(),), messages, read_trackables),
        Target("state", (STATE,), texts, read_state),
        Target("sidecar", (facts, moves), texts, read_facts),
        Target("tensor", encoded, messages, read_tensor),
        Target("pb", graphs, messages, read_pb),
        Target("pbtxt", (GRAPH,), texts, read_text),
        Target("meta", (meta(), *found("*.meta")), messages, read_meta),
        Target(
            "saved_model", (saved_model(), *found("saved_model.pb")), messages, read_saved_model
        ),
    ]


def spoil_text(data: bytes, rng: object) -> bytes:
    """Change a word, a number or a bracket."""
    words = data.split(b" ")
    at = rng.randrange(len(words))
    kind = rng.randrange(5)
    if kind == 0:
        words[at] = rng.choice(
            (b"{", b"}", b'"', b"-1", b"1e999", b"9" * 30, b"nan", b"\xff", b"{ " * 300)
        )
    elif kind == 1:
        del words[at]
    elif kind == 2:
        words[at] = rng.choice(words)
    elif kind == 3:
        words[at:at] = words[at : at + 5] * rng.choice((1, 30))
    else:
        words[at] = spoil_bytes(words[at], rng)
    return b" ".join(words)
