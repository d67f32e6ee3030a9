// Lowering: packed kernels, fused epilogues, INT8 from Q/DQ, layout.
#include <gtest/gtest.h>

#include "ops/attention.h"
#include "ops/infer.h"
#include "ops/packed.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::count_ops;
using test::Random;
using test::random_floats;

struct Net {
  Random random;
  ir::Graph graph;
  GraphBuilder b{graph};

  ir::Value* input(Extents extents, std::string name = "x") {
    return graph.add_input(std::move(name), TensorType(DType::kF32, extents));
  }
  ir::Value* floats(Extents extents, double low = -1, double high = 1) {
    return b.constant(random_floats(random, extents, low, high), "w");
  }
  ir::Value* f(float v) { return b.constant(Tensor::scalar(v)); }
  void output(ir::Value* v) { graph.outputs().push_back({"y" + std::to_string(graph.outputs().size()), v}); }
  std::vector<Tensor> inputs() {
    std::vector<Tensor> t;
    for (const ir::Value* v : graph.inputs()) t.push_back(random_floats(random, v->type.extents()));
    return t;
  }

  // Quantize and dequantize, per tensor.
  ir::Value* q(ir::Value* x, float scale, uint8_t zero) {
    return b.op("QuantizeLinear", {x, f(scale), b.constant(Tensor::scalar(zero))});
  }
  ir::Value* dq(ir::Value* x, float scale, uint8_t zero) {
    return b.op("DequantizeLinear", {x, f(scale), b.constant(Tensor::scalar(zero))});
  }
  ir::Value* qdq(ir::Value* x, float scale = 0.01F, uint8_t zero = 120) { return dq(q(x, scale, zero), scale, zero); }
  // INT8 weights with a scale for each channel along `axis`.
  ir::Value* int8(Extents extents, int64_t axis, int limit = 127) {
    Tensor w = test::random_tensor(random, DType::kI8, extents, -limit, limit);
    return b.op("DequantizeLinear", {b.constant(w), floats({extents[static_cast<size_t>(axis)]}, 0.001, 0.01)},
                {{"axis", axis}});
  }
  // Activations in 0..127: what the fastest AVX2 kernels want.
  ir::Value* seven_bit(ir::Value* x, float scale, uint8_t zero) {
    x = b.op("Clip", {x, f((0.0F - zero) * scale), f((127.0F - zero) * scale)});
    return qdq(x, scale, zero);
  }

  // The lowered graph. Results agree within `step` where the outputs are dequantized, else within 64 ulps.
  std::unique_ptr<ir::Graph> lowered(double step = 0, const passes::PassOptions& options = {}) {
    const std::vector<Tensor> in = inputs();
    const std::vector<Tensor> want = test::evaluate_ok(graph, in);
    std::unique_ptr<ir::Graph> low = graph.clone();
    Status s = passes::run_stage(*low, passes::Stage::kLower, options);
    EXPECT_TRUE(s.is_ok()) << s.to_string();
    auto session = test::session_for(*low, 2, false);
    const std::vector<Tensor> have = test::run_ok(*session, in);
    for (size_t i = 0; i < want.size() && i < have.size(); ++i) {
      const double ulps = 64 * 0x1p-23 * test::largest(ops::to_doubles(want[i]));
      EXPECT_LE(test::max_difference(have[i], want[i]), step * 1.0001 + ulps) << "output " << i;
    }
    return low;
  }
};

AttrMap conv_attrs(int64_t kernel, int64_t pad, int64_t stride = 1, int64_t group = 1) {
  return {{"kernel_shape", std::vector<int64_t>{kernel, kernel}},
          {"pads", std::vector<int64_t>(4, pad)},
          {"strides", std::vector<int64_t>{stride, stride}},
          {"group", group}};
}
const ops::PackedConvAttrs& conv_of(const ir::Graph& g) {
  return test::find_op_node(g, "Conv", kLowpDomain)->attrs.get<ops::PackedConvAttrs>();
}

