"""Frozen files run through TensorFlow's C API, from a C program, with the bytes that Python gets.

Both sides use a session with default options in one process each on the same machine, so the same
kernels run with the same number of threads.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp

v1 = tf.compat.v1

SOURCE = pathlib.Path(__file__).parent / "c_api" / "run_frozen.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> pathlib.Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    binary = tmp_path_factory.mktemp("c_api") / "run_frozen"
    libraries = pathlib.Path(tf.sysconfig.get_lib())
    done = subprocess.run(
        [
            *(compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"),
            *("-isystem", tf.sysconfig.get_include(), str(SOURCE), "-o", str(binary)),
            *(str(libraries / f"libtensorflow_{part}.so.2") for part in ("cc", "framework")),
            f"-Wl,-rpath,{libraries}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return binary


def run(program: pathlib.Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> pathlib.Path:
    """The frozen graph of v1 + v2."""
    path = tmp_path_factory.mktemp("story") / "combined_model.pb"
    graph = tf.Graph()
    with graph.as_default():
        one = v1.get_variable("v1", initializer=tf.constant([1.0], name="c1"), use_resource=False)
        two = v1.get_variable("v2", initializer=tf.constant([2.0], name="c2"), use_resource=False)
        tf.add(one, two, name="add")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            tfp.Freezer(session).outputs("add").write(path)
    return path


@pytest.fixture(scope="module")
def cnn(tmp_path_factory) -> pathlib.Path:
    """A frozen convolution, batch norm, pooling and dense layer, with random weights."""
    path = tmp_path_factory.mktemp("cnn") / "cnn.pb"
    rng = np.random.default_rng(7)
    graph = tf.Graph()

    def weights(name: str, *shape: int, near: float = 0.0) -> object:
        value = (near + rng.normal(0, 0.3, shape)).astype(np.float32)
        return v1.get_variable(name, initializer=value, use_resource=name < "g")

    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 16, 16, 3], name="Net/feed")
        conv = tf.nn.conv2d(x, weights("conv/kernel", 3, 3, 3, 8), 1, "SAME")
        normal, *_ = v1.nn.fused_batch_norm(
            conv,
            weights("gamma", 8, near=1),
            weights("beta", 8),
            mean=weights("mean", 8),
            variance=weights("variance", 8, near=3),
            is_training=False,
        )
        pooled = tf.nn.max_pool2d(tf.nn.relu(normal), 2, 2, "VALID")
        flat = tf.reshape(pooled, [-1, 8 * 8 * 8])
        logits = tf.matmul(flat, weights("dense/kernel", 512, 10)) + weights("dense/bias", 10)
        tf.nn.softmax(logits, name="Net/probabilities")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            tfp.Freezer(session).outputs("Net/probabilities").write(path)
    return path


def test_the_sum_of_two_variables_is_the_same_in_c(program, story, tmp_path):
    output = tmp_path / "output.raw"
    done = run(program, story, "add:0", output)
    assert (done.returncode, done.stdout) == (0, "dtype 1, shape 1\n"), done.stderr
    assert output.read_bytes() == tfp.FrozenModel.load(story).run("add:0").tobytes()
    assert np.fromfile(output, np.float32).tolist() == [3.0]


@pytest.mark.parametrize("images", [1, 32])
def test_a_small_cnn_is_the_same_in_c(program, cnn, tmp_path, images):
    batch = np.random.default_rng(images).random((images, 16, 16, 3), np.float32)
    given, output = tmp_path / "input.raw", tmp_path / "output.raw"
    batch.tofile(given)
    done = run(
        *(program, cnn, "Net/probabilities", output),
        *("Net/feed:0", f"{images},16,16,3", given),
    )
    assert (done.returncode, done.stdout) == (0, f"dtype 1, shape {images} 10\n"), done.stderr
    expected = tfp.FrozenModel.load(cnn).run("Net/probabilities:0", {"Net/feed:0": batch})
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    assert output.read_bytes() == expected.tobytes()


def test_a_failure_in_c_is_reported(program, story, cnn, tmp_path):
    output = tmp_path / "output.raw"
    not_a_graph = tmp_path / "broken.pb"
    not_a_graph.write_bytes(b"not a graph")
    for arguments, says in (
        ((story, "sub:0", output), "sub:0: the graph has no such operation"),
        ((story, "add:1", output), "add:1: the operation has no such output"),
        ((cnn, "Net/probabilities", output), "must feed a value for placeholder"),
        ((not_a_graph, "add", output), "Invalid GraphDef"),
        ((tmp_path / "gone.pb", "add", output), "cannot be read"),
        ((story,), "usage"),
    ):
        done = run(program, *arguments)
        assert done.returncode != 0
        assert says in done.stderr
        assert not output.exists()
