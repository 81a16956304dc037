"""Run a TensorFlow graph by names of tensors; refuse misuse before TensorFlow runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.calls import requests
from tfpersist.errors import (
    FeedError,
    NameNotFoundError,
    RunError,
    did_you_mean,
    nearest,
    value_text,
)
from tfpersist.formats import dtypes
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import aliasing, feeds
from tfpersist.graph.structure.functions import calls_no_function, names_in
from tfpersist.tf.internals.functions import definitions
from tfpersist.tf.internals.session import direct_callable
from tfpersist.tf.run.translate import translated

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
_MOST_NEEDS = 256


@attrs.frozen
class Needs:
    """The needs of some fetches, beside the tensors that are fed.

    Args:
        missing: placeholders that are needed and not fed.
        keeps_feeds: whether the graph may use the memory of a feed after the run.
    """

    missing: tuple[Any, ...]
    keeps_feeds: bool

    def refuse_missing(self) -> None:
        """Raise a FeedError if a placeholder is missing."""
        if self.missing:
            raise requests.missing_feeds(
                [(tensor.name, str(spec_of_tensor(tensor))) for tensor in self.missing]
            )


# Computes fetches from the arrays that are fed, in the order of both.
_Compute = Callable[..., Sequence[Any]]


@attrs.define(eq=False)
class Executor:
    """Fetch tensors of a graph by name.

    Args:
        graph: the tf.Graph; nothing is added to it.
        session: a tf.compat.v1.Session on it. Several threads may use it.
        full_name: returns the name in the graph for the name that a user gives to fetch.
        fed_name: the same for a name to feed.
    """

    graph: Any
    session: Any
    full_name: Callable[[str], str] = str
    fed_name: Callable[[str], str] = str
    _needs: dict[Any, Needs] = attrs.field(factory=dict, init=False, repr=False)
    _computes: dict[Any, _Compute] = attrs.field(factory=dict, init=False, repr=False)

    def tensor(self, ref: Any) -> Any:
        """Return a tensor.

        Args:
            ref: "op:index", "op" for "op:0", a TensorRef, or a tf.Tensor of this graph.

        Returns:
            The tf.Tensor.

        Raises:
            NameNotFoundError: there is no such tensor; the message lists the nearest names.
        """
        tensor = self.fetchable(ref)
        if not _is_tensor(tensor):
            raise NameNotFoundError(
                f"the operation {tensor.name!r} ({tensor.type}) has no output",
                expected="the name of a tensor",
                advice="Pass the name to run(), which runs the operation.",
            )
        return tensor

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: one name, a list of names, or a dict {any label: name}. The name of an
                operation that has no output runs it and returns None.
            feeds: {tensor name: value}. Values are cast within their kind, such as from float64
                to float32.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is. No other code uses the memory of
            these arrays. Strings are object arrays of bytes.

        Raises:
            NameNotFoundError: the graph does not have a fetch or a feed.
            FeedError: a feed is missing, or does not fit.
            RunError: TensorFlow failed.
        """
        values = requests.feeds_of(feeds)
        return requests.structured(
            fetches,
            lambda refs: self._compute([self.fetchable(ref) for ref in refs], values),
        )

    def close(self) -> None:
        """Release the session; a later run raises RunError."""
        self.session.close()

    def _compute(self, fetched: list[Any], feeds: Mapping[Any, Any]) -> list[Any]:
        fed: dict[str, Any] = {}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for ref, value in feeds.items():
            tensor = self.feedable(ref)
            requests.refuse_fed_twice(tensor.name, ref, fed)
            fed[tensor.name] = tensor
            arrays[tensor.name] = self.fit(value, tensor)
        needs = self.needs(fetched, fed)
        needs.refuse_missing()
        if needs.keeps_feeds:
            # A variable takes over the memory of an aligned feed. It would change when the caller
            # changes the array.
            arrays = {name: array.copy() for name, array in arrays.items()}
        distinct = list({item.name: item for item in fetched}.values())
        try:
            with translated():
                values = self._compute_of(distinct, fed)(*arrays.values())
        except RunError as error:
            error.where = self._with_type(error.where)
            raise
        by_name = dict(zip((item.name for item in distinct), values, strict=True))
        return _separate([by_name[item.name] for item in fetched])

    def _with_type(self, where: str | None) -> str | None:
        """Return where an error was, with the op if that is the name of an operation."""
        try:
            operation = self.graph.get_operation_by_name(where)
        except (KeyError, ValueError, TypeError):
            return where
        return f"{operation.name} ({operation.type})"

    def _compute_of(self, fetched: list[Any], fed: Mapping[str, Any]) -> _Compute:
        """Return a function of the fed arrays; it is made once, which is most of a small run."""
        key = self.graph.version, tuple(item.name for item in fetched), tuple(fed)
        compute = self._computes.get(key)
        if compute is None:
            compute = self._compute_for(fetched, fed)
            if len(self._computes) >= _MOST_NEEDS:
                self._computes.clear()
            self._computes[key] = compute
        return compute

    def _compute_for(self, fetched: list[Any], fed: Mapping[str, Any]) -> _Compute:
        import tensorflow as tf

        names = [item.name for item in fetched]
        # A session of a user may have a run() of its own.
        is_plain = type(self.session) is tf.compat.v1.Session
        # TensorFlow refuses to fetch in this way what is fed.
        is_computed = names and all(map(_is_tensor, fetched)) and not fed.keys() & set(names)
        if is_plain and is_computed:
            compute = direct_callable(self.session, list(fed), names, in_caller=False)
            if compute is not None:
                return compute
        run, tensors = self.session.run, tuple(fed.values())
        return lambda *values: run(fetched, dict(zip(tensors, values, strict=True)))

    def needs(self, fetched: list[Any], fed: Mapping[str, Any]) -> Needs:
        """Return what fetches need beside the tensors that are fed.

        Args:
            fetched: tensors and operations.
            fed: the tensors that are fed, by name.
        """
        key = (
            self.graph.version,
            frozenset(item.name for item in fetched),
            frozenset(fed),
        )
        needs = self._needs.get(key)
        if needs is None:
            needs = _needs_of(fetched, fed)
            if len(self._needs) >= _MOST_NEEDS:
                self._needs.clear()
            self._needs[key] = needs
        return needs

    def fetchable(self, ref: Any) -> Any:
        """Return a tensor to fetch, or the operation if `ref` names one without outputs.

        Args:
            ref: see `tensor`.

        Raises:
            NameNotFoundError: the graph does not have it.
            RunError: it has no value that can be fetched.
        """
        item = self._find(ref)
        if not self.graph.is_fetchable(item):
            raise RunError(
                "TensorFlow does not fetch this tensor",
                where=item.name,
                advice="Fetch a tensor that is computed from it.",
            )
        if _is_tensor(item) and item.dtype.base_dtype.name in ("resource", "variant"):
            raise RunError(
                f"a {item.dtype.base_dtype.name} has no value outside of TensorFlow",
                where=item.name,
                advice="Fetch a tensor that is computed from it.",
            )
        return item

    def feedable(self, ref: Any) -> Any:
        """Return a tensor to feed.

        Args:
            ref: see `tensor`.

        Raises:
            NameNotFoundError: there is no such tensor.
            FeedError: it cannot be fed.
        """
        tensor = self._find(ref, to_feed=True)
        if not _is_tensor(tensor) or not self.graph.is_feedable(tensor):
            raise FeedError(
                "this cannot be fed",
                where=tensor.name,
                expected="a tensor that TensorFlow lets you feed",
                found=f"{'a tensor' if _is_tensor(tensor) else 'an operation'}",
            )
        return tensor

    def fit(self, value: Any, tensor: Any) -> np.ndarray[Any, Any]:
        """Return the array to feed to a tensor; the value itself if it is such an array.

        Args:
            value: an array, a number, a string, or nested lists of them.
            tensor: the tf.Tensor.

        Raises:
            FeedError: the value does not fit.
        """
        spec = spec_of_tensor(tensor)
        if spec.dtype not in dtypes.BY_NAME:
            raise FeedError(
                f"a tensor of type {spec.dtype} cannot be fed",
                where=tensor.name,
                advice="Feed the tensors that are computed from it.",
            )
        array = feeds.fit(value, spec, tensor.name)
        stored = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
        # TensorFlow marks quantized integers by a structured type with one field.
        return array.view(stored) if stored.names else array

    def _find(self, ref: Any, *, to_feed: bool = False) -> Any:
        name = getattr(ref, "name", None)
        if isinstance(ref, str):
            name = self.fed_name(ref) if to_feed else self.full_name(ref)
        if not isinstance(name, str):
            raise NameNotFoundError(
                "this is not the name of a tensor",
                expected="a str such as 'add:0', or a TensorRef",
                found=value_text(ref),
            )
        if getattr(ref, "graph", self.graph) is not self.graph:
            raise NameNotFoundError(
                f"the tensor {name!r} belongs to another graph", advice="Pass its name instead."
            )
        if name.startswith("^"):
            raise NameNotFoundError(
                f"{name!r} is a control dependency, which has no value",
                advice=f"Fetch {name[1:]!r} to run the operation.",
            )
        operation, colon, index = name.rpartition(":")
        if not colon:
            operation = index
        try:
            node = self.graph.get_operation_by_name(operation)
        except (KeyError, ValueError) as error:
            suffix = f":{index}" if colon else ""
            raise self._unknown(name, operation, suffix, to_feed=to_feed) from error
        if not colon:
            return node.outputs[0] if node.outputs else node
        if not index.isdecimal() or int(index) >= len(node.outputs):
            raise NameNotFoundError(
                f"the operation {operation!r} ({node.type}) has no such output",
                expected=_outputs_of(node),
                found=name,
            )
        return node.outputs[int(index)]

    def _unknown(
        self, name: str, operation: str, suffix: str, *, to_feed: bool
    ) -> NameNotFoundError:
        operations = self.graph.get_operations()
        names = [item.name for item in operations]
        if to_feed and not nearest(operation, names):
            names = [item.name for item in operations if item.type in _PLACEHOLDERS] or names
        advice = did_you_mean(operation, names)
        if suffix.removeprefix(":").isdecimal():
            advice = re.sub(r"'([^' ]+)'", rf"'\1{suffix}'", advice)
        return NameNotFoundError(f"the graph has no tensor {name!r}", advice=advice)