TEST(Lower, EpilogueTakesBiasResidualAndActivation) {
  Net n;
  ir::Value* x = n.input({2, 5, 6, 7});
  ir::Value* y = n.b.op("Conv", {x, n.floats({5, 5, 3, 3}), n.floats({5})}, conv_attrs(3, 1));
  y = n.b.op("Add", {y, n.floats({5, 1, 1})});
  y = n.b.op("Add", {x, y});
  n.output(n.b.op("Relu", {y}));
  auto g = n.lowered();
  EXPECT_EQ(count_ops(*g, "Conv", kLowpDomain), 1);
  EXPECT_EQ(count_ops(*g, "Add") + count_ops(*g, "Relu"), 0);
  EXPECT_EQ(conv_of(*g).activation, "relu");
}

TEST(Lower, WinogradIsChosenByShape) {
  struct Case {
    int64_t channels, image, stride, group;
    bool chosen;
  };
  for (const Case& c : {Case{16, 4, 1, 1, true}, Case{17, 9, 1, 1, true}, Case{15, 4, 1, 1, false},
                        Case{16, 9, 2, 1, false}, Case{32, 4, 1, 2, false}, Case{16, 3, 1, 1, false}}) {
    SCOPED_TRACE(fmt::format("{} channels, {} pixels, stride {}", c.channels, c.image, c.stride));
    Net n;
    ir::Value* x = n.input({2, c.channels, c.image, c.image});
    n.output(n.b.op("Conv", {x, n.floats({18, c.channels / c.group, 3, 3}), n.floats({18})},
                    conv_attrs(3, 1, c.stride, c.group)));
    auto g = n.lowered();
    EXPECT_EQ(conv_of(*g).winograd, c.chosen);
    passes::PassOptions halves;
    halves.weight_dtype = DType::kF16;
    EXPECT_FALSE(conv_of(*n.lowered(0.05, halves)).winograd);  // transformed in each call
    // An engine that says otherwise is refused.
    ir::Node* node = const_cast<ir::Node*>(test::find_op_node(*g, "Conv", kLowpDomain));
    auto attrs = node->attrs.get<ops::PackedConvAttrs>();
    attrs.winograd = !attrs.winograd;
    node->attrs = Attrs::make(std::move(attrs));
    EXPECT_FALSE(infer_types(*g).is_ok());
  }
}

TEST(Lower, LinearTakesEveryActivation) {
  for (const char* name : {"Relu", "Sigmoid", "Tanh", "HardSwish", "Gelu", "LeakyRelu", "Swish"}) {
    SCOPED_TRACE(name);
    Net n;
    ir::Value* y = n.b.op("MatMul", {n.input({3, 4, 19}), n.floats({19, 21})});
    n.output(n.b.op(name, {n.b.op("Add", {y, n.floats({21})})}));
    auto g = n.lowered();
    EXPECT_EQ(g->nodes().size(), 1U);
  }
}

TEST(Lower, WhatAnotherReaderNeedsIsNotFused) {
  Net n;
  ir::Value* y = n.b.op("MatMul", {n.input({3, 19}), n.floats({19, 21})});
  n.output(n.b.op("Relu", {y}));
  n.output(y);
  auto g = n.lowered();
  EXPECT_EQ(count_ops(*g, "Relu"), 1);
}

TEST(Lower, GemmForms) {
  for (int64_t trans = 0; trans < 2; ++trans) {
    Net n;
    n.output(n.b.op("Gemm", {n.input({5, 19}), n.floats(trans ? Extents{7, 19} : Extents{19, 7}), n.floats({1, 7})},
                    {{"transB", trans}, {"alpha", 0.5F}, {"beta", 2.0F}}));
    auto g = n.lowered();
    EXPECT_EQ(count_ops(*g, "Linear", kLowpDomain), 1);
  }
  // A bias for each row, and a transposed input, are not what the packed op computes.
  Net n;
  n.output(n.b.op("Gemm", {n.input({5, 19}), n.floats({19, 7}), n.floats({5, 1})}));
  n.output(n.b.op("Gemm", {n.input({19, 5}, "x2"), n.floats({19, 7})}, {{"transA", int64_t{1}}}));
  auto g = n.lowered();
  EXPECT_EQ(count_ops(*g, "Linear", kLowpDomain), 0);
}

