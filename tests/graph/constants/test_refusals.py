"""Nodes that would not work in another process."""

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.constants.refusals import refuse


def graph_of(op, name="n", inside=False, attrs=""):
    node = f'{{ name: "{name}" op: "{op}" {attrs} }}'
    if not inside:
        return parse_text(f"node {node}".encode())
    function = f'function {{ signature {{ name: "f" }} node_def {node} }}'
    return parse_text(f'library {{ {function} }} node {{ name: "call" op: "f" }}'.encode())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("op", "message"),
    [
        ("PyFunc", "Python function"),
        ("EagerPyFunc", "Python function"),
        ("PyFuncStateless", "Python function"),
        ("AnonymousHashTable", "lookup table"),
        ("IteratorV2", r"iterator.*inputs\(\)"),
        ("IteratorFromStringHandleV2", r"iterator.*inputs\(\)"),
        ("MultiDeviceIteratorInit", r"iterator.*inputs\(\)"),
        ("QueueDequeueV2", r"queue.*inputs\(\)"),
        ("FIFOQueueV2", r"queue.*inputs\(\)"),
        ("WholeFileReaderV2", r"queue.*inputs\(\)"),
        ("ReaderReadV2", r"queue.*inputs\(\)"),
        ("OrderedMapUnstage", r"queue.*inputs\(\)"),
        ("BarrierTakeMany", r"queue.*inputs\(\)"),
    ],
)
def test_ops_that_need_the_live_process_are_refused(op, message, inside):
    where = r" in function f" if inside else ""
    with pytest.raises(FreezeError, match=rf"^node n \({op}\){where}: .*{message}"):
        refuse(graph_of(op, inside=inside), ())


@pytest.mark.parametrize("inside", [False, True])
def test_an_op_that_the_version_of_the_graph_excludes_is_refused_with_its_advice(inside):
    graph = graph_of("BatchNormWithGlobalNormalization", inside=inside)
    for producer, is_old in ((8, True), (0, True), (9, False), (1395, False)):
        graph.proto.versions.producer = producer
        if is_old:
            refuse(graph, ())
            continue
        with pytest.raises(FreezeError) as caught:
            refuse(graph, ())
        assert caught.value.found == f"version {producer}"
        assert "a version before 9" in str(caught.value)
        assert "Use tf.nn.batch_normalization()." in str(caught.value)


def is_refused(graph, kept=()):
    try:
        refuse(graph, kept)
    except FreezeError:
        return True
    return False


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("op", "similar"),
    [
        ("TemporaryVariable", "Variable"),
        ("OneShotIterator", "Iterator"),
        ("Read", "ReaderRead"),
        ("Add", "PyFunc"),
    ],
)
def test_ops_that_work_anywhere_and_similar_ones_that_do_not(op, similar, inside):
    assert not is_refused(graph_of(op, inside=inside))
    assert is_refused(graph_of(similar, inside=inside))


@pytest.mark.parametrize(
    "op", ["VarHandleOp", "VariableV2", "HashTableV2", "MutableDenseHashTable"]
)
def test_state_is_allowed_outside_of_functions_alone(op):
    assert not is_refused(graph_of(op), {"n"})
    with pytest.raises(FreezeError, match=rf"node n \({op}\) in function f"):
        refuse(graph_of(op, inside=True), {"n"})


def test_a_variable_that_is_not_kept():
    with pytest.raises(FreezeError, match=r"node n \(VarHandleOp\)"):
        refuse(graph_of("VarHandleOp"), {"other"})


def test_a_placeholder_of_a_resource():
    resource = 'attr { key: "dtype" value { type: DT_RESOURCE } }'
    with pytest.raises(FreezeError, match=r"node n \(Placeholder\).*of the live model"):
        refuse(graph_of("Placeholder", attrs=resource), ())
    number = 'attr { key: "dtype" value { type: DT_FLOAT } }'
    assert not is_refused(graph_of("Placeholder", attrs=number))


def test_a_data_set_of_the_live_model_is_refused_unless_it_is_fed():
    graph = graph_of("Placeholder", attrs='attr { key: "dtype" value { type: DT_VARIANT } }')
    with pytest.raises(FreezeError, match=r"^node n \(Placeholder\): .* a data set, an Optional"):
        refuse(graph, ())
    refuse(graph, (), ("n:0",))
