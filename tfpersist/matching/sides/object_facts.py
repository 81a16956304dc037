"""Read the facts of an object graph: which layers hold which tensors, under which names. Pure."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Collection, Iterator, Mapping

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides import counting, facts, listed
from tfpersist.matching.sides.eras import PARTS
from tfpersist.matching.sides.facts import Chain, Leaf, Member, Side
from tfpersist.matching.sides.object_graph import SAVE_COUNTER, TRAINED, ObjectGraph

# Edges to the list of a model's layers, and to a model inside of a model: no person named them.
_CONTAINERS = frozenset({"_operations", "_functional", "_tracked", "_layers"})

# What a SavedModel refers to beside the objects themselves: the same variables again, in lists.
_SHADOWS = frozenset(
    {
        "keras_api",
        "signatures",
        "variables",
        "trainable_variables",
        "non_trainable_variables",
        "regularization_losses",
        "_all_variables",
        "_trainable_variables",
    }
)
# The attribute under which a layer such as TimeDistributed holds another one.
_WRAPPED = "layer"

# The names of the items of lists, by the chain of the list and by their positions.
_Items = dict[Chain, dict[int, str]]

# A graph from a stranger may be one long chain. Of a longer path only the end counts.
_DEEPEST = 64

# `model.export` writes every variable twice, here and under `variables`.
_COPIES = "_all_variables"


@attrs.frozen
class Names:
    """Facts on objects that their graph does not hold.

    Args:
        layers: the name of each layer, by its number; for a checkpoint those in its sidecar. Others
            have names in the full names of their variables.
        classes: the names of the layers' classes, in snake case, from which Keras makes names.
        optimizers: the objects that are optimizers.
        places: for the items of lists and dicts, how Keras counts them in a file: their class, and
            a number.
        placed: layers that have a place in an order of layers, though an attribute holds them.
        whole: layers whose tensors belong together, whatever they are called.
        kinds: the class of each layer, in snake case; empty for one whose class is not known.
        of_file: whether the objects are those of an HDF5 file of Keras, or are compared with them.
        ranks: the place of variables in the order of all weights; empty for that of the graph.
        ordered: whether the order of the objects is known.
        alphabetical: whether what the root holds lies in the order of the alphabet, as in a
            `tf.train.Checkpoint`.
    """

    layers: Mapping[int, str] = attrs.field(factory=dict)
    classes: Collection[str] = ()
    optimizers: Collection[int] = ()
    places: Mapping[int, tuple[str, int]] = attrs.field(factory=dict)
    placed: Collection[int] = ()
    whole: Collection[int] = ()
    kinds: Mapping[int, str] = attrs.field(factory=dict)
    of_file: bool = False
    ranks: Mapping[int, int] = attrs.field(factory=dict)
    ordered: bool = True
    alphabetical: bool = False


@attrs.frozen
class _Edge:
    parent: int
    name: str
    copied: bool


def side_of(
    graph: ObjectGraph, spec_of: Callable[[int], TensorSpec | tuple[str, ...] | None], names: Names
) -> Side:
    """Return the leaves of an object graph, without the state of optimizers.

    Args:
        graph: the object graph.
        spec_of: returns the spec of the tensor that an object owns, or the names of its tensors;
            None for an object without tensors.
        names: what else is known of the objects.

    Example:
        >>> from tfpersist.formats import schema
        >>> message = schema.TrackableObjectGraph()
        >>> _ = message.nodes.add().children.add(node_id=1, local_name="head")
        >>> _ = message.nodes.add().children.add(node_id=2, local_name="_kernel")
        >>> _ = message.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key="k")
        >>> spec = TensorSpec("float32", (2,))
        >>> graph = ObjectGraph.of(message)
        >>> side = side_of(graph, {2: spec}.get, Names())
        >>> [(leaf.held, list(leaf.members)) for leaf in side.leaves]
        [(('head',), ['kernel'])]
    """
    return _Reader(graph, spec_of, names).side()


def _is_place(name: str) -> bool:
    return name in _CONTAINERS or counting.is_position(name)


class _Reader:
    def __init__(
        self,
        graph: ObjectGraph,
        spec_of: Callable[[int], TensorSpec | tuple[str, ...] | None],
        names: Names,
    ) -> None:
        self.graph = graph
        self.spec_of = functools.cache(spec_of)
        self.names = names
        # Keras counts from one after a name without a number: where something is called "block_0",
        # a person counted, also "block_1".
        self.classes = {*names.classes} - {
            facts.stem_of(name) for name in names.layers.values() if name.endswith("_0")
        }
        self.edges: dict[int, _Edge] = {}
        self.below: dict[int, list[int]] = {}
        self._runs = functools.cache(self._runs_in)
        self._is_container = functools.cache(self._holds_a_list)
        self._walk()
        self._model_name = self._name_of_all()

    def side(self) -> Side:
        groups: dict[object, list[tuple[str, int]]] = {}
        for node in self._in_order():
            if node and self.spec_of(node) is not None and not self._is_copy(node):
                owner, label = self._owner(node)
                is_alone = self._is_alone(node) and owner == self.edges[node].parent
                groups.setdefault(node if is_alone else (owner,), []).append((label, node))
        leaves: list[Leaf] = []
        items: _Items = {}
        ranks = self.names.ranks
        ordered = sorted(
            groups.values(), key=lambda one: min(ranks.get(node, len(ranks)) for _, node in one)
        )
        for variables in ordered if ranks else groups.values():
            leaves.append(self._leaf(len(leaves), variables, items))
        order = self.names.ordered, self.names.alphabetical
        return Side(leaves, order[0], objects=True, items=items, alphabetical=order[1])

    def _is_alone(self, node: int) -> bool:
        """Return whether a tensor is a leaf by itself: it has a name that is no role in a layer."""
        edge = self.edges[node]
        is_role = facts.is_role(edge.name) or edge.parent in self.names.whole
        return not is_role or not self._is_plain(node)

    def _walk(self) -> None:
        """Find the shortest path to each object; that through a list of a SavedModel comes last."""
        if not self.graph.children:
            return
        self.edges[0] = _Edge(0, "", copied=False)
        later: collections.deque[tuple[int, str, int]] = collections.deque()
        queue = collections.deque([0])
        while queue or later:
            if not queue:
                parent, name, child = later.popleft()
                self._reach(parent, name, child, queue)
                continue
            node = queue.popleft()
            if node in self.names.optimizers:
                if TRAINED in self.graph.children[node]:
                    later.append((node, TRAINED, self.graph.children[node][TRAINED]))
                continue
            # What a person named leads to an object better than its place in a list of layers.
            edges = self.graph.children[node].items()
            for name, child in sorted(edges, key=lambda edge: _is_place(edge[0])):
                if node == 0 and name in (SAVE_COUNTER, "root"):
                    continue
                if name in _SHADOWS:
                    later.append((node, name, child))
                else:
                    self._reach(node, name, child, queue)

    def _reach(self, parent: int, name: str, child: int, queue: collections.deque[int]) -> None:
        if child not in self.edges:
            self.edges[child] = _Edge(parent, name, self.edges[parent].copied or name == _COPIES)
            self.below.setdefault(parent, []).append(child)
            queue.append(child)

    def _in_order(self) -> Iterator[int]:
        """Yield the objects depth first; what is numbered alike in the order of the numbers."""
        stack = [0] if self.graph.children else []
        while stack:
            node = stack.pop()
            yield node
            below = self.below.get(node, [])
            stack += reversed(counting.ordered(below, lambda child: self.edges[child].name))

    def _is_copy(self, node: int) -> bool:
        return self.edges[node].copied and self.graph.full_name(node) in self._exported

    @functools.cached_property
    def _exported(self) -> frozenset[str]:
        """The full names of the variables that `model.export` lists."""
        listed = self.below.get(self.graph.children[0].get("variables", -1), ())
        return frozenset(map(self.graph.full_name, listed))

    def _owner(self, node: int) -> tuple[object, str]:
        """Return what the tensor of an object belongs to, and its label there."""
        edge = self.edges[node]
        parent = edge.parent
        if self.edges[parent].name in _SHADOWS:
            # Only names tell which layer it is of, and the order if names are equal.
            scope, _, last = self._said(node).rpartition("/")
            return (parent, scope, self._runs(parent)[node]), last
        return parent, edge.name

    def _runs_in(self, parent: int) -> dict[int, int]:
        return listed.runs([(node, self._said(node)) for node in self.below[parent]])

    def _said(self, node: int) -> str:
        # A slot may say the layer of a variable where the variable itself says only its model.
        return f"{self._joined(node)}/{self.graph.full_name(node)}"

    def _name_of_all(self) -> str:
        """Return the scope that the full names of all layers begin with: the model's own name."""
        owners: dict[str, set[int]] = {}
        for node, edge in self.edges.items():
            scope = self.graph.full_name(node).rpartition("/")[0]
            if scope and self._is_plain(node):
                owners.setdefault(scope.partition("/")[0], set()).add(edge.parent)
        if len(owners) != 1:
            return ""
        ((name, layers),) = owners.items()
        return name if len(layers) > 1 else ""

    def _is_plain(self, node: int) -> bool:
        return isinstance(self.spec_of(node), TensorSpec)

    def _scopes(self, node: int) -> list[str]:
        """Return the names of layers in the full name of a variable."""
        scopes = self.graph.full_name(node).split("/")[:-1]
        return scopes[1:] if self._model_name and scopes[:1] == [self._model_name] else scopes

    def _leaf(self, number: int, variables: list[tuple[str, int]], items: _Items) -> Leaf:
        members: dict[str, Member] = {}
        roles = [facts.role_of(label) for label, _ in variables]
        kernels = [role for role in roles if role.endswith("kernel")]
        for role, (label, node) in zip(roles, variables, strict=True):
            spec = self.spec_of(node)
            assert spec is not None
            name = "kernel" if kernels == [role] else role
            members[name if roles.count(role) == 1 else label.strip("_")] = Member(node, spec)
        first = variables[0][1]
        return self._placed(number, members, first, items)

    def _placed(self, number: int, members: Mapping[str, Member], node: int, items: _Items) -> Leaf:
        path: list[int] = []
        parent = self.edges[node].parent
        is_alone = self._is_alone(node) and self.edges[parent].name not in _SHADOWS
        at = node if is_alone else parent
        while at and len(path) < _DEEPEST:
            path.append(at)
            at = self.edges[at].parent
        path.reverse()
        if self.edges[self.edges[node].parent].name in _SHADOWS:
            chain = tuple(
                facts.without_count(scope)
                for scope in self._scopes(node)
                if not facts.is_automatic(scope, self.classes)
            )
            said = bool(chain), self._joined(node)
            return Leaf(number, members, chain, chain, (), (), chain, *said, listed=True)
        return attrs.evolve(
            self._chains(path, self._known_names(node, path), items),
            number=number,
            members=members,
            kinds=self._kinds(path),
        )

    def _kinds(self, path: list[int]) -> Chain:
        """Return the classes of the layers on a path; nothing if one of them is not known."""
        steps = [step for step in path if self.edges[step].name not in _CONTAINERS]
        kinds = [self.names.kinds[step] for step in steps if step in self.names.kinds]
        return tuple(kinds) if all(kinds) else ()

    def _chains(self, path: list[int], known: Mapping[int, str], items: _Items) -> Leaf:
        """Return a leaf without tensors, with the labels on the path to it."""
        named, held, labels, called = (list[str]() for _ in range(4))
        lists: list[tuple[Chain, int]] = []
        tail: list[str] | None = None
        is_named, by_attribute = True, False
        for step in path:
            label = self.edges[step].name
            name = facts.without_count(known.get(step, ""))
            if label not in _CONTAINERS:
                labels.append(name or label.strip("_"))
                is_given = not facts.is_own_class(name, self.classes)
                called += [name * is_given] if step in self.names.layers else []
            if facts.is_automatic(name, self.classes):
                name = ""
            if label in _CONTAINERS or label in _SHADOWS:
                continue
            if label == _WRAPPED and self.names.of_file:
                # Some files lead to what a layer wraps, and some do not mention it.
                named += [name] if name else []
                continue
            if self._is_position(step):
                tail = []
                is_named, by_attribute = bool(name), False
                named += [name] if name else []
                held += [name] if name else []
                continue
            plain = label.strip("_")
            if facts.is_index(label) or step in self.names.places:
                kind, place = self.names.places.get(step) or ("", int(label))
                named += [kind] if kind else []
                held += [kind] if kind else []
                lists.append((tuple(held), place))
                items.setdefault(tuple(held), {})[place] = name
                plain = f"#{place}"
            if step in self.names.placed and plain not in PARTS:
                tail = []
                by_attribute = not name
            elif tail is not None:
                tail.append(plain)
            named.append(name or plain)
            held.append(plain)
        return Leaf(
            0,
            {},
            tuple(named),
            tuple(held),
            None if tail is None else tuple(tail),
            tuple(lists),
            tuple(labels),
            is_named,
            by_attribute=by_attribute,
            called=tuple(called or labels),
        )

    def _joined(self, node: int) -> str:
        place = self.edges[node]
        above = self.edges[place.parent]
        if above.name != TRAINED:
            return ""
        return listed.joined(self.graph, above.parent, place.name, self.graph.full_name)

    def _is_position(self, node: int) -> bool:
        edge = self.edges[node]
        above = self.edges[edge.parent].name if edge.parent else ""
        return counting.is_position(edge.name) or (
            facts.is_index(edge.name) and above in _CONTAINERS
        )

    def _known_names(self, node: int, path: list[int]) -> Mapping[int, str]:
        """Return the names of the layers on a path: its own, or those in the full name below it."""
        scopes = self._scopes(node)
        layers = [step for step in path if step != node and not self._is_container(step)]
        known: dict[int, str] = {}
        places = [at for at, step in enumerate(layers) if self._is_position(step)]
        below = layers[places[-1] :] if places else []
        if len(scopes) < len(below):
            # A model calls a layer in its list under no other name, and what is inside of the
            # layer may have none.
            known = dict(zip(below, scopes, strict=False))
        elif below or len(scopes) >= len(layers):
            known = dict(zip(reversed(layers), reversed(scopes), strict=False))
        else:
            labels = {step: self.edges[step].name for step in layers}
            known = {step: label for step, label in labels.items() if label in scopes}
        known.update((step, name) for step in path if (name := self.names.layers.get(step)))
        return known

    def _holds_a_list(self, node: int) -> bool:
        children = self.graph.children[node]
        is_list = bool(children) and all(map(facts.is_index, children))
        return is_list or self.edges[node].name in _CONTAINERS
