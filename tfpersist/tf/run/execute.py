"""Run a TensorFlow graph by tensor names, with every misuse refused before TensorFlow runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import (
    FeedError,
    NameNotFoundError,
    RunError,
    did_you_mean,
    nearest,
)
from tfpersist.formats import dtypes
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import aliasing
from tfpersist.graph.structure import feeds as feeding
from tfpersist.graph.structure.functions import calls_no_function, names_in
from tfpersist.tf.internals import functions
from tfpersist.tf.run.translate import translated

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
_MOST_NEEDS = 256


@attrs.frozen
class Needs:
    """What a set of fetches needs, given a set of fed tensors.

    Args:
        missing: placeholders that they need and that are not fed.
        keeps_feeds: whether something may keep what is fed for longer than the run.
    """

    missing: tuple[Any, ...]
    keeps_feeds: bool

    def refuse_missing(self) -> None:
        """Raise a FeedError if something is missing."""
        if self.missing:
            raise FeedError(
                "needed by the fetches and not fed"
                if len(self.missing) == 1
                else "all needed by the fetches and not fed",
                where=", ".join(tensor.name for tensor in self.missing),
                expected=", ".join(str(spec_of_tensor(tensor)) for tensor in self.missing),
                advice=f"Pass feeds={{{self.missing[0].name!r}: ...}}.",
            )


@attrs.define(eq=False)
class Executor:
    """Fetch tensors of a graph by name.

    Args:
        graph: the tf.Graph; nothing is ever added to it.
        session: a tf.compat.v1.Session on it. It may be used from several threads.
        called: gives the name in the graph of what a user calls a tensor.
    """

    graph: Any
    session: Any
    called: Callable[[str], str] = str
    _needs: dict[Any, Needs] = attrs.field(factory=dict, init=False, repr=False)

    def tensor(self, ref: Any) -> Any:
        """Find a tensor.

        Args:
            ref: "op:index", "op" for "op:0", a TensorRef, or a tf.Tensor of this graph.

        Returns:
            The tf.Tensor.

        Raises:
            NameNotFoundError: there is no such tensor; nearest names are given.
        """
        found = self.fetchable(ref)
        if not _is_tensor(found):
            raise NameNotFoundError(
                f"the operation {found.name!r} ({found.type}) has no output", expected="a tensor"
            )
        return found

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: one name, a list of names, or a dict {any label: name}. The name of an
                operation that has no output runs it and gives None.
            feeds: {tensor name: value}; values are cast within their kind.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is. The arrays are the caller's own;
            strings are object arrays of bytes.

        Raises:
            NameNotFoundError: a fetch or a feed names nothing in the graph.
            FeedError: a feed is missing, or does not fit.
            RunError: TensorFlow failed.
        """
        feeds = {} if feeds is None else feeds
        if not isinstance(feeds, Mapping):
            raise FeedError(
                "these feeds do not say which tensors they are for",
                expected="{tensor name: value}",
                found=type(feeds).__name__,
                advice="Give each value the name of its tensor, as in {'x:0': ...}.",
            )
        if isinstance(fetches, Mapping):
            wanted = [self.fetchable(ref) for ref in fetches.values()]
            return dict(zip(fetches, self._compute(wanted, feeds), strict=True))
        if isinstance(fetches, (list, tuple)):
            return self._compute([self.fetchable(ref) for ref in fetches], feeds)
        return self._compute([self.fetchable(fetches)], feeds)[0]

    def close(self) -> None:
        """Release the session; a later run raises RunError."""
        self.session.close()

    def _compute(self, wanted: list[Any], feeds: Mapping[Any, Any]) -> list[Any]:
        fed: dict[str, Any] = {}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for ref, value in feeds.items():
            tensor = self.feedable(ref)
            if tensor.name in fed:
                raise FeedError("fed twice", where=tensor.name, found=f"again as {ref!r}")
            fed[tensor.name] = tensor
            arrays[tensor.name] = self.fit(value, tensor)
        needs = self.needs(wanted, fed)
        needs.refuse_missing()
        if needs.keeps_feeds:
            # A variable adopts the memory of an aligned feed, and would change with the caller's.
            arrays = {name: array.copy() for name, array in arrays.items()}
        distinct = list({item.name: item for item in wanted}.values())
        with translated():
            values = self.session.run(distinct, arrays)
        by_name = dict(zip((item.name for item in distinct), values, strict=True))
        return _own(wanted, by_name)

    def needs(self, wanted: list[Any], fed: Mapping[str, Any]) -> Needs:
        """Tell what fetches need beside the tensors that are fed, by name."""
        key = (
            self.graph.version,
            frozenset(item.name for item in wanted),
            frozenset(fed),
        )
        needs = self._needs.get(key)
        if needs is None:
            needs = _walk(wanted, fed)
            if len(self._needs) >= _MOST_NEEDS:
                self._needs.clear()
            self._needs[key] = needs
        return needs

    def fetchable(self, ref: Any) -> Any:
        """Find the tensor, or the operation where a plain name is of one without outputs.

        Raises:
            NameNotFoundError: there is no such thing.
            RunError: it has no value.
        """
        found = self._find(ref)
        if not self.graph.is_fetchable(found):
            raise RunError("TensorFlow has marked this as not fetchable", where=found.name)
        if _is_tensor(found) and found.dtype.base_dtype.name in ("resource", "variant"):
            raise RunError(
                f"a {found.dtype.base_dtype.name} has no value outside of TensorFlow",
                where=found.name,
                advice="Fetch a tensor that is computed from it.",
            )
        return found

    def feedable(self, ref: Any) -> Any:
        """Find a tensor that can be fed.

        Raises:
            NameNotFoundError: there is no such tensor.
            FeedError: it cannot be fed.
        """
        found = self._find(ref, to_feed=True)
        if not _is_tensor(found) or not self.graph.is_feedable(found):
            raise FeedError("this cannot be fed", where=found.name, expected="a tensor")
        return found

    def fit(self, value: Any, tensor: Any) -> np.ndarray[Any, Any]:
        """Make the array that is fed to a tensor; the value itself where it fits.

        Raises:
            FeedError: it does not fit.
        """
        spec = spec_of_tensor(tensor)
        if spec.dtype not in dtypes.BY_NAME:
            raise FeedError(f"a tensor of type {spec.dtype} cannot be fed", where=tensor.name)
        array = feeding.fit(value, spec, tensor.name)
        stored = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
        # TensorFlow tells quantized integers from plain ones by a field of that name.
        return array.view(stored) if stored.names else array

    def _find(self, ref: Any, *, to_feed: bool = False) -> Any:
        name = self.called(ref) if isinstance(ref, str) else getattr(ref, "name", None)
        if not isinstance(name, str):
            raise NameNotFoundError(
                "this names no tensor",
                expected="a name such as 'add:0', or a TensorRef",
                found=f"{type(ref).__name__} {ref!r}",
            )
        if getattr(ref, "graph", self.graph) is not self.graph:
            raise NameNotFoundError(
                f"the tensor {name!r} is of another graph", advice="Pass its name instead."
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
            found = self.graph.get_operation_by_name(operation)
        except (KeyError, ValueError) as error:
            suffix = f":{index}" if colon else ""
            raise self._unknown(name, operation, suffix, to_feed=to_feed) from error
        if not colon:
            return found.outputs[0] if found.outputs else found
        if not index.isdecimal() or int(index) >= len(found.outputs):
            raise NameNotFoundError(
                f"the operation {operation!r} ({found.type}) has no such output",
                expected=_outputs_of(found),
                found=name,
            )
        return found.outputs[int(index)]

    def _unknown(
        self, name: str, operation: str, suffix: str, *, to_feed: bool
    ) -> NameNotFoundError:
        operations = self.graph.get_operations()
        known = [known.name for known in operations]
        if to_feed and not nearest(operation, known):
            known = [known.name for known in operations if known.type in _PLACEHOLDERS] or known
        advice = did_you_mean(operation, known)
        if suffix.removeprefix(":").isdecimal():
            advice = re.sub(r"'([^' ]+)'", rf"'\1{suffix}'", advice)
        return NameNotFoundError(f"the graph has no tensor {name!r}", advice=advice)


def spec_of_tensor(tensor: Any) -> TensorSpec:
    """Describe a tf.Tensor as far as TensorFlow has inferred it."""
    dtype = dtypes.by_number(tensor.dtype.base_dtype.as_datatype_enum)
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(dtype.name if dtype else tensor.dtype.base_dtype.name, shape)


def _walk(wanted: Iterable[Any], fed: Mapping[str, Any]) -> Needs:
    """Follow the edges from the fetches back to the feeds, as TensorFlow prunes a graph."""
    fed_operations = {tensor.op.name for tensor in fed.values()}
    missing: dict[str, Any] = {}
    keeps_feeds = False
    keepers: list[frozenset[str]] = []
    seen: set[str] = set()
    stack = list(wanted)
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
        keeps_feeds = keeps_feeds or _keeps(operation, keepers)
        stack.extend(operation.inputs)
        stack.extend(operation.control_inputs)
    return Needs(tuple(missing[name] for name in sorted(missing)), keeps_feeds)


def _keeps(operation: Any, keepers: list[frozenset[str]]) -> bool:
    """Tell whether an operation, or a function that it calls, may keep a feed or write into it."""
    if aliasing.keeps_inputs(operation.type, stateful=operation.op_def.is_stateful):
        return True
    if calls_no_function(operation.type):
        return False
    if not keepers:
        keepers.append(aliasing.functions_that_keep_inputs(functions.definitions(operation.graph)))
    called = (operation.type, *names_in(operation.node_def.attr))
    return not keepers[0].isdisjoint(called)


def _own(wanted: list[Any], values: Mapping[str, Any]) -> list[Any]:
    """Give each fetch an array of its own."""
    given: set[int] = set()
    results: list[Any] = []
    for item in wanted:
        value = values[item.name]
        if value is not None and not isinstance(value, np.ndarray):
            text = isinstance(value, (bytes, str))
            value = np.array(value, dtype=object if text else None)
        if value is not None and value.dtype.names:
            value = value.view(value.dtype[0])
        if value is not None and (id(value) in given or not value.flags.owndata):
            value = value.copy()
        given.add(id(value))
        results.append(value)
    return results


def _is_tensor(item: Any) -> bool:
    return hasattr(item, "value_index")


def _outputs_of(operation: Any) -> str:
    names = [tensor.name for tensor in operation.outputs]
    if not names:
        return "no output at all"
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
