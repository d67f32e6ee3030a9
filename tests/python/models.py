"""Small ONNX models for the tests."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

F32 = TensorProto.FLOAT


def make_model(nodes, inputs, outputs, weights=None) -> ModelProto:
    """inputs and outputs: name -> (onnx dtype, shape); weights: name -> array."""
    infos = [
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in group.items()]
        for group in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(w, name) for name, w in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", *infos, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def mlp(features=64, hidden=96, classes=10, seed=0) -> ModelProto:
    """x [N, features] -> y [N, classes]."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((hidden, features), np.float32) * np.float32(features**-0.5),
        "b1": rng.standard_normal(hidden, np.float32),
        "w2": rng.standard_normal((classes, hidden), np.float32) * np.float32(hidden**-0.5),
        "b2": rng.standard_normal(classes, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "fc1", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "fc2", transB=1),
    ]
    return make_model(nodes, {"x": (F32, ["N", features])}, {"y": (F32, ["N", classes])}, weights)


def convnet(side=16, seed=0) -> ModelProto:
    """x [N, 3, side, side] -> y [N, 8]."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((16, 3, 3, 3), np.float32) * np.float32(0.3),
        "w2": rng.standard_normal((16, 1, 3, 3), np.float32) * np.float32(0.3),
        "w3": rng.standard_normal((16, 16, 1, 1), np.float32) * np.float32(0.3),
        "w4": rng.standard_normal((8, 16), np.float32) * np.float32(0.3),
        "b4": rng.standard_normal(8, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv1", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "depthwise", pads=[1] * 4, group=16),
        helper.make_node("Relu", ["c"], ["d"], "relu2"),
        helper.make_node("Conv", ["d", "w3"], ["e"], "conv3"),
        helper.make_node("Add", ["e", "b"], ["f"], "add"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["h"], "flatten"),
        helper.make_node("Gemm", ["h", "w4", "b4"], ["y"], "fc", transB=1),
    ]
    return make_model(nodes, {"x": (F32, ["N", 3, side, side])}, {"y": (F32, ["N", 8])}, weights)


def add(dtype, shape=("N", "M")) -> ModelProto:
    """x + y -> z."""
    node = helper.make_node("Add", ["x", "y"], ["z"], "add")
    info = (dtype, list(shape))
    return make_model([node], {"x": info, "y": info}, {"z": info})


def identity(dtype, shape=("N", "M")) -> ModelProto:
    """x -> y, unchanged."""
    node = helper.make_node("Identity", ["x"], ["y"], "identity")
    return make_model([node], {"x": (dtype, list(shape))}, {"y": (dtype, list(shape))})


def mobile(side=19, seed=0) -> ModelProto:
    """x [N, 3, side, side] -> y [N, 5]: strides, pooling, depthwise, a residual, odd counts of channels."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)

    weights = {
        "w1": weight(19, 3, 3, 3),
        "b1": weight(19),
        "w2": weight(19, 1, 5, 5),
        "w3": weight(37, 19, 1, 1),
        "w4": weight(19, 37, 1, 1),
        "w5": weight(5, 19 * 4),
        "b5": weight(5),
    }
    six = {"low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "stem", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Clip", ["a", "low", "high"], ["b"], "clip1"),
        helper.make_node("MaxPool", ["b"], ["c"], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Conv", ["c", "w2"], ["d"], "depthwise", pads=[2] * 4, group=19),
        helper.make_node("HardSwish", ["d"], ["e"], "swish"),
        helper.make_node("Conv", ["e", "w3"], ["f"], "expand"),
        helper.make_node("Clip", ["f", "low", "high"], ["g"], "clip2"),
        helper.make_node("Conv", ["g", "w4"], ["h"], "project"),
        helper.make_node("Add", ["h", "c"], ["i"], "add"),
        helper.make_node("AveragePool", ["i"], ["j"], "averagepool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["j"], ["k"], "flatten"),
        helper.make_node("Gemm", ["k", "w5", "b5"], ["y"], "fc", transB=1),
    ]
    return make_model(nodes, {"x": (F32, ["N", 3, side, side])}, {"y": (F32, ["N", 5])}, weights | six)


def transformer(width=48, heads=4, seed=0) -> ModelProto:
    """ids int64 [N, S] below 50 -> y [N, S, width]: an embedding and one layer of attention and feed-forward."""
    rng = np.random.default_rng(seed)
    weights = {
        "table": rng.standard_normal((50, width), np.float32),
        "split": np.array([0, 0, heads, width // heads], np.int64),
        "join": np.array([0, 0, width], np.int64),
        "scale": np.float32((width // heads) ** -0.5),
        "one": np.ones(width, np.float32),
        "zero": np.zeros(width, np.float32),
    }
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x"], "embed")]

    def dense(name, source, inputs, outputs):
        weights[f"w_{name}"] = rng.standard_normal((inputs, outputs), np.float32) * np.float32(inputs**-0.5)
        weights[f"b_{name}"] = rng.standard_normal(outputs, np.float32) * np.float32(0.1)
        nodes.append(helper.make_node("MatMul", [source, f"w_{name}"], [f"{name}_m"], name))
        nodes.append(helper.make_node("Add", [f"{name}_m", f"b_{name}"], [name], f"{name}_bias"))

    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        dense(name, "x", width, width)
        nodes.append(helper.make_node("Reshape", [name, "split"], [f"{name}_s"], f"{name}_split"))
        nodes.append(helper.make_node("Transpose", [f"{name}_s"], [f"{name}_t"], f"{name}_heads", perm=perm))
    nodes += [
        helper.make_node("MatMul", ["q_t", "k_t"], ["qk"], "scores"),
        helper.make_node("Mul", ["qk", "scale"], ["scaled"], "scaling"),
        helper.make_node("Softmax", ["scaled"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v_t"], ["pv"], "mix"),
        helper.make_node("Transpose", ["pv"], ["pv_t"], "merge_heads", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["pv_t", "join"], ["attended"], "merge"),
    ]
    dense("out", "attended", width, width)
    nodes += [
        helper.make_node("Add", ["out", "x"], ["r1"], "residual1"),
        helper.make_node("LayerNormalization", ["r1", "one", "zero"], ["n1"], "norm1"),
    ]
    dense("up", "n1", width, 2 * width)
    nodes.append(helper.make_node("Gelu", ["up"], ["act"], "gelu"))
    dense("down", "act", 2 * width, width)
    nodes += [
        helper.make_node("Add", ["down", "n1"], ["r2"], "residual2"),
        helper.make_node("LayerNormalization", ["r2", "one", "zero"], ["y"], "norm2"),
    ]
    ids = {"ids": (TensorProto.INT64, ["N", "S"])}
    return make_model(nodes, ids, {"y": (F32, ["N", "S", width])}, weights)
