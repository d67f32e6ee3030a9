// Passes on ONNX's ops: each leaves the numbers as they were, and the ops it should.
#include <gtest/gtest.h>

#include <numbers>

#include "support/graphs.h"

namespace lowp {
namespace {

using test::count_ops;
using test::Random;
using test::random_floats;

struct Fixture {
  Random random;
  ir::Graph graph;
  GraphBuilder b{graph};

  ir::Value* input(Extents extents, std::string name = "x") {
    return graph.add_input(std::move(name), TensorType(DType::kF32, extents));
  }
  ir::Value* weights(Extents extents, double low = -1, double high = 1) {
    return b.constant(random_floats(random, extents, low, high), "w");
  }
  ir::Value* f(float v) { return b.constant(Tensor::scalar(v)); }
  void output(ir::Value* v) { graph.outputs().push_back({"y" + std::to_string(graph.outputs().size()), v}); }
  std::vector<Tensor> inputs() {
    std::vector<Tensor> t;
    for (const ir::Value* v : graph.inputs()) t.push_back(random_floats(random, v->type.extents()));
    return t;
  }

  // The graph after simplification; results before, after and of kernels agree within `ulps` of the largest output.
  std::unique_ptr<ir::Graph> simplified(double ulps = 64, const passes::PassOptions& options = {}) {
    const std::vector<Tensor> in = inputs();
    std::vector<Tensor> want = test::evaluate_ok(graph, in);
    std::unique_ptr<ir::Graph> simple = graph.clone();
    Status s = passes::run_stage(*simple, passes::Stage::kSimplify, options);
    EXPECT_TRUE(s.is_ok()) << s.to_string();
    std::vector<Tensor> have = test::evaluate_ok(*simple, in);
    auto session = test::session_for(*simple);
    std::vector<Tensor> ran = test::run_ok(*session, in);
    for (size_t i = 0; i < want.size(); ++i) {
      const double limit = ulps * 0x1p-23 * test::largest(ops::to_doubles(want[i]));
      EXPECT_LE(test::max_difference(have[i], want[i]), limit) << "simplified, output " << i;
      EXPECT_LE(test::max_difference(ran[i], want[i]), limit) << "kernels, output " << i;
    }
    return simple;
  }
};
class Simplify : public testing::Test, public Fixture {};

AttrMap conv_attrs(int64_t kernel, int64_t pad) {
  return {{"kernel_shape", std::vector<int64_t>{kernel, kernel}}, {"pads", std::vector<int64_t>(4, pad)}};
}

TEST_F(Simplify, BatchNormAndChannelScalesGoIntoConvolutions) {
  ir::Value* x = b.op("Conv", {input({2, 3, 6, 7}), weights({5, 3, 3, 3}), weights({5})}, conv_attrs(3, 1));
  x = b.op("BatchNormalization", {x, weights({5}), weights({5}), weights({5}), weights({5}, 0.1, 2)});
  x = b.op("Mul", {weights({5, 1, 1}), x});
  x = b.op("Add", {x, weights({1, 5, 1, 1})});
  x = b.op("Mul", {x, f(0.5F)});
  output(x);
  auto g = simplified();
  EXPECT_EQ(g->nodes().size(), 1U);
  EXPECT_EQ(count_ops(*g, "Conv"), 1);
}

TEST_F(Simplify, BatchNormAloneBecomesMulAndAdd) {
  ir::Value* x = input({2, 5, 3, 4});
  x = b.op("Relu", {x});
  output(b.op("BatchNormalization", {x, weights({5}), weights({5}), weights({5}), weights({5}, 0.1, 2)}));
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "BatchNormalization"), 0);
  EXPECT_EQ(count_ops(*g, "Mul"), 1);
  EXPECT_EQ(count_ops(*g, "Add"), 1);
}

TEST_F(Simplify, BatchNormStaysWhereTheConvolutionHasAnotherReader) {
  ir::Value* c = b.op("Conv", {input({1, 3, 4, 4}), weights({5, 3, 1, 1})}, conv_attrs(1, 0));
  output(b.op("BatchNormalization", {c, weights({5}), weights({5}), weights({5}), weights({5}, 0.1, 2)}));
  output(b.op("Relu", {c}));
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "Conv"), 1);
  EXPECT_EQ(count_ops(*g, "Mul"), 1);
}

