"""Turn errors of TensorFlow into errors of tfpersist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tfpersist.errors import RunError, TFPersistError

_WITHOUT_REASON = re.compile(
    r"Graph execution error:$|Detected at node|<stack traces unavailable>$"
)
# What eager mode writes before and after the reason.
_AROUND = re.compile(r"^\{\{function_node [^}]*\}\}\s*|\s*\[Op:\w+\](?: name:.*)?$")
_BOLD = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def translated(error_class: type[TFPersistError] = RunError) -> Iterator[None]:
    """Raise what TensorFlow raises as one short error of tfpersist that names the node.

    Args:
        error_class: the class of the error.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        where, problem = _summary(error.message)
        operation = error.op
        if operation is not None:
            where = f"{operation.name} ({operation.type})"
        advice = _advice(error)
        if advice is not None:
            # It takes the place of what TensorFlow says after the first sentence.
            problem = re.split(r"\. (?=[A-Z])", problem, maxsplit=1)[0]
        raise error_class(problem, where=where, advice=advice) from error
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        where, problem = _summary(str(error))
        raise error_class(problem, where=where) from error


def _summary(message: str) -> tuple[str | None, str]:
    """Return the node and the reason in a message of TensorFlow, without its stack traces."""
    node = re.search(r"\{\{node ([^}]+)\}\}", message)
    reason = re.split(r"\n+Original stack trace|\s*\[\[\{\{", message, maxsplit=1)[0]
    reason = _AROUND.sub("", reason)
    reason = re.split(r"Node: '[^'\n]*'\n", reason)[-1]
    plain = _BOLD.sub("", reason)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    # What fails in a function, such as a loop, a branch or an assertion, has such lines first.
    lines = [line for line in lines if not _WITHOUT_REASON.match(line)]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        # Keras writes first where the error was, then in bold what went wrong.
        del lines[0]
    if lines and lines[0] == "in user code:":
        # A stack trace comes before the reason.
        lines = lines[-1:]
    lines = [re.sub(r"^\(\d+\) [A-Z_]+: ", "", line) for line in lines] or ["no reason given"]
    first = lines[1] if len(lines) > 1 and "root error(s) found" in lines[0] else lines[0]
    return (node.group(1) if node else None), first.rstrip(". ")[:500]


def _advice(error: Exception) -> str | None:
    import tensorflow as tf

    if isinstance(error, tf.errors.FailedPreconditionError):
        return "Variables and tables get their values before the first run: restore or freeze them."
    return None
