"""The lists of ops of older releases and of other runtimes."""

import pytest

from tfpersist.errors import FreezeError
from tfpersist.graph.runtimes import op_lists
from tfpersist.graph.structure import ops


def test_each_release_has_the_ops_of_the_one_before():
    assert len(op_lists.known_ops("1.4")) > 700
    assert len(op_lists.known_ops("2.4")) > 1500
    known = ops.table().keys()
    for older, newer in zip(op_lists.RELEASES, op_lists.RELEASES[1:], strict=False):
        before, after = op_lists.known_ops(older), op_lists.known_ops(newer)
        # Some ops of datasets went, and came again later.
        assert len((known & before.keys()) - after.keys()) < 30
        common = known & before.keys() & after.keys()
        assert all(after[name].missing <= before[name].missing for name in common)
        assert {"Conv2D", "MatMul", "Select", "Add"} <= common


@pytest.mark.parametrize(
    ("op", "release", "before"),
    [
        ("AddV2", "1.5", "1.4"),
        ("FusedBatchNormV3", "1.14", "1.13"),
        ("SelectV2", "1.14", "1.13"),
        ("Einsum", "1.15", "1.14"),
        ("MatrixDiagV3", "2.4", "1.15"),
    ],
)
def test_when_an_op_came(op, release, before):
    assert op in op_lists.known_ops(release)
    assert op not in op_lists.known_ops(before)


def test_a_release_without_an_op_list():
    with pytest.raises(
        FreezeError, match=r"expected '1\.4' to '1\.15', '2\.4', 'openvino'"
    ) as caught:
        op_lists.known_ops("1.3")
    assert caught.value.advice is None
    with pytest.raises(FreezeError, match=r"Use '2\.4'"):
        op_lists.known_ops("2.10")
    with pytest.raises(FreezeError, match=r"Use '1\.15'"):
        op_lists.known_ops("2.1")
    with pytest.raises(FreezeError, match="no op list for 'newest'"):
        op_lists.known_ops("newest")
