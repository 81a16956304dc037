"""The names that TensorFlow and Keras use in their versions, as tables. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Set

# The role of a tensor in a layer, as Keras 3 calls it, by the names of all eras: "weights" and
# "biases" of TF-Slim, "w" and "b" of Sonnet and of code by hand, "depthwise_kernel" of Keras 2.
ROLES: Mapping[str, str] = {
    **dict.fromkeys(("kernel", "w", "weight", "weights", "filter", "filters", "kernels"), "kernel"),
    **dict.fromkeys(("bias", "b", "biases"), "bias"),
    **dict.fromkeys(("gamma", "scale"), "gamma"),
    **dict.fromkeys(("beta", "offset", "shift"), "beta"),
    **dict.fromkeys(("moving_mean", "running_mean", "mean"), "moving_mean"),
    **dict.fromkeys(
        ("moving_variance", "running_var", "moving_var", "variance"), "moving_variance"
    ),
    **dict.fromkeys(("embeddings", "embedding", "embedding_table"), "embeddings"),
    "recurrent_kernel": "recurrent_kernel",
    "recurrent_bias": "recurrent_bias",
    "depthwise_kernel": "depthwise_kernel",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_kernel": "pointwise_kernel",
    "pointwise_weights": "pointwise_kernel",
    "alpha": "alpha",
    "count": "count",
    "total": "total",
    "seed_generator_state": "seed_generator_state",
}

# The names that Keras gives to layers by itself, and tf.layers, slim and contrib to scopes.
# fmt: off
LAYERS = frozenset(
    {
        "BatchNorm", "Conv", "LayerNorm", "activation",
        "activity_regularization", "add", "additive_attention", "alpha_dropout", "attention",
        "average", "average_pooling1d", "average_pooling2d", "average_pooling3d",
        "batch_normalization", "bidirectional", "category_encoding", "center_crop",
        "concatenate", "conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "conv3d",
        "conv3d_transpose", "conv_lstm1d", "conv_lstm2d", "conv_lstm3d", "cropping1d",
        "cropping2d", "cropping3d", "dense", "dense_features", "depthwise_conv1d",
        "depthwise_conv2d", "discretization", "dot", "dropout", "einsum_dense", "elu",
        "embedding", "flatten", "fully_connected", "functional", "gaussian_dropout",
        "gaussian_noise", "global_average_pooling1d", "global_average_pooling2d",
        "global_average_pooling3d", "global_max_pooling1d", "global_max_pooling2d",
        "global_max_pooling3d", "group_normalization", "group_query_attention", "gru",
        "gru_cell", "hashed_crossing", "hashing", "identity", "input_layer", "integer_lookup",
        "lambda", "layer_normalization", "leaky_re_lu", "locally_connected1d",
        "locally_connected2d", "lstm", "lstm_cell", "masking", "max_pooling1d", "max_pooling2d",
        "max_pooling3d", "maximum", "minimum", "model", "multi_head_attention", "multiply",
        "normalization", "p_re_lu", "permute", "random_brightness", "random_contrast",
        "random_crop", "random_flip", "random_height", "random_rotation", "random_translation",
        "random_width", "random_zoom", "re_lu", "repeat_vector", "rescaling", "reshape",
        "resizing", "rms_normalization", "rnn", "seed_generator", "separable_conv1d",
        "separable_conv2d", "sequential", "simple_rnn", "simple_rnn_cell", "softmax",
        "spatial_dropout1d", "spatial_dropout2d", "spatial_dropout3d", "spectral_normalization",
        "stacked_rnn_cells", "string_lookup", "subtract", "text_vectorization",
        "time_distributed", "unit_normalization", "up_sampling1d", "up_sampling2d",
        "up_sampling3d", "zero_padding1d", "zero_padding2d", "zero_padding3d",
    }
)
# fmt: on

# The attributes under which layers hold their only part, which has no name of its own.
ONLY_PARTS = frozenset({"cell", "layer"})

# The attributes under which the layers of Keras hold their parts.
PARTS = frozenset(
    {
        *("cell", "layer", "forward_layer", "backward_layer"),
        *("query_dense", "key_dense", "value_dense", "output_dense"),
    }
)

# Words that people count with, and scopes that always follow each other: those of BERT.
COUNTING = (
    ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"),
    ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"),
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    tuple("abcdefgh"),
    ("embeddings", "encoder", "pooler"),
    ("word_embeddings", "token_type_embeddings", "position_embeddings", "layernorm"),
    ("attention", "intermediate", "output"),
    ("self", "output"),
    ("query", "key", "value"),
    ("dense", "layernorm"),
)

# The optimizers whose slots mean the same.
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("adam", "adam_w", "adamw", "nadam", "lamb"), "adam"),
    "adamax": "adamax",
    **dict.fromkeys(("rms_prop", "rm_sprop", "rmsprop"), "rmsprop"),
    "sgd": "sgd",
    "adagrad": "adagrad",
    "adadelta": "adadelta",
    "ftrl": "ftrl",
    "lion": "lion",
    "adafactor": "adafactor",
    "muon": "muon",
}

# The slot that a list of Keras 3 or of new-style tf-keras holds, by the kind of the optimizer.
LISTS: Mapping[str, Mapping[str, str]] = {
    "adam": {"_momentums": "m", "_velocities": "v", "_velocity_hats": "vhat"},
    "adamax": {"_m": "m", "_u": "v"},
    "rmsprop": {"_velocities": "rms", "_momentums": "momentum", "_average_gradients": "mg"},
    "sgd": {"momentums": "momentum"},
    "adagrad": {"_accumulators": "accumulator"},
    "adadelta": {"_accumulated_grads": "accum_grad", "_accumulated_delta_vars": "accum_var"},
    "ftrl": {"_accumulators": "accumulator", "_linears": "linear"},
    "lion": {"_momentums": "m", "momentums": "m"},
}

# Those of them that depend on how the optimizer was made. Lion has one of its two.
OPTIONAL_LISTS: Mapping[str, Set[str]] = {
    "adam": {"_velocity_hats"},
    "rmsprop": {"_momentums", "_average_gradients"},
    "lion": {"_momentums", "momentums"},
}

# All these lists.
SLOT_LISTS = frozenset(name for lists in LISTS.values() for name in lists)

# The attributes under which an optimizer holds the one that it wraps.
INNER = ("inner_optimizer", "base_optimizer", "_optimizer")

# The lists that every optimizer can have.
COMMON_LISTS: Mapping[str, str] = {
    "_model_variables_moving_average": "average",
    "_accumulated_gradients": "accumulated_gradient",
}

# The slot of each name that a slot variable has, by the kind of the optimizer.
_MOMENTS = {
    **dict.fromkeys(("m", "momentum"), "m"),
    **dict.fromkeys(("v", "velocity"), "v"),
    **dict.fromkeys(("vhat", "velocity_hat"), "vhat"),
}
SLOT_WORDS: Mapping[str, Mapping[str, str]] = {
    "adam": _MOMENTS,
    "adamax": {**_MOMENTS, **dict.fromkeys(("u", "norm"), "v")},
    "rmsprop": {
        **dict.fromkeys(("rms", "velocity"), "rms"),
        "momentum": "momentum",
        **dict.fromkeys(("mg", "average_gradient"), "mg"),
    },
    "sgd": dict.fromkeys(("m", "momentum"), "momentum"),
    "adagrad": {"accumulator": "accumulator"},
    "adadelta": {
        **dict.fromkeys(("accum_grad", "accumulated_grad"), "accum_grad"),
        **dict.fromkeys(("accum_var", "accumulated_delta_var"), "accum_var"),
    },
    "ftrl": {"accumulator": "accumulator", "linear": "linear"},
    "lion": dict.fromkeys(("m", "momentum"), "m"),
}
# The same for all optimizers.
COMMON_SLOT_WORDS = {"average": "average", "gradient_accumulator": "accumulated_gradient"}

# The single variables of an optimizer, as Keras 3 calls them, by the names of Keras 2.
SCALARS: Mapping[str, str] = {
    "iter": "iterations",
    "momentum_cache": "u_product",
}

# The state of loss scaling, as Keras 3 calls it, by the names of tf-keras.
LOSS_SCALE: Mapping[str, str] = {
    "step_counter": "loss_scale/good_steps",
    "dynamic_scale": "loss_scale/current_loss_scale",
}

# The numbers that legacy optimizers keep as variables, and others only in their configuration.
NUMBERS = frozenset(
    {
        *("beta", "beta_1", "beta_2", "decay", "epsilon", "learning_rate_power", "momentum", "rho"),
        *("initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength"),
    }
)

# The kind of a legacy optimizer by the slots that it has. "m" and "v" are those of two kinds.
LEGACY_SLOTS: Mapping[frozenset[str], str] = {
    frozenset({"m", "v", "vhat"}): "adam",
    frozenset({"rms"}): "rmsprop",
    frozenset({"rms", "momentum"}): "rmsprop",
    frozenset({"rms", "mg"}): "rmsprop",
    frozenset({"rms", "momentum", "mg"}): "rmsprop",
    frozenset({"momentum"}): "sgd",
    frozenset({"accumulator"}): "adagrad",
    frozenset({"accum_grad", "accum_var"}): "adadelta",
    frozenset({"accumulator", "linear"}): "ftrl",
}
