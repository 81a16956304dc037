"""Freezer: a model of any kind becomes one graph whose weights are constants."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from tfpersist import graph_file
from tfpersist.formats.graphdef import Graph
from tfpersist.freezer import parity, pipeline
from tfpersist.freezer.choosing import Choosing
from tfpersist.gc_pause import uncollected
from tfpersist.graph.constants import ends
from tfpersist.graph.describe.candidates import Candidates
from tfpersist.graph.runtimes import releases
from tfpersist.graph.runtimes.releases import Portability, Runtime
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.safety import Policy, as_policy
from tfpersist.storage import text_of

if TYPE_CHECKING:
    from tfpersist.frozen.model import FrozenModel


@attrs.frozen(repr=False)
class Freezer(Choosing):
    """Takes what a model needs to compute some outputs, and makes constants of its variables.

    Args:
        source: a session (tf.compat.v1.Session or MonitoredSession), a Keras model, a tf.function
            (with an input_signature, or called with one kind of arguments so far) or
            ConcreteFunction, a FrozenModel, a GraphDef, the path of a `.pb` or `.pbtxt`, the
            directory of a SavedModel or its `saved_model.pb`, or a Checkpoint that has a `.meta`,
            whatever names one, or a ModelStore, which stands for its newest checkpoint or for what
            `at` or `best` chose. None of the files needs TensorFlow.
        checkpoint: where the values of a GraphDef or of a graph file lie, if the variables in it
            are to become constants: whatever Checkpoint takes.
        policy: what the source may do while it is frozen and the frozen model when it runs. By
            default live code of your own may do all; a source that is a file may do what
            `FrozenModel.load` allows, and have its tables filled from its own files alone: those
            beside a `.meta` or `.pb`, the assets of a SavedModel. `Policy.trusted()` for all files.
        wishes: what the steps have asked for so far.

    Example:
        >>> import tensorflow as tf
        >>> graph = tf.Graph()
        >>> with graph.as_default():
        ...     v1 = tf.compat.v1.get_variable("v1", initializer=[1.0])
        ...     result = tf.add(v1, v1, name="add")
        ...     init = tf.compat.v1.global_variables_initializer()
        >>> with tf.compat.v1.Session(graph=graph) as session:
        ...     session.run(init)
        ...     model = Freezer(session).outputs("add").freeze()
        >>> model.run("add:0")
        array([2.], dtype=float32)
    """

    source: Any
    checkpoint: Any = attrs.field(default=None, kw_only=True)
    policy: Policy | None = attrs.field(default=None, converter=as_policy, kw_only=True)

    def check(self, target: Runtime) -> Portability:
        """Find out what would keep an older TensorFlow, or another runtime, from loading the graph.

        Args:
            target: "1.15" or "2.4" of TensorFlow; a patch such as "1.15.5" is the same. "openvino"
                for OpenVINO, "onnx" for tf2onnx: those are ops that they have no converter for,
                and a converter may still refuse some forms and data types.

        Returns:
            The nodes that it does not know; `ok` tells whether there are none.

        Raises:
            FreezeError: nothing is known of that target, or the source cannot be frozen.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> print(Freezer(double).check("1.15"))
            TensorFlow 1.15 knows every op and attr
        """
        frozen = pipeline.freeze(self._lowered(), attrs.evolve(self.wishes, target=None))
        return releases.check(frozen.graph, target)

    def candidates(self) -> Candidates:
        """List what the source might be asked to compute, the likeliest first.

        Returns:
            The tensors with data types and shapes; print them to read them.

        Raises:
            FreezeError: there is no graph.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> print(Freezer(double).candidates())
            likely outputs:
              Identity:0 float32[]
            inputs:
              x:0 float32[]
        """
        return ends.candidates_of(pipeline.fix(self._lowered(), self.wishes)[0])

    def freeze(self) -> FrozenModel:
        """Freeze in memory.

        Returns:
            The model, as the source is now: training on does not change it. If it is from a file,
            it may do what `FrozenModel.load` allows by default; live code of your own may do all.

        Raises:
            NameNotFoundError: an output or a variable of that name is not in the graph.
            FreezeError: no outputs are set, or a node cannot be frozen.
            UnsafeModelError: a table is filled from a file that its policy does not let it read.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> float(Freezer(double).freeze().run("Identity:0", {"x:0": 2}))
            4.0
        """
        from tfpersist.frozen.model import FrozenModel

        with uncollected():
            return FrozenModel(self._frozen(hold=True), policy=self._policy())

    def write(
        self, path: str | os.PathLike[str], *, durable: bool = True, large: bool = False
    ) -> FrozenModel:
        """Freeze straight into a file, one variable at a time.

        Args:
            path: where the `.pb` goes, a path or a URL; it appears complete or not at all.
            durable: wait until the file would survive a power loss.
            large: whether it may be larger than 2 GB. FrozenModel loads such a file; TensorFlow and
                all others that use protobuf cannot.

        Returns:
            The model, as of that file; what it may do is as in `freeze`.

        Raises:
            NameNotFoundError: an output or a variable of that name is not in the graph.
            FreezeError: no outputs are set, or a node cannot be frozen.
            UnsafeModelError: a table is filled from a file that its policy does not let it read.
            UnsupportedError: the file would be larger than 2 GB, and is not to be; the largest
                weights are named, and nothing is written.
            StorageError: it cannot be written; nothing is left behind.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> model = Freezer(double).write("memory://models/double.pb")
            >>> print(*model.inputs, *model.outputs)
            x:0 float32[] Identity:0 float32[]
        """
        from tfpersist.frozen.model import FrozenModel

        with uncollected():
            text = text_of(path, "the path or URL of a .pb")
            graph = self._frozen(hold=self.wishes.feeds is not None)
            graph_file.save(graph, text, durable=durable, large=large)
            return FrozenModel.load(path, policy=self._policy() or Policy.trusted())

    def __repr__(self) -> str:
        given = {"checkpoint": self.checkpoint, "policy": self.policy}
        facts = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        told = filter(None, [repr(self.source), *facts, repr(self.wishes)])
        return f"Freezer({', '.join(told)})"

    def _policy(self) -> Policy | None:
        return pipeline.policy_of(self.source) if self.policy is None else self.policy

    def _lowered(self) -> Lowered:
        return pipeline.lower(self.source, self.checkpoint, self.wishes, self.policy)

    def _frozen(self, *, hold: bool) -> Graph:
        """Freeze, sign and try it; hold the values of a living source as they are now."""
        frozen = pipeline.freeze(self._lowered(), self.wishes)
        if hold and frozen.source.live:
            frozen = attrs.evolve(frozen, graph=pipeline.snapshot(frozen.graph))
        if self.wishes.feeds is None:
            return frozen.signed()
        return parity.prove(frozen, self.wishes, self._policy())
