"""A choice that is not for a source is refused."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError
from tfpersist.freezer.sources.choice import Choice


@pytest.mark.parametrize("choice", [Choice(signature="serve"), Choice(tags=("serve",))])
def test_a_signature_is_for_a_saved_model(choice):
    with pytest.raises(FreezeError, match=r"signature\(\) and tags\(\).*outputs\("):
        choice.refuse_signature()


def test_a_checkpoint_is_for_a_graph_alone():
    choice = Choice(checkpoint="run")
    with pytest.raises(FreezeError, match=r"values of its own.*got 'source'"):
        choice.refuse_checkpoint("source")


def refused(choice):
    """Return what of a choice is refused by a source that is neither SavedModel nor graph."""
    parts = {
        "signature": choice.refuse_signature,
        "checkpoint": lambda: choice.refuse_checkpoint("source"),
    }
    found = set()
    for part, refuse in parts.items():
        try:
            refuse()
        except FreezeError:
            found.add(part)
    return found


def test_only_what_was_chosen_is_refused():
    assert refused(Choice()) == set()
    assert refused(Choice(signature="serve")) == {"signature"}
    assert refused(Choice(checkpoint="run")) == {"checkpoint"}
    assert refused(Choice(checkpoint="run", tags=("serve",))) == {"signature", "checkpoint"}
