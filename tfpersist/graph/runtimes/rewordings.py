"""The rewordings: each writes a newer op with older ones.

To add a rewording, write what must hold for a node and how the node is changed, and put both into
`REWORDINGS`. The node keeps its name and the number of its first output.

All give the same bits, but one: `1 - Erf(x)` for `Erfc(x)` has an absolute error of 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.constants.nodes import change_op
from tfpersist.graph.runtimes.body import Body

_TABLES_FILLED_ONCE = frozenset({"HashTable", "HashTableV2"})


@attrs.frozen
class Rewording:
    """The rewording of a newer op with older ones.

    Args:
        needs: the older ops.
        rewrite: changes a node in place.
        applies: returns whether the older ops compute the same for a node.
        always: whether the older ops are better also where the newer op is known.
    """

    needs: tuple[str, ...]
    rewrite: Callable[[Message, Body], None]
    applies: Callable[[Message, Body], bool] = lambda node, body: True
    always: bool = False


def _rename(older: str, *kept: str, **renamed: str) -> Callable[[Message, Body], None]:
    """Return a function that changes the op of a node, and the attrs that stay."""

    def rewrite(node: Message, body: Body) -> None:
        del body
        if kept or renamed:
            change_op(node, older, kept, **renamed)
        else:
            node.op = older

    return rewrite


def _has_one_dtype(node: Message, body: Body) -> bool:
    del body
    return len({node.attr[name].type for name in ("Ta", "Tb", "Tout")}) == 1


def _alignment_has_no_effect(node: Message, body: Body) -> bool:
    """Return whether the older op, which aligns every diagonal to the left, computes the same."""
    if "align" in node.attr and node.attr["align"].s == b"LEFT_LEFT":
        return True
    position = 2 if node.op == "MatrixSetDiagV3" else 1
    diagonals = body.constant(node.input[position])
    return diagonals is not None and len(set(diagonals.reshape(-1).tolist())) == 1


def _is_main_diagonal(node: Message, body: Body) -> bool:
    """Return whether a node is about the main diagonal of square matrices."""
    position = 2 if node.op == "MatrixSetDiagV2" else 1
    expected = [0, -1, -1] if node.op == "MatrixDiagV2" else [0]
    values = [body.constant(text) for text in node.input[position : position + len(expected)]]
    return all(
        value is not None and set(value.reshape(-1).tolist()) == {number}
        for value, number in zip(values, expected, strict=True)
    )


def _main_diagonal(older: str, inputs: int) -> Callable[[Message, Body], None]:
    def rewrite(node: Message, body: Body) -> None:
        del body
        controls = [text for text in node.input if text.startswith("^")]
        node.input[:] = [*node.input[:inputs], *controls]
        change_op(node, older, ("T",))

    return rewrite


def _selects_elements(node: Message, body: Body) -> bool:
    """Return whether nothing is broadcast, which the older op does not do."""
    condition, *values = node.input[:3]
    if not body.have_one_shape([condition, *values]):
        return body.is_scalar(condition) and body.have_one_shape(values)
    return True


def _reserves_nothing(node: Message, body: Body) -> bool:
    return not body.reads(node.name, "reserve_space_3")


def _write_leaky_relu(node: Message, body: Body) -> None:
    """Write `x > 0 ? x : x * alpha`, as the kernel does."""
    x, *controls = node.input
    alpha = node.attr["alpha"].f if "alpha" in node.attr else 0.2
    zeros = body.add(node, "zeros", "ZerosLike", [x])
    is_positive = body.add(node, "is_positive", "Greater", [x, zeros])
    product = body.add(node, "product", "Mul", [x, body.add_number(node, "alpha", alpha)])
    node.input[:] = [is_positive, x, product, *controls]
    change_op(node, "Select", ("T",))


def _write_erfc(node: Message, body: Body) -> None:
    x, *controls = node.input
    ones = body.add(node, "ones", "OnesLike", [x])
    node.input[:] = [ones, body.add(node, "erf", "Erf", [x]), *controls]
    change_op(node, "Sub", ("T",))


def _has_vectors(node: Message, body: Body) -> bool:
    """Return whether the values of a table are vectors, of which older releases import none."""
    keys, values = (body.source(text) for text in node.input[1:3])
    if keys is None or values is None or keys.op != "Const" or values.op != "Const":
        return False
    key_rank, value_rank = (len(c.attr["value"].tensor.tensor_shape.dim) for c in (keys, values))
    return key_rank < value_rank


def _fills_table_once(node: Message, body: Body) -> bool:
    """Return whether a table is of the kind that older releases initialize, and do not import."""
    table = body.source(node.input[0])
    return table is not None and table.op in _TABLES_FILLED_ONCE


def _fills_otherwise(node: Message, body: Body) -> bool:
    return _fills_table_once(node, body) or _has_vectors(node, body)


def _fill_otherwise(node: Message, body: Body) -> None:
    """The table is empty at this moment, so to insert or to initialize gives the same table."""
    if _fills_table_once(node, body):
        change_op(node, "InitializeTableV2", Tkey="Tin", Tval="Tout")
    else:
        node.op = "LookupTableInsertV2"


REWORDINGS: Mapping[str, Rewording] = MappingProxyType(
    {
        "AddV2": Rewording(("Add",), _rename("Add")),
        "BatchMatMulV3": Rewording(
            ("BatchMatMulV2",), _rename("BatchMatMulV2", "adj_x", "adj_y", T="Tout"), _has_one_dtype
        ),
        "Erfc": Rewording(("Erf", "OnesLike", "Sub"), _write_erfc),
        "FusedBatchNormV3": Rewording(
            ("FusedBatchNormV2",), _rename("FusedBatchNormV2"), _reserves_nothing
        ),
        "LeakyRelu": Rewording(("Greater", "Mul", "Select", "ZerosLike"), _write_leaky_relu),
        "LookupTableImportV2": Rewording(
            ("InitializeTableV2", "LookupTableInsertV2"),
            _fill_otherwise,
            _fills_otherwise,
            always=True,
        ),
        "MatrixDiagPartV2": Rewording(
            ("MatrixDiagPart",), _main_diagonal("MatrixDiagPart", 1), _is_main_diagonal
        ),
        "MatrixDiagPartV3": Rewording(
            ("MatrixDiagPartV2",), _rename("MatrixDiagPartV2", "T"), _alignment_has_no_effect
        ),
        "MatrixDiagV2": Rewording(
            ("MatrixDiag",), _main_diagonal("MatrixDiag", 1), _is_main_diagonal
        ),
        "MatrixDiagV3": Rewording(
            ("MatrixDiagV2",), _rename("MatrixDiagV2", "T"), _alignment_has_no_effect
        ),
        "MatrixSetDiagV2": Rewording(
            ("MatrixSetDiag",), _main_diagonal("MatrixSetDiag", 2), _is_main_diagonal
        ),
        "MatrixSetDiagV3": Rewording(
            ("MatrixSetDiagV2",), _rename("MatrixSetDiagV2", "T"), _alignment_has_no_effect
        ),
        "SelectV2": Rewording(("Select",), _rename("Select"), _selects_elements),
        "StatelessCase": Rewording(("Case",), _rename("Case")),
        "StatelessIf": Rewording(("If",), _rename("If")),
        "StatelessWhile": Rewording(("While",), _rename("While")),
    }
)
