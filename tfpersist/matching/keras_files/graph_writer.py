"""Write object graphs: TrackableObjectGraph messages that say what another format says. Pure."""

from __future__ import annotations

from tfpersist.formats import schema
from tfpersist.formats.schema import Message


class GraphWriter:
    """An object graph that grows; object 0 is its root.

    Example:
        >>> graph = GraphWriter()
        >>> graph.tensor(graph.child(0, "head"), "kernel", "head/kernel:0", "head/kernel")
        2
        >>> [node.attributes[0].checkpoint_key for node in graph.message.nodes if node.attributes]
        ['head/kernel:0']
    """

    def __init__(self) -> None:
        self.message: Message = schema.TrackableObjectGraph()
        self.message.nodes.add()
        self._edges: list[dict[str, int]] = [{}]

    def child(self, parent: int, name: str) -> int:
        """Return the object at an edge of another one, which is added if it is not there.

        Args:
            parent: the other object.
            name: the name of the edge.
        """
        known = self._edges[parent].get(name)
        if known is not None:
            return known
        number = len(self._edges)
        self.message.nodes.add()
        self._edges.append({})
        self.link(parent, name, number)
        return number

    def link(self, parent: int, name: str, number: int) -> None:
        """Add an edge to an object that is there.

        Args:
            parent: where the edge begins.
            name: its name.
            number: where it ends.
        """
        self._edges[parent][name] = number
        self.message.nodes[parent].children.add(node_id=number, local_name=name)

    def tensor(self, parent: int, name: str, key: str, full_name: str) -> int:
        """Add a variable.

        Args:
            parent: the object that owns it.
            name: the edge that leads to it.
            key: the key of its tensor.
            full_name: its name, with those of the layers around it.

        Returns:
            Its number.
        """
        number = self.child(parent, name)
        node = self.message.nodes[number]
        if not node.attributes:
            node.attributes.add(name="VARIABLE_VALUE", full_name=full_name, checkpoint_key=key)
        return number

    def key_of(self, number: int) -> str:
        """Return the key of a variable."""
        key: str = self.message.nodes[number].attributes[0].checkpoint_key
        return key

    def size(self, parent: int) -> int:
        """Return how many edges an object has."""
        return len(self._edges[parent])
