"""Bind inputs and outputs once, so that a call costs little more than the computation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import FeedError, TFPersistError
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


@attrs.frozen
class _Guard:
    """Check the value of one input; the executor converts or refuses what does not fit as it is.

    Args:
        tensor: the tf.Tensor of the input.
        dtype: the data type of an array that fits as it is.
        shape: its shape, None for an open size; None where any shape fits.
        executor: converts or refuses other values.
        copies: whether to copy the value, because the graph may keep it.
    """

    tensor: Any
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    executor: Executor
    copies: bool

    def __call__(self, value: Any) -> Any:
        if (
            type(value) is np.ndarray
            and (value.dtype is self.dtype or value.dtype == self.dtype)
            and value.flags.c_contiguous
            and self._accepts(value.shape)
        ):
            return value.copy() if self.copies else value
        fitted = self.executor.fit(value, self.tensor)
        return fitted.copy() if self.copies and fitted is value else fitted

    def _accepts(self, shape: tuple[int, ...]) -> bool:
        expected = self.shape
        if expected is None or shape == expected:
            return True
        if len(shape) != len(expected):
            return False
        for size, expected_size in zip(shape, expected, strict=True):
            if size != expected_size and expected_size is not None:
                return False
        return True


@attrs.define(eq=False)
class _Output:
    """Return one output, without a copy once two calls have given results in different memory.

    Args:
        may_be_owned: whether the memory of a result may belong to the caller.
        known: whether `may_be_owned` has been confirmed by two results.
        first: the first result, until a second one is compared with it.
    """

    may_be_owned: bool
    known: bool = False
    first: Any = None

    def own(self, value: Any) -> Any:
        """Return a result in memory that belongs to the caller."""
        if type(value) is not np.ndarray:
            return np.array(value, dtype=object if isinstance(value, bytes) else None)
        if value.dtype.names:
            value = value.view(value.dtype[0])
        if value.dtype.kind == "O" or (self.known and self.may_be_owned):
            return value
        # Several threads may be here at once. `known` must never become false again.
        first = self.first
        if self.may_be_owned and value.size and not self.known:
            if first is None:
                self.first = value
            elif first is not value:
                # TensorFlow may have made the output a constant: then results share memory.
                if np.may_share_memory(first, value):
                    self.may_be_owned = False
                self.known = True
                self.first = None
        return value.copy()


@attrs.frozen(eq=False)
class _Binding:
    """The way in which a bound function computes.

    Args:
        guards: check the value of each input.
        results: make each output the caller's own.
        single: whether to return the one output itself, not a tuple.
        labels: the keys of the outputs in a dict; None for a tuple.
        compute: computes the outputs.
        process: the only process that may call `compute`.
        pickled: returns what `__reduce__` returns.
    """

    guards: tuple[_Guard, ...]
    results: tuple[_Output, ...]
    single: bool
    labels: tuple[Any, ...] | None
    compute: Callable[..., Sequence[Any]]
    process: int
    pickled: Callable[[], tuple[Any, ...]]


@attrs.frozen(eq=False, repr=False)
class Bound:
    """Some outputs of a model as a function of some inputs.

    Several threads may call it at once. It computes in the thread that calls it; only large
    operations use TensorFlow's other threads too. No other code uses the memory of the results.

    Args:
        inputs: names of the tensors that its arguments are fed to.
        outputs: names of the tensors that it returns.

    Example:
        >>> import tfpersist as tfp
        >>> from tfpersist.formats import graphdef
        >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_INT32 } } }
        ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_INT32 } } }
        ... '''))
        >>> model.bind("x", "y")
        <Bound x:0 -> y:0>
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    _binding: _Binding

    def __call__(self, *values: Any) -> Any:
        """Compute the outputs.

        Args:
            values: one for each input: an array, a number, or nested lists.

        Returns:
            One array for a single output; a tuple of arrays for a list of outputs, a dict of
            arrays for a dict of outputs.

        Raises:
            FeedError: a value is missing, or has another data type or shape than its input.
            RunError: TensorFlow failed, or the model is closed.
        """
        binding = self._binding
        guards = binding.guards
        if len(values) != len(guards) or binding.process != os.getpid():
            raise self._misuse(len(values))
        try:
            if len(guards) == 1:
                results = binding.compute(guards[0](values[0]))
            else:
                results = binding.compute(*map(_Guard.__call__, guards, values))
        except TFPersistError:
            raise
        except Exception:
            with translated():
                raise
        if binding.single:
            return binding.results[0].own(results[0])
        pairs = zip(binding.results, results, strict=True)
        own = tuple(output.own(value) for output, value in pairs)
        return own if binding.labels is None else dict(zip(binding.labels, own, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._binding.pickled()

    def __repr__(self) -> str:
        return f"<Bound {', '.join(self.inputs) or '()'} -> {', '.join(self.outputs)}>"

    def _misuse(self, count: int) -> Exception:
        if count != len(self.inputs):
            expected = f"{len(self.inputs)}: {', '.join(self.inputs)}"
            return FeedError("wrong number of values", expected=expected, found=str(count))
        return forks.forked()


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
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise FeedError("this input is named twice", where=twice, advice="Name each input once.")
    needs.refuse_missing()
    guards = tuple(
        _Guard(tensor, *_dtype_and_shape(tensor), executor, needs.keeps_feeds) for tensor in fed
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
    binding = _Binding(
        guards=guards,
        results=tuple(_Output(owned) for owned in _owned(fetched, set(names))),
        single=single,
        labels=None if labels is None else tuple(labels),
        compute=compute,
        process=os.getpid(),
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
