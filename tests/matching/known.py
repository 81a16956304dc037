"""Apply the maps of known models to names and shapes, for tests of the maps."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.known_models import known
from tfpersist.matching.plans.entry import Entry


def found(live, saved):
    entries = [Entry(name, name, TensorSpec("float32", shape)) for name, shape in live.items()]
    specs = {key: TensorSpec("float32", shape) for key, shape in saved.items()}
    names = {key: key for key in saved}
    return {entries[at].name: one for at, one in known(entries, names, specs).items()}


def under(scope, shapes):
    return {f"{scope}/{name}": shape for name, shape in shapes.items()}