TEST(Lower, QuantizedConvolution) {
  for (const int64_t group : {1, 2, 6}) {
    SCOPED_TRACE(group);
    Net n;
    ir::Value* x = n.qdq(n.input({2, 6, 7, 9}));
    ir::Value* y =
        n.b.op("Conv", {x, n.int8({6, 6 / group, 3, 3}, 0), n.floats({6}, -0.2, 0.2)}, conv_attrs(3, 1, 2, group));
    n.output(n.qdq(n.b.op("Relu", {y}), 0.02F, 10));
    auto g = n.lowered(0.02);
    EXPECT_EQ(count_ops(*g, "Conv", kLowpDomain), 1);
    EXPECT_EQ(count_ops(*g, "Conv") + count_ops(*g, "Relu"), 0);
    EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 1);  // of the input
    EXPECT_EQ(conv_of(*g).out_dtype, DType::kU8);
  }
}

TEST(Lower, QuantizedResidual) {
  Net n;
  ir::Value* x = n.qdq(n.input({1, 8, 6, 6}));
  ir::Value* a = n.qdq(n.b.op("Relu", {n.b.op("Conv", {x, n.int8({8, 8, 1, 1}, 0)}, conv_attrs(1, 0))}), 0.02F, 3);
  ir::Value* y = n.b.op("Conv", {a, n.int8({8, 8, 3, 3}, 0), n.floats({8})}, conv_attrs(3, 1));
  y = n.b.op("Relu", {n.b.op("Add", {y, a})});
  n.output(n.qdq(y, 0.05F, 0));
  auto g = n.lowered(0.05 + 0.02);  // a step of the first layer may move the second by more than its own
  EXPECT_EQ(count_ops(*g, "Conv", kLowpDomain), 2);
  EXPECT_EQ(count_ops(*g, "Add"), 0);
  EXPECT_EQ(count_ops(*g, "DequantizeLinear"), 1);  // of the output
}

TEST(Lower, SevenBitActivationsMakeA7Layers) {
  // Any four weights of 60 are safe, any eight of 30.
  for (auto [limit, int8_class] : {std::pair{60, kernels::Int8Class::kA7Quad}, {30, kernels::Int8Class::kA7Oct}}) {
    Net n;
    ir::Value* x = n.seven_bit(n.input({4, 40}), 0.016F, 60);
    n.output(n.b.op("MatMul", {x, n.int8({40, 24}, 1, limit)}));
    auto g = n.lowered();
    ASSERT_EQ(count_ops(*g, "Linear", kLowpDomain), 1);
    EXPECT_EQ(test::find_op_node(*g, "Linear", kLowpDomain)->attrs.get<ops::LinearAttrs>().int8_class,
              static_cast<int64_t>(int8_class));
  }
  // Not with weights that could overflow 16 bit, nor with eight-bit activations.
  Net large;
  large.output(large.b.op("MatMul", {large.seven_bit(large.input({4, 40}), 0.016F, 60), large.int8({40, 24}, 1)}));
  large.output(large.b.op("MatMul", {large.qdq(large.graph.inputs()[0]), large.int8({40, 24}, 1, 60)}));
  auto h = large.lowered();
  for (const auto& node : h->nodes()) {
    if (node->op->name == "Linear") {
      EXPECT_EQ(node->attrs.get<ops::LinearAttrs>().int8_class, 0);
    }
  }
}

TEST(Lower, ClipAndSevenBitRequantizationGoIntoTheEpilogue) {
  Net n;
  ir::Value* x = n.seven_bit(n.input({1, 8, 6, 6}), 0.016F, 60);
  ir::Value* y = n.b.op("Relu", {n.b.op("Conv", {x, n.int8({8, 8, 3, 3}, 0, 60)}, conv_attrs(3, 1))});
  y = n.seven_bit(y, 0.01F, 0);
  n.output(n.b.op("Conv", {y, n.int8({8, 8, 1, 1}, 0, 60)}, conv_attrs(1, 0)));
  auto g = n.lowered(0.01 * 0.01 * 60 * 8);
  EXPECT_EQ(count_ops(*g, "Conv", kLowpDomain), 2);
  EXPECT_EQ(count_ops(*g, "Clip"), 0);
  EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 0);
  EXPECT_EQ(count_ops(*g, "Quantize", kLowpDomain), 1);  // of the input
  for (const auto& node : g->nodes()) {
    if (node->op->domain == kLowpDomain && node->op->name == "Conv") {
      EXPECT_NE(node->attrs.get<ops::PackedConvAttrs>().int8_class, 0);
    }
  }
}

