"""The models that every runtime is asked to run, as files, and what TensorFlow makes of them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tfpersist as tfp

FORMS = {
    "plain": lambda freezer, feeds: freezer,
    "optimized": lambda freezer, feeds: freezer.optimize(),
    "golden": lambda freezer, feeds: freezer.parity(feeds, 1e-4),
}
SMALLER = {
    "float16": lambda freezer, feeds: freezer.weights("float16"),
    "int8": lambda freezer, feeds: freezer.optimize().weights("int8"),
}
EVERY_FORM = {**FORMS, **SMALLER}


@attrs.frozen
class Model:
    """A source of a frozen file.

    Args:
        freezer: of the source.
        feeds: by operation.
        output: the operation that is computed.
        expected: what the source gives.
        rival: the graph that TensorFlow's own freezer makes, the names of its inputs in the same
            order, and that of its output.
        shrunk: what TensorFlow computes with weights of fewer bits, by the form.
    """

    freezer: tfp.Freezer
    feeds: dict[str, np.ndarray]
    output: str
    expected: np.ndarray
    rival: tuple[bytes, list[str], str]
    shrunk: dict[str, np.ndarray] = attrs.field(factory=dict)

    def write(self, path: pathlib.Path, form: str, target: str | None = None) -> None:
        freezer = self.freezer if target is None else self.freezer.portable(target)
        EVERY_FORM[form](freezer, self.feeds).write(path)

    def check(self, form: str, target: str) -> tfp.Portability:
        return EVERY_FORM[form](self.freezer, self.feeds).check(target)


def random(*shape: int, seed: int = 0, near: float = 0.0, by: float = 1.0) -> np.ndarray:
    drawn = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return (near + by * drawn).astype(np.float32)


@contextmanager
def session() -> Iterator[v1.Session]:
    with tf.Graph().as_default(), v1.Session() as opened:
        yield opened


def of_session(opened: v1.Session, output: str, feeds: dict[str, np.ndarray]) -> Model:
    opened.run([v1.global_variables_initializer(), v1.tables_initializer()])
    expected = opened.run(f"{output}:0", {f"{name}:0": value for name, value in feeds.items()})
    held = tfp.Freezer(tfp.Freezer(opened).outputs(output).freeze())
    proto = v1.graph_util.convert_variables_to_constants(
        opened, opened.graph.as_graph_def(), [output]
    )
    return Model(held, feeds, output, expected, (proto.SerializeToString(), list(feeds), output))


def the_sum() -> Model:
    """v1 + v2 of TensorFlow 1, which needs no input."""
    with session() as opened:
        one = v1.get_variable("v1", initializer=tf.constant([1.0]), use_resource=False)
        two = v1.get_variable("v2", initializer=tf.constant([2.0]), use_resource=False)
        tf.add(one, two, name="add")
        return of_session(opened, "add", {})


def cnn() -> Model:
    """Convolution, batch norm, pooling and a dense layer of TensorFlow 1."""
    with session() as opened:
        x = v1.placeholder(tf.float32, [None, 16, 16, 3], name="Net/feed")
        kernel = v1.get_variable("conv/kernel", initializer=random(3, 3, 3, 8, by=0.3))
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        y, *_ = v1.nn.fused_batch_norm(
            y,
            v1.get_variable("gamma", initializer=random(8, near=1, by=0.2)),
            v1.get_variable("beta", initializer=random(8, seed=1)),
            mean=v1.get_variable("mean", initializer=random(8, seed=2)),
            variance=v1.get_variable("variance", initializer=random(8, near=3, by=0.2)),
            is_training=False,
        )
        y = tf.nn.max_pool2d(tf.nn.relu(y), 2, 2, "VALID")
        weight = v1.get_variable("dense/kernel", initializer=random(512, 10, by=0.1))
        bias = v1.get_variable("dense/bias", initializer=random(10, by=0.1))
        y = tf.matmul(tf.reshape(y, [-1, 512]), weight) + bias
        tf.nn.softmax(y, name="Net/probabilities")
        return of_session(opened, "Net/probabilities", {"Net/feed": random(1, 16, 16, 3)})


def mlp() -> Model:
    """Two dense layers of TensorFlow 1."""
    with session() as opened:
        y = v1.placeholder(tf.float32, [None, 12], name="x")
        for layer, shape in enumerate([(12, 24), (24, 5)]):
            weight = v1.get_variable(f"w{layer}", initializer=random(*shape, by=0.3))
            y = tf.matmul(y, weight) + v1.get_variable(f"b{layer}", initializer=random(shape[1]))
            y = tf.tanh(y) if layer else tf.nn.relu(y)
        tf.identity(y, name="y")
        return of_session(opened, "y", {"x": random(1, 12)})


def large(seed: int) -> np.ndarray:
    return random(256, 256, seed=seed, by=0.06)


def padded() -> Model:
    """Two large weights, with padding in the file before at least one of them."""
    with session() as opened:
        y = v1.placeholder(tf.float32, [None, 256], name="x")
        for seed, layer in enumerate(["a", "layer_of_a_longer_name"]):
            y = tf.matmul(y, v1.get_variable(layer, initializer=large(seed)))
        tf.identity(y, name="y")
        return of_session(opened, "y", {"x": random(1, 256)})


def defaults() -> Model:
    """Ops whose attrs have their default values: each runtime has defaults of its own."""
    with session() as opened:
        y = v1.placeholder(tf.float32, [None, 8, 8, 4], name="x")
        y = tf.raw_ops.LRN(input=y)
        y, *_ = tf.raw_ops.FusedBatchNormV3(
            x=y,
            scale=v1.get_variable("gamma", initializer=random(4, near=1, by=0.2)),
            offset=v1.get_variable("beta", initializer=random(4, seed=1)),
            mean=v1.get_variable("mean", initializer=random(4, seed=2)),
            # So small that the epsilon counts.
            variance=v1.get_variable("variance", initializer=np.float32([1e-4, 2e-4, 3e-4, 4e-4])),
            is_training=False,
        )
        y = tf.raw_ops.LeakyRelu(features=y)
        y = tf.strided_slice(y, [0, 1, 2, 0], [1, 7, 8, 4], [1, 1, 1, 1])
        weight = v1.get_variable("kernel", initializer=random(144, 5, by=0.1))
        tf.matmul(tf.reshape(y, [-1, 144]), weight, name="y")
        return of_session(opened, "y", {"x": random(1, 8, 8, 4)})


def keras() -> Model:
    """MobileNetV2 of Keras 3, small, with statistics as after training.

    It ends in maps of 2 x 2: OpenCV 4.14 and 5.0 get depthwise convolutions of 1 x 1 wrong.
    """
    tf.keras.utils.set_random_seed(3)
    net = tf.keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=10)
    for number, weight in enumerate(net.weights):
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(random(*weight.shape, seed=number, by=0.1))
        elif weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(random(*weight.shape, seed=number, near=1, by=0.1))
    return of_keras(net, random(1, 64, 64, 3))


def of_keras(net: tf.keras.Model, given: np.ndarray) -> Model:
    frozen = tfp.Freezer(net).freeze()
    (name,), (output,) = frozen.inputs, frozen.outputs
    feeds, expected = {name.operation: given}, np.asarray(net(given, training=False))
    call = tf.function(lambda x: net(x, training=False), autograph=False)
    spec = tf.TensorSpec((None, *given.shape[1:]), given.dtype)
    theirs = convert_variables_to_constants_v2(
        call.get_concrete_function(spec), lower_control_flow=False
    )
    ends = [theirs.inputs[0].op.name], theirs.outputs[0].op.name
    rival = (theirs.graph.as_graph_def().SerializeToString(), *ends)
    return Model(tfp.Freezer(frozen), feeds, output.operation, expected, rival)


def lstm() -> Model:
    """Two layers of LSTM cells of Keras 3, one of them in both directions."""
    tf.keras.utils.set_random_seed(4)
    layers = tf.keras.layers
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    net = tf.keras.Sequential([layers.Input((7, 3)), both, layers.LSTM(5)])
    return of_keras(net, random(1, 7, 3))


def gru() -> Model:
    """Two layers of GRU cells of Keras 3."""
    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    net = tf.keras.Sequential(
        [layers.Input((7, 3)), layers.GRU(4, return_sequences=True), layers.GRU(5)]
    )
    return of_keras(net, random(1, 7, 3))


def trained(net: tf.keras.Model) -> tf.keras.Model:
    """Set weights of a Keras model as after training: no zeros and ones, no variance below 0."""
    for number, weight in enumerate(net.weights):
        if weight.path.endswith(("variance", "gamma")):
            weight.assign(random(*weight.shape, seed=number, near=1, by=0.1))
        elif weight.path.endswith(("mean", "beta", "bias")):
            weight.assign(random(*weight.shape, seed=number, by=0.1))
    return net


def of_layers(seed: int, *layers: tf.keras.layers.Layer) -> Model:
    tf.keras.utils.set_random_seed(seed)
    net = trained(tf.keras.Sequential(layers))
    shape = (1, *net.input_shape[1:])
    if net.inputs[0].dtype == "int32":
        return of_keras(net, np.arange(shape[1], dtype=np.int32)[None] * 3 % 50)
    return of_keras(net, random(*shape))


def swish() -> Model:
    """A block of EfficientNet: swish, squeeze and excitation."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(6)
    given = tf.keras.Input((16, 16, 3))
    y = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(16, 3)(given)))
    gate = layers.Reshape((1, 1, 16))(layers.GlobalAveragePooling2D()(y))
    gate = layers.Conv2D(16, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="swish")(gate))
    y = layers.Dense(5)(layers.Flatten()(layers.Multiply()([y, gate])))
    return of_keras(trained(tf.keras.Model(given, y)), random(1, 16, 16, 3))


