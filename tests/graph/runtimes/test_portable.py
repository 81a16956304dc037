"""Devices, colocations and notes of TensorFlow go; attrs that matter stay."""

from __future__ import annotations

from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.runtimes.portable import clean


def test_devices_and_default_attrs_are_removed():
    proto = parse_text(b"""
    node { name: "w" op: "Const" device: "/gpu:0" }
    node { name: "m" op: "MatMul" device: "/job:w/task:1" input: "w" input: "w"
      attr { key: "T" value { type: DT_FLOAT } }
      attr { key: "transpose_a" value { b: true } }
      attr { key: "transpose_b" value { b: false } }
      attr { key: "grad_a" value { b: false } }
      attr { key: "_class" value { list { s: "loc:@w" s: "loc:@gone" } } }
      attr { key: "_output_shapes" value { list { shape { } } } } }
    node { name: "n" op: "Identity" input: "m"
      attr { key: "_class" value { list { s: "loc:@gone" } } }
      attr { key: "_output_shapes" value { list { shape { } } } } }
    node { name: "c" op: "PartitionedCall"
      attr { key: "f" value { func { name: "__inference_f_12" } } }
      attr { key: "config_proto" value { s: "machine" } }
      attr { key: "_gradient_op_type" value { s: "PartitionedCall-77" } } }
    library { function { signature { name: "__inference_f_12" input_arg { name: "x" } }
      attr { key: "_input_shapes" value { i: 1 } }
      attr { key: "api_implements" value { s: "lstm_1" } }
      attr { key: "_noinline" value { b: true } }
      arg_attr { key: 0 value { attr { key: "_output_shapes" value { i: 1 } } } }
      node_def { name: "i" op: "Identity" device: "/gpu:0" input: "x" } } }
    """).proto
    clean(proto, shaped={"n"})
    w, m, n, c = proto.node
    assert not w.device + m.device
    assert sorted(m.attr) == ["T", "_class", "transpose_a", "transpose_b"]
    assert list(m.attr["_class"].list.s) == [b"loc:@w"]
    assert sorted(n.attr) == ["_output_shapes"]
    assert sorted(c.attr) == ["f"]
    (function,) = proto.library.function
    assert sorted(function.attr) == ["_noinline"]
    assert not function.node_def[0].device
    assert not function.arg_attr[0].attr
    assert c.attr["f"].func.name == function.signature.name


def test_unknown_ops_keep_their_attrs():
    text = b'node { name: "n" op: "Mine" attr { key: "a" value { i: 0 } } }'
    proto = parse_text(text).proto
    clean(proto)
    assert proto == parse_text(text).proto
