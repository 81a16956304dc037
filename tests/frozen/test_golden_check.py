"""The test against the golden pair: which feeds it takes, and what it compares."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from drafts import draft, negative, placeholder

from tfpersist import graph_file
from tfpersist.errors import (
    ArgumentError,
    CorruptionError,
    FeedError,
    NameNotFoundError,
    ParityError,
)
from tfpersist.formats.graphdef import Graph
from tfpersist.freezer import passes
from tfpersist.frozen import golden_check
from tfpersist.graph.describe.golden import pair
from tfpersist.graph.describe.signature import Proof, Signature

X = np.float32([1, 2, 3])
NET = placeholder("x", "dim { size: -1 }") + placeholder("other") + negative("y", "x")
INPUTS = {"x:0": "source/image:0", "other:0": "y:0"}


def frozen(feeds=None, outputs=None, tolerance=0.0, digest=None):
    """Return a signed graph with a golden pair: y = -x."""
    golden = pair(feeds or {"x:0": X}, outputs or {"y:0": -X})
    made = passes.cut_at_inputs(draft(NET, outputs=("y",)))
    proof = Proof(golden.digest if digest is None else digest, tolerance)
    signature = Signature({"image": "x:0"}, {"label": "y:0"}, proof=proof)
    return attrs.evolve(made, signature=signature).signed(golden)


def negate(names, feeds):
    """Compute the outputs, as a model would."""
    assert list(names) == ["y:0"]
    return [-feeds["x:0"]]


def off_by(error):
    return lambda names, feeds: [-feeds["x:0"] + np.float32(error)]


class TestVerify:
    def test_the_stored_feeds_are_run(self):
        report = golden_check.verify(frozen(), negate)
        assert report.exact
        assert [difference.output for difference in report.differences] == ["y:0"]

    def test_the_bytes_of_a_file_are_compared(self, tmp_path):
        path = str(tmp_path / "net.pb")
        graph_file.save(frozen(), path, durable=False)
        report = golden_check.verify(graph_file.load(path), negate)
        assert "as it was written" in str(report)
        assert "no checksums" in str(golden_check.verify(frozen(), negate))

    def test_checksums_are_enough(self, tmp_path):
        path = str(tmp_path / "plain.pb")
        graph_file.save(passes.cut_at_inputs(draft(NET, outputs=("y",))).graph, path, durable=False)
        report = golden_check.verify(graph_file.load(path), negate)
        assert (report.ok, report.differences) == (True, ())
        with pytest.raises(ParityError, match="golden pair"):
            golden_check.verify(graph_file.load(path), negate, {"x:0": X})

    def test_the_tolerance_is_that_of_the_first_test_unless_one_is_given(self):
        graph = frozen(tolerance=0.5)
        assert golden_check.verify(graph, off_by(0.1)).tolerance == 0.5
        assert golden_check.verify(frozen(), off_by(0.1), tolerance=0.2).ok
        with pytest.raises(ParityError, match="differ from those of its source") as caught:
            golden_check.verify(graph, off_by(0.1), tolerance=0.0, file="net.pb")
        assert caught.value.where == "net.pb"
        assert caught.value.report.differences[0].beyond == 3
        with pytest.raises(ArgumentError):
            golden_check.verify(graph, negate, tolerance=-1)

    def test_feeds_that_are_not_in_the_file_are_to_be_passed(self):
        large = np.arange(1 << 16, dtype=np.float32)
        graph = frozen({"x:0": large}, {"y:0": -large})
        with pytest.raises(FeedError, match=r"x:0: .*too large"):
            golden_check.verify(graph, negate)
        assert golden_check.verify(graph, negate, {"image": large}).exact
        with pytest.raises(FeedError, match=r"x:0: the feeds are not those"):
            golden_check.verify(graph, negate, {"image": large + 1})

    @pytest.mark.parametrize(
        ("feeds", "said"),
        [
            ({}, "x:0: the feeds are not those"),
            ({"x": X + 1}, "x:0: the feeds are not those"),
            ({"x": X, "other": 1.0}, "other:0: this is not an input"),
        ],
    )
    def test_other_feeds_are_refused(self, feeds, said):
        with pytest.raises(FeedError, match=said):
            golden_check.verify(frozen(), negate, feeds)

    def test_a_pair_that_the_signature_does_not_name(self):
        with pytest.raises(ParityError, match="not the one that the signature names"):
            golden_check.verify(frozen(digest="0" * 64), negate)

    def test_a_graph_without_a_pair(self):
        with pytest.raises(ParityError, match=r"golden pair.*parity\(feeds\)"):
            golden_check.verify(draft(NET).graph, negate)

    def test_a_damaged_pair(self):
        graph = frozen()
        data = graph.proto.SerializeToString()
        at = data.rindex(b"digest") + 12
        broken = type(graph.proto).FromString(data[:at] + b"!" + data[at + 1 :])
        with pytest.raises((CorruptionError, ParityError)):
            golden_check.verify(Graph(broken, graph.payloads), negate)


class TestNames:
    def named(self, feeds, inputs=INPUTS):
        return golden_check.name_feeds(frozen(), feeds, inputs)

    @pytest.mark.parametrize("name", ["x", "x:0", "image", "source/image", "source/image:0"])
    def test_a_feed_can_have_any_of_its_names(self, name):
        assert self.named({name: 1}) == {"x:0": 1}

    def test_a_feed_can_be_named_by_an_object_with_a_name(self):
        tensor = draft(NET).graph.nodes["x"]
        assert self.named({"image": 1}) == self.named({Named(tensor.name): 1})

    def test_the_name_in_the_frozen_graph_comes_first(self):
        # What the source calls y is other in the frozen graph, which has a y as well.
        assert self.named({"other": 1}) == {"other:0": 1}
        assert self.named({"y": 1}) == {"other:0": 1}
        assert self.named({"y": 1}, {"y:0": "y:0", "other:0": "other:0"}) == {"y:0": 1}
        swapped = {"x:0": "other:0", "other:0": "x:0"}
        assert self.named({"x": 1}, swapped) == {"x:0": 1}

    def test_a_tensor_is_fed_once(self):
        with pytest.raises(FeedError, match=r"x:0: this input is fed twice.*'image'"):
            self.named({"x": 1, "image": 2})

    def test_a_name_that_is_nowhere(self):
        with pytest.raises(NameNotFoundError):
            self.named({"nowhere": 1})


class Named:
    """An object with a name, as a tf.Tensor has one."""

    def __init__(self, name):
        self.name = name


def test_feeds_are_cast_and_only_inputs_are_fed():
    feeds = golden_check.fit_feeds(frozen(), {"x:0": [1, 2]})
    assert feeds["x:0"].dtype == np.float32
    with pytest.raises(FeedError, match="y:0: this is not an input of the frozen model"):
        golden_check.fit_feeds(frozen(), {"y:0": 1.0})
