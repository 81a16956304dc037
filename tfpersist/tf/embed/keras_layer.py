"""Make a frozen model a Keras 3 layer, whose `.keras` files contain its graph.

The config of the layer holds the names of its inputs and outputs; the graph is an asset of the
file. Keras builds a model from configs before it reads assets. So a config also holds the shapes
that were inferred when the graph was there.
"""

from __future__ import annotations

import functools
import os
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
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import endpoints
from tfpersist.graph.structure.names import TensorRef
from tfpersist.safety import Policy
from tfpersist.tf.embed.layouts import Layout, Shape, Shapes
from tfpersist.tf.embed.modules import specs_of
from tfpersist.tf.embed.part import Part, existing_part, part_of
from tfpersist.tf.internals.keras import in_safe_mode

_FILE = "frozen.pb"


def layer_of(
    graph: Graph,
    inputs: Sequence[TensorRef],
    outputs: Sequence[TensorRef],
    *,
    single: bool,
    labels: Sequence[Any] | None = None,
    name: str | None = None,
) -> Any:
    """Return a keras.Layer that computes outputs from inputs.

    Args:
        graph: the frozen graph.
        inputs: the tensors that it is called with: one tensor, or a list in this order.
        outputs: the tensors that it returns.
        single: whether it returns the one output itself, not a list.
        labels: the keys of the outputs in a dict; None for a list.
        name: Keras' name of the layer.

    Raises:
        UnsupportedError: there is no Keras 3 that runs on TensorFlow.
        FeedError: it has no inputs, or needs others.
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 supports.
    """
    layer_class = _layer_class()
    if not inputs:
        raise FeedError("a layer needs an input", expected="at least one input", found="none")
    input_types = [(_shape(spec.shape), spec.dtype.name) for spec in specs_of(inputs)]
    part = part_of(graph, inputs, outputs)
    output_specs = part.infer(input_types)
    input_shapes = tuple(shape for shape, _ in input_types)
    layout = Layout(
        inputs=tuple(ref.name for ref in inputs),
        outputs=tuple(ref.name for ref in outputs),
        labels=None if labels is None else tuple(map(str, labels)),
        single=single,
        dtypes=tuple(spec.dtype for spec in output_specs),
        shapes=((input_shapes, tuple(spec.shape for spec in output_specs)),),
    )
    layer = layer_class(layout.config(), name=name)
    layer.attach(part)
    return layer


def custom_objects() -> dict[str, Any]:
    """Register the layer with Keras; return its class by the name that files have for it."""
    import keras

    layer_class = _layer_class()
    return {keras.saving.get_registered_name(layer_class): layer_class}


def _layer_class() -> type[Any]:
    """Return the class of the layer, if Keras 3 runs on TensorFlow here."""
    try:
        import keras
    except ImportError as error:
        raise UnsupportedError(
            f"Keras cannot be imported: {error}",
            expected="Keras 3 on TensorFlow",
            advice="Install keras, or use `as_module()`.",
        ) from error
    if not hasattr(keras, "version") or keras.backend.backend() != "tensorflow":
        is_keras_2 = not hasattr(keras, "version")
        raise UnsupportedError(
            "a frozen model can be a layer only of Keras 3 on TensorFlow",
            expected="the backend tensorflow",
            found="Keras 2" if is_keras_2 else f"the backend {keras.backend.backend()}",
            advice="Set KERAS_BACKEND=tensorflow before Keras is imported, or use `as_module()`.",
        )
    return _registered_class()


