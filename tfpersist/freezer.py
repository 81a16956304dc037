"""Freezer: a model of any kind becomes one graph whose weights are constants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tfpersist import graph_file, sources
from tfpersist.feeds import fit
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph import choices, constants, portable, refusals, releases, signature, tables
from tfpersist.graph.bake import bake
from tfpersist.graph.candidates import Candidates
from tfpersist.graph.kept import with_assignments, with_init
from tfpersist.graph.lowered import Lowered
from tfpersist.graph.names import find_tensor
from tfpersist.graph.prune import prune
from tfpersist.graph.releases import Portability, Release
from tfpersist.safety import Policy

if TYPE_CHECKING:
    from tfpersist.frozen import FrozenModel


def _names(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(getattr(value, "name", value)) for value in values)


@attrs.frozen
class Freezer:
    """Takes what a model needs to compute some outputs, and makes constants of its variables.

    Args:
        source: a session (tf.compat.v1.Session or MonitoredSession), a Keras model, a tf.function
            or ConcreteFunction, a FrozenModel, a GraphDef, the path of a `.pb` or `.pbtxt`, the
            directory of a SavedModel or its `saved_model.pb`, or whatever names a checkpoint that
            has a `.meta`. None of the files needs TensorFlow.
        checkpoint: where the values of a GraphDef or of a graph file lie, if the variables in it
            are to become constants: whatever Checkpoint takes.

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
    _outputs: tuple[str, ...] = attrs.field(default=())
    _only: tuple[object, ...] | None = attrs.field(default=None)
    _keep: tuple[object, ...] = attrs.field(default=())
    _baked: Mapping[str, Any] = attrs.field(factory=dict, eq=repr)
    _release: Release | None = attrs.field(default=None)
    _signature: str | None = attrs.field(default=None)
    _tags: tuple[str, ...] = attrs.field(default=())
    _inputs: tuple[tuple[str, str], ...] = attrs.field(default=())

    def outputs(self, *names: object) -> Freezer:
        """Say which tensors the frozen graph computes.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors. The frozen graph has
                all that they need, and nothing else.

        Returns:
            A changed copy.

        Example:
            >>> Freezer("runs/mnist").outputs("probabilities", "split:1")  # doctest: +ELLIPSIS
            Freezer(source='runs/mnist', ...('probabilities', 'split:1')...)
        """
        return attrs.evolve(self, outputs=_names(names))

    def inputs(self, *names: object, **named: object) -> Freezer:
        """Say where the frozen graph begins: at placeholders in the places of these tensors.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors; placeholders too.
            named: the same; the argument's name becomes that of the placeholder.

        Returns:
            A changed copy.

        Example:
            >>> _ = Freezer("runs/bert").inputs("embeddings", ids="IteratorGetNext:1")
        """
        pairs = [(name, name) for name in _names(names)]
        pairs += zip(named, _names(named.values()), strict=True)
        return attrs.evolve(self, inputs=tuple(pairs))

    def bake(self, values: Mapping[Any, Any]) -> Freezer:
        """Fix what would have to be fed, and leave out what then never runs.

        Branches that are not taken go, with the assignments in them, before any variable is frozen;
        so does a dropout that keeps everything. Calls of functions are not looked into.

        Args:
            values: {placeholder or any other tensor: its value}, such as {"is_training": False,
                "keep_prob": 1.0}. Values are cast as `FrozenModel.run` casts feeds.

        Returns:
            A changed copy. Freezing it raises NameNotFoundError for a tensor that is not there, and
            FeedError for a value of another kind or shape.

        Example:
            >>> import tensorflow as tf
            >>> graph = tf.Graph()
            >>> with graph.as_default():
            ...     scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
            ...     x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
            ...     y = tf.multiply(x, scale, name="y")
            >>> model = Freezer(graph.as_graph_def()).bake({"scale": 3}).outputs("y").freeze()
            >>> model.run("y:0", {"x:0": [1.0, 2.0]})
            array([3., 6.], dtype=float32)
        """
        named = {_names([name])[0]: value for name, value in values.items()}
        return attrs.evolve(self, baked={**self._baked, **named})

    def portable(self, release: Release) -> Freezer:
        """Let an older TensorFlow load the frozen graph.

        What its ops can say as well is said with them; whatever it does not know beyond that is an
        error of the freezing.

        Args:
            release: "1.15" or "2.4".

        Returns:
            A changed copy.

        Example:
            >>> Freezer("runs/mnist").portable("1.15")  # doctest: +ELLIPSIS
            Freezer(source='runs/mnist', ...release='1.15'...)
        """
        return attrs.evolve(self, release=release)

    def check(self, release: Release) -> Portability:
        """Find out what would keep an older TensorFlow from loading the frozen graph.

        Args:
            release: "1.15" or "2.4".

        Returns:
            The nodes that it does not know; `ok` tells whether there are none.

        Raises:
            FreezeError: nothing is known of that release, or the source cannot be frozen.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> print(Freezer(double).check("1.15"))
            TensorFlow 1.15 knows every op and attr
        """
        graph, *_ = attrs.evolve(self, release=None)._frozen()
        return releases.check(releases.rewrite(graph, release), release)

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
        return choices.candidates_of(self._lowered())

    def only_variables(self, *names: object) -> Freezer:
        """Make constants of these variables alone; all others stay variables.

        Args:
            names: variables, their names, or globs such as "conv1/*".

        Returns:
            A changed copy.

        Example:
            >>> Freezer("runs/mnist").only_variables() == Freezer("runs/mnist")
            False
        """
        return attrs.evolve(self, only=names)

    def keep_variables(self, *names: object) -> Freezer:
        """Let these variables stay variables, with the values they have as their first ones.

        FrozenModel gives them these values when it is first used; whoever else loads the graph has
        to run the operation `tfpersist/init` once.

        Args:
            names: variables, their names, or globs such as "counter*".

        Returns:
            A changed copy.

        Example:
            >>> Freezer("runs/mnist").keep_variables() == Freezer("runs/mnist")
            True
        """
        return attrs.evolve(self, keep=names)

    def signature(self, name: str) -> Freezer:
        """Say which signature of a SavedModel to freeze.

        Args:
            name: such as "serving_default", which is what is taken where nothing is said.

        Returns:
            A changed copy.

        Example:
            >>> Freezer("export/1").signature("classify") == Freezer("export/1")
            False
        """
        return attrs.evolve(self, signature=name)

    def tags(self, *tags: str) -> Freezer:
        """Say which graph of a SavedModel to freeze.

        Args:
            tags: all tags of the graph; "serve" is what is taken where nothing is said.

        Returns:
            A changed copy.

        Example:
            >>> Freezer("export/1").tags("serve", "gpu") == Freezer("export/1")
            False
        """
        return attrs.evolve(self, tags=tags)

    def freeze(self) -> FrozenModel:
        """Freeze in memory.

        Returns:
            The model, as the source is now: training on does not change it. If it is from a file,
            it may do what `FrozenModel.load` allows by default; live code of your own may do all.

        Raises:
            NameNotFoundError: an output or a variable of that name is not in the graph.
            FreezeError: no outputs are set, or a node cannot be frozen.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> float(Freezer(double).freeze().run("Identity:0", {"x:0": 2}))
            4.0
        """
        from tfpersist.frozen import FrozenModel

        graph, live = self._frozen()
        if live:
            kept = {name: _snapshot(payload) for name, payload in graph.payloads.items()}
            graph = Graph(graph.proto, kept)
        return FrozenModel(graph, policy=_policy(self.source))

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
        from tfpersist.frozen import FrozenModel

        graph, _ = self._frozen()
        graph_file.save(graph, os.fsdecode(os.fspath(path)), durable=durable, large=large)
        return FrozenModel.load(path, policy=_policy(self.source) or Policy.trusted())

    def _lowered(self) -> Lowered:
        shaped = (*self._outputs, *(name for _, name in self._inputs), *self._baked)
        choice = sources.Choice(
            self.checkpoint, self._signature, self._tags, shaped if self._outputs else None
        )
        lowered = sources.lower(self.source, choice)
        if not self._baked:
            return lowered
        values = {}
        for name, value in self._baked.items():
            ref = find_tensor(lowered.graph, choices.called(name, lowered))
            spec = ref.spec or TensorSpec(np.asarray(value).dtype.name, None)
            values[ref] = fit(value, spec, ref.name)
        gone = {ref.name for ref in values}
        return attrs.evolve(
            lowered,
            graph=bake(lowered.graph, values),
            inputs=tuple(
                name for name in lowered.inputs if choices.called(name, lowered) not in gone
            ),
        )

    def _frozen(self) -> tuple[Graph, bool]:
        lowered = self._lowered()
        refs = choices.outputs(lowered, self._outputs)
        given = self._inputs or (() if self._outputs else [(n, n) for n in lowered.inputs])
        lowered, refs = choices.begin(lowered, refs, given, strict=bool(self._inputs))
        names = [ref.name for ref in refs]
        lowered, fills = tables.with_tables(lowered, names, sources.read_text)
        pruned = prune(lowered.graph, [*names, *fills])
        kept = choices.kept(lowered, pruned, self._keep, self._only)
        graph = constants.freeze(attrs.evolve(lowered, graph=pruned), kept)
        graph = prune(graph, [*names, *fills])
        graph, assigns = with_assignments(graph, lowered, kept & set(graph.nodes))
        refusals.refuse(graph, kept)
        graph = with_init(graph, [*fills, *assigns])
        portable.clean(graph.proto, shaped={ref.operation for ref in refs})
        if self._release is not None:
            graph = releases.require(graph, self._release)
        signature.sign(graph, signature.describe(lowered, graph, refs))
        return graph, lowered.live


def _policy(source: object) -> Policy | None:
    """What a frozen model may do when it runs: all that live code of the user's own may do."""
    from tfpersist.frozen import FrozenModel

    if isinstance(source, FrozenModel):
        return source.policy
    checkpoint = isinstance(source, Mapping) and hasattr(source, "meta")
    return Policy.default() if checkpoint or isinstance(source, (str, os.PathLike)) else None


def _snapshot(payload: Payload) -> Payload:
    return payload_of(payload.load(), payload.spec.dtype)
