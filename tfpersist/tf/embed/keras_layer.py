"""A frozen model as a Keras 3 layer, which takes its graph along into `.keras` files.

The config of the layer says what goes in and what comes out; the graph is an asset of the archive.
Keras builds a model from configs before it reads assets, so a config also holds the shapes that
were inferred while the graph was there.
"""

from __future__ import annotations

import functools
import os
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfpersist import graph_file, safety
from tfpersist.errors import (
    CorruptionError,
    FeedError,
    RestoreError,
    RunError,
    SaveError,
    TFPersistError,
    UnsupportedError,
)
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe import endpoints
from tfpersist.graph.structure.names import TensorRef
from tfpersist.safety import Policy
from tfpersist.tf.embed.composed import compose, tensor_of
from tfpersist.tf.embed.layouts import Layout, Shape, Shapes
from tfpersist.tf.embed.modules import handle_of, set_up, specs_of
from tfpersist.tf.internals.functions import note_use
from tfpersist.tf.internals.keras import in_safe_mode
from tfpersist.tf.run import forks
from tfpersist.tf.run.execute import spec_of_tensor
from tfpersist.tf.run.translate import translated

_FILE = "frozen.pb"


@attrs.frozen(eq=False)
class Part:
    """A graph with what its outputs need, set up to be called with tensors.

    Args:
        graph: the frozen graph.
        inputs: what is given to it.
        outputs: what it gives.
        owned: the variables and tables that it keeps, by name of the node.
        function: the tf.function.
        identity: a name that no other part of any process has.
    """

    graph: Graph
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    owned: Mapping[str, Any]
    function: Any
    identity: str = attrs.field(factory=lambda: uuid.uuid4().hex)

    @property
    def variables(self) -> list[Any]:
        """The variables that it keeps, sorted by the names of their nodes."""
        return [each for _, each in sorted(self.owned.items()) if hasattr(each, "assign")]

    def infer(self, given: Sequence[tuple[Shape, str]]) -> list[TensorSpec]:
        """Infer what the outputs are.

        Args:
            given: shape and data type of each input.

        Raises:
            FeedError: one of them does not fit.
        """
        import tensorflow as tf

        with tf.Graph().as_default() as scratch:
            fed = {}
            for ref, (shape, dtype) in zip(self.inputs, given, strict=True):
                fed[ref.name] = _fitting(ref, tf.compat.v1.placeholder(dtype, shape))
            names = [ref.name for ref in self.outputs]
            tensors = compose(self.graph, scratch, fed, names, "frozen")
            return [spec_of_tensor(_known(ref, tensors[ref.name])) for ref in self.outputs]


# By the identity in their configs: the parts of this process, for copies that Keras makes of layers
# by their configs alone.
_PARTS: weakref.WeakValueDictionary[str, Part] = weakref.WeakValueDictionary()


def layer_of(
    graph: Graph,
    inputs: Sequence[TensorRef],
    outputs: Sequence[TensorRef],
    *,
    single: bool,
    labels: Sequence[Any] | None = None,
    name: str | None = None,
) -> Any:
    """Make a keras.Layer that computes outputs from inputs.

    Args:
        graph: the frozen graph.
        inputs: what it is called with: one tensor, or a list in this order.
        outputs: what it gives.
        single: whether it gives the one output itself, not a list.
        labels: what to call the outputs in a dict; None for a list.
        name: what Keras is to call the layer.

    Raises:
        UnsupportedError: there is no Keras 3 that runs on TensorFlow.
        FeedError: it has no inputs, or needs others.
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 knows.
    """
    kind = _kind()
    if not inputs:
        raise FeedError(
            "a layer is called with tensors", expected="an input at least", found="none"
        )
    taken = [(_shape(spec.shape), spec.dtype.name) for spec in specs_of(inputs)]
    part = _part(graph, inputs, outputs)
    given = part.infer(taken)
    layout = Layout(
        inputs=tuple(ref.name for ref in inputs),
        outputs=tuple(ref.name for ref in outputs),
        labels=None if labels is None else tuple(map(str, labels)),
        single=single,
        dtypes=tuple(spec.dtype for spec in given),
        shapes=((tuple(shape for shape, _ in taken), tuple(spec.shape for spec in given)),),
    )
    layer = kind(layout.config(), name=name)
    layer.attach(part)
    return layer


