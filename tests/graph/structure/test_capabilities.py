"""Capabilities of nodes: the table has every op, and attrs decide where they should."""

from __future__ import annotations

import collections
import importlib.resources
import re

import pytest

from tfpersist.formats import schema
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.capabilities import (
    CAPABILITIES,
    classify,
    inspect,
    of_op,
    table,
)


def node(op, name="n", **attrs):
    made = schema.NodeDef(name=name, op=op)
    for key, value in attrs.items():
        if isinstance(value, bytes):
            made.attr[key].s = value
        elif isinstance(value, str):
            made.attr[key].placeholder = value
        else:
            made.attr[key].list.s.extend(value)
            made.attr[key].list.SetInParent()
    return made


def test_every_op_of_every_supported_tensorflow_has_a_class():
    assert table().keys() == ops.table().keys()


def test_every_op_of_the_installed_tensorflow_has_a_class(fresh):
    registered = fresh(
        """
        import tensorflow
        from tensorflow.python.client import pywrap_tf_session as tf_session
        from tfpersist.formats import schema
        listed = schema.OpList.FromString(tf_session.TF_GetBuffer(tf_session.TF_GetAllOpList()))
        print(*(op.name for op in listed.op))
        """
    ).split()
    assert len(registered) > 1300
    assert not set(registered) - table().keys()


def test_each_op_is_in_the_table_once_and_no_family_is_empty():
    text = (
        importlib.resources.files("tfpersist.graph.structure")
        .joinpath("capabilities.txt")
        .read_text()
    )
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    counts = collections.Counter(op for line in lines for op in line.split())
    assert [op for op, count in counts.items() if count > 1] == []
    headings = [line for line in text.splitlines() if line.startswith("[")]
    assert len(headings) == len(set(headings)) == len(set(table().values()))
    for block in text.split("\n\n")[1:]:
        assert block.splitlines()[-1][0] not in "#["


def test_every_capability_is_one_that_some_op_has():
    assert {each for found in table().values() for each in found} == set(CAPABILITIES)


# What the names of ops promise, as a second opinion on the table: none of these may be harmless.
@pytest.mark.parametrize(
    "part",
    [
        *("File", "Save", "Restore", "Checkpoint", "PyFunc", "Rpc", "DataService", "TFRecord"),
        *("Collective", "LMDB", "Sql", "CSVDataset", "Remote", "Dump", "DbWriter"),
        *("SummaryWriter", "SnapshotDataset", "Heartbeat", "Abort", "CustomCall", "Nccl"),
    ],
)
def test_ops_with_dangerous_names_are_not_harmless(part):
    harmless = {"compute", "state", "random"}
    named = {op for op in table() if part in op}
    innocent = {"SummaryWriter", "ShardedFilename", "ShardedFilespec", "_TensorToHashBucketFast"}
    assert named
    assert not {op for op in named - innocent if table()[op] <= harmless}


def test_ops_that_look_harmless_and_are_not():
    assert of_op("ImmutableConst") == {"file read"}
    assert of_op("GenerateVocabRemapping") == {"file read"}
    assert of_op("Skipgram") == {"file read"}
    assert of_op("CacheDatasetV2") == {"file read", "file write"}
    assert of_op("CalibrationStatisticsSaver") == {"file write"}
    assert of_op("DatasetFromGraph") == {"unknown"}
    assert of_op("XlaCallModule") == {"unknown"}
    assert of_op("XlaCustomCallV2") == {"internal", "process"}
    assert of_op("WorkerHeartbeat") == {"network", "process"}


def test_ops_that_look_dangerous_and_are_not():
    for op in ("ShardedFilename", "DecodeImage", "Assert", "Print", "DisableCopyOnRead"):
        assert of_op(op) <= {"compute", "state"}


def test_ops_of_the_inside_of_tensorflow():
    for op in ("_FusedConv2D", "XlaDot", "TPUReplicateMetadata", "CopyHost", "DTensorAllReduce"):
        assert "internal" in of_op(op)
        assert "compute" not in of_op(op)
    for op in ("Copy", "StopGradient", "DebugNumericSummaryV2", "DeepCopy", "Xlogy"):
        assert ("internal" in of_op(op)) is (op in {"Copy", "DebugNumericSummaryV2"})


