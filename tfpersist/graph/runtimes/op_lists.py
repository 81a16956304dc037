"""The ops that each older TensorFlow release registers, and those that other runtimes convert.

`releases.txt` lists the ops of each release, oldest first; each section has what differs from the
section before. After an op come what it lacks there: the attrs that it does not have yet; after
"attr!" the numbers of the data types that it has no kernel for on CPUs, and after "attr&attr!" the
pairs of them; and "#" with the number of its inputs if it has another number now.
tools/make_release_table.py makes the file from the releases themselves. `runtimes.txt` lists the
ops that other runtimes have converters for; a converter can still reject some forms of an op.
After "attr!" are the data types that such a runtime cannot compute with.
tools/make_runtime_table.py makes it from those runtimes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Literal, get_args

import attrs

from tfpersist.errors import FreezeError

Release = Literal[
    "1.4",
    "1.5",
    "1.6",
    "1.7",
    "1.8",
    "1.9",
    "1.10",
    "1.11",
    "1.12",
    "1.13",
    "1.14",
    "1.15",
    "2.4",
]
Runtime = Literal[Release, "openvino", "onnx", "opencv", "tflite", "tfjs"]
RELEASES: tuple[Release, ...] = get_args(Release)
DISPLAY_NAMES: Mapping[Runtime, str] = MappingProxyType(
    {
        **{release: f"TensorFlow {release}" for release in RELEASES},
        "openvino": "OpenVINO 2026.4",
        "onnx": "tf2onnx 1.17",
        "opencv": "OpenCV 5.0",
        "tflite": "TensorFlow Lite 2.21",
        "tfjs": "TensorFlow.js 4.22",
    }
)
# The marks of words in `releases.txt`.
_REMOVED, _TYPES, _PAIR, _INPUTS = "-", "!", "&", "#"


@attrs.frozen
class KnownOp:
    """The attrs and types that an op of a release does not have yet.

    Args:
        missing: the attrs that it does not have.
        types: {one or two attrs: the numbers of the data types that it has no kernel for}.
        inputs: the number of its inputs, if it has another number now.
    """

    missing: frozenset[str] = frozenset()
    types: Mapping[tuple[str, ...], frozenset[tuple[int, ...]]] = attrs.field(factory=dict)
    inputs: int | None = None


def known_ops(target: str) -> Mapping[str, KnownOp]:
    """Return the ops of a release or runtime by name.

    Args:
        target: the release or runtime.

    Raises:
        FreezeError: tfpersist has no op list for this release or runtime.

    Example:
        >>> "AddV2" in known_ops("1.4"), known_ops("1.15")["MatMul"].missing >= {"grad_a"}
        (False, True)
    """
    return _tables()[runtime_of(target)]


@functools.cache
def added_attrs(op: str) -> frozenset[str] | None:
    """Return the attrs that an op got after it came: after the oldest release listed that has it.

    Args:
        op: the name of an op.

    Returns:
        Their names; None if no release listed has the op.

    Example:
        >>> sorted(added_attrs("MatMul")), added_attrs("NoSuchOp")
        (['grad_a', 'grad_b'], None)
    """
    tables = _tables()
    return next(
        (tables[release][op].missing for release in RELEASES if op in tables[release]), None
    )


def runtime_of(target: str) -> Runtime:
    """Return the runtime, or the release without its patch number: all patches have the same ops.

    Args:
        target: a runtime, or a release such as "1.15" or "1.15.5".

    Raises:
        FreezeError: tfpersist has no op list for it, or it is a number.

    Example:
        >>> runtime_of("v2.4.1")
        '2.4'
    """
    if not isinstance(target, str):
        raise FreezeError(
            "a release is written as a string, because 2.1 and 2.10 are the same number",
            expected=_choices(),
            found=repr(target),
            advice=f"Write {str(target)!r}.",
        )
    for runtime in DISPLAY_NAMES:
        if runtime == target:
            return runtime
    match = re.fullmatch(r"v?(\d+)\.(\d+)(\.\w+)*", target)
    version = tuple(map(int, match.groups()[:2])) if match else ()
    not_newer = [release for release in RELEASES if _version(release) <= version]
    if not not_newer or _version(not_newer[-1]) != version:
        name = f"TensorFlow {target}" if match else repr(target)
        raise FreezeError(
            f"there is no op list for {name}",
            expected=_choices(),
            advice=f"Use {not_newer[-1]!r}: {target} loads every graph that {not_newer[-1]} loads."
            if not_newer
            else None,
        )
    return not_newer[-1]


def _version(release: Release) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _choices() -> str:
    first, last, newest = map(repr, (RELEASES[0], RELEASES[-2], RELEASES[-1]))
    others = " or ".join(repr(name) for name in DISPLAY_NAMES if name not in RELEASES)
    return f"{first} to {last}, {newest}, {others}"


@functools.cache
def _tables() -> Mapping[str, Mapping[str, KnownOp]]:
    tables: dict[str, Mapping[str, KnownOp]] = {}
    known: dict[str, KnownOp] = {}
    for release, lines in _sections("releases"):
        for line in lines:
            name, *rest = line.split()
            if name.startswith(_REMOVED):
                del known[name[1:]]
            else:
                known[name] = _known_op(rest)
        tables[release] = dict(known)
    for runtime, lines in _sections("runtimes"):
        words = [line.split() for line in lines]
        tables[runtime] = {name: _known_op(rest) for name, *rest in words}
    return tables


def _sections(file: str) -> list[tuple[str, list[str]]]:
    text = resources.files(__package__).joinpath(f"{file}.txt").read_text("ascii")
    parts = (section.partition("]\n") for section in text.split("[")[1:])
    return [(name, lines.splitlines()) for name, _, lines in parts]


def _known_op(words: list[str]) -> KnownOp:
    missing, types, inputs = set(), {}, None
    for word in words:
        name, mark, numbers = word.partition(_TYPES)
        if mark:
            pairs = (tuple(map(int, pair.split(":"))) for pair in numbers.split(","))
            types[tuple(name.split(_PAIR))] = frozenset(pairs)
        elif name.startswith(_INPUTS):
            inputs = int(name[1:])
        else:
            missing.add(name)
    return KnownOp(frozenset(missing), types, inputs)
