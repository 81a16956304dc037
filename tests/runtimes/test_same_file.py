"""One frozen file gives in every runtime what its source gives in TensorFlow."""

from __future__ import annotations

import functools

import models
import numpy as np
import pytest
from elsewhere import RUNTIMES, Job, run


@pytest.fixture(scope="module")
def made():
    """Return a model by its name."""
    return functools.cache(lambda name: models.MODELS[name]())


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    """Return the results of a runtime for all files, by model and form."""

    @functools.cache
    def of(name):
        runtime = RUNTIMES[name]
        interpreter = runtime.interpreter()
        folder = tmp_path_factory.mktemp(runtime.kind)
        jobs = {}
        for model, form in CASES[runtime.kind]:
            path = folder / f"{model}.{form}.pb"
            source = made(model)
            source.write(path, form, runtime.target)
            jobs[model, form] = Job(path, source.feeds, [source.output])
        run(runtime.kind, interpreter, list(jobs.values()), folder)
        return {case: job.results() for case, job in jobs.items()}

    return of


ALL = [(model, form) for model in models.MODELS for form in models.FORMS]
# OpenCV and tf2onnx have no use for a graph without an input; OpenCV knows no loops of TensorFlow.
WITHOUT = {"opencv": {"sum", "lstm", "gru"}, "onnx": {"sum"}}
CASES = {
    runtime.kind: [case for case in ALL if case[0] not in WITHOUT.get(runtime.kind, ())]
    for runtime in RUNTIMES.values()
}


@pytest.mark.parametrize(
    ("runtime", "model", "form"),
    [(name, *case) for name, runtime in RUNTIMES.items() for case in CASES[runtime.kind]],
)
def test_a_file_computes_the_same_as_its_source(results, made, runtime, model, form):
    found = results(runtime)[model, form]
    assert not isinstance(found, str), found
    (result,) = found
    expected = made(model).expected
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    tolerance = RUNTIMES[runtime].tolerance * np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


def test_the_models_are_worth_it(made, tmp_path):
    for name in models.MODELS:
        expected = made(name).expected
        assert expected.size == 1 or expected.std() > 0.05 * np.abs(expected).max(), name
    path = tmp_path / "padded.pb"
    made("padded").write(path, "plain")
    file = path.read_bytes()
    at = [file.find(models.large(seed).tobytes()) for seed in (0, 1)]
    assert all(offset > 0 and offset % 64 == 0 for offset in at)
