import json

import pytest

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.sidecar import Increment, Sidecar, decode
from tfpersist.errors import SaveError


def test_round_trip():
    facts = Sidecar(1.25, 7, {"accuracy": 0.5}, 123)
    assert sidecar.decode(facts.encode()) == facts
    assert sidecar.decode(Sidecar(1.0).encode()) == Sidecar(1.0)
    assert json.loads(facts.encode())["tfpersist"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b'{"created": []}', b'{"created": 1, "metrics": 5}', b"1" * 5000,
     b'{"created": 1, "step": "x"}', b'{"created": 1e999}', b'{"created": 1, "step": 1e999}',
     b'{"created": 1, "index_crc32c": []}'],
)  # fmt: skip
def test_invalid_bytes_are_not_a_sidecar(data):
    assert sidecar.decode(data) is None


def test_metrics_must_be_numbers():
    assert dict(sidecar.as_floats({"a": 1, "b": "0.5"})) == {"a": 1.0, "b": 0.5}
    with pytest.raises(SaveError, match="'a' is not a number"):
        sidecar.as_floats({"a": None})


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": 5},
        {"sizes": ["a"]},
        {"sizes": None},
        {"increment": []},
        {"increment": {}},
        {"increment": {"written": "x", "shared": 1}},
    ],
)
def test_an_increment_is_decoded_or_refused(change):
    whole = Sidecar(1.5, sizes=(7, 8), increment=Increment(1, 2, "m-1", "why"))
    assert decode(whole.encode()) == whole
    assert decode(json.dumps({**json.loads(whole.encode()), **change}).encode()) is None


def test_a_flipped_bit_makes_it_invalid_or_changes_nothing():
    whole = Sidecar(1.5, 7, {"loss": 0.25}, 5, (10, 20), Increment(1, 2, "m-1"), 9)
    data = whole.encode()
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(spoilt)) in (None, whole), bit


def test_one_without_a_checksum_is_read():
    facts = json.loads(Sidecar(1.5, 7).encode())
    del facts["crc32c"], facts["meta_crc32c"]
    assert decode(json.dumps(facts).encode()) == Sidecar(1.5, 7)


def test_the_order_may_be_later_than_the_time():
    facts = Sidecar(5.0, order=9.0)
    assert decode(facts.encode()) == facts
    assert decode(facts.encode()).order == 9.0
    assert decode(Sidecar(5.0).encode()).order == 5.0


@pytest.mark.parametrize("change", [{"order": float("inf")}, {"created": float("nan")}])
def test_a_time_that_is_not_finite_makes_it_invalid(change):
    plain = {"created": 5.0, "order": 6.0, "step": 1}
    assert decode(json.dumps(plain).encode()).order == 6.0
    assert decode(json.dumps({**plain, **change}).encode()) is None


def test_one_whose_checksum_has_another_name_is_damaged():
    data = Sidecar(5.0, 7).encode()
    assert decode(data).step == 7
    assert decode(data.replace(b"crc32c", b"crc32d")) is None


@pytest.mark.parametrize(
    ("metrics", "message"),
    [([1], "are not a dict.*got a list"), ({1: 2.0}, "name of a metric is not a string.*got 1")],
)
def test_metrics_are_a_dict_by_names(metrics, message):
    with pytest.raises(SaveError, match=message):
        sidecar.as_floats(metrics)
    assert sidecar.as_floats(None) == {}


@pytest.mark.parametrize("value", [{"a": [1, {"b": None}], "é": 0.1}, [], "text", 0, False, 2.5])
def test_metadata_come_back_as_they_were(value):
    facts = Sidecar(1.0, metadata=sidecar.as_json(value))
    found = sidecar.decode(facts.encode())
    assert found == facts
    assert json.loads(found.metadata) == value
    assert sidecar.as_json(None) == ""


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({1: "a"}, "a key that is no string"),
        ({"a": (1, 2)}, "a tuple"),
        (float("nan"), "not JSON compliant"),
        ({"a": b"x"}, "bytes is not JSON serializable"),
    ],
)
def test_metadata_that_json_would_change_are_refused(value, found):
    with pytest.raises(SaveError, match=found):
        sidecar.as_json(value)


def test_the_files_of_an_attempt():
    facts = Sidecar(5.0, sizes=(64, 128), attempt=15306)
    assert decode(facts.encode()) == facts
    assert facts.shards("m") == ("m.data-00000-of-15306", "m.data-00001-of-15306")
    assert decode(json.dumps({"created": 1, "attempt": "x"}).encode()) is None
