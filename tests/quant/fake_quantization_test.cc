// Quantization-aware training: the estimator, ranges, and that what was trained is what compile() makes.
#include "quant/fake_quantization.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/backward.h"
#include "ops/fake_quantize.h"
#include "ops/reference.h"
#include "passes/mixed_precision.h"
#include "support/models.h"
#include "train/training.h"

namespace lowp {
namespace {

using test::Random;

// dy where the rounded quotient is in the range, 0 elsewhere; ranges have no gradient.
TEST(FakeQuantization, GradientIsStraightThrough) {
  ir::Graph graph;
  GraphBuilder b(graph);
  const Tensor x = Tensor::from<float>({6}, {-1.2F, -1.001F, -0.3F, 0.0F, 1.9F, 2.1F});
  const Tensor w = Tensor::from<float>({6}, {1, 2, 3, 4, 5, 6});
  ir::Value* in = graph.add_input("x", x.type());
  ir::Value* y =
      b.op("FakeQuantize", {in, b.constant(Tensor::scalar(-1.0F)), b.constant(Tensor::scalar(2.0F))}, {}, kLowpDomain);
  ir::Value* loss = b.op("ReduceSum", {b.op("Mul", {y, b.constant(w)})}, {{"keepdims", int64_t{0}}});
  auto gradients = autograd::build_gradients(graph, loss, {in});
  ASSERT_TRUE(gradients) << gradients.error().to_string();
  graph.outputs() = {{"y", y}, {"dx", gradients->at(in)}};
  auto session = test::session_for(graph);
  const auto out = test::run_ok(*session, {x});
  const ops::QuantizationSteps steps = ops::activation_steps(-1, 2, 255);
  EXPECT_EQ(steps.scale, 3.0F / 255.0F);
  EXPECT_EQ(steps.zero, 85);
  const std::vector<float> want = {0, 2, 3, 4, 5, 0};  // -1.001 rounds into the range
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(out[1].data<float>()[i], want[i]) << i;
    const float q = std::clamp(std::nearbyint(x.data<float>()[i] / steps.scale), -85.0F, 170.0F);
    EXPECT_EQ(out[0].data<float>()[i], q * steps.scale) << i;
  }
}

TEST(FakeQuantization, RangesAreAveragedAndBeginAsTheyAre) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* in = graph.add_input("x", TensorType(DType::kF32, Extents{2}));
  ir::Value* low = graph.add_state("low", Tensor::scalar(0.0F));
  ir::Value* high = graph.add_state("high", Tensor::scalar(0.0F));
  const auto next = b.op_n(2, "ObserveRange", {in, low, high}, {{"momentum", 0.25F}}, kLowpDomain);
  for (size_t i : {0, 1}) graph.states()[i].update = next[i];
  graph.outputs() = {{"low", next[0]}, {"high", next[1]}};
  auto session = test::session_for(graph);
  const std::vector<std::array<float, 4>> steps = {
      {-1, 3, -1, 3}, {-3, 1, -1.5F, 2.5F}, {4, 6.5F, -1.125F, 3.5F}, {NAN, 3.5F, -0.84375F, 3.5F}};
  for (const auto& [a, c, want_low, want_high] : steps) {
    const auto out = test::run_ok(*session, {Tensor::from<float>({2}, {a, c})});
    EXPECT_EQ(out[0].data<float>()[0], want_low);
    EXPECT_EQ(out[1].data<float>()[0], want_high);
  }
}

// x [N, 3, 12, 12] -> y [N, 5]: convolutions with frozen batch norm, a shortcut that no layer reads, a pool, Gemm. What
// is trained is a state.
struct Net {
  std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
  Random random;
  GraphBuilder b{*graph};

