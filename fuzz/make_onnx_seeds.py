"""make_onnx_seeds.py FOLDER: small ONNX models, one for each feature of the importer."""

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def model(nodes, inputs, outputs, initializers=(), functions=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9)


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def main(folder):
    folder = Path(folder)
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    seeds = {
        "conv": model(
            [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])],
            [value("x", ["N", 3, 5, 5])],
            [value("y", None)],
            [weight],
        ),
        "reshape": model(
            [
                helper.make_node("Constant", [], ["s"], value_ints=[2, -1]),
                helper.make_node("Reshape", ["x", "s"], ["r"]),
                helper.make_node("Softmax", ["r"], ["y"], axis=-1),
            ],
            [value("x", [3, 4])],
            [value("y", None)],
        ),
        "old": model(
            [helper.make_node("Squeeze", ["x"], ["y"], axes=[0])], [value("x", [1, 4])], [value("y", None)], opset=9
        ),
        "clip": model(
            [helper.make_node("Clip", ["x", "", "h"], ["y"])],
            [value("x", [4])],
            [value("y", None)],
            [helper.make_tensor("h", TensorProto.FLOAT, [], [6.0])],
        ),
        "function": model(
            [helper.make_node("Twice", ["x"], ["y"], "call", domain="local", alpha=0.5)],
            [value("x", [4])],
            [value("y", None)],
            functions=[
                helper.make_function(
                    "local",
                    "Twice",
                    ["a"],
                    ["b"],
                    [helper.make_node("Add", ["a", "a"], ["b"])],
                    [helper.make_opsetid("", 17)],
                    ["alpha"],
                )
            ],
        ),
        "quantized": model(
            [
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ],
            [value("x", [4])],
            [value("y", None)],
            [
                helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
                helper.make_tensor("z", TensorProto.UINT8, [], [3]),
            ],
        ),
    }
    for name, proto in seeds.items():
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1])