@functools.cache
def _registered_class() -> type[Any]:
    import keras
    import tensorflow as tf

    class FrozenLayer(keras.Layer):
        """A frozen model; `FrozenModel.as_layer` makes it."""

        def __init__(self, layout: Mapping[str, Any], part: str = "", **options: Any) -> None:
            super().__init__(autocast=False, **options)
            self.layout = Layout.parse(layout, self.name)
            # Whoever loads a file with `safe_mode=False` trusts it.
            self.trusted = in_safe_mode() is False
            self.part: Part | None = None
            self.values: tuple[tuple[str, Any], ...] | None = None
            # XLA cannot compile everything that graphs contain, such as strings and tables.
            self.supports_jit = False
            self.built = True
            existing = existing_part(part)
            if existing is not None:
                self.attach(existing)

        def attach(self, part: Part) -> None:
            """Use a part as the graph of this layer."""
            self.part = part
            # In a list Keras would wrap the objects so that TensorFlow could not export them.
            self.state = tf.Module()
            self.state.owned = list(part.owned.values())

        @_with_whole_message
        def call(self, inputs: Any) -> Any:
            return self.layout.structured(self._attached().call(self._listed(inputs)))

        @_with_whole_message
        def compute_output_spec(self, inputs: Any) -> Any:
            tensors = self._listed(inputs)
            shapes = self._shapes([(_shape(tensor.shape), str(tensor.dtype)) for tensor in tensors])
            for name, shape in zip(self.layout.outputs, shapes, strict=True):
                if shape is None:
                    raise UnsupportedError(
                        "Keras does not support tensors with an unknown number of dimensions",
                        where=name,
                        advice="Choose another output, or call `as_module()` in a layer of yours.",
                    )
            outputs = map(keras.KerasTensor, shapes, self.layout.dtypes)
            return self.layout.structured(list(outputs))

        def _shapes(self, inputs: list[tuple[Shape, str]]) -> Shapes:
            """Return the shapes of the outputs for shapes and data types of the inputs."""
            key = tuple(shape for shape, _ in inputs)
            known = dict(self.layout.shapes)
            if self.part is None:
                return known.get(key, self.layout.shapes[0][1])
            shapes = tuple(spec.shape for spec in self.part.infer(inputs))
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
                    "this layer has no graph",
                    where=f"layer {self.name}",
                    advice="Load it from a .keras file: a config or an .h5 file has no graph.",
                )
            return self.part

        def get_config(self) -> dict[str, Any]:
            identity = "" if self.part is None else self.part.identity
            return {**super().get_config(), "layout": self.layout.config(), "part": identity}

        def save_assets(self, dir_path: str) -> None:
            graph_file.save(self._attached().graph, os.path.join(dir_path, _FILE), durable=False)

        def load_assets(self, dir_path: str | None) -> None:
            if dir_path is None:
                raise CorruptionError("the file lacks the graph of a layer", file=self.name)
            path = os.path.join(dir_path, _FILE)
            graph = graph_file.load(path)
            if not self.trusted:
                Policy.default().check(safety.scan(graph, path))
            inputs, outputs = (
                [endpoints.find(graph, name) for name in names]
                for names in (self.layout.inputs, self.layout.outputs)
            )
            self.attach(part_of(graph, inputs, outputs))
            self._assign()

        def save_own_variables(self, store: Any) -> None:
            for number, variable in enumerate(self._attached().variables):
                if variable.dtype.name == "string":
                    raise SaveError(
                        "Keras cannot save variables of strings",
                        where=f"variable {variable.name}",
                        advice="Freeze the model without keeping this variable.",
                    )
                store[str(number)] = variable.numpy()

        def load_own_variables(self, store: Any) -> None:
            # Keras reads the weights of a file before its graph, which creates the variables.
            self.values = tuple((key, store[key][...]) for key in sorted(store.keys()))
            if self.part is not None:
                self._assign()

        def _assign(self) -> None:
            variables = {str(n): variable for n, variable in enumerate(self._attached().variables)}
            expected = {key: tuple(variable.shape) for key, variable in variables.items()}
            shapes = {key: tuple(value.shape) for key, value in self.values or ()}
            if expected != shapes:
                raise RestoreError(
                    "the file has other variables than the layer keeps",
                    where=f"layer {self.name}",
                    expected=expected,
                    found=shapes,
                )
            for key, value in self.values or ():
                variables[key].assign(value)

    register = keras.saving.register_keras_serializable(package="tfpersist")
    registered: type[Any] = register(FrozenLayer)
    return registered


def _with_whole_message(method: Callable[..., Any]) -> Callable[..., Any]:
    """Put the whole message of an error into its first argument: Keras keeps only that one."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except TFPersistError as error:
            raise type(error)(str(error)) from error

    return call


def _shape(shape: Any) -> Shape:
    """Return a shape of TensorFlow or of Keras as a tuple; None for an unknown rank."""
    rank = getattr(shape, "rank", 0)
    return None if rank is None else tuple(shape)
