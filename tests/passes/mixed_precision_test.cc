// Where casts are inserted, and that the lists can be printed, changed and read again.
#include "passes/mixed_precision.h"

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using passes::PrecisionLists;

// x w1 + b, ReLU, w2, cross-entropy; weights are states.
struct Classifier {
  test::Random random;
  ir::Graph graph;
  GraphBuilder b{graph};
  ir::Value* hidden = nullptr;
  ir::Value* loss = nullptr;
  Classifier() {
    ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{4, 8}));
    ir::Value* labels = graph.add_input("labels", TensorType(DType::kI64, Extents{4}));
    ir::Value* w1 = graph.add_state("w1", test::random_floats(random, {8, 16}));
    ir::Value* bias = graph.add_state("bias", test::random_floats(random, {16}));
    ir::Value* w2 = graph.add_state("w2", test::random_floats(random, {16, 3}));
    hidden = b.op("Relu", {b.op("Add", {b.op("MatMul", {x, w1}), bias})});
    ir::Value* scores = b.op("MatMul", {hidden, w2});
    loss = b.op("SoftmaxCrossEntropyLoss", {scores, labels});
    graph.outputs() = {{"loss", loss}, {"scores", scores}};
  }
};

TEST(MixedPrecision, ListsSurviveTheirText) {
  const PrecisionLists lists;
  auto again = passes::precision_lists_from_json(passes::precision_lists_to_json(lists));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->allow, lists.allow);
  EXPECT_EQ(again->deny, lists.deny);
  EXPECT_EQ(again->follow, lists.follow);
  for (const char* bad : {R"({"alow": []})", R"({"allow": ["MatMull"]})", R"({"allow": ["Add"]})", "[]", "{"})
    EXPECT_EQ(passes::precision_lists_from_json(bad).error().code(), Code::kInvalidArgument) << bad;
}

TEST(MixedPrecision, MatricesInSixteenBitsLossInF32) {
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    Classifier c;
    ASSERT_TRUE(passes::mixed_precision(c.graph, dtype, {}).is_ok());
    EXPECT_EQ(c.hidden->type.dtype, dtype);
    EXPECT_EQ(c.loss->type.dtype, DType::kF32);
    EXPECT_EQ(c.graph.outputs()[1].value->type.dtype, DType::kF32);  // as the user declared it
    std::vector<ir::Value*> weights;
    for (const ir::State& s : c.graph.states()) weights.push_back(s.value);
    auto gradients = autograd::build_gradients(c.graph, c.loss, weights);
    ASSERT_TRUE(gradients) << gradients.error().to_string();
    for (ir::Value* w : weights) EXPECT_EQ(gradients->at(w)->type, w->type);
  }
}

TEST(MixedPrecision, WhatIsInNoListStaysF32) {
  Classifier c;
  PrecisionLists lists;
  lists.follow.erase("Relu");
  ASSERT_TRUE(passes::mixed_precision(c.graph, DType::kBF16, lists).is_ok());
  EXPECT_EQ(c.hidden->type.dtype, DType::kF32);
  Classifier none;
  const size_t nodes = none.graph.nodes().size();
  lists.allow.clear();
  ASSERT_TRUE(passes::mixed_precision(none.graph, DType::kBF16, lists).is_ok());
  EXPECT_EQ(none.graph.nodes().size(), nodes);
  EXPECT_EQ(passes::mixed_precision(none.graph, DType::kF64, {}).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace lowp