def custom_objects() -> dict[str, Any]:
    """Make the layer known to Keras, and give it by the name that it has in files."""
    import keras

    kind = _kind()
    return {keras.saving.get_registered_name(kind): kind}


def _kind() -> type[Any]:
    """Give the class of the layer, if there is a Keras for it."""
    try:
        import keras
    except ImportError as error:
        raise UnsupportedError(
            f"Keras cannot be imported: {error}",
            expected="Keras 3 on TensorFlow",
            advice="Install keras, or use `as_module()`.",
        ) from error
    if not hasattr(keras, "version") or keras.backend.backend() != "tensorflow":
        old = not hasattr(keras, "version")
        raise UnsupportedError(
            "a frozen model is a layer of Keras 3 on TensorFlow alone",
            expected="the backend tensorflow",
            found="Keras 2" if old else f"the backend {keras.backend.backend()}",
            advice="Set KERAS_BACKEND=tensorflow before Keras is imported, or use `as_module()`.",
        )
    return _registered()


@functools.cache
def _registered() -> type[Any]:
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable(package="tfpersist")
    class FrozenLayer(keras.Layer):  # type: ignore[misc]
        """A frozen model; `FrozenModel.as_layer` makes it."""

        def __init__(self, layout: Mapping[str, Any], part: str = "", **options: Any) -> None:
            super().__init__(autocast=False, **options)
            self.layout = Layout.parse(layout, self.name)
            # Whoever loads a file with `safe_mode=False` trusts it.
            self.trusted = in_safe_mode() is False
            self.part: Part | None = None
            self.values: tuple[tuple[str, Any], ...] | None = None
            # Not all that is in graphs can be compiled: strings, tables, sizes that depend on data.
            self.supports_jit = False
            self.built = True
            if part in _PARTS:
                self.attach(_PARTS[part])

        def attach(self, part: Part) -> None:
            """Take a graph for one's own."""
            self.part = part
            # A list would be one of Keras's, in which TensorFlow finds nothing to export.
            self.state = tf.Module()
            self.state.owned = list(part.owned.values())

        @_whole
        def call(self, inputs: Any) -> Any:
            part = self._attached()
            values = self._listed(inputs)
            fitted = [_fitting(r, v) for r, v in zip(part.inputs, values, strict=True)]
            return self.layout.structured(part.function(*fitted))

        @_whole
        def compute_output_spec(self, inputs: Any) -> Any:
            given = self._listed(inputs)
            shapes = self._shapes([(_shape(each.shape), str(each.dtype)) for each in given])
            for name, shape in zip(self.layout.outputs, shapes, strict=True):
                if shape is None:
                    raise UnsupportedError(
                        "Keras has no tensors of an unknown number of dimensions",
                        where=name,
                        advice="Choose another output, or call `as_module()` in a layer of yours.",
                    )
            tensors = map(keras.KerasTensor, shapes, self.layout.dtypes)
            return self.layout.structured(list(tensors))

        def _shapes(self, given: list[tuple[Shape, str]]) -> Shapes:
            key = tuple(shape for shape, _ in given)
            known = dict(self.layout.shapes)
            if self.part is None:
                return known.get(key, self.layout.shapes[0][1])
            shapes = tuple(spec.shape for spec in self.part.infer(given))
            if key not in known:
                added = (*self.layout.shapes, (key, shapes))
                self.layout = attrs.evolve(self.layout, shapes=added)
            return shapes

        def _listed(self, inputs: Any) -> list[Any]:
            values = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            names = self.layout.inputs
            if len(values) != len(names) or isinstance(inputs, Mapping):
                raise FeedError(
                    "wrong number of values",
                    where=f"layer {self.name}",
                    expected=f"{len(names)}: {', '.join(names)}",
                    found="a dict" if isinstance(inputs, Mapping) else str(len(values)),
                )
            return values

        def _attached(self) -> Part:
            if self.part is None:
                raise RunError(
                    "the graph of this layer is not there",
                    where=f"layer {self.name}",
                    advice="Only .keras files hold it: neither a config nor an .h5 does.",
                )
            return self.part

        def get_config(self) -> dict[str, Any]:
            identity = "" if self.part is None else self.part.identity
            return {**super().get_config(), "layout": self.layout.config(), "part": identity}

        def save_assets(self, dir_path: str) -> None:
            graph_file.save(self._attached().graph, os.path.join(dir_path, _FILE), durable=False)

        def load_assets(self, dir_path: str | None) -> None:
            if dir_path is None:
                raise CorruptionError("the file does not hold the graph of a layer", file=self.name)
            path = os.path.join(dir_path, _FILE)
            graph = graph_file.load(path)
            if not self.trusted:
                Policy.default().check(safety.scan(graph, path))
            refs = [
                [endpoints.find(graph, name) for name in names]
                for names in (self.layout.inputs, self.layout.outputs)
            ]
            self.attach(_part(graph, *refs))
            self._assign()

        def save_own_variables(self, store: Any) -> None:
            for number, variable in enumerate(self._attached().variables):
                if variable.dtype.name == "string":
                    raise SaveError(
                        "Keras saves no strings",
                        where=f"variable {variable.name}",
                        advice="Freeze the model without keeping this variable.",
                    )
                store[str(number)] = variable.numpy()

        def load_own_variables(self, store: Any) -> None:
            # A file's weights are read before its graph, which sets up the variables for them.
            self.values = tuple((key, store[key][...]) for key in sorted(store.keys()))
            if self.part is not None:
                self._assign()

        def _assign(self) -> None:
            variables = {str(n): each for n, each in enumerate(self._attached().variables)}
            expected = {key: tuple(each.shape) for key, each in variables.items()}
            found = {key: tuple(value.shape) for key, value in self.values or ()}
            if expected != found:
                raise RestoreError(
                    "these are not the variables that the layer keeps",
                    where=f"layer {self.name}",
                    expected=expected,
                    found=found,
                )
            for key, value in self.values or ():
                variables[key].assign(value)

    return FrozenLayer


