"""Object graphs from nested dicts, and what is paired of two, for tests of matching."""

from __future__ import annotations

from tfpersist.formats import schema
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing import optimizers
from tfpersist.matching.pairing.pair_objects import Objects, pair_objects
from tfpersist.matching.sides.object_facts import Names
from tfpersist.matching.sides.object_graph import ObjectGraph

SQUARE, LINE = TensorSpec("float32", (4, 4)), TensorSpec("float32", (4,))


class Var:
    """A variable of a tree: its full name, and its spec."""

    def __init__(self, name="", spec=SQUARE):
        self.name, self.spec = name, spec


def dense(name="", units=4):
    """The variables of a Dense layer of Keras 3."""
    return {
        "_kernel": Var(f"{name}/kernel", TensorSpec("float32", (4, units))),
        "bias": Var(f"{name}/bias", TensorSpec("float32", (units,))),
    }


def layers(*parts):
    """A functional model of Keras 3: an input, and these layers."""
    return {"_operations": {"0": {}, **{str(at): one for at, one in enumerate(parts, 1)}}}


def objects(tree, *, names=None, slots=(), kinds=None, trained=(), **facts):
    """Describe a tree; `names` are {path: name} of layers, `slots` (optimizer, slot, v, state).

    A str in the tree is the path of an object that is there already.
    """
    message, numbers, specs = schema.TrackableObjectGraph(), {}, {}
    links = []

    def add(member, path):
        number = numbers[path] = len(message.nodes)
        node = message.nodes.add()
        if isinstance(member, Var):
            specs[number] = member.spec
            node.attributes.add(
                name="VARIABLE_VALUE", checkpoint_key=path, full_name=member.name or path
            )
            return number
        for name, child in member.items():
            below = f"{path}/{name}".strip("/")
            if isinstance(child, str):
                links.append((number, name, child))
            else:
                target = add(child, below)
                message.nodes[number].children.add(local_name=name, node_id=target)
        return number

    add(tree, "")
    for number, name, path in links:
        message.nodes[number].children.add(local_name=name, node_id=numbers[path])
    for owner, name, variable, slot in slots:
        message.nodes[numbers[owner]].slot_variables.add(
            slot_name=name,
            original_variable_node_id=numbers[variable],
            slot_variable_node_id=numbers[slot],
        )
    graph = ObjectGraph.of(message)
    known = {numbers[path]: name for path, name in (names or {}).items()}
    inside = Names(known, optimizers=frozenset(optimizers.optimizers_in(graph)), **facts)
    kinds = {numbers[path]: kind for path, kind in (kinds or {}).items()}
    orders = [[numbers[path] for path in order] for order in trained]
    return Objects(graph, specs.get, inside, kinds, orders)


def key_of(side, node):
    return side.graph.message.nodes[node].attributes[0].checkpoint_key


def paired(saved, live):
    """{path of a live variable: path of the saved one}, of what is carried out."""
    pairs = pair_objects(live, saved).bound
    return {key_of(live, node): key_of(saved, other) for node, other in pairs.items()}


def proposed(saved, live):
    """The same of what is proposed."""
    fates = pair_objects(live, saved).fates
    return {
        key_of(live, node): key_of(saved, fate.proposal[0])
        for node, fate in fates.items()
        if fate.proposal is not None
    }