def spec_of_tensor(tensor: Any) -> TensorSpec:
    """Return the data type of a tf.Tensor, and its shape as far as TensorFlow has inferred it."""
    dtype = dtypes.by_number(tensor.dtype.base_dtype.as_datatype_enum)
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(dtype.name if dtype else tensor.dtype.base_dtype.name, shape)


def _needs_of(fetched: Iterable[Any], fed: Mapping[str, Any]) -> Needs:
    """Follow the edges from the fetches back to the feeds, as TensorFlow prunes a graph."""
    fed_operations = {tensor.op.name for tensor in fed.values()}
    missing: dict[str, Any] = {}
    keeps_feeds = False
    keeping_functions: list[frozenset[str]] = []
    seen: set[str] = set()
    stack = list(fetched)
    while stack:
        item = stack.pop()
        operation = item.op if _is_tensor(item) else item
        if item.name in fed or operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type in _PLACEHOLDERS:
            if operation.name not in fed_operations:
                missing[operation.name] = operation.outputs[0]
            continue
        keeps_feeds = keeps_feeds or _keeps_feeds(operation, keeping_functions)
        stack.extend(operation.inputs)
        stack.extend(operation.control_inputs)
    return Needs(tuple(missing[name] for name in sorted(missing)), keeps_feeds)