def _whole(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let errors say all in their first argument: Keras, which adds to it, drops the others."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except TFPersistError as error:
            raise type(error)(str(error)) from error

    return call


def _part(graph: Graph, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> Part:
    """Set up what the outputs need.

    Raises:
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 knows.
        RunError: TensorFlow ran before this process was forked.
    """
    import tensorflow as tf

    forks.begin()
    names = [ref.name for ref in outputs]
    with tf.init_scope(), translated():
        owned = set_up(graph, names)

    def compute(*values: Any) -> list[Any]:
        fed = dict(zip((ref.name for ref in inputs), values, strict=True))
        handles = {f"{name}:0": handle_of(each) for name, each in owned.items()}
        for variable in part.variables:
            note_use(variable)
        tensors = compose(graph, None, fed, names, "frozen", owned=handles)
        return [_known(ref, tensors[ref.name]) for ref in outputs]

    function = tf.function(compute, autograph=False, reduce_retracing=True)
    part = Part(graph, tuple(inputs), tuple(outputs), owned, function)
    _PARTS[part.identity] = part
    return part


def _known(ref: TensorRef, tensor: Any) -> Any:
    """Give what the file says of a shape where TensorFlow infers nothing, as behind a table."""
    import tensorflow as tf

    if tensor.shape.rank is None and ref.spec is not None and ref.spec.shape is not None:
        return tf.ensure_shape(tensor, ref.spec.shape)
    return tensor


def _shape(shape: Any) -> Shape:
    """Take a shape of TensorFlow's or of Keras's."""
    rank = getattr(shape, "rank", 0)
    return None if rank is None else tuple(shape)


def _fitting(ref: TensorRef, value: Any) -> Any:
    """Give a tensor that may be an input; floats of another size are cast, as layers do."""
    import tensorflow as tf

    tensor = tf.convert_to_tensor(value)
    if ref.spec is not None:
        wanted = tf.dtypes.as_dtype(dtypes.BY_NAME[ref.spec.dtype].number)
        if tensor.dtype.is_floating and wanted.is_floating:
            tensor = tf.cast(tensor, wanted)
    return tensor_of(ref, tensor, None)