// Constants of a higher rank, and along another axis than the channels', are not channel-wise scales.
TEST_F(Simplify, OtherBroadcastsDoNotGoIntoConvolutions) {
  for (const Extents& e : {Extents{1, 1, 5, 1, 1}, Extents{1, 1, 1, 1, 1}, Extents{5}, Extents{5, 1}, Extents{5, 5}}) {
    SCOPED_TRACE(ir::extents_to_string(e));
    Fixture f;
    ir::Value* c = f.b.op("Conv", {f.input({1, 3, 5, 5}), f.weights({5, 3, 1, 1})}, conv_attrs(1, 0));
    f.output(f.b.op("Mul", {c, f.weights(e)}));
    f.output(f.b.op("Add",
                    {f.b.op("Conv", {f.graph.inputs()[0], f.weights({5, 3, 1, 1})}, conv_attrs(1, 0)), f.weights(e)}));
    auto g = f.simplified();
    EXPECT_EQ(count_ops(*g, "Mul"), 1);
    EXPECT_EQ(count_ops(*g, "Add"), 1);
  }
}

TEST_F(Simplify, BatchNormInTrainingTakesResidualAndRelu) {
  ir::Value* x = input({2, 3, 4, 5});
  auto normalized = [&] {
    return b.op_n(3, "BatchNormTraining", {x, weights({3}), weights({3})}, {{"epsilon", 1e-3F}}, kLowpDomain);
  };
  std::vector<ir::Value*> first = normalized();
  // A reader of the statistics, and a residual that is computed later.
  output(b.op("Neg", {first[1]}));
  ir::Value* residual = b.op("Abs", {x});
  output(b.op("Relu", {b.op("Add", {residual, first[0]})}));
  output(b.op("Relu", {normalized()[0]}));
  output(b.op("Add", {normalized()[0], residual}));
  auto simple = simplified();
  EXPECT_EQ(count_ops(*simple, "BatchNormTraining", kLowpDomain), 3);
  EXPECT_EQ(count_ops(*simple, "Relu"), 0);
  EXPECT_EQ(count_ops(*simple, "Add"), 0);
}

TEST_F(Simplify, BatchNormInTrainingStaysWhereItIsReadTwice) {
  ir::Value* x = input({2, 3, 4, 5});
  ir::Value* y = b.op_n(3, "BatchNormTraining", {x, weights({3}), weights({3})}, {}, kLowpDomain)[0];
  output(b.op("Relu", {y}));
  output(y);
  output(b.op("Add", {b.op_n(3, "BatchNormTraining", {x, weights({3}), weights({3})}, {}, kLowpDomain)[0],
                      weights({3, 1, 1})}));  // broadcast
  auto simple = simplified();
  EXPECT_EQ(count_ops(*simple, "Relu"), 1);
  EXPECT_EQ(count_ops(*simple, "Add"), 1);
}

TEST_F(Simplify, GeluInEveryWriting) {
  const auto root = std::numbers::sqrt2_v<float>;
  for (int form = 0; form < 5; ++form) {
    SCOPED_TRACE(form);
    Fixture f;
    ir::Value* x = f.input({3, 17});
    ir::Value* scaled = form == 1 ? f.b.op("Mul", {f.f(1 / root), x}) : f.b.op("Div", {x, f.f(root)});
    ir::Value* one = f.b.op("Add", {f.b.op("Erf", {scaled}), f.f(1)});
    ir::Value* y = nullptr;
    if (form <= 1) y = f.b.op("Mul", {f.b.op("Mul", {x, one}), f.f(0.5F)});
    if (form == 2) y = f.b.op("Mul", {f.b.op("Mul", {f.f(0.5F), x}), one});
    if (form == 3) y = f.b.op("Mul", {f.b.op("Mul", {one, f.f(0.5F)}), x});
    if (form == 4) y = f.b.op("Mul", {x, f.b.op("Mul", {f.f(0.5F), one})});
    f.output(y);
    auto g = f.simplified();
    EXPECT_EQ(count_ops(*g, "Gelu"), 1);
    EXPECT_EQ(g->nodes().size(), 1U);
  }
}

TEST_F(Simplify, GeluOfAnotherConstantStays) {
  ir::Value* x = input({3, 17});
  ir::Value* one = b.op("Add", {b.op("Erf", {b.op("Div", {x, f(1.5F)})}), f(1)});
  output(b.op("Mul", {b.op("Mul", {x, one}), f(0.5F)}));
  EXPECT_EQ(count_ops(*simplified(), "Gelu"), 0);
}

