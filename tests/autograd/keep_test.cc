// What recurrences keep in 16 bits: the forward pass has the same bits, gradients are near, and memory is less.
#include "autograd/keep.h"

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "kernels/gemm/gemm.h"
#include "support/graphs.h"

namespace lowp {
namespace {

constexpr int64_t kSteps = 12, kBatch = 8, kHidden = 16;
constexpr int kLayers = 6;

// Layers of LSTM or GRU, one behind the other; the last one's output is the first graph output, gradients follow.
struct Stack {
  ir::Graph graph;
  std::vector<Tensor> inputs;
  Stack(bool lstm, DType kept) {
    test::Random random;
    GraphBuilder b(graph);
    const int64_t width = (lstm ? 4 : 3) * kHidden;
    inputs.push_back(test::random_floats(random, {kSteps, kBatch, kHidden}));
    ir::Value* x = graph.add_input("x", inputs.back().type());
    std::vector<ir::Value*> weights;
    auto weight = [&](const std::string& name, Extents extents) {
      inputs.push_back(test::random_floats(random, extents, -0.3, 0.3));
      weights.push_back(graph.add_input(name, inputs.back().type()));
      return weights.back();
    };
    for (int i = 0; i < kLayers; ++i) {
      const std::string name = std::to_string(i);
      ir::Value* xw = b.op("MatMul", {x, weight("w" + name, {kHidden, width})});
      x = b.op(lstm ? "LSTM" : "GRU", {xw, weight("r" + name, {width, kHidden})}, {{"hidden", kHidden}}, kLowpDomain);
    }
    ir::Value* loss = b.op("ReduceSum", {b.op("Mul", {x, x})}, {{"keepdims", int64_t{0}}});
    auto gradients = autograd::build_gradients(graph, loss, weights);
    EXPECT_TRUE(gradients);
    autograd::keep_recurrences_in(graph, kept);
    EXPECT_TRUE(ir::verify(graph).is_ok());
    graph.outputs().push_back({"y", x});
    for (ir::Value* w : weights) graph.outputs().push_back({w->name + "_gradient", gradients->at(w)});
  }
  size_t arena_bytes() const { return test::arena_bytes(graph, inputs); }
};

TEST(Keep, RecurrencesInSixteenBits) {
  for (const bool lstm : {true, false}) {
    const Stack exact(lstm, DType::kF32);
    const std::vector<Tensor> want = test::run_ok(*test::session_for(exact.graph), exact.inputs);
    // Of each rounded factor the relative error is half of the dtype's epsilon; gradients of six layers add up many.
    for (const auto& [dtype, tolerance] : {std::pair{DType::kBF16, 0.02}, std::pair{DType::kF16, 0.0025}}) {
      const Stack stored(lstm, dtype);
      const std::vector<Tensor> have = test::run_ok(*test::session_for(stored.graph), stored.inputs);
      // The forward pass keeps its bits, unless its products are of bf16.
      const bool rounded = dtype == DType::kBF16 && kernels::product_kind(dtype) == kernels::WeightKind::kBF16;
      EXPECT_EQ(have[0].same_bits(want[0]), !rounded);
      for (size_t i = rounded ? 0 : 1; i < want.size(); ++i) {
        const std::vector<double> a = ops::to_doubles(have[i]), b = ops::to_doubles(want[i]);
        double error = 0, norm = 0;
        for (size_t k = 0; k < a.size(); ++k) error += (a[k] - b[k]) * (a[k] - b[k]), norm += b[k] * b[k];
        EXPECT_GT(error, 0) << i;
        EXPECT_LT(std::sqrt(error / norm), tolerance) << dtype_name(dtype) << " " << stored.graph.outputs()[i].name;
      }
      EXPECT_LT(stored.arena_bytes(), exact.arena_bytes() * 6 / 7) << (lstm ? "LSTM" : "GRU");
    }
  }
}

TEST(Keep, F32ChangesNothing) {
  Stack stack(true, DType::kF32);
  const size_t nodes = stack.graph.nodes().size();
  autograd::keep_recurrences_in(stack.graph, DType::kF32);
  EXPECT_EQ(stack.graph.nodes().size(), nodes);
}

}  // namespace
}  // namespace lowp
