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