// Integer sums are exact: with a power of two for every scale, so is the whole layer.
TEST(Lower, Int8IsExact) {
  Net n;
  ir::Value* x = n.qdq(n.input({7, 300}), 1.0F / 128, 128);
  Tensor w = test::random_tensor(n.random, DType::kI8, {300, 20}, -127, 127);
  ir::Value* d = n.b.op("DequantizeLinear", {n.b.constant(w), n.f(1.0F / 64)});
  n.output(n.b.op("MatMul", {x, d}));
  const std::vector<Tensor> in = n.inputs();
  const Tensor want = test::evaluate_ok(n.graph, in)[0];
  test::for_each_target([&](int threads) {
    auto session = test::session_for(n.graph, threads);
    EXPECT_EQ(test::max_difference(test::run_ok(*session, in)[0], want), 0);
  });
}

TEST(Lower, MovementWorksOnInt8) {
  Net n;
  ir::Value* x = n.qdq(n.input({2, 4, 6, 6}));
  x = n.b.op("MaxPool", {x}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  x = n.b.op("Reshape", {n.b.op("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}}), n.b.ints({2, 36})});
  x = n.qdq(x);
  n.output(n.b.op("MatMul", {x, n.int8({36, 5}, 1)}));
  auto g = n.lowered();
  EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 1);
  EXPECT_EQ(count_ops(*g, "DequantizeLinear"), 0);
  EXPECT_EQ(test::find_op_node(*g, "MaxPool")->outputs[0]->type.dtype, DType::kU8);
  // A zero is not a zero point: padding stays on floats.
  Net p;
  x = p.qdq(p.input({2, 4, 6, 6}));
  p.output(p.qdq(p.b.op("Pad", {x, p.b.ints({0, 0, 1, 1, 0, 0, 1, 1})})));
  EXPECT_EQ(test::find_op_node(*p.lowered(), "Pad")->outputs[0]->type.dtype, DType::kF32);
}

// The embeddings are quantized one by one, and concatenated as bytes.
TEST(Lower, QuantizationMovesAboveConcatAndIntoEmbeddings) {
  for (const bool seven : {false, true}) {
    Net n;
    ir::Value* a = n.graph.add_input("a", TensorType(DType::kF32, Extents{6, 16}));
    auto table = [&](int64_t rows, int64_t width) {
      ir::Value* index =
          n.b.constant(test::random_tensor(n.random, DType::kI64, {6}, 0, static_cast<double>(rows) - 1));
      return n.b.op("Gather", {n.int8({rows, width}, 0), index});
    };
    ir::Value* x = n.b.op("Concat", {table(9, 16), n.b.op("Relu", {a}), table(5, 32)}, {{"axis", int64_t{1}}});
    x = seven ? n.seven_bit(x, 0.02F, 60) : n.qdq(x);
    n.output(n.b.op("MatMul", {x, n.int8({64, 5}, 1)}));
    auto g = n.lowered();
    EXPECT_EQ(test::find_op_node(*g, "Concat")->outputs[0]->type.dtype, DType::kU8);
    EXPECT_EQ(test::count_ops(*g, "Embedding", kLowpDomain), 2);
    EXPECT_EQ(count_ops(*g, "QuantizeLinear"), seven ? 0 : 1);
    EXPECT_EQ(count_ops(*g, "Quantize", kLowpDomain), seven ? 1 : 0);
    EXPECT_EQ(count_ops(*g, "Clip"), 0);
  }
}

// Seven bits are a range of the epilogue after any activation, and of layer normalization.
TEST(Lower, SevenBitsAfterGeluAndLayerNorm) {
  Net n;
  ir::Value* x = n.seven_bit(n.input({6, 32}), 0.016F, 60);
  ir::Value* y = n.b.op("Gelu", {n.b.op("MatMul", {x, n.int8({32, 48}, 1, 30)})});
  y = n.b.op("MatMul", {n.seven_bit(y, 0.02F, 9), n.int8({48, 24}, 1, 30)});
  y = n.b.op("LayerNormalization", {y, n.floats({24}), n.floats({24})});
  n.output(n.b.op("MatMul", {n.seven_bit(y, 0.03F, 64), n.int8({24, 8}, 1, 30)}));
  auto g = n.lowered(0.03 * 0.01 * 30 * 24);
  EXPECT_EQ(count_ops(*g, "Clip"), 0);
  EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 0);
  EXPECT_EQ(count_ops(*g, "Quantize", kLowpDomain), 1);  // of the input
  EXPECT_EQ(count_ops(*g, "LayerNorm", kLowpDomain), 1);
  const auto& first = test::find_op_node(*g, "Linear", kLowpDomain)->attrs.get<ops::LinearAttrs>();
  EXPECT_EQ(first.activation, "gelu");
  EXPECT_EQ(first.out_high, 127);
}

// A normalization that a residual reads too, and one whose channels were scaled for the INT8 layer: each a step.
TEST(Lower, LayerNormGivesBothResults) {
  for (bool twin : {false, true}) {
    Net n;
    ir::Value* x = n.input({6, 32});
    ir::Value* scale = n.floats({32}, 0.5, 1.5);
    ir::Value* plain = n.b.op("LayerNormalization", {x, scale, n.floats({32})});
    ir::Value* read = twin ? n.b.op("LayerNormalization", {x, n.floats({32}, 0.5, 1.5)}) : plain;
    ir::Value* y = n.b.op("MatMul", {n.qdq(read, 0.02F), n.int8({32, 32}, 1)});
    n.output(n.b.op("Add", {y, plain}));
    // A step of one rounding more: 0.02 times weights of up to 127 times 0.01.
    auto g = n.lowered(0.02 * 1.27);
    EXPECT_EQ(count_ops(*g, "LayerNormalization"), 0);
    EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 0);
    EXPECT_EQ(count_ops(*g, "LayerNorm", kLowpDomain), 1);
    const ir::Node* norm = test::find_op_node(*g, "LayerNorm", kLowpDomain);
    EXPECT_EQ(norm->outputs.size(), 2U);
    EXPECT_EQ(norm->input(3) != nullptr, twin);
  }
}

// Two normalizations that differ in more than scale and bias stay two.
TEST(Lower, LayerNormsOfDifferentEpsilonStayTwo) {
  Net n;
  ir::Value* x = n.input({6, 32});
  ir::Value* plain = n.b.op("LayerNormalization", {x, n.floats({32})}, {{"epsilon", 0.5F}});
  ir::Value* read = n.b.op("LayerNormalization", {x, n.floats({32})});
  n.output(n.b.op("Add", {n.b.op("MatMul", {n.qdq(read, 0.02F), n.int8({32, 32}, 1)}), plain}));
  auto g = n.lowered(0.02 * 1.27);
  EXPECT_EQ(count_ops(*g, "LayerNormalization"), 1);
  EXPECT_EQ(test::find_op_node(*g, "LayerNorm", kLowpDomain)->outputs.size(), 1U);
}

TEST(Lower, AttentionGivesInt8) {
  Net n;
  auto attend = [&] {
    return n.b.op("Attention", {n.input({2, 5, 24}, "q"), n.input({2, 7, 24}, "k"), n.input({2, 7, 24}, "v")},
                  {{"heads", int64_t{3}}, {"scale", 0.4F}}, kLowpDomain);
  };
  n.output(n.b.op("MatMul", {n.qdq(attend()), n.int8({24, 5}, 1)}));
  // A step of one rounding more: 0.01 times weights of up to 127 times 0.01.
  auto g = n.lowered(0.01 * 1.27);
  EXPECT_EQ(count_ops(*g, "QuantizeLinear"), 0);
  EXPECT_EQ(test::find_op_node(*g, "Attention", kLowpDomain)->outputs[0]->type.dtype, DType::kU8);
}

TEST(Lower, AttentionBetweenInt8LayersComputesInIntegers) {
  for (bool all_int8 : {true, false}) {
    Net n;
    ir::Value* x = n.qdq(n.input({2, 5, 24}), 0.02F);
    ir::Value* v = n.b.op(
        "MatMul", {all_int8 ? x : n.input({2, 5, 24}, "v"), all_int8 ? n.int8({24, 24}, 1) : n.floats({24, 24})});
    n.output(n.b.op("Attention",
                    {n.b.op("MatMul", {x, n.int8({24, 24}, 1)}), n.b.op("MatMul", {x, n.int8({24, 24}, 1)}), v},
                    {{"heads", int64_t{3}}, {"scale", 0.1F}}, kLowpDomain));
    auto s16 = [](const ir::Graph& g) {
      return test::find_op_node(g, "Attention", kLowpDomain)->attrs.get<ops::AttentionAttrs>().s16;
    };
    EXPECT_FALSE(s16(*n.lowered()));
    passes::PassOptions options;
    options.narrow_attention = true;
    EXPECT_EQ(s16(*n.lowered(2e-2, options)), all_int8);
  }
}

// Convolutions, what stands between them and a residual; not what an op in f32 or the graph's output reads.
TEST(Lower, Bf16LayersHandEachOtherBf16) {
  Net n;
  ir::Value* x = n.input({2, 5, 8, 8});
  ir::Value* a = n.b.op("Relu", {n.b.op("Conv", {x, n.floats({6, 5, 3, 3})}, conv_attrs(3, 1))});
  a = n.b.op("MaxPool", {a}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  ir::Value* c = n.b.op("Conv", {a, n.floats({6, 6, 3, 3})}, conv_attrs(3, 1));
  c = n.b.op("Relu", {n.b.op("Add", {c, a})});
  ir::Value* d = n.b.op("Conv", {c, n.floats({4, 6, 1, 1})}, conv_attrs(1, 0));
  n.output(n.b.op("Conv", {n.b.op("Elu", {d}), n.floats({4, 4, 1, 1})}, conv_attrs(1, 0)));
  passes::PassOptions options;
  options.weight_dtype = DType::kBF16;
  auto types = [](const ir::Graph& g) {
    std::vector<DType> results;
    for (const auto& node : g.nodes()) {
      if (node->op->name == "Conv" || node->op->name == "MaxPool") results.push_back(node->outputs[0]->type.dtype);
    }
    return results;
  };
  constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16;
  EXPECT_EQ(types(*n.lowered(0.1, options)), (std::vector{kF32, kF32, kF32, kF32, kF32}));
  options.narrow_activations = true;
  EXPECT_EQ(types(*n.lowered(0.1, options)), (std::vector{kBF16, kBF16, kBF16, kF32, kF32}));
}

TEST(Lower, LayoutChangesOnlyAtTheBorders) {
  Net n;
  ir::Value* x = n.input({2, 5, 8, 8});
  ir::Value* y = n.b.op("Conv", {x, n.floats({6, 5, 3, 3})}, conv_attrs(3, 1));
  y = n.b.op("Elu", {y});
  y = n.b.op("Mul", {y, n.floats({6, 1, 1})});
  y = n.b.op("MaxPool", {y}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  y = n.b.op("Conv", {y, n.floats({4, 6, 1, 1})}, conv_attrs(1, 0));
  n.output(y);
  auto g = n.lowered();
  EXPECT_EQ(count_ops(*g, "Reorder", kLowpDomain), 2);
}

TEST(Lower, OneReorderServesAllReaders) {
  Net n;
  ir::Value* x = n.input({2, 5, 8, 8});
  ir::Value* a = n.b.op("Conv", {x, n.floats({6, 5, 3, 3})}, conv_attrs(3, 1));
  ir::Value* c = n.b.op("Conv", {x, n.floats({6, 5, 1, 1})}, conv_attrs(1, 0));
  n.output(n.b.op("ReduceMean", {n.b.op("Concat", {a, c}, {{"axis", int64_t{1}}}), n.b.ints({1})}));
  auto g = n.lowered();
  EXPECT_LE(count_ops(*g, "Reorder", kLowpDomain), 3);
}

TEST(Lower, ScalesAlongAnAxisReadTheRightChannels) {
  Net n;
  ir::Value* x = n.input({1, 4, 3, 5});
  ir::Value* y = n.b.op("Conv", {x, n.floats({6, 4, 1, 1})}, conv_attrs(1, 0));
  ir::Value* s = n.floats({6}, 0.01, 0.05);
  ir::Value* z = n.b.constant(test::random_tensor(n.random, DType::kU8, {6}, 100, 140));
  ir::Value* q = n.b.op("QuantizeLinear", {y, s, z}, {{"axis", int64_t{1}}});
  n.output(n.b.op("DequantizeLinear", {q, s, z}, {{"axis", int64_t{1}}}));
  n.lowered(0.05);
}

}  // namespace
}  // namespace lowp