TEST_F(Simplify, Silu) {
  ir::Value* x = b.op("Neg", {input({3, 17})});
  output(b.op("Mul", {x, b.op("Sigmoid", {x})}));
  EXPECT_EQ(count_ops(*simplified(), "Swish"), 1);
}

TEST_F(Simplify, LayerNormInBothWritings) {
  for (const bool power : {true, false}) {
    Fixture f;
    ir::Value* x = f.input({2, 3, 33});
    auto mean = [&](ir::Value* v) { return f.b.op("ReduceMean", {v, f.b.ints({-1})}, {{"keepdims", int64_t{1}}}); };
    ir::Value* d = f.b.op("Sub", {x, mean(x)});
    ir::Value* square = power ? f.b.op("Pow", {d, f.f(2)}) : f.b.op("Mul", {d, d});
    ir::Value* root = f.b.op("Sqrt", {f.b.op("Add", {mean(square), f.f(1e-5F)})});
    ir::Value* y = f.b.op("Mul", {f.b.op("Div", {d, root}), f.weights({33})});
    if (power) y = f.b.op("Add", {y, f.weights({33})});
    f.output(y);
    auto g = f.simplified();
    EXPECT_EQ(count_ops(*g, "LayerNormalization"), 1);
    EXPECT_EQ(g->nodes().size(), 1U);
  }
}

// Heads as exporters write them; `merged` is the shape the result is given.
void attention(Fixture& f, bool masked, bool two_transposes, const std::vector<int64_t>& merged) {
  const Extents e = {2, 6, 24};
  auto split = [&](ir::Value* v, std::vector<int64_t> perm) {
    return f.b.op("Transpose", {f.b.op("Reshape", {v, f.b.ints({2, 6, 3, 8})})}, {{"perm", std::move(perm)}});
  };
  auto transpose = [&](ir::Value* v, std::vector<int64_t> perm) {
    return f.b.op("Transpose", {v}, {{"perm", std::move(perm)}});
  };
  ir::Value* q = split(f.input(e, "q"), {0, 2, 1, 3});
  ir::Value* k = f.input(e, "k");
  k = two_transposes ? transpose(split(k, {0, 2, 1, 3}), {0, 1, 3, 2}) : split(k, {0, 2, 3, 1});
  ir::Value* v = split(f.input(e, "v"), {0, 2, 1, 3});
  ir::Value* s = f.b.op("Div", {f.b.op("MatMul", {q, k}), f.f(2.828427F)});
  if (masked) s = f.b.op("Add", {s, f.input({2, 1, 1, 6}, "mask")});
  ir::Value* y = f.b.op("MatMul", {f.b.op("Softmax", {s}, {{"axis", int64_t{-1}}}), v});
  f.output(f.b.op("Reshape", {transpose(y, {0, 2, 1, 3}), f.b.ints(merged)}));
}

TEST_F(Simplify, Attention) {
  for (const bool masked : {true, false}) {
    for (const bool two : {true, false}) {
      Fixture f;
      attention(f, masked, two, {2, 6, 24});
      auto g = f.simplified();
      EXPECT_EQ(count_ops(*g, "Attention", kLowpDomain), 1) << masked << two;
      EXPECT_EQ(g->nodes().size(), 1U);
    }
  }
}

TEST_F(Simplify, AttentionThatMergesBatchAndSequenceKeepsItsShape) {
  Fixture& self = *this;
  attention(self, false, false, {1, 12, 24});
  EXPECT_EQ(simplified()->outputs()[0].value->type.extents(), (Extents{1, 12, 24}));
}

TEST_F(Simplify, ConstantsFold) {
  ir::Value* c = b.op("Add", {b.op("Mul", {f(2), weights({3})}), f(1)});
  ir::Value* shape = b.op("Shape", {input({4, 3})});
  output(b.op("Reshape", {b.op("Mul", {graph.inputs()[0], c}),
                          b.op("Concat", {b.op("Slice", {shape, b.ints({1}), b.ints({2})}), b.ints({-1})},
                               {{"axis", int64_t{0}}})}));
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "Mul"), 1);
  EXPECT_EQ(count_ops(*g, "Concat") + count_ops(*g, "Shape") + count_ops(*g, "Slice"), 0);
}

