"""The operators and functions of Keras that ferjax knows, by their names in Keras 2 and 3.

Both directions go by this table: a file's names lead to a layer, and an `Operation` to the class
of Keras 3 that it is written as.
"""

from __future__ import annotations

from typing import Any

from ferjax.keras import operation_layers as layers
from ferjax.keras.operation_layers import REQUIRED, KnownOperation

_XY = ("x1", "x2")
_Y = {"y": "x2"}


def _operator(operation: str, keras_3: str, *keras_2: str) -> KnownOperation:
    return KnownOperation(
        layers.elementwise, keras_3, keras_2, _XY, renamed=_Y, operation=operation
    )


def _function(operation: str, keras_3: str, *keras_2: str) -> KnownOperation:
    return KnownOperation(layers.elementwise, keras_3, keras_2, operation=operation)


def _activates(name: str, keras_3: str, *keras_2: str, **neutral: Any) -> KnownOperation:
    return KnownOperation(layers.activation(name), keras_3, keras_2, neutral=neutral)


def _reduces(operation: str, keras_3: str, *keras_2: str) -> KnownOperation:
    return KnownOperation(
        layers.reduced,
        keras_3,
        keras_2,
        settings={"axis": None, "keepdims": False},
        neutral={"initial": None, "keep_dims": None, "reduction_indices": None},
        operation=operation,
    )


def _arranges(operation: str, keras_3: str, *keras_2: str, **neutral: Any) -> KnownOperation:
    settings = {"axis": REQUIRED}
    return KnownOperation(
        layers.arranged, keras_3, keras_2, settings=settings, neutral=neutral, operation=operation
    )


def _pools(kind: str, keras_3: str, *keras_2: str) -> KnownOperation:
    return KnownOperation(
        layers.pooled(kind),
        keras_3,
        keras_2,
        settings={"pool_size": REQUIRED, "strides": None, "padding": "valid"},
        renamed={"ksize": "pool_size"},
        neutral={"data_format": (None, "channels_last", "NHWC")},
    )