def _keeps_feeds(operation: Any, keeping_functions: list[frozenset[str]]) -> bool:
    """Return whether an operation, or a function that it calls, may keep a feed or write into it.

    Args:
        operation: the tf.Operation.
        keeping_functions: the names of all functions that may; listed here at the first need.
    """
    if aliasing.keeps_inputs(operation.type, stateful=operation.op_def.is_stateful):
        return True
    if calls_no_function(operation.type):
        return False
    if not keeping_functions:
        library = definitions(operation.graph)
        keeping_functions.append(aliasing.functions_that_keep_inputs(library))
    called = (operation.type, *names_in(operation.node_def.attr))
    return not keeping_functions[0].isdisjoint(called)


def _separate(values: Iterable[Any]) -> list[Any]:
    """Return arrays that share no memory with each other or with the graph."""
    seen: set[int] = set()
    results: list[Any] = []
    for value in values:
        array = _array_of(value)
        if array is not None and (id(array) in seen or not array.flags.owndata):
            array = array.copy()
        seen.add(id(array))
        results.append(array)
    return results


def _array_of(value: Any) -> np.ndarray[Any, Any] | None:
    """Return what was fetched as an array of plain elements; None for an operation."""
    if value is not None and not isinstance(value, np.ndarray):
        value = np.array(value, dtype=object if isinstance(value, (bytes, str)) else None)
    array: np.ndarray[Any, Any] | None = value
    return array if array is None or not array.dtype.names else array.view(array.dtype[0])


def _is_tensor(item: Any) -> bool:
    return hasattr(item, "value_index")


def _outputs_of(operation: Any) -> str:
    names = [tensor.name for tensor in operation.outputs]
    if not names:
        return "the name of the operation alone, since it has no outputs"
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