  ir::Value* state(const std::string& name, const Extents& extents, double low, double high) {
    return graph->add_state(name, test::random_floats(random, extents, low, high));
  }
  ir::Value* conv(ir::Value* x, int64_t in, int64_t out, const std::string& name) {
    x = b.op("Conv", {x, state(name + ".w", {out, in, 3, 3}, -0.3, 0.3)}, {{"pads", std::vector<int64_t>(4, 1)}},
             kOnnxDomain, name);
    return b.op("BatchNormalization",
                {x, state(name + ".gamma", {out}, -1.5, 1.5), state(name + ".beta", {out}, -0.5, 0.5),
                 state(name + ".mean", {out}, -0.5, 0.5), state(name + ".var", {out}, 0.5, 2)},
                {}, kOnnxDomain, name + ".bn");
  }
  Net() {
    ir::Value* x = graph->add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 3, 12, 12}));
    x = b.op("Relu", {conv(x, 3, 16, "stem")});
    ir::Value* y = b.op("Relu", {conv(x, 16, 16, "first")});
    y = b.op("Relu", {b.op("Add", {conv(y, 16, 16, "second"), conv(x, 16, 16, "shortcut")})});
    y = b.op("Flatten", {b.op("GlobalAveragePool", {y})});
    ir::Value* w = b.op("Transpose", {state("head.w", {5, 16}, -0.5, 0.5)}, {{"perm", std::vector<int64_t>{1, 0}}});
    y = b.op("Add", {b.op("MatMul", {y, w}, {}, kOnnxDomain, "head"), state("head.b", {5}, -0.1, 0.1)});
    graph->outputs().push_back({"y", y});
  }
};

std::vector<std::string> inserted(ir::Graph& graph, int levels, bool observe,
                                  std::set<std::string, std::less<>> exclude = {}) {
  quant::FakeQuantization options;
  options.levels = levels;
  options.observe = observe;
  options.exclude = std::move(exclude);
  auto names = quant::insert_fake_quantization(graph, options);
  EXPECT_TRUE(names) << (names ? "" : names.error().to_string());
  return names ? *names : std::vector<std::string>{};
}

Tensor batch(Random& random) { return test::random_floats(random, {4, 3, 12, 12}, -1, 2); }

// States become the constants that a session has for them.
void make_constant(ir::Graph& graph, runtime::Session& observed) {
  for (ir::State& s : graph.states()) {
    const Tensor* content = observed.state(s.name);
    ASSERT_NE(content, nullptr) << s.name;
    graph.replace_uses(s.value, graph.add_constant(s.name, content->clone()));
  }
  graph.states().clear();
}

class Exported : public testing::TestWithParam<int> {};

TEST_P(Exported, EngineHasTheTrainedScalesAndResults) {
  const int levels = GetParam();
  Net net;
  std::unique_ptr<ir::Graph> evaluation = net.graph->clone();
  const std::vector<std::string> names = inserted(*net.graph, levels, true);
  EXPECT_EQ(names, inserted(*evaluation, levels, false));
  EXPECT_EQ(names.size(), 2U * (1 + 1 + 1 + 1 + 1));  // stem, first and shortcut, second, head, and what is added
  auto observing = test::session_for(*net.graph);
  for (int i = 0; i < 5; ++i) test::run_ok(*observing, {batch(net.random)});
  // The evaluation graph with the ranges as constants, before and after export.
  make_constant(*evaluation, *observing);
  std::unique_ptr<ir::Graph> model = evaluation->clone();
  ASSERT_TRUE(quant::export_fake_quantization(*model).is_ok());
  EXPECT_EQ(test::count_ops(*model, "FakeQuantize", kLowpDomain), 0);
  EXPECT_EQ(test::count_ops(*model, "QuantizeLinear"), 5);
  EXPECT_EQ(test::count_ops(*model, "Clip"), levels == 127 ? 5 : 0);
  for (size_t i = 0; i < names.size(); i += 2) {
    const std::string site = names[i].substr(0, names[i].size() - 4);
    const ops::QuantizationSteps want = ops::activation_steps(*observing->state(names[i])->data<float>(),
                                                              *observing->state(names[i + 1])->data<float>(), levels);
    const ir::Value* scale = model->find_value(site + ":fake_quantize:scale");
    const ir::Value* zero = model->find_value(site + ":fake_quantize:zero_point");
    ASSERT_TRUE(scale != nullptr && zero != nullptr) << site;
    EXPECT_EQ(scale->constant.data<float>()[0], want.scale);
    EXPECT_EQ(zero->constant.data<uint8_t>()[0], want.zero);
  }

  const auto engine =
      test::compile_ok(*model, test::options_for(runtime::PrecisionMode::kInt8, levels == 127 ? "avx2" : "vnni"));
  ASSERT_NE(engine, nullptr);
  int layers = 0;
  for (const auto& n : engine->graph().nodes()) {
    if (n->precision.requested == DType::kInvalid) continue;
    EXPECT_EQ(n->precision.executed, DType::kI8) << n->name << ": " << n->precision.reason;
    ++layers;
  }
  EXPECT_EQ(layers, 5);
  auto session = test::open_session(engine);
  auto simulated = test::session_for(*evaluation);
  const Tensor x = batch(net.random);
  const auto want = test::run_ok(*simulated, {x});
  const auto have = test::run_ok(*session, {x});
  // Sums in another order may land on the other side of a tie: a step here and there.
  EXPECT_LE(test::max_difference(have[0], want[0]), 0.01 * test::largest(ops::to_doubles(want[0])));
}