def test_an_op_that_its_name_calls_internal_is():
    named = re.compile(r"_|.*Xla|.*T(PU|pu)|.*SparseCore|DTensor|.*Debug")
    assert {
        op for op in table() if named.match(op) and not table()[op] & {"internal", "unknown"}
    } == set()


def test_ops_that_end_the_process_for_some_attrs_are_not_harmless():
    for op in ("BoostedTreesTrainingPredict", "FakeQuantWithMinMaxVarsPerChannelGradient"):
        assert "internal" in of_op(op)


def test_an_op_that_takes_a_path_or_an_address_is_not_called_harmless():
    telling = re.compile(
        r"filenames?|file_pattern|\w+_file|\w*path|(\w+_)?dir|\w*directory|logdir|\w*address"
        r"|\w*ur[il]s?|token"
    )
    told = {
        name
        for name, op in ops.table().items()
        if any(telling.fullmatch(each.name) for each in (*op.input_arg, *op.attr))
    }
    assert {"WriteFile", "CacheDataset", "DebugIdentity", "PyFunc", "RpcServer"} < told
    assert not {name for name in told if table()[name] <= {"compute", "state", "random"}}


@pytest.mark.parametrize(
    ("harmless", "gain"),
    [
        (node("PrintV2"), {"compute"}),
        (node("PrintV2", output_stream=b"stdout"), {"compute"}),
        (node("PrintV2", output_stream=b"log(warning)"), {"compute"}),
        (node("DebugIdentityV3"), {"internal"}),
        (node("DebugIdentityV2", debug_urls=[]), {"internal"}),
        (node("DecodeProtoV2"), {"compute"}),
        (node("EncodeProto", descriptor_source=b"bytes://\x0a\x00"), {"compute"}),
        (node("FixedUnigramCandidateSampler"), {"random"}),
    ],
)
def test_an_attr_that_makes_an_op_harmless(harmless, gain):
    assert classify(harmless) == gain


@pytest.mark.parametrize(
    ("harmful", "loss"),
    [
        (node("PrintV2", output_stream=b"file:///tmp/x"), {"file write"}),
        (node("PrintV2", output_stream=b"STDOUT"), {"file write"}),
        (node("PrintV2", output_stream=[b"stdout"]), {"file write"}),
        (node("PrintV2", output_stream="where"), {"file write"}),
        (node("DebugIdentity", debug_urls=[b"grpc://h:1"]), {"file write", "internal", "network"}),
        (node("DebugNanCount", debug_urls="where"), {"file write", "internal", "network"}),
        (node("DebugIdentityV2", debug_urls=[b"file:///tmp"]), {"file write", "internal"}),
        (node("DecodeProtoV2", descriptor_source=b"/etc/passwd"), {"file read"}),
        (node("EncodeProto", descriptor_source=b""), {"file read"}),
        (node("FixedUnigramCandidateSampler", vocab_file=b"/etc/passwd"), {"file read", "random"}),
        (node("FixedUnigramCandidateSampler", vocab_file="where"), {"file read", "random"}),
    ],
)
def test_an_attr_that_does_not(harmful, loss):
    assert classify(harmful) == loss


def test_an_unregistered_op_is_unknown_unless_the_graph_has_a_function_of_its_name():
    assert classify(node("MyOwnOp")) == {"unknown"}
    assert classify(node("MyOwnOp"), {"MyOwnOp"}) == {"compute"}
    assert classify(node("WriteFile"), {"WriteFile"}) == {"file write"}
    assert classify(node("")) == {"unknown"}


def test_every_place_where_an_op_can_be_named_is_scanned():
    graph = schema.GraphDef(node=[node("f", "call"), node("MapDataset", "map")])
    graph.node[1].attr["f"].func.name = "ReadFile"
    function = graph.library.function.add(node_def=[node("WriteFile", "w")])
    function.signature.name = "f"
    function.attr["own"].func.name = "Abort"
    function.attr["_implements"].func.name = "somebody.else"
    function.arg_attr[0].attr["own"].func.name = "PyFunc"
    graph.library.gradient.add(function_name="f", gradient_func="Send")
    assert set(inspect(graph)) == {
        ("compute", "f", "", "call"),
        ("compute", "MapDataset", "", "map"),
        ("file read", "ReadFile", "", "map"),
        ("file write", "WriteFile", "f", "w"),
        ("process", "Abort", "f", ""),
        ("host python", "PyFunc", "f", ""),
        ("network", "Send", "f", ""),
    }
