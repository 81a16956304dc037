"""Inputs and outputs bound once, so that a call costs little more than the computation."""

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

# Their kernels compute into memory that nobody else has.
_COMPUTED = frozenset(
    {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D"}
    | {"DepthwiseConv2dNative", "MaxPool", "AvgPool", "Softmax", "LogSoftmax", "Sigmoid", "Tanh"}
    | {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Softplus", "Exp", "ArgMax", "ArgMin"}
)
# They may give one of their inputs as it is; some only once TensorFlow has simplified the graph.
_PASSED_ON = frozenset(
    {"Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims", "BiasAdd", "Add", "AddV2"}
    | {"Sub", "Mul", "RealDiv"}
)
_KEPT = frozenset({"Const", "ReadVariableOp"})


@attrs.frozen
class _Guard:
    """What one input takes as it is; all else is put right or refused by the executor."""

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
        wanted = self.shape
        if wanted is None or shape == wanted:
            return True
        if len(shape) != len(wanted):
            return False
        for size, expected in zip(shape, wanted, strict=True):
            if size != expected and expected is not None:
                return False
        return True


@attrs.define(eq=False)
class _Handed:
    """Whether an output may be handed out as it is: only what two calls have not in common."""

    may_be_owned: bool
    known: bool = False
    first: Any = None

    def own(self, value: Any) -> Any:
        if type(value) is not np.ndarray:
            return np.array(value, dtype=object if isinstance(value, bytes) else None)
        if value.dtype.names:
            value = value.view(value.dtype[0])
        if value.dtype.kind == "O" or (self.known and self.may_be_owned):
            return value
        # Threads come through here at once: what one has found, none may take back.
        first = self.first
        if self.may_be_owned and value.size and not self.known:
            if first is None:
                self.first = value
            elif first is not value:
                # TensorFlow may have found that it is constant: then it lies where it lay.
                if np.may_share_memory(first, value):
                    self.may_be_owned = False
                self.known = True
                self.first = None
        return value.copy()


@attrs.frozen(eq=False, repr=False)
class Bound:
    """Some outputs of a model as a function of some inputs.

    It may be called from several threads at once, and computes in the thread that calls it; only
    large operations are spread over TensorFlow's other threads. Results are the caller's own.

    Args:
        inputs: names of the tensors that its arguments are fed to.
        outputs: names of the tensors that it gives.

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
    _single: bool
    _labels: tuple[Any, ...] | None
    _guards: tuple[_Guard, ...]
    _handed: tuple[_Handed, ...]
    _compute: Callable[..., Sequence[Any]]
    _process: int
    _again: Callable[[], tuple[Any, ...]]

    def __call__(self, *values: Any) -> Any:
        """Compute the outputs.

        Args:
            values: one for each input: an array, a number, or nested lists.

        Returns:
            The array of the output; a tuple of arrays where the outputs were given as a list, a
            dict where they were given as one.

        Raises:
            FeedError: a value is missing, or of another kind or shape than its input.
            RunError: TensorFlow failed, or the model is closed.
        """
        guards = self._guards
        if len(values) != len(guards) or self._process != os.getpid():
            raise self._misuse(len(values))
        try:
            if len(guards) == 1:
                results = self._compute(guards[0](values[0]))
            else:
                results = self._compute(*map(_Guard.__call__, guards, values))
        except TFPersistError:
            raise
        except Exception:
            with translated():
                raise
        if self._single:
            return self._handed[0].own(results[0])
        own = tuple(handed.own(value) for handed, value in zip(self._handed, results, strict=True))
        return own if self._labels is None else dict(zip(self._labels, own, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again()

    def __repr__(self) -> str:
        return f"<Bound {', '.join(self.inputs) or '()'} -> {', '.join(self.outputs)}>"

    def _misuse(self, given: int) -> Exception:
        if given != len(self._guards):
            wanted = f"{len(self._guards)}: {', '.join(self.inputs)}"
            return FeedError("another number of values", expected=wanted, found=str(given))
        return forks.forked()


def bind(
    executor: Executor,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    *,
    single: bool,
    labels: Iterable[Any] | None,
    again: Callable[[], tuple[Any, ...]],
) -> Bound:
    """Bind inputs and outputs of a graph.

    Args:
        executor: what runs the graph.
        inputs: tensors to feed.
        outputs: tensors to fetch.
        single: whether to give the one output itself, not a tuple.
        labels: what to call the outputs in a dict; None for a tuple.
        again: gives what pickle makes the same function of.

    Raises:
        NameNotFoundError: one of them names nothing in the graph.
        FeedError: the outputs need other inputs as well, or an input is given twice.
    """
    fed = [executor.feedable(ref) for ref in inputs]
    wanted = [executor.fetchable(ref) for ref in outputs]
    names = [tensor.name for tensor in fed]
    needs = executor.needs(wanted, {tensor.name: tensor for tensor in fed})
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise FeedError("given twice", where=twice)
    needs.refuse_missing()
    guards = tuple(_Guard(tensor, *_form(tensor), executor, needs.keeps_feeds) for tensor in fed)
    computed = [item for item in wanted if item.name not in names]
    compute: Callable[..., Any] = _nothing
    with translated():
        if computed or not wanted:
            compute = direct_callable(
                executor.session, names, [item.name for item in computed]
            ) or _public_callable(executor.session, fed, computed)
    if len(computed) < len(wanted):
        compute = _passing_on(compute, names, wanted)
    handed = tuple(_Handed(owned) for owned in _owned(wanted, set(names)))
    results = tuple(item.name for item in wanted)
    told = None if labels is None else tuple(labels)
    process = os.getpid()
    return Bound(tuple(names), results, single, told, guards, handed, compute, process, again)


def _nothing(*_: Any) -> tuple[()]:
    return ()


def _passing_on(
    compute: Callable[..., Sequence[Any]], names: list[str], wanted: list[Any]
) -> Callable[..., Sequence[Any]]:
    """Give also what is fed, which TensorFlow does not fetch in this way."""

    def give(*values: Any) -> list[Any]:
        computed = iter(compute(*values))
        fed = dict(zip(names, values, strict=True))
        return [fed[item.name].copy() if item.name in fed else next(computed) for item in wanted]

    return give


def _form(tensor: Any) -> tuple[np.dtype[Any], tuple[int | None, ...] | None]:
    """Give the data type and shape of arrays that are fed as they are; strings never are."""
    stored = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return np.dtype("V") if stored.kind == "O" else stored, shape


def _public_callable(session: Any, fed: list[Any], wanted: list[Any]) -> Callable[..., Any]:
    import tensorflow as tf

    options = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
    run = session.make_callable(wanted, fed, accept_options=True)

    def compute(*values: Any) -> Any:
        return run(*values, options=options)

    return compute


def _owned(wanted: list[Any], fed: set[str]) -> list[bool]:
    """Tell for each output whether its memory is surely apart from inputs and other outputs."""
    seen: set[str] = set()
    owned = []
    for tensor in wanted:
        roots = _roots(tensor, fed)
        owned.append(bool(roots) and not roots & seen)
        seen |= roots
    return owned


def _roots(tensor: Any, fed: set[str]) -> set[str]:
    """Give the ops whose memory an output may be; none where it may be anything's.

    It is ops, not nodes: of two nodes that compute the same, TensorFlow makes one.
    """
    roots: set[str] = set()
    stack, seen = [tensor], set()
    while stack:
        each = stack.pop()
        kind = each.op.type
        if each.name in seen:
            continue
        seen.add(each.name)
        if each.name in fed or kind not in _COMPUTED | _PASSED_ON | _KEPT:
            return set()
        if kind in _COMPUTED:
            roots.add(kind)
        elif kind in _PASSED_ON:
            stack.extend(each.op.inputs)
    return roots
