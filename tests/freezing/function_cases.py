"""Functions, modules and Keras models that compute the same frozen and live."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from casebook import Case, case, of_function, of_model, weights


@case()
def function_plain():
    w, b = tf.Variable(weights(3, 4), name="w"), tf.Variable(weights(4), name="w")
    scale = tf.constant(weights(4, seed=9))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="batch")])
    def predict(batch):
        return tf.nn.relu(batch @ w + b) * scale, tf.reduce_sum(batch)

    return of_function(predict, weights(2, 3))


@case()
def function_gathers():
    w = tf.Variable(weights(5, 4, 3))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
    def predict(ids):
        nd = tf.gather_nd(w, ids[:, None])
        return tf.gather(w, ids), nd, tf.gather(w, ids[:2, None] * 0 + [[1], [2]], axis=1)

    return of_function(predict, np.int32([0, 4, 2]))


@case()
def function_control_flow():
    a, b = tf.Variable(weights(4, 3)), tf.Variable(weights(4, 3, seed=1))

    @tf.function
    def row(i):
        return tf.gather(a, [i])

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)])
    def predict(n):
        h = tf.zeros((1, 3))
        for i in tf.range(n):
            if tf.equal(i % 2, 0):
                h += row(i) * tf.gather(b, [i])
            else:
                h = tf.sin(h) + b[i]
        outputs = tf.TensorArray(tf.float32, n, element_shape=(1, 3))
        for i in tf.range(n):
            outputs = outputs.write(i, h * tf.cast(i, tf.float32) + row(i))
        chosen = tf.switch_case(n % 3, [lambda: a * 1.0, lambda: b * 2.0, lambda: a + b])
        return h, outputs.stack(), chosen

    return of_function(predict, np.int32(4))


@case()
def function_dataset_reduce():
    w = tf.Variable(weights(3))

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def predict(batch):
        data = tf.data.Dataset.from_tensor_slices(batch).map(lambda row: row * w)
        return data.reduce(tf.zeros(3), lambda state, row: state + row * w)

    return of_function(predict, weights(4, 3))


@case()
def function_map_fn_and_strings():
    words = tf.Variable([b"a", b"bb", b"ccc"])
    w = tf.Variable(weights(3, 3))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
    def predict(ids):
        looked = tf.strings.length(tf.gather(words, ids))
        return tf.map_fn(lambda i: w[i] * 2.0, ids, fn_output_signature=tf.float32), looked

    return of_function(predict, np.int32([2, 0]))


@case()
def function_of_module():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(weights(3, 2), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec((None, 3), name="x")])
        def __call__(self, x):
            return {"b": x @ self.w, "a": tf.shape(self.w)}

    net = Net()
    concrete = net.__call__.get_concrete_function()
    x = weights(2, 3)
    results = net(tf.constant(x))
    names = [tensor.name for tensor in concrete.outputs]
    expected = [results["a"].numpy(), results["b"].numpy()]
    return Case(net.__call__, names, {"x:0": x}, expected, function=concrete, owner=net)


@case()
def function_ragged():
    w = tf.Variable(weights(5, 2))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])
    def predict(lengths):
        ragged = tf.RaggedTensor.from_row_lengths(tf.range(5), lengths)
        return tf.reduce_sum(tf.gather(w, ragged), axis=1)

    return of_function(predict, np.int64([2, 0, 3]))


@case()
def keras_dense():
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2, name="result")]
    )
    return of_model(model, weights(2, 4), outputs=["result:0"])


@case()
def keras_convnet():
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, "softmax"),
        ]
    )
    return of_model(model, weights(2, 8, 8, 3))


@case("LSTM", "GRU", "bidirectional", "attention", "mixed", "quantised", "several")
def keras_layer(variant):
    import keras

    layers = keras.layers
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(20, 8, mask_zero=variant == "bidirectional")(ids)
    if variant in ("LSTM", "GRU"):
        y = getattr(layers, variant)(5)(x)
    elif variant == "bidirectional":
        y = layers.Bidirectional(layers.LSTM(4))(x)
    elif variant == "attention":
        y = layers.MultiHeadAttention(2, 4)(x, x)
    elif variant == "mixed":
        y = layers.Dense(3, dtype="mixed_bfloat16")(x)
    elif variant == "quantised":
        dense = layers.Dense(3)
        y = dense(x)
        dense.quantize("int8")
    else:
        other = keras.Input((3,), name="other")
        pooled = layers.GlobalMaxPooling1D()(x)
        y = layers.Concatenate()([pooled, other])
        model = keras.Model([ids, other], [y, pooled])
        return of_model(model, np.int32([[1, 2, 3, 0, 0, 0]]), weights(1, 3))
    return of_model(keras.Model(ids, y), np.int32([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 9]]))


@case()
def keras_conditional_layers():
    import keras

    class Gated(keras.layers.Layer):
        def build(self, shape):
            self.a = self.add_weight(shape=(shape[-1],), initializer="ones")
            self.b = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False)

        def call(self, x):
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x * self.a, lambda: x - self.b)

    inputs = keras.Input((3,), name="x")
    return of_model(keras.Model(inputs, Gated()(inputs)), weights(2, 3))


@case()
def module_with_while_and_nested_calls():
    class Cell(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(weights(3, 3))

        @tf.function
        def __call__(self, h):
            return tf.tanh(h @ self.w)

    cells = [Cell(), Cell()]

    @tf.function(input_signature=[tf.TensorSpec((2, 3), name="x")])
    def run(x):
        def step(i, h):
            return i + 1, tf.cond(i % 2 < 1, lambda: cells[0](h), lambda: cells[1](h) + h)

        return tf.while_loop(lambda i, h: i < 5, step, (0, x))[1]

    return of_function(run, weights(2, 3))