INSTANTIATE_TEST_SUITE_P(Levels, Exported, testing::Values(255, 127));

TEST(FakeQuantization, ScalesOfFoldedWeightsAreThoseOfTheGraph) {
  Net net;
  std::unique_ptr<ir::Graph> probe = net.graph->clone();
  inserted(*net.graph, 255, true);
  const ir::Node* folded = nullptr;
  for (const auto& n : net.graph->nodes()) {
    if (n->name == "stem.w:fake_quantize") folded = n.get();
  }
  ASSERT_NE(folded, nullptr);
  net.graph->outputs().push_back({"low", folded->inputs[1]});
  net.graph->outputs().push_back({"high", folded->inputs[2]});
  auto session = test::session_for(*net.graph);
  const auto out = test::run_ok(*session, {batch(net.random)});
  inserted(*probe, 255, false);
  for (ir::State& s : probe->states())
    probe->replace_uses(s.value, probe->add_constant(s.name, session->state(s.name)->clone()));
  probe->states().clear();
  ASSERT_TRUE(quant::export_fake_quantization(*probe).is_ok());
  const ir::Value* scales = probe->find_value("stem.w:fake_quantize:scale");
  ASSERT_NE(scales, nullptr);
  ASSERT_EQ(scales->constant.size(), 16);
  for (int64_t c = 0; c < 16; ++c)
    EXPECT_EQ(scales->constant.data<float>()[c],
              ops::weight_steps(out[1].data<float>()[c], out[2].data<float>()[c]).scale);
}

TEST(FakeQuantization, ExcludedLayersStayFloatAndUnknownOnesAreNamed) {
  Net net;
  std::unique_ptr<ir::Graph> other = net.graph->clone();
  inserted(*net.graph, 255, true, {"stem", "head"});
  EXPECT_EQ(test::find_op_node(*net.graph, "MatMul")->inputs[1]->producer->op->name, "Transpose");
  EXPECT_EQ(test::count_ops(*net.graph, "BatchNormalization"), 1);
  quant::FakeQuantization options;
  options.exclude = {"no_such"};
  auto refused = quant::insert_fake_quantization(*other, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.error().to_string().find("no_such"), std::string::npos);
}

// Weight decay drives the scale of batch norm to nothing where a channel is of no use; its bias stays.
TEST(FakeQuantization, AChannelThatIsSwitchedOffLeavesItsLayerInInt8) {
  Net net;
  for (ir::State& s : net.graph->states()) {
    if (s.name == "first.gamma") s.initial.mutable_data<float>()[3] = 1e-12F;
    if (s.name == "first.beta") s.initial.mutable_data<float>()[3] = 0.5F;
  }
  inserted(*net.graph, 255, false);
  for (ir::State& s : net.graph->states()) {
    const float top = s.name.ends_with(".high") ? 3.0F : s.name.ends_with(".low") ? -3.0F : 0.0F;
    net.graph->replace_uses(s.value,
                            net.graph->add_constant(s.name, top == 0 ? s.initial.clone() : Tensor::scalar(top)));
  }
  net.graph->states().clear();
  const Tensor x = batch(net.random);
  auto simulated = test::session_for(*net.graph);
  const auto want = test::run_ok(*simulated, {x});
  ASSERT_TRUE(quant::export_fake_quantization(*net.graph).is_ok());
  const auto engine = test::compile_ok(*net.graph, test::options_for(runtime::PrecisionMode::kInt8));
  ASSERT_NE(engine, nullptr);
  for (const auto& n : engine->graph().nodes()) {
    if (n->precision.requested == DType::kInvalid) continue;
    EXPECT_EQ(n->precision.executed, DType::kI8) << n->name;
  }
  auto session = test::open_session(engine);
  const auto have = test::run_ok(*session, {x});
  EXPECT_LE(test::max_difference(have[0], want[0]), 0.01 * test::largest(ops::to_doubles(want[0])));
}

