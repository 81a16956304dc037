from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.sides.object_graph import ObjectGraph


def test_an_edge_leads_to_one_object():
    graph = GraphWriter()
    assert graph.child(0, "a") == graph.child(0, "a") == 1
    assert graph.child(1, "a") == 2
    assert ObjectGraph.of(graph.message).children == ({"a": 1}, {"a": 2}, {})


def test_a_tensor_belongs_to_its_first_key():
    graph = GraphWriter()
    number = graph.tensor(0, "kernel", "first", "net/kernel")
    assert graph.tensor(0, "kernel", "second", "net/kernel") == number
    (attribute,) = graph.message.nodes[number].attributes
    assert (attribute.checkpoint_key, attribute.full_name) == ("first", "net/kernel")


def test_a_link_leads_to_an_object_that_is_there():
    graph = GraphWriter()
    number = graph.tensor(0, "kernel", "k", "")
    items = graph.child(0, "items")
    graph.link(items, "0", number)
    assert graph.size(items) == 1
    assert ObjectGraph.of(graph.message).children[items] == {"0": number}
