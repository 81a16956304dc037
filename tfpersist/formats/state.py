"""Decode and encode the file `checkpoint`, which lists the checkpoints of a directory.

It is a CheckpointState in protobuf's text format. It has no checksum: a damaged name is noticed
only when the named checkpoint is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
from google.protobuf import text_format

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema

FILE_NAME = "checkpoint"


_LATEST = "model_checkpoint_path: "
_PATH = "all_model_checkpoint_paths: "
_TIME = "all_model_checkpoint_timestamps: "
_PRESERVED = "last_preserved_timestamp: "
# A name that the text format does not escape, and a number.
_NAME = r'"[ !#-&(-\[\]-~]*"'
_NUMBER = r"[0-9][0-9.e+-]*"
# The form that TensorFlow and tfpersist write. A directory may have thousands of checkpoints, and
# protobuf's parser of the text format takes about 10 µs for each line.
_COMMON = re.compile(
    rf"{_LATEST}(?P<latest>{_NAME})\n(?P<paths>(?:{_PATH}{_NAME}\n)*)"
    rf"(?P<times>(?:{_TIME}{_NUMBER}\n)*)(?:{_PRESERVED}(?P<preserved>{_NUMBER})\n)?"
)


@attrs.frozen
class StateFile:
    """The content of the file `checkpoint`.

    Args:
        latest: prefix of the newest checkpoint, relative to the directory or absolute.
        all: prefixes of all checkpoints, oldest first.
        timestamps: when each of them was written, in seconds since 1970; may be empty.
        last_preserved: when a checkpoint was last kept for good, in seconds since 1970; 0 if never.

    Example:
        >>> print(format_state(StateFile("m-2", ("m-1", "m-2"))).decode(), end="")
        model_checkpoint_path: "m-2"
        all_model_checkpoint_paths: "m-1"
        all_model_checkpoint_paths: "m-2"
    """

    latest: str
    all: tuple[str, ...] = ()
    timestamps: tuple[float, ...] = ()
    last_preserved: float = 0.0


def parse_state(text: bytes | memoryview, file: str) -> StateFile:
    """Decode a state file.

    Args:
        text: its bytes.
        file: its name, for errors.

    Returns:
        Its content; `latest` is empty if the file names no checkpoint.

    Raises:
        CorruptionError: the text is not a CheckpointState.

    Example:
        >>> parse_state(b'model_checkpoint_path: "m-2"', "checkpoint").latest
        'm-2'
    """
    content = bytes(text)
    common = _parse_common(content)
    if common is not None:
        return common
    try:
        state = text_format.Parse(content.decode("utf-8"), schema.CheckpointState())
        return StateFile(
            state.model_checkpoint_path,
            tuple(state.all_model_checkpoint_paths),
            tuple(state.all_model_checkpoint_timestamps),
            state.last_preserved_timestamp,
        )
    except text_format.ParseError as error:
        lines = content.splitlines(keepends=True)[: max((error.GetLine() or 1) - 1, 0)]
        offset = sum(map(len, lines)) + max((error.GetColumn() or 1) - 1, 0)
        raise _damaged(error, file, min(offset, len(content))) from error
    except UnicodeDecodeError as error:
        raise _damaged(error, file, error.start) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(error, file, 0) from error


def edited(content: bytes, without: Mapping[str, float], latest: str, time: float) -> bytes | None:
    """Return a state file with one more checkpoint, the latest, and without some others.

    Args:
        content: a state file that names each checkpoint once, in the order of their dates.
        without: checkpoints that it names, and that are not to be named, with their dates.
        latest: the checkpoint to add.
        time: when that was made, in seconds since 1970.

    Returns:
        The same as `format_state` does, faster; None where the content is not written as TensorFlow
        writes it, or the name needs to be escaped.

    Example:
        >>> before = format_state(StateFile("m-1", ("m-1",), (1.5,)))
        >>> print(edited(before, {"m-1": 1.5}, "m-2", 2.5).decode(), end="")
        model_checkpoint_path: "m-2"
        all_model_checkpoint_paths: "m-2"
        all_model_checkpoint_timestamps: 2.5
    """
    first, _, rest = content.partition(b"\n")
    if not first.startswith(_LATEST.encode()) or not re.fullmatch(_NAME, f'"{latest}"'):
        return None
    named, separator, times = rest.partition(_TIME.encode())
    times, preserved, last = (separator + times).partition(_PRESERVED.encode())
    for path, date in without.items():
        path_line, time_line = f'{_PATH}"{path}"\n'.encode(), f"{_TIME}{date}\n".encode()
        if path_line not in named or time_line not in times:
            return None
        named, times = named.replace(path_line, b"", 1), times.replace(time_line, b"", 1)
    return b"".join(
        (
            f'{_LATEST}"{latest}"\n'.encode(),
            named,
            f'{_PATH}"{latest}"\n'.encode(),
            times,
            f"{_TIME}{time}\n".encode(),
            preserved,
            last,
        )
    )


def _parse_common(content: bytes) -> StateFile | None:
    """Parse a file in the form that TensorFlow writes; None for any other form."""
    try:
        match = _COMMON.fullmatch(content.decode("ascii"))
        if match is None:
            return None
        return StateFile(
            match["latest"][1:-1],
            tuple(line[len(_PATH) + 1 : -1] for line in match["paths"].splitlines()),
            tuple(float(line[len(_TIME) :]) for line in match["times"].splitlines()),
            float(match["preserved"] or 0),
        )
    except ValueError:
        return None


def _damaged(error: Exception, file: str, offset: int) -> CorruptionError:
    return CorruptionError(
        f"this text is not a CheckpointState: {error}",
        file=file,
        offset=offset,
        expected='lines such as model_checkpoint_path: "model.ckpt-5"',
        advice="Delete the file: the checkpoints beside it are found without it.",
    )


def format_state(state: StateFile) -> bytes:
    """Encode a state file as `tf.train.CheckpointManager` does.

    Args:
        state: its content.

    Returns:
        The bytes of the file.

    Example:
        >>> format_state(StateFile("m-2", timestamps=(1.5,))).splitlines()[1]
        b'all_model_checkpoint_timestamps: 1.5'
    """
    lines = [f'{_LATEST}"{state.latest}"', *(f'{_PATH}"{path}"' for path in state.all)]
    lines += [f"{_TIME}{time}" for time in state.timestamps]
    lines += [f"{_PRESERVED}{state.last_preserved}"] if state.last_preserved else []
    text = "\n".join([*lines, ""])
    if state.latest and _COMMON.fullmatch(text):
        return text.encode("ascii")
    proto = schema.CheckpointState(
        model_checkpoint_path=state.latest,
        all_model_checkpoint_paths=state.all,
        all_model_checkpoint_timestamps=state.timestamps,
        last_preserved_timestamp=state.last_preserved,
    )
    return text_format.MessageToString(proto).encode("utf-8")
