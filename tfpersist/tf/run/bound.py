"""Bind inputs and outputs once, so that a call costs little more than the computation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfpersist.calls.bound import Binding, Bound, Guard, Output, refuse_twice
from tfpersist.tf.internals.session import direct_callable
from tfpersist.tf.run import forks
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.translate import translated

# The kernels of these ops compute into memory of their own.
_COMPUTING = frozenset(
    {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D"}
    | {"DepthwiseConv2dNative", "MaxPool", "AvgPool", "Softmax", "LogSoftmax", "Sigmoid", "Tanh"}
    | {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Softplus", "Exp", "ArgMax", "ArgMin"}
)
# These ops may return one of their inputs as it is; some only after TensorFlow has simplified the
# graph.
_PASSING = frozenset(
    {"Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims", "BiasAdd", "Add", "AddV2"}
    | {"Sub", "Mul", "RealDiv"}
)
_HOLDING = frozenset({"Const", "ReadVariableOp"})


def bind(
    executor: Executor,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    *,
    single: bool,
    labels: Iterable[Any] | None,
    pickled: Callable[[], tuple[Any, ...]],
) -> Bound:
    """Bind inputs and outputs of a graph.

    Args:
        executor: what runs the graph.
        inputs: tensors to feed.
        outputs: tensors to fetch.
        single: whether to return the one output itself, not a tuple.
        labels: the keys of the outputs in a dict; None for a tuple.
        pickled: returns what `__reduce__` returns for the same function.

    Raises:
        NameNotFoundError: the graph does not have one of them.
        FeedError: the outputs need more inputs, or an input is given twice.
    """
    fed = [executor.feedable(ref) for ref in inputs]
    fetched = [executor.fetchable(ref) for ref in outputs]
    names = [tensor.name for tensor in fed]
    needs = executor.needs(fetched, {tensor.name: tensor for tensor in fed})
    refuse_twice(names)
    needs.refuse_missing()
    guards = tuple(
        Guard(*_dtype_and_shape(item), partial(executor.fit, tensor=item), needs.keeps_feeds)
        for item in fed
    )
    computed = [item for item in fetched if item.name not in names]
    compute: Callable[..., Any] = _compute_nothing
    with translated():
        if computed or not fetched:
            compute = direct_callable(
                executor.session, names, [item.name for item in computed]
            ) or _public_callable(executor.session, fed, computed)
    if len(computed) < len(fetched):
        compute = _with_fed(compute, names, fetched)
    binding = Binding(
        guards=guards,
        results=tuple(Output(owned) for owned in _owned(fetched, set(names))),
        single=single,
        labels=None if labels is None else tuple(labels),
        compute=compute,
        translated=translated,
        forked=forks.threads.forked,
        pickled=pickled,
    )
    return Bound(tuple(names), tuple(item.name for item in fetched), binding)


def _compute_nothing(*_: Any) -> tuple[()]:
    return ()


def _with_fed(
    compute: Callable[..., Sequence[Any]], names: list[str], fetched: list[Any]
) -> Callable[..., Sequence[Any]]:
    """Return a function that also returns fed tensors, which TensorFlow cannot fetch in this way.

    Args:
        compute: the function that computes the other tensors.
        names: names of the tensors that are fed.
        fetched: all tensors to return.
    """

    def compute_all(*values: Any) -> list[Any]:
        computed = iter(compute(*values))
        fed = dict(zip(names, values, strict=True))
        return [fed[item.name].copy() if item.name in fed else next(computed) for item in fetched]

    return compute_all


def _dtype_and_shape(tensor: Any) -> tuple[np.dtype[Any], tuple[int | None, ...] | None]:
    """Return data type and shape of arrays to feed as they are; strings are always converted."""
    stored = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return np.dtype("V") if stored.kind == "O" else stored, shape


def _public_callable(session: Any, fed: list[Any], fetched: list[Any]) -> Callable[..., Any]:
    import tensorflow as tf

    options = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
    run = session.make_callable(fetched, fed, accept_options=True)

    def compute(*values: Any) -> Any:
        return run(*values, options=options)

    return compute


def _owned(fetched: list[Any], fed: set[str]) -> list[bool]:
    """Return for each output whether it surely shares no memory with inputs and other outputs."""
    seen: set[str] = set()
    owned = []
    for tensor in fetched:
        roots = _roots(tensor, fed)
        owned.append(bool(roots) and not roots & seen)
        seen |= roots
    return owned


def _roots(tensor: Any, fed: set[str]) -> set[str]:
    """Return the ops whose result an output may be; none where it may be any memory.

    These are ops and not nodes, because TensorFlow merges two nodes that compute the same.
    """
    roots: set[str] = set()
    stack, seen = [tensor], set()
    while stack:
        item = stack.pop()
        op = item.op.type
        if item.name in seen:
            continue
        seen.add(item.name)
        if item.name in fed or op not in _COMPUTING | _PASSING | _HOLDING:
            return set()
        if op in _COMPUTING:
            roots.add(op)
        elif op in _PASSING:
            stack.extend(item.op.inputs)
    return roots