def generator() -> Model:
    """The generator of a GAN: transposed convolutions with batch norm."""
    layers = tf.keras.layers
    return of_layers(
        7,
        *(layers.Input((12,)), layers.Dense(4 * 4 * 8), layers.Reshape((4, 4, 8))),
        *(layers.BatchNormalization(), layers.LeakyReLU()),
        *(layers.Conv2DTranspose(6, 3, 2, "same"), layers.BatchNormalization(), layers.ReLU()),
        layers.Conv2DTranspose(3, 4, 2, "same", activation="tanh"),
    )


def attention() -> Model:
    """A block of a transformer: embedding, attention, layer norm, GELU."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(8)
    ids = tf.keras.Input((7,), dtype="int32")
    x = layers.Embedding(50, 32)(ids)
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 16)(x, x))
    y = layers.LayerNormalization()(y + layers.Dense(32)(layers.Dense(64, "gelu")(y)))
    y = layers.Dense(5)(layers.GlobalAveragePooling1D()(y))
    net = trained(tf.keras.Model(ids, y))
    return of_keras(net, np.arange(7, dtype=np.int32)[None] * 3)


def words() -> Model:
    """Words that a table looks up, and the mean of their embeddings."""
    with session() as opened:
        x = v1.placeholder(tf.string, [None, 4], name="x")
        entries = tf.lookup.KeyValueTensorInitializer(["a", "b", "c"], tf.range(3, dtype=tf.int64))
        table = tf.lookup.StaticHashTable(entries, 3)
        embedding = v1.get_variable("embedding", initializer=random(4, 300))
        tf.reduce_mean(tf.gather(embedding, table.lookup(x)), 1, name="y")
        return of_session(opened, "y", {"x": np.array([[b"a", b"c", b"?", b"b"]])})


def sequence() -> Model:
    """Convolutions over time."""
    layers = tf.keras.layers
    return of_layers(
        9,
        *(layers.Input((16, 3)), layers.Conv1D(24, 3), layers.BatchNormalization(), layers.ReLU()),
        *(layers.SeparableConv1D(48, 3), layers.MaxPooling1D(), layers.GlobalMaxPooling1D()),
        layers.Dense(5),
    )


def segments() -> Model:
    """A small U-Net: down, up by bilinear resizing, and joined."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(10)
    given = tf.keras.Input((16, 16, 3))
    high = layers.Conv2D(16, 3, padding="same", activation="relu")(given)
    low = layers.Conv2D(24, 3, padding="same", activation="relu")(layers.MaxPooling2D()(high))
    y = layers.UpSampling2D(interpolation="bilinear")(low)
    y = layers.Conv2D(4, 1)(layers.Concatenate()([high, y]))
    return of_keras(trained(tf.keras.Model(given, y)), random(1, 16, 16, 3))