TEST(FakeQuantization, ARangeThatWasNeverObservedIsRefused) {
  Net net;
  inserted(*net.graph, 255, false);
  for (ir::State& s : net.graph->states())
    net.graph->replace_uses(s.value, net.graph->add_constant(s.name, s.initial.clone()));
  net.graph->states().clear();
  EXPECT_EQ(quant::export_fake_quantization(*net.graph).code(), Code::kCalibration);
}

// A transformer's block without attention: x [N, 8, 32] normalized, two products that read it and a shortcut past them,
// normalized again, 32 -> 48 -> 32 by way of GELU. Some channels are far larger than the others.
struct Block {
  std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
  Random random;
  GraphBuilder b{*graph};

  ir::Value* state(const std::string& name, const Extents& extents, double low, double high) {
    return graph->add_state(name, test::random_floats(random, extents, low, high));
  }
  ir::Value* linear(ir::Value* x, int64_t in, int64_t out, const std::string& name, bool transposed) {
    ir::Value* w = transposed ? b.op("Transpose", {state(name + ".w", {out, in}, -0.3, 0.3)},
                                     {{"perm", std::vector<int64_t>{1, 0}}})
                              : state(name + ".w", {in, out}, -0.3, 0.3);
    return b.op("Add", {b.op("MatMul", {x, w}, {}, kOnnxDomain, name), state(name + ".b", {out}, -0.1, 0.1)});
  }
  ir::Value* norm(ir::Value* x, const std::string& name) {
    Tensor gamma = test::random_floats(random, {32}, 0.5, 1.5);
    for (const int64_t c : {3, 17}) gamma.mutable_data<float>()[c] *= 40;
    return b.op("LayerNormalization",
                {x, graph->add_state(name + ".gamma", std::move(gamma)), state(name + ".beta", {32}, -0.5, 0.5)}, {},
                kOnnxDomain, name);
  }
  explicit Block(bool dropout) {
    ir::Value* x = graph->add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 8, 32}));
    x = norm(x, "first");
    auto drop = [&](ir::Value* v) {
      if (!dropout) return v;
      return b.op("Dropout", {v, b.constant(Tensor::scalar(int64_t{7})), b.constant(Tensor::scalar(int64_t{1}))},
                  {{"ratio", 0.1F}}, kLowpDomain);
    };
    x = drop(x);
    ir::Value* y = b.op("Add", {linear(x, 32, 32, "left", true), linear(x, 32, 32, "right", false)});
    x = norm(b.op("Add", {x, y}), "second");
    y = drop(b.op("Gelu", {linear(x, 32, 48, "up", true)}));
    graph->outputs().push_back({"y", linear(y, 48, 32, "down", false)});
  }
};
Tensor tokens(Random& random) { return test::random_floats(random, {4, 8, 32}, -1, 2); }