TEST_F(Simplify, IdentitiesGo) {
  ir::Value* x = input({2, 3, 4});
  ir::Value* y = b.op("Identity", {x});
  y = b.op("Cast", {y}, {{"to", int64_t{1}}});
  y = b.op("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  y = b.op("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  y = b.op("Reshape", {y, b.ints({2, 3, 4})});
  y = b.op("Div", {b.op("Mul", {y, f(1)}), f(1)});
  output(b.op("Relu", {y}));
  EXPECT_EQ(simplified()->nodes().size(), 1U);
}

TEST_F(Simplify, TransposesCompose) {
  ir::Value* y = b.op("Transpose", {input({2, 3, 4, 5})}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}});
  output(b.op("Transpose", {y}, {{"perm", std::vector<int64_t>{3, 0, 1, 2}}}));
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "Transpose"), 1);
}

TEST_F(Simplify, DeadCodeGoes) {
  ir::Value* x = input({3});
  b.op("Exp", {b.op("Neg", {x})});
  output(b.op("Relu", {x}));
  EXPECT_EQ(simplified()->nodes().size(), 1U);
}

TEST_F(Simplify, EveryPassCanBeSwitchedOff) {
  Fixture& self = *this;
  attention(self, true, true, {2, 6, 24});
  for (const passes::Pass& p : passes::all_passes()) {
    SCOPED_TRACE(p.name);
    passes::PassOptions options;
    options.disabled = {p.name};
    auto g = simplified(64, options);
    EXPECT_EQ(count_ops(*g, "Attention", kLowpDomain), std::string_view(p.name) == "fuse_attention" ? 0 : 1);
  }
  passes::PassOptions options;
  options.disabled = {"no_such_pass"};
  Status s = passes::run_stage(graph, passes::Stage::kSimplify, options);
  EXPECT_EQ(s.code(), Code::kInvalidArgument);
}

// X, W, R, B of a recurrent layer of 7 units with 5 inputs.
std::vector<ir::Value*> recurrent_operands(Fixture& f, ir::Value* x, int64_t directions, int64_t gates, bool bias) {
  std::vector<ir::Value*> operands = {x, f.weights({directions, gates * 7, 5}), f.weights({directions, gates * 7, 7})};
  operands.push_back(bias ? f.weights({directions, 2 * gates * 7}) : nullptr);
  return operands;
}

TEST_F(Simplify, RecurrentLayersAreSplit) {
  ir::Value* x = input({4, 3, 5});
  auto operands = recurrent_operands(*this, x, 2, 4, true);
  operands.push_back(nullptr);
  operands.push_back(input({2, 3, 7}, "h"));
  operands.push_back(input({2, 3, 7}, "c"));
  operands.push_back(weights({2, 21}));
  for (ir::Value* y : b.op_n(3, "LSTM", operands, {{"direction", std::string("bidirectional")}, {"clip", 0.9F}}))
    output(y);
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "LSTM"), 0);
  EXPECT_EQ(test::count_ops(*g, "LSTM", kLowpDomain), 2);
  EXPECT_EQ(count_ops(*g, "MatMul"), 2);
}

TEST_F(Simplify, BatchFirstAndResetAfterGru) {
  ir::Value* x = input({3, 4, 5});
  auto operands = recurrent_operands(*this, x, 1, 3, true);
  operands.push_back(b.constant(Tensor::from<int32_t>({3}, std::vector<int32_t>{4, 1, 0})));
  operands.push_back(input({3, 1, 7}, "h"));
  const AttrMap attrs = {
      {"layout", int64_t{1}}, {"direction", std::string("reverse")}, {"linear_before_reset", int64_t{1}}};
  for (ir::Value* y : b.op_n(2, "GRU", operands, attrs)) output(y);
  auto g = simplified();
  EXPECT_EQ(test::count_ops(*g, "GRU", kLowpDomain), 1);
  // Only the last state of a layer without biases.
  Fixture last;
  last.output(last.b.op_n(2, "GRU", recurrent_operands(last, last.input({4, 3, 5}), 1, 3, false))[1]);
  EXPECT_EQ(test::count_ops(*last.simplified(), "GRU", kLowpDomain), 1);
}

TEST_F(Simplify, UnusualRecurrentLayersStay) {
  const AttrMap relu = {{"activations", std::vector<std::string>{"Sigmoid", "Relu"}}};
  output(b.op_n(2, "GRU", recurrent_operands(*this, input({4, 3, 5}), 1, 3, true), relu)[0]);
  auto g = simplified();
  EXPECT_EQ(count_ops(*g, "GRU"), 1);
}

}  // namespace
}  // namespace lowp
