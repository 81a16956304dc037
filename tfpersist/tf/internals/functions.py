"""The private APIs of tf.functions: list them, register them, and note which variables they use.

When a graph is imported into a tf.function, only the graph of that function gets the functions of
the library. But the eager context runs it later, so it needs them too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def unconverted(function: _Function) -> _Function:
    """Keep AutoGraph from converting a function that a tf.function calls.

    This does what `tf.autograph.experimental.do_not_convert` does, without importing TensorFlow.
    """
    function.__dict__["autograph_info__"] = {}
    return function


def note_use(variable: Any) -> None:
    """Note that the function that is being traced uses a variable, even if only by its handle.

    Keras exports only variables that are noted.
    """
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    if graph.building_function:
        graph.watch_variable(variable)


def register(library: Any) -> None:
    """Register the functions of a library with TensorFlow's eager context.

    Args:
        library: a FunctionDefLibrary of TensorFlow's own type. A function whose name is registered
            already counts as the same function.
    """
    from tensorflow.python.eager import context

    current = context.context()
    current.ensure_initialized()
    for function in library.function:
        if not current.has_function(function.signature.name):
            current.add_function_def(function)


def traces_of(function: Any) -> list[Any]:
    """Return the ConcreteFunctions of a tf.function, one for each signature.

    Args:
        function: a tf.function, or one of a loaded SavedModel.
    """
    import tensorflow as tf

    def unnamed(leaf: Any) -> Any:
        return tf.TensorSpec(leaf.shape, leaf.dtype) if isinstance(leaf, tf.TensorSpec) else leaf

    traces = getattr(function, "concrete_functions", None)
    if traces is None:
        traces = getattr(function, "_list_all_concrete_functions", list)()
    # The first call of a function that makes variables traces it twice; the last trace is used.
    latest = {trace.function_type: trace for trace in traces}
    # Saving it as a SavedModel traces it once more, with names for its inputs.
    by_signature: dict[str, Any] = {}
    for trace in latest.values():
        signature = tf.nest.map_structure(unnamed, trace.structured_input_signature)
        by_signature.setdefault(repr(signature), trace)
    return list(by_signature.values())


def definitions(graph: Any) -> list[Any]:
    """Return the FunctionDefs of a tf.Graph.

    Args:
        graph: the tf.Graph. Its public method would also encode all constants.
    """
    functions = getattr(graph, "_functions", None)
    if functions is None:
        return list(graph.as_graph_def().library.function)
    return [
        getattr(function, "cached_definition", None) or function.definition
        for function in functions.values()
    ]
