"""The table of models and runtimes: what each runtime makes of each file, and the page of it."""

from __future__ import annotations

import pathlib
import re

import attrs
import models
import numpy as np
from elsewhere import RUNTIMES, UNCHECKED, Job, Runtime, run

MODELS = {**models.MODELS, **models.MORE}
EQUAL, REFUSED, FAULT, WRONG = "equal", "refused", "fault", "WRONG"
# Of the largest element, how far results may be from those of the source.
TOLERANCES = {"float16": 2e-3, "int8": 5e-2}
ALL = {**RUNTIMES, **UNCHECKED}
ORDER = (
    *("TensorFlow", "TensorFlow 2.16", "TensorFlow 2.4", "TensorFlow 1.15", "TensorFlow 1.12"),
    *(
        "TensorFlow 1.4",
        "TensorFlow Lite",
        "TensorFlow.js",
        "OpenVINO",
        "ONNX",
        "OpenCV 5",
        "OpenCV 4",
    ),
)
_NAMES = {"ONNX": "ONNX Runtime", "TensorFlow": "TensorFlow 2.21"}
_MOST_TEXT = 160


@attrs.frozen
class Cell:
    """The result of a file in a runtime.

    Args:
        verdict: EQUAL, REFUSED, FAULT or WRONG.
        reason: what check or the runtime says.
    """

    verdict: str
    reason: str = ""


def cells(made: dict[str, models.Model], name: str, folder: pathlib.Path) -> dict:
    """Return {(model, form): Cell} of a runtime.

    Args:
        made: the models.
        name: the name of the runtime.
        folder: where the files are written.
    """
    runtime = ALL[name]
    interpreter = runtime.interpreter()
    found, jobs, rivals = {}, {}, {}
    for model, source in made.items():
        for form in models.EVERY_FORM:
            reason = _refusal(source, form, runtime)
            if reason:
                found[model, form] = Cell(REFUSED, reason)
                continue
            path = folder / f"{model}.{form}.pb"
            source.write(path, form, runtime.target)
            jobs[model, form] = Job(path, source.feeds, [source.output])
        graph, names, output = source.rival
        path = folder / f"{model}.rival.pb"
        path.write_bytes(graph)
        feeds = dict(zip(names, source.feeds.values(), strict=True))
        rivals[model] = Job(path, feeds, [output])
    run(runtime.kind, interpreter, [*jobs.values(), *rivals.values()], folder)
    for (model, form), job in jobs.items():
        expected = made[model].expected
        if form in TOLERANCES and name != "TensorFlow":
            # TensorFlow computes with the same weights of fewer bits.
            expected = made[model].shrunk[form]
        tolerance = TOLERANCES.get(form, 1e-5) if name == "TensorFlow" else runtime.tolerance
        rival = _problem(rivals[model].results(), made[model].expected, runtime.tolerance)
        problem = _problem(job.results(), expected, tolerance)
        verdict = (FAULT if rival else WRONG) if problem else EQUAL
        found[model, form] = Cell(verdict, problem)
        if name == "TensorFlow" and form in TOLERANCES:
            made[model].shrunk[form] = job.results()[0]
    return found


def _refusal(source: models.Model, form: str, runtime: Runtime) -> str:
    if runtime.target is None:
        return ""
    return ", ".join(sorted({each.op for each in source.check(form, runtime.target).blockers}))


def _problem(found, expected, tolerance) -> str:
    """Return what is wrong with results; "" where they are right."""
    if isinstance(found, str):
        return found
    (result,) = found
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return f"the result is {result.dtype}{list(result.shape)}"
    error = np.abs(result - expected).max() / np.abs(expected).max()
    return "" if error <= tolerance else "other numbers"


def page(found: dict[str, dict]) -> str:
    """Return the tables of the page of the documentation.

    Args:
        found: {runtime: {(model, form): Cell}}.
    """
    lines = []
    names = [name for name in ORDER if name in found]
    titles = [_NAMES.get(name, name) for name in names]
    for form in models.EVERY_FORM:
        lines += [f"## {form.capitalize()}", "", "| model | " + " | ".join(titles) + " |"]
        lines += ["|---" * (len(names) + 1) + "|"]
        for model in MODELS:
            row = [found[name][model, form].verdict for name in names]
            lines.append(f"| {model} | " + " | ".join(row) + " |")
        lines.append("")
    for verdict, title in ((REFUSED, "What check refuses"), (FAULT, "Faults of runtimes")):
        lines += [f"## {title}", "", "| runtime | model | reason |", "|---|---|---|"]
        for name in names:
            reasons: dict[tuple[str, str], list[str]] = {}
            for (model, form), cell in found[name].items():
                if cell.verdict == verdict:
                    reasons.setdefault((model, _short(cell.reason)), []).append(form)
            for (model, reason), forms in reasons.items():
                some = "" if len(forms) == len(models.EVERY_FORM) else f" ({', '.join(forms)})"
                lines.append(f"| {_NAMES.get(name, name)} | {model}{some} | {reason} |")
        lines.append("")
    return "\n".join(lines)


def _short(reason: str) -> str:
    """Return the part of a message that is the same on every machine, for a cell of a table."""
    text = re.sub(r"\s+", " ", reason)
    text = re.sub(r"(/[\w.+-]+)+/|0x[0-9a-f]+|\d+(\.\d+)+", "", text)
    return text[:_MOST_TEXT].strip().replace("|", "/").replace("`", "'").replace("<", "(")
