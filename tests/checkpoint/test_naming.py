import pytest

from tfpersist.checkpoint.naming import is_called, split_step


@pytest.mark.parametrize(
    ("prefix", "parts"),
    [
        ("m-0", ("m", 0)),
        ("m-1-2", ("m-1", 2)),
        (f"m-{2**63 - 1}", ("m", 2**63 - 1)),
        (f"m-{2**63}", (f"m-{2**63}", None)),
        ("a\nb-5", ("a\nb", 5)),
        ("m", ("m", None)),
    ],
)
def test_the_step_at_the_end(prefix, parts):
    assert split_step(prefix) == parts


def test_names_that_begin_alike():
    assert [
        each for each in ("m", "m-1", "m-1-2", "m-b-1", "m--1", "mm") if is_called(each, "m")
    ] == [
        "m",
        "m-1",
    ]
    assert is_called("m-1", "m-1")
