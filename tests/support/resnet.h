// A residual network of bottleneck blocks as a graph that trains: weights are states, the loss its output. Depths {3,
// 4, 6, 3} of width 64 are ResNet-50 (He et al. 2015, stride in the 3 x 3 layer as in torchvision).
#pragma once

#include <gtest/gtest.h>

#include "ops/op_def.h"
#include "support/graphs.h"

namespace lowp::test {

struct ResNet {
  int64_t batch = 2, image = 32, classes = 10;
  int64_t width = 8;
  std::vector<int64_t> depths = {2, 1};
  // Storage of activations, and of weights as layers see them; states stay f32.
  DType dtype = DType::kF32;

  // Inputs x [batch, 3, image, image] in f32 and labels [batch]; output "loss".
  ir::Value* build(ir::Graph& graph) {
    GraphBuilder b(graph);
    ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{batch, 3, image, image}));
    ir::Value* labels = graph.add_input("labels", TensorType(DType::kI64, Extents{batch}));
    x = normalized(b, convolution(b, cast(b, x, dtype), 3, width, 7, 2), width, nullptr, true);
    x = b.op("MaxPool", {x}, window(3, 2));
    int64_t channels = width;
    for (size_t stage = 0; stage < depths.size(); ++stage) {
      const int64_t inner = width << stage;
      for (int64_t i = 0; i < depths[stage]; ++i) {
        x = block(b, x, channels, inner, i == 0 && stage > 0 ? 2 : 1);
        channels = 4 * inner;
      }
    }
    x = cast(b, b.op("Flatten", {b.op("GlobalAveragePool", {x})}), DType::kF32);
    ir::Value* weight = parameter(b, {channels, classes}, 1 / std::sqrt(static_cast<double>(channels)));
    ir::Value* scores = b.op("Add", {b.op("MatMul", {x, weight}), parameter(b, {classes}, 0)});
    ir::Value* loss = b.op("SoftmaxCrossEntropyLoss", {scores, labels});
    graph.outputs() = {{"loss", loss}};
    return loss;
  }

 private:
  static AttrMap window(int64_t kernel, int64_t stride) {
    using Ints = std::vector<int64_t>;
    return {{"kernel_shape", Ints{kernel, kernel}}, {"strides", Ints{stride, stride}}, {"pads", Ints(4, kernel / 2)}};
  }
  static ir::Value* cast(GraphBuilder& b, ir::Value* v, DType to) {
    return v->type.dtype == to ? v : b.op("Cast", {v}, {{"to", ir::dtype_to_onnx(to)}});
  }
  ir::Value* parameter(GraphBuilder& b, const Extents& extents, double limit, float middle = 0) {
    Tensor t = Tensor::zeros(DType::kF32, extents);
    for (int64_t i = 0; i < t.size(); ++i)
      t.mutable_data<float>()[i] = middle + random_.uniform(-1, 1) * static_cast<float>(limit);
    return b.graph().add_state("p" + std::to_string(b.graph().states().size()), std::move(t));
  }
  ir::Value* convolution(GraphBuilder& b, ir::Value* x, int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    const double fan_in = static_cast<double>(in * kernel * kernel);
    ir::Value* w = parameter(b, {out, in, kernel, kernel}, std::sqrt(6 / fan_in));
    return b.op("Conv", {x, cast(b, w, dtype)}, window(kernel, stride));
  }
  ir::Value* normalized(GraphBuilder& b, ir::Value* x, int64_t channels, ir::Value* residual, bool relu) {
    std::vector<ir::Value*> operands = {x, parameter(b, {channels}, 0.1, 1), parameter(b, {channels}, 0.1)};
    if (residual != nullptr) operands.push_back(residual);
    return b.op_n(3, "BatchNormTraining", operands, {{"relu", int64_t{relu ? 1 : 0}}}, kLowpDomain)[0];
  }
  ir::Value* block(GraphBuilder& b, ir::Value* x, int64_t in, int64_t inner, int64_t stride) {
    const int64_t out = 4 * inner;
    ir::Value* shortcut = x;
    if (in != out || stride != 1) shortcut = normalized(b, convolution(b, x, in, out, 1, stride), out, nullptr, false);
    x = normalized(b, convolution(b, x, in, inner, 1, 1), inner, nullptr, true);
    x = normalized(b, convolution(b, x, inner, inner, 3, stride), inner, nullptr, true);
    return normalized(b, convolution(b, x, inner, out, 1, 1), out, shortcut, true);
  }

  Random random_;
};

}  // namespace lowp::test
