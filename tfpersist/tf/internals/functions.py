"""The private TensorFlow APIs that list the functions of a graph, make them known to eager
execution, tell what they use and what they were traced for, and keep AutoGraph off functions of
ours; tested as `internals` is.

Importing a graph into a tf.function makes the functions of its library known to the graph of that
function alone, though what runs it later is the eager context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def unconverted(function: _Function) -> _Function:
    """Let a function be called from a tf.function as it is written, not as AutoGraph would.

    It does what `tf.autograph.experimental.do_not_convert` does, without TensorFlow.
    """
    function.autograph_info__ = {}  # type: ignore[attr-defined]
    return function


def uses(variable: Any) -> None:
    """Note that the function that is being traced uses a variable, if only by its handle.

    Keras exports the variables that are noted, and no others.
    """
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    if graph.building_function:
        graph.watch_variable(variable)


def register(library: Any) -> None:
    """Make the functions of a library known to TensorFlow's eager context.

    Args:
        library: a FunctionDefLibrary of TensorFlow's own. A function whose name is known is taken
            for the same.
    """
    from tensorflow.python.eager import context

    current = context.context()
    current.ensure_initialized()
    for function in library.function:
        if not current.has_function(function.signature.name):
            current.add_function_def(function)


def traces_of(function: Any) -> list[Any]:
    """Give the ConcreteFunctions that a tf.function has, one for each signature.

    Args:
        function: a tf.function, or one of a SavedModel that was loaded.
    """
    import tensorflow as tf

    def unnamed(leaf: Any) -> Any:
        return tf.TensorSpec(leaf.shape, leaf.dtype) if isinstance(leaf, tf.TensorSpec) else leaf

    known = getattr(function, "concrete_functions", None)
    if known is None:
        known = getattr(function, "_list_all_concrete_functions", list)()
    # The first call of one that makes variables traces it again, without making them.
    last = {trace.function_type: trace for trace in known}
    # To save it as a SavedModel traces it again, with names.
    found: dict[str, Any] = {}
    for trace in last.values():
        signature = tf.nest.map_structure(unnamed, trace.structured_input_signature)
        found.setdefault(repr(signature), trace)
    return list(found.values())


def definitions(graph: Any) -> list[Any]:
    """Give the FunctionDefs that a tf.Graph has.

    Args:
        graph: the tf.Graph. Its public method encodes all constants for that.
    """
    known = getattr(graph, "_functions", None)
    if known is None:
        return list(graph.as_graph_def().library.function)
    return [
        getattr(function, "cached_definition", None) or function.definition
        for function in known.values()
    ]
