"""A choice that is not for a source is refused."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError
from tfpersist.freezer.sources.choice import Choice


@pytest.mark.parametrize("choice", [Choice(signature="serve"), Choice(tags=("serve",))])
def test_a_signature_is_for_a_saved_model(choice):
    with pytest.raises(FreezeError, match=r"signature\(\) and tags\(\).*outputs\("):
        choice.refuse_signature()
    choice.refuse_checkpoint("source")


def test_a_checkpoint_is_for_a_graph_alone():
    choice = Choice(checkpoint="run")
    with pytest.raises(FreezeError, match=r"values of its own.*got 'source'"):
        choice.refuse_checkpoint("source")
    choice.refuse_signature()


def test_no_choice_is_for_every_source():
    Choice().refuse_signature()
    Choice().refuse_checkpoint("source")
