"""Names of files and what they mean."""

import pytest

from tfpersist.checkpoint.files import Files, Listing, is_called, split_step


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


def test_names_with_a_common_prefix():
    assert [
        each for each in ("m", "m-1", "m-1-2", "m-b-1", "m--1", "mm") if is_called(each, "m")
    ] == [
        "m",
        "m-1",
    ]
    assert is_called("m-1", "m-1")


def test_shards():
    names = [
        "a.index", "a.data-00000-of-00002", "a.data-00001-of-00002", "a.data-00000-of-00003",
        "b.index", "b.data-00002-of-00003", "b.data-00007-of-00003", "b.meta",
        "c.index", ".index", "d.data-00000-of-00001",
        "e.index", "e.data-00000-of-999999999",
    ]  # fmt: skip
    listing = Listing(frozenset(names))
    found = {prefix: listing.v2_files(prefix) for prefix in listing.v2}
    assert found["a"] == Files("a", "a.index", ("a.data-00000-of-00002", "a.data-00001-of-00002"))
    assert found["b"].missing == ("b.data-00000-of-00003", "b.data-00001-of-00003")
    assert found["b"].meta == "b.meta"
    assert found["c"].missing == ("c.data-00000-of-00001",)
    assert len(found["e"].missing) == 100
    assert set(found) == {"a", "b", "c", "e"}


@pytest.mark.parametrize(
    ("prefix", "step"),
    [
        ("m-5", 5),
        ("m", None),
        ("m-", None),
        ("m-5x", None),
        ("a-3-007", 7),
        ("m-" + "9" * 400, None),
    ],
)
def test_steps(prefix, step):
    assert Files(prefix, None, ()).step == step


def test_files_of_attempts_are_never_missing():
    names = [
        "a.index", "a.data-00001-of-15306", "a.data-00000-of-15306", "a.meta-of-15306",
        "b.index", "b.data-00000-of-00002", "b.data-00001-of-00002", "b.data-00000-of-99999",
        "c.index", "c.data-00000-of-09999",
        "d.data-00000-of-15306",
    ]  # fmt: skip
    listing = Listing(frozenset(names))
    a, b, c = (listing.v2_files(prefix) for prefix in "abc")
    assert a.shards == ("a.data-00000-of-15306", "a.data-00001-of-15306")
    assert (a.missing, a.meta, a.is_attempt) == ((), "a.meta-of-15306", True)
    # Only the index tells whether its data files are the two or the one.
    assert b.shards == tuple(sorted(names[5:8]))
    assert (b.missing, b.meta, b.is_attempt) == ((), None, True)
    assert (len(c.missing), c.is_attempt) == (100, False)
    assert listing.belonging("a") == frozenset(names[:4])
    assert listing.is_complete("a")
    assert "d" not in listing.v2
    assert listing.without_index == ()
