"""Cases of freezing: a source, what to ask for, and the values of the live model."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.freezer.freezer import Freezer


@attrs.define
class Case:
    """A source to freeze, and the values that the frozen model must compute.

    Args:
        source: the source for Freezer.
        outputs: names of tensors in the frozen graph.
        feeds: {name of a tensor: value}; for a function, in the order of its arguments.
        expected: the values of the live model; None where the freezer must refuse.
        session: the session for TensorFlow's v1 freezer; None if there is none.
        function: the ConcreteFunction for TensorFlow's v2 freezer; None if there is none.
        refused: patterns that the message of a refusal matches: the node, its op, the variable,
            what to do.
        steps: the options of the Freezer beside its outputs.
        baked: {tensor: value} of the tensors that are baked. TensorFlow's freezers leave them to
            be fed.
        kept: names of the variables that TensorFlow's v1 freezer keeps.
        owner: an object that must stay alive.
    """

    source: Any
    outputs: list[str]
    feeds: dict[str, np.ndarray]
    expected: list[np.ndarray] | None
    session: v1.Session | None = None
    function: Any = None
    refused: tuple[str, ...] = ()
    steps: Callable[[Freezer], Freezer] = lambda freezer: freezer
    baked: dict[str, np.ndarray] = attrs.field(factory=dict)
    kept: tuple[str, ...] = ()
    owner: object = None

    def freezer(self) -> Freezer:
        freezer = self.steps(Freezer(self.source).outputs(*self.outputs))
        return freezer.bake(self.baked) if self.baked else freezer


CASES = {}


def case(*variants):
    """Register a function that builds a case, once for each variant."""

    def register(build):
        if not variants:
            CASES[build.__name__] = build
        for variant in variants:
            CASES[f"{build.__name__}-{variant}"] = functools.partial(build, variant)
        return build

    return register


def session_of(graph, *, init=True):
    """Return an open session that runs the ops as they are, without optimizing them."""
    config = v1.ConfigProto(allow_soft_placement=True, operation_timeout_in_ms=20_000)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    session = v1.Session(graph=graph, config=config)
    if init:
        with graph.as_default():
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
    return session


def live(graph, outputs, feeds=None, init=True, **facts):
    """Run a live graph and return its case."""
    session = session_of(graph, init=init)
    graph.finalize()
    names = [name if ":" in name else f"{name}:0" for name in outputs]
    expected = session.run(names, {**(feeds or {}), **facts.get("baked", {})})
    return Case(session, names, feeds or {}, expected, session=session, **facts)


def refused(graph, outputs, *patterns, feeds=None, init=True):
    """Return the case of a session that cannot be frozen."""
    session = session_of(graph, init=init)
    graph.finalize()
    names = [f"{name}:0" for name in outputs]
    return Case(session, names, feeds or {}, None, session=session, refused=patterns)


def of_function(function, *arrays, **facts):
    """Call a tf.function and return its case."""
    concrete = function.get_concrete_function()
    results = [] if "refused" in facts else tf.nest.flatten(function(*map(tf.constant, arrays)))
    captured = len(concrete.captured_inputs)
    inputs = concrete.inputs[: len(concrete.inputs) - captured]
    feeds = {tensor.name: array for tensor, array in zip(inputs, arrays, strict=True)}
    names = [tensor.name for tensor in concrete.outputs]
    expected = None if "refused" in facts else [result.numpy() for result in results]
    return Case(function, names, feeds, expected, function=concrete, **facts)


def of_model(model, *arrays, outputs=None, **facts):
    """Call a Keras model and return its case."""
    from tfpersist.tf.lower.live_model import lower_live_model

    traced = tf.function(model)
    argument = list(arrays) if len(arrays) > 1 else arrays[0]
    results = [] if "refused" in facts else tf.nest.flatten(traced(argument))
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    function = traced.get_concrete_function(specs if len(arrays) > 1 else specs[0])
    lowered = lower_live_model(model)
    feeds = dict(zip(lowered.inputs, arrays, strict=True))
    expected = None if "refused" in facts else [result.numpy() for result in results]
    names = list(outputs or lowered.outputs)
    return Case(model, names, feeds, expected, function=function, **facts)


@contextlib.contextmanager
def graph_of(control_flow="v2"):
    """Open a graph with the control flow of TensorFlow 1 or 2."""
    (v1.enable_control_flow_v2 if control_flow == "v2" else v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph:
            yield graph
    finally:
        v1.enable_control_flow_v2()


def weights(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def variable(name, value, kind="resource"):
    return v1.get_variable(name, initializer=tf.constant(value), use_resource=kind == "resource")


KINDS = ("resource", "ref")
FLOWS = ("v1", "v2")
