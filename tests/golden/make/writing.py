"""Helpers for the generators. They run under every release, from Python 3.6 on."""

import os
import sys
import uuid

import numpy as np


def start(release, *releases):
    """Check the release, then make the folder that the command line names and return it."""
    if release not in releases:
        raise SystemExit(f"expected TensorFlow {' or '.join(releases)}, got {release}")
    # A sharded saver writes such a number in its graph.
    uuid.uuid4 = lambda: uuid.UUID(int=1)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    return folder


def rewrite(path, message):
    """Write a protobuf file again with the entries of its maps in order.

    A release writes them in an order that changes from run to run. The content stays the same.
    """
    with open(path, "rb") as file:
        message.ParseFromString(file.read())
    write_message(path, message)


def write_message(path, message):
    """Write a protobuf message. Equal messages have equal bytes."""
    with open(path, "wb") as file:
        file.write(message.SerializeToString(deterministic=True))


def write_values(path, values):
    """Write arrays as an npz file. Equal arrays have equal bytes."""
    np.savez_compressed(path, **values)


def check_equal(found, expected):
    """Raise an error unless both hold the same arrays under the same names."""
    assert sorted(found) == sorted(expected), (sorted(found), sorted(expected))
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], name)