TEST_P(Exported, ChannelsAreEqualized) {
  const int levels = GetParam();
  Block block(false);
  Random random;
  const Tensor x = tokens(random);  // observed too: what lies beyond a range is not the question here
  auto exact = test::session_for(*block.graph);
  const Tensor want = test::run_ok(*exact, {x})[0].clone();
  std::map<bool, double> error;
  for (const bool equalize : {false, true}) {
    quant::FakeQuantization options;
    options.levels = levels;
    options.equalize = equalize;
    std::unique_ptr<ir::Graph> training = block.graph->clone(), evaluation = block.graph->clone();
    auto names = quant::insert_fake_quantization(*training, options);
    options.observe = false;
    auto same = quant::insert_fake_quantization(*evaluation, options);
    ASSERT_TRUE(names && same);
    EXPECT_EQ(*names, *same);
    // left and right read one activation.
    EXPECT_EQ(names->size(), equalize ? 9U : 6U);
    EXPECT_EQ(std::ranges::count(*names, "left.w:input.scales"), equalize ? 1 : 0);
    auto observing = test::session_for(*training);
    for (int i = 0; i < 3; ++i) test::run_ok(*observing, {x});
    make_constant(*evaluation, *observing);
    auto simulated = test::session_for(*evaluation);
    const Tensor rounded = test::run_ok(*simulated, {x})[0].clone();
    error[equalize] = test::max_difference(rounded, want);

    std::unique_ptr<ir::Graph> model = evaluation->clone();
    ASSERT_TRUE(quant::export_fake_quantization(*model).is_ok());
    EXPECT_EQ(test::count_ops(*model, "FakeQuantize", kLowpDomain), 0);
    const auto engine =
        test::compile_ok(*model, test::options_for(runtime::PrecisionMode::kInt8, levels == 127 ? "avx2" : "vnni"));
    ASSERT_NE(engine, nullptr);
    int layers = 0;
    for (const auto& n : engine->graph().nodes()) {
      EXPECT_NE(n->op->name, "Mul");
      if (n->precision.requested == DType::kInvalid) continue;
      EXPECT_EQ(n->precision.executed, DType::kI8) << n->name << ": " << n->precision.reason;
      ++layers;
    }
    EXPECT_EQ(layers, 4);
    auto session = test::open_session(engine);
    EXPECT_LE(test::max_difference(test::run_ok(*session, {x})[0], rounded),
              0.01 * test::largest(ops::to_doubles(rounded)));
  }
  EXPECT_LT(error[true], 0.5 * error[false]);
}

TEST(FakeQuantization, WhatAStepOfTrainingHasBetweenLeavesTheStatesAsTheyAre) {
  Block plain(false), dropout(true);
  EXPECT_EQ(inserted(*plain.graph, 255, false), inserted(*dropout.graph, 255, true));
}

TEST(FakeQuantization, ScalesThatWereNeverObservedAreRefused) {
  Block block(false);
  inserted(*block.graph, 255, false);
  for (ir::State& s : block.graph->states()) {
    const bool range = s.name.ends_with(".low") || s.name.ends_with(".high");
    block.graph->replace_uses(s.value,
                              block.graph->add_constant(s.name, range ? Tensor::scalar(1.0F) : s.initial.clone()));
  }
  block.graph->states().clear();
  EXPECT_EQ(quant::export_fake_quantization(*block.graph).code(), Code::kCalibration);
}

// In 16 bits too a step trains weights and moves ranges.
TEST(FakeQuantization, TrainsInMixedPrecision) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Net net;
    const std::vector<std::string> names = inserted(*net.graph, 255, true);
    GraphBuilder b(*net.graph);
    ir::Value* y = net.graph->outputs()[0].value;
    ir::Value* loss = b.op("ReduceMean", {b.op("Mul", {y, y})}, {{"keepdims", int64_t{0}}});
    net.graph->outputs() = {{"loss", loss}};
    ASSERT_TRUE(passes::mixed_precision(*net.graph, dtype, {}).is_ok());
    train::TrainingOptions options;
    for (const std::string& n : names) options.parameters[n].trained = false;
    for (const ir::State& s : net.graph->states()) {
      if (s.name.ends_with(".mean") || s.name.ends_with(".var")) options.parameters[s.name].trained = false;
    }
    auto trained = train::add_training(*net.graph, "loss", options);
    ASSERT_TRUE(trained) << trained.error().to_string();
    EXPECT_EQ(std::ranges::count(*trained, "stem.gamma"), 1);
    auto session = test::session_for(*net.graph);
    const Tensor x = batch(net.random);
    std::vector<float> losses;
    for (int i = 0; i < 10; ++i)
      losses.push_back(test::run_ok(*session, {x, Tensor::scalar(0.01F)})[0].data<float>()[0]);
    EXPECT_LT(losses.back(), 0.8F * losses.front());
    EXPECT_GT(*session->state(names[1])->data<float>(), 0.5F);
  }
}

}  // namespace
}  // namespace lowp
