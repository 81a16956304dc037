import itertools

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.attributes import SavedAttributes
from tfpersist.matching.keras_files.config import LayerConfig
from tfpersist.matching.keras_files.training import state_of


def config(kind, **options):
    return {"class_name": kind, "config": {"learning_rate": 0.1, "use_ema": False, **options}}


def saved(layers, slots, name="", first=((), ())):
    """Describe a file: {path of a layer: shapes}, and the shapes in its optimizer."""
    specs, texts = {}, {"": {}}
    for path, shapes in {**layers, "optimizer": [*first, *slots]}.items():
        parts = [*path.split("/"), "vars"]
        for at in range(1, len(parts) + 1):
            texts.setdefault("/".join(parts[:at]), {})
        for at, shape in enumerate(shapes):
            specs["/".join([*parts, str(at)])] = TensorSpec("float32", shape)
    if name:
        texts["optimizer/vars"] = {"name": (name,)}
    specs["optimizer/vars/0"] = TensorSpec("int64", ())
    return SavedAttributes(specs, texts, LayerConfig())


def slots_of(found, state):
    """Return the keys of the slots: {(slot, key of the variable): key}."""
    return {
        (slot, found.graph.key_of(variable)): key
        for slot, keys in state.slots.items()
        for variable, key in keys.items()
    }


TWO = {"layers/dense": [(2, 3), (3,)], "layers/dense_1": [(3, 3), (3,)]}
ORDER = [f"{path}/vars/{at}" for path in TWO for at in (0, 1)]
SHAPES = [shape for shapes in TWO.values() for shape in shapes]


def test_adam_has_two_slots_beside_each_other():
    found = saved(TWO, [shape for shape in SHAPES for _ in "mv"])
    state = state_of(found, config("Adam", amsgrad=False))
    keys = iter(f"optimizer/vars/{at}" for at in itertools.count(2))
    assert slots_of(found, state) == {(slot, key): next(keys) for key in ORDER for slot in "mv"}
    assert state.scalars == {
        "_iterations": "optimizer/vars/0",
        "_learning_rate": "optimizer/vars/1",
    }
    assert not state.problem


def test_rmsprop_has_one_slot_after_the_other():
    found = saved(TWO, SHAPES * 2)
    state = state_of(found, config("RMSprop", momentum=0.5, centered=False))
    keys = iter(f"optimizer/vars/{at}" for at in itertools.count(2))
    expected = {(slot, key): next(keys) for slot in ("rms", "momentum") for key in ORDER}
    assert slots_of(found, state) == expected


def test_tf_keras_has_no_learning_rate_there():
    found = saved(TWO, SHAPES, first=((),))
    state = state_of(found, config("SGD", momentum=0.5))
    assert slots_of(found, state)["momentum", ORDER[0]] == "optimizer/vars/1"
    assert "_learning_rate" not in state.scalars


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [(None, ""), (config("Mine"), ""), (None, "sgd")],
    ids=["no class", "an unknown class", "momentum or average"],
)
def test_without_a_class_and_its_options_nothing_is_known(optimizer, name):
    state = state_of(saved(TWO, SHAPES, name), optimizer)
    assert state.problem
    assert (state.slots, state.scalars) == ({}, {})


def test_a_name_may_tell_the_class():
    found = saved(TWO, [shape for shape in SHAPES for _ in "mv"], "adam")
    assert len(slots_of(found, state_of(found, None))) == 8


def test_shapes_may_leave_one_order_of_two_classes():
    layers = {"layers/dense": [(2, 3), (3,)], "layers/embedding": [(7, 2)]}
    found = saved(layers, [(7, 2), (2, 3), (3,)])
    state = state_of(found, config("Adagrad"))
    order = [found.graph.key_of(node) for node in state.trained]
    assert order == [
        f"layers/{key}" for key in ("embedding/vars/0", "dense/vars/0", "dense/vars/1")
    ]


def test_equal_shapes_leave_two_orders():
    layers = {
        "layers/layer_normalization": [(3,), (3,)],
        "layers/group_normalization": [(3,), (3,)],
    }
    assert state_of(saved(layers, [(3,)] * 4), config("Adagrad")).problem


def test_a_frozen_layer_has_no_slots():
    found = saved(TWO, SHAPES[2:])
    state = state_of(found, config("Adagrad"))
    assert [found.graph.key_of(node) for node in state.trained] == ORDER[2:]


def test_frozen_layers_of_equal_shapes_are_not_told_apart():
    layers = {"layers/dense": [(2, 2)], "layers/dense_1": [(2, 2)]}
    assert state_of(saved(layers, [(2, 2)]), config("Adagrad")).problem


def test_many_equal_layers_take_little_time():
    layers = {f"layers/dense_{at}" if at else "layers/dense": [(2, 2)] for at in range(2000)}
    found = saved(layers, [(2, 2)] * 2000)
    state = state_of(found, config("Adagrad"))
    assert len(state.trained) == 2000


def test_no_optimizer_is_no_state():
    assert state_of(SavedAttributes({}, {"": {}}, LayerConfig()), None) is None