def volumes() -> Model:
    """Convolutions in three dimensions."""
    layers = tf.keras.layers
    return of_layers(
        11,
        *(layers.Input((8, 8, 8, 2)), layers.Conv3D(8, 3), layers.BatchNormalization()),
        *(layers.ReLU(), layers.MaxPooling3D(), layers.Flatten(), layers.Dense(5)),
    )


def grouped() -> Model:
    """A block of ConvNeXt: Keras has XLA compile its depthwise convolution of many groups."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(12)
    given = tf.keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 4, 4)(given)
    y = layers.LayerNormalization()(layers.Conv2D(16, 3, padding="same", groups=16)(x))
    y = x + layers.Dense(16)(layers.Dense(32, "relu")(y))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    return of_keras(trained(tf.keras.Model(given, y)), random(1, 12, 12, 3))


MODELS: dict[str, Callable[[], Model]] = {
    "sum": the_sum,
    "cnn": cnn,
    "defaults": defaults,
    "mlp": mlp,
    "padded": padded,
    "keras": keras,
    "lstm": lstm,
    "gru": gru,
}
MORE: dict[str, Callable[[], Model]] = {
    "swish": swish,
    "generator": generator,
    "attention": attention,
    "words": words,
    "sequence": sequence,
    "segments": segments,
    "volumes": volumes,
    "grouped": grouped,
}