TABLE: tuple[KnownOperation, ...] = (
    _operator("add", "Add", "math.add", "__operators__.add"),
    _operator("subtract", "Subtract", "math.subtract", "__operators__.subtract"),
    _operator("multiply", "Multiply", "math.multiply", "__operators__.multiply"),
    _operator("divide", "TrueDivide", "math.truediv", "realdiv", "__operators__.truediv"),
    _operator("divide", "Divide", "math.divide", "RealDiv"),
    _operator("power", "Power", "math.pow", "__operators__.pow"),
    _operator("maximum", "Maximum", "math.maximum"),
    _operator("minimum", "Minimum", "math.minimum"),
    KnownOperation(
        layers.elementwise,
        "",
        ("nn.bias_add",),
        _XY,
        renamed={"bias": "x2"},
        neutral={"data_format": (None, "NHWC", "N...C")},
        operation="add",
    ),
    KnownOperation(layers.summed, "", ("math.add_n",), ("xs",)),
    KnownOperation(
        layers.elementwise,
        "Clip",
        ("clip_by_value",),
        ("x", "x_min", "x_max"),
        renamed={"clip_value_min": "x_min", "clip_value_max": "x_max"},
        operation="clip",
    ),
    KnownOperation(layers.negative, "Negative", ("math.negative", "__operators__.neg")),
    _function("abs", "Absolute", "math.abs"),
    _function("abs", "Abs"),
    _function("sqrt", "Sqrt", "math.sqrt"),
    _function("rsqrt", "math.Rsqrt", "math.rsqrt"),
    _function("square", "Square", "math.square"),
    _function("log", "Log", "math.log"),
    _function("stop_gradient", "core.StopGradient", "stop_gradient"),
    _activates("exponential", "Exp", "math.exp"),
    _activates("relu", "nn.Relu", "nn.relu"),
    KnownOperation(layers.layer("ReLU", max_value=6.0), "nn.Relu6", ("nn.relu6",)),
    _activates("sigmoid", "nn.Sigmoid", "math.sigmoid"),
    _activates("log_sigmoid", "nn.LogSigmoid", "math.log_sigmoid"),
    _activates("tanh", "Tanh", "math.tanh"),
    _activates("silu", "nn.Silu", "nn.silu"),
    _activates("softplus", "nn.Softplus", "math.softplus"),
    _activates("softsign", "nn.Softsign", "nn.softsign"),
    _activates("selu", "nn.Selu", "nn.selu"),
    _activates("hard_sigmoid", "nn.HardSigmoid"),
    _activates("hard_silu", "nn.HardSilu"),
    _activates("hard_tanh", "nn.HardTanh"),
    _activates("celu", "nn.Celu", alpha=1.0),
    _activates("hard_shrink", "nn.HardShrink", threshold=0.5),
    _activates("soft_shrink", "nn.SoftShrink", threshold=0.5),
    _activates("tanh_shrink", "nn.TanhShrink"),
    _activates("sparse_plus", "nn.SparsePlus"),
    _activates("squareplus", "nn.Squareplus"),
    KnownOperation(layers.layer("ELU"), "nn.Elu", ("nn.elu",), settings={"alpha": 1.0}),
    KnownOperation(
        layers.layer("LeakyReLU"),
        "nn.LeakyRelu",
        ("nn.leaky_relu",),
        settings={"negative_slope": 0.2},
        renamed={"alpha": "negative_slope"},
    ),
    KnownOperation(layers.gelu, "nn.Gelu", settings={"approximate": True}, operation="gelu_tanh"),
    KnownOperation(
        layers.gelu, "", ("nn.gelu",), settings={"approximate": False}, operation="gelu_tanh"
    ),
    KnownOperation(layers.softmax("softmax"), "nn.Softmax", ("nn.softmax",), settings={"axis": -1}),
    KnownOperation(
        layers.softmax("log_softmax"), "nn.LogSoftmax", ("nn.log_softmax",), settings={"axis": -1}
    ),
    _reduces("mean", "Mean", "math.reduce_mean", "compat.v1.reduce_mean"),
    _reduces("sum", "Sum", "math.reduce_sum", "compat.v1.reduce_sum"),
    _reduces("max", "Max", "math.reduce_max", "compat.v1.reduce_max"),
    _reduces("min", "Min", "math.reduce_min", "compat.v1.reduce_min"),
    _reduces("max", "Amax"),
    _reduces("min", "Amin"),
    _reduces("var", "Var", "math.reduce_variance"),
    _reduces("std", "Std", "math.reduce_std"),
    KnownOperation(layers.concatenated, "Concatenate", ("concat",), ("xs",), settings={"axis": 0}),
    KnownOperation(
        layers.unchanged, "Stack", ("stack",), ("xs",), settings={"axis": 0}, operation="stack"
    ),
    KnownOperation(
        layers.reshaped,
        "Reshape",
        ("reshape",),
        settings={"newshape": REQUIRED},
        renamed={"shape": "newshape"},
    ),
    KnownOperation(
        layers.transposed,
        "Transpose",
        ("transpose", "compat.v1.transpose"),
        settings={"axes": None},
        renamed={"perm": "axes"},
        neutral={"conjugate": False},
        operation="transpose",
    ),
    _arranges("flip", "Flip", "reverse"),
    _arranges("expand_dims", "ExpandDims", "expand_dims", "compat.v1.expand_dims", dim=None),
    _arranges("squeeze", "Squeeze", "squeeze", "compat.v1.squeeze", squeeze_dims=None),
    KnownOperation(
        layers.arranged,
        "Repeat",
        ("repeat",),
        settings={"repeats": REQUIRED, "axis": None},
        operation="repeat",
    ),
    KnownOperation(layers.three_channels, "", ("image.grayscale_to_rgb",)),
    KnownOperation(
        layers.unchanged,
        "image.RGBToGrayscale",
        ("image.rgb_to_grayscale",),
        neutral={"data_format": (None, "channels_last")},
        operation="grayscale",
    ),
    KnownOperation(layers.mirrored(1), "", ("image.flip_up_down",)),
    KnownOperation(layers.mirrored(2), "", ("image.flip_left_right",)),
    KnownOperation(
        layers.resized,
        "image.Resize",
        ("image.resize",),
        settings={
            "size": REQUIRED,
            "interpolation": "bilinear",
            "antialias": False,
            "crop_to_aspect_ratio": False,
            "pad_to_aspect_ratio": False,
            "fill_mode": "constant",
            "fill_value": 0.0,
        },
        renamed={"method": "interpolation"},
        neutral={"preserve_aspect_ratio": False, "data_format": (None, "channels_last")},
    ),
    KnownOperation(
        layers.padded,
        "Pad",
        ("pad", "compat.v1.pad"),
        settings={"pad_width": REQUIRED, "mode": "constant", "constant_values": None},
        renamed={"paddings": "pad_width"},
    ),
    KnownOperation(
        layers.taken,
        "Take",
        ("gather", "compat.v1.gather"),
        settings={"indices": REQUIRED, "axis": None},
        neutral={"validate_indices": None, "batch_dims": 0},
    ),
    KnownOperation(layers.cast, "core.Cast", ("cast",), settings={"dtype": REQUIRED}),
    _activates("linear", "Identity", "identity", "convert_to_tensor"),
    _activates("linear", "Copy"),
    _pools("MaxPooling2D", "nn.MaxPool", "nn.max_pool2d"),
    _pools("AveragePooling2D", "nn.AveragePool", "nn.avg_pool2d"),
    KnownOperation(
        layers.indexed,
        "GetItem",
        ("__operators__.getitem",),
        settings={"key": REQUIRED},
        renamed={"slice_spec": "key"},
        operation="get_item",
    ),
)
BY_CLASS = {spec.class_name: spec for spec in TABLE if spec.keras_3}
BY_FUNCTION = {name: spec for spec in TABLE for name in spec.keras_2}
# As which each `Operation` is written: the first of the table that Keras 3 has.
BY_OPERATION = {spec.operation: spec for spec in reversed(TABLE) if spec.keras_3}
