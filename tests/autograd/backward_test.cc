// Gradients of whole graphs, and errors.
#include "autograd/backward.h"

#include <gtest/gtest.h>

#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

// x [5, 4] -> tanh layer, layer norm, shared weights used twice, softmax cross entropy with labels; all in double.
struct Mlp {
  Random random;
  ir::Graph graph;
  GraphBuilder b{graph};
  std::vector<Tensor> inputs;
  ir::Value* loss = nullptr;

  ir::Value* add(std::string name, Extents e) {
    inputs.push_back(test::random_tensor(random, DType::kF64, e, -1, 1));
    return graph.add_input(std::move(name), inputs.back().type());
  }
  Mlp() {
    ir::Value* x = add("x", {5, 4});
    ir::Value* w1 = add("w1", {4, 6});
    ir::Value* b1 = add("b1", {6});
    ir::Value* w2 = add("w2", {6, 6});
    ir::Value* gamma = add("gamma", {6});
    ir::Value* w3 = add("w3", {3, 6});
    ir::Value* h = b.op("Tanh", {b.op("Add", {b.op("MatMul", {x, w1}), b1})});
    h = b.op("Add", {h, b.op("Sigmoid", {b.op("MatMul", {h, w2})})});
    h = b.op("MatMul", {b.op("LayerNormalization", {h, gamma}), w2});  // the second use of w2
    ir::Value* scores = b.op("Gemm", {h, w3}, {{"transB", int64_t{1}}});
    ir::Value* labels = b.constant(Tensor::from<int64_t>({5}, {0, 2, 1, 1, 0}), "labels");
    loss = b.op("SoftmaxCrossEntropyLoss", {scores, labels});
  }
};

TEST(Backward, MlpMatchesFiniteDifferences) {
  SCOPED_TRACE("LOWP_SEED=" + std::to_string(Random::seed()));
  Mlp m;
  ASSERT_EQ(m.loss->type.rank(), 0);
  auto gradients = autograd::build_gradients(m.graph, m.loss, m.graph.inputs());
  ASSERT_TRUE(gradients) << gradients.error().to_string();
  ASSERT_TRUE(ir::verify(m.graph).is_ok());
  m.graph.outputs().push_back({"loss", m.loss});
  for (ir::Value* v : m.graph.inputs()) {
    ASSERT_TRUE(gradients->contains(v)) << v->name;
    EXPECT_EQ(gradients->at(v)->type, v->type) << v->name;
    m.graph.outputs().push_back({v->name + "_gradient", gradients->at(v)});
  }
  const std::vector<Tensor> out = test::evaluate_ok(m.graph, m.inputs);
  for (size_t i = 0; i < m.inputs.size(); ++i) {
    for (int64_t e = 0; e < m.inputs[i].size(); ++e) {
      auto loss_at = [&](double delta) {
        std::vector<Tensor> moved = m.inputs;
        moved[i] = moved[i].clone();
        moved[i].mutable_data<double>()[e] += delta;
        return test::evaluate_ok(m.graph, moved)[0].data<double>()[0];
      };
      EXPECT_NEAR(out[i + 1].data<double>()[e], (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-8)
          << m.graph.inputs()[i]->name << " " << e;
    }
  }
}

TEST(Backward, WhatTheLossDoesNotDependOnIsAbsent) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{3}));
  ir::Value* y = graph.add_input("y", TensorType(DType::kF32, Extents{3}));
  ir::Value* loss = b.op("ReduceSum", {b.op("Mul", {x, x})}, {{"keepdims", int64_t{0}}});
  auto g = autograd::build_gradients(graph, loss, {x, y});
  ASSERT_TRUE(g);
  EXPECT_TRUE(g->contains(x));
  EXPECT_FALSE(g->contains(y));
}

TEST(Backward, ErrorsNameTheNode) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{3}));
  ir::Value* vector = b.op("Acosh", {x}, {}, kOnnxDomain, "odd");
  ir::Value* loss = b.op("ReduceSum", {vector}, {{"keepdims", int64_t{0}}});
  auto none = autograd::build_gradients(graph, loss, {x});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Code::kUnsupported);
  EXPECT_NE(none.error().to_string().find("odd"), std::string::npos);
  auto not_scalar = autograd::build_gradients(graph, vector, {x});
  ASSERT_FALSE(not_scalar);
  EXPECT_EQ(not_scalar.error().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace lowp
