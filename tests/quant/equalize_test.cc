// Equalization of channels: the same function in f32, more signal to noise in INT8.
#include "quant/equalize.h"

#include <gtest/gtest.h>

#include "ops/packed.h"
#include "support/models.h"

namespace lowp {
namespace {

using runtime::PrecisionMode;
using test::Random;

constexpr int64_t kWidth = 48;

// Every fifth channel is 40 times the others.
Tensor uneven(test::ModelBuilder& m, int64_t n) {
  Tensor t = test::random_floats(m.random, {n}, 0.5, 1.5);
  for (int64_t i = 0; i < n; i += 5) t.mutable_data<float>()[i] *= 40;
  return t;
}

// x [R, W] -> y [R, W]. The norm is read by `layer` and a residual; the layer's channels are uneven and go through the
// activation to `last`.
std::unique_ptr<ir::Graph> block(const char* activation, bool residual, bool gemm) {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("R"), kWidth}));
  ir::Value* n =
      b.op("LayerNormalization", {x, b.constant(uneven(m, kWidth)), b.constant(uneven(m, kWidth))}, {}, kOnnxDomain);
  Tensor w = test::random_floats(m.random, gemm ? Extents{2 * kWidth, kWidth} : Extents{kWidth, 2 * kWidth}, -0.1, 0.1);
  const Tensor bias = test::random_floats(m.random, {2 * kWidth});
  for (int64_t i = 0; i < 2 * kWidth; i += 7) {
    for (int64_t k = 0; k < kWidth; ++k) w.mutable_data<float>()[gemm ? i * kWidth + k : k * 2 * kWidth + i] *= 30;
  }
  ir::Value* h = nullptr;
  if (gemm) {
    h = b.op("Gemm", {n, b.constant(w), b.constant(bias)}, {{"transB", int64_t{1}}}, kOnnxDomain, "layer");
  } else {
    h = b.op("Add", {b.op("MatMul", {n, b.constant(w)}, {}, kOnnxDomain, "layer"), b.constant(bias)});
  }
  if (activation[0] != 0) h = b.op(activation, {h});
  ir::Value* y = m.linear(h, 2 * kWidth, kWidth, "last");
  if (residual) y = b.op("Add", {y, n});
  m.graph->outputs().push_back({"y", y});
  return std::move(m.graph);
}

std::vector<std::vector<Tensor>> samples_of() {
  Random random;
  std::vector<std::vector<Tensor>> all;
  for (int i = 0; i < 4; ++i) all.push_back({test::random_floats(random, {16, kWidth})});
  return all;
}

// What calibration would see of these values.
std::map<std::string, quant::ChannelObserver> observe(const ir::Graph& graph, const std::vector<std::string>& values,
                                                      const std::vector<std::vector<Tensor>>& samples) {
  std::unique_ptr<ir::Graph> copy = graph.clone();
  copy->outputs().clear();
  for (const std::string& v : values) copy->outputs().push_back({v, copy->find_value(v)});
  std::map<std::string, quant::ChannelObserver> seen;
  for (const auto& sample : samples) {
    const std::vector<Tensor> outputs = test::evaluate_ok(*copy, sample);
    for (size_t i = 0; i < values.size(); ++i)
      seen[values[i]].observe(outputs[i].values<float>(), outputs[i].extent(outputs[i].rank() - 1));
  }
  return seen;
}

int count(const ir::Graph& graph, std::string_view op) {
  int n = 0;
  for (const auto& node : graph.nodes()) n += node->op->name == op;
  return n;
}

// Scales every site of the graph; the outputs must stay what they were.
std::unique_ptr<ir::Graph> equalized(const ir::Graph& graph, const std::vector<std::vector<Tensor>>& samples,
                                     int sites) {
  std::unique_ptr<ir::Graph> copy = graph.clone();
  const quant::Scheme scheme;
  const std::vector<std::string> values = quant::equalizable_values(*copy, scheme);
  EXPECT_EQ(static_cast<int>(values.size()), sites);
  auto scaled = quant::equalize(*copy, scheme, observe(graph, values, samples));
  EXPECT_TRUE(scaled) << (scaled ? "" : scaled.error().to_string());
  EXPECT_EQ(*scaled, sites);
  const Tensor want = test::evaluate_ok(graph, samples[0])[0];
  const Tensor have = test::evaluate_ok(*copy, samples[0])[0];
  double most = 0;
  for (float v : want.values<float>()) most = std::max(most, std::abs(static_cast<double>(v)));
  EXPECT_LT(test::max_difference(want, have), 1e-5 * most);
  return copy;
}

TEST(Equalize, ComputesTheSameWhateverTakesTheDivision) {
  for (const char* activation : {"", "Relu", "LeakyRelu", "Gelu", "Tanh"}) {
    for (const bool residual : {false, true}) {
      for (const bool gemm : {false, true}) {
        SCOPED_TRACE(testing::Message() << activation << residual << gemm);
        auto g = block(activation, residual, gemm);
        auto e = equalized(*g, samples_of(), 2);
        EXPECT_EQ(count(*e, "LayerNormalization"), residual ? 2 : 1);
        const std::string_view name = activation;
        EXPECT_EQ(count(*e, "Mul"), name == "Gelu" || name == "Tanh" ? 1 : 0);
      }
    }
  }
}

TEST(Equalize, AttentionPassesTheDivisionToItsValues) {
  auto g = test::transformer();
  ASSERT_TRUE(passes::run_stage(*g, passes::Stage::kSimplify, {}).is_ok());
  Random random;
  const std::vector<std::vector<Tensor>> samples = {test::transformer_inputs(random, 2, 7)};
  const ir::Node* attention = test::find_op_node(*g, "Attention", kLowpDomain);
  ASSERT_NE(attention, nullptr);
  const std::vector<std::string> values = quant::equalizable_values(*g, {});
  EXPECT_EQ(std::ranges::count(values, attention->outputs[0]->name), 1);
  EXPECT_EQ(values.size(), 4U);  // two norms, attention, GELU
  std::unique_ptr<ir::Graph> copy = g->clone();
  auto scaled = quant::equalize(*copy, {}, observe(*g, values, samples));
  ASSERT_TRUE(scaled) << scaled.error().to_string();
  EXPECT_LT(test::max_difference(test::evaluate_ok(*g, samples[0])[0], test::evaluate_ok(*copy, samples[0])[0]), 1e-4);
}

TEST(Equalize, LeavesSharedWeightsKeptLayersAndOtherReadersAlone) {
  auto g = block("Relu", true, false);
  quant::Scheme keep;
  keep.keep_float = {"layer"};
  EXPECT_EQ(quant::equalizable_values(*g, keep).size(), 1U);  // what `last` reads
  keep.keep_float = {"layer", "last"};
  EXPECT_TRUE(quant::equalizable_values(*g, keep).empty());

  ir::Node* last = nullptr;
  for (const auto& n : g->nodes()) {
    if (n->name == "last") last = n.get();
  }
  g->outputs().push_back({"h", last->inputs[0]});  // somebody else reads the activation now
  EXPECT_EQ(quant::equalizable_values(*g, {}).size(), 1U);
  GraphBuilder b(*g);
  g->outputs().push_back({"z", b.op("MatMul", {last->inputs[0], last->inputs[1]})});
  ir::Node* layer = g->nodes().begin()->get()->outputs[0]->uses[0];
  ASSERT_EQ(layer->name, "layer");
  g->outputs().push_back({"s", b.op("MatMul", {g->inputs()[0], layer->inputs[1]})});
  EXPECT_TRUE(quant::equalizable_values(*g, {}).empty());  // both layers share their weights
}

// With nothing uneven, or where the weights of a large channel are just as large, no scaling is better than none.
TEST(Equalize, DoesNothingWhereThatIsBest) {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{64, 4}));
  ir::Value* n = b.op("LayerNormalization", {x, b.constant(Tensor::from<float>({4}, {1, 1, 1, 1}))});
  const std::vector<float> ones(16, 1.0F);
  m.graph->outputs().push_back(
      {"y", b.op("MatMul", {n, b.constant(Tensor::from<float>({4, 4}, std::span<const float>(ones)))})});
  quant::ChannelObserver seen;
  seen.observe(std::vector<float>{1, 1, 1, 1, -1, -1, -1, -1}, 4);
  const std::vector<std::string> values = quant::equalizable_values(*m.graph, {});
  ASSERT_EQ(values.size(), 1U);
  auto scaled = quant::equalize(*m.graph, {}, {{values[0], seen}});
  ASSERT_TRUE(scaled);
  EXPECT_EQ(*scaled, 0);
  EXPECT_EQ(count(*m.graph, "LayerNormalization"), 1);
}

TEST(Equalize, Int8IsNearerToFp32AndTheFactorIsPartOfTheLayer) {
  for (const char* activation : {"Relu", "Gelu"}) {
    for (const char* target : {"vnni", "avx2"}) {
      auto g = block(activation, true, false);
      double db[2];
      std::shared_ptr<const runtime::Engine> engine;
      for (const bool equalize : {false, true}) {
        auto options = test::options_for(PrecisionMode::kInt8, target);
        options.equalize = equalize;
        test::Samples samples(samples_of());
        auto compiled = runtime::compile(*g, options, &samples);
        ASSERT_TRUE(compiled) << compiled.error().to_string();
        EXPECT_EQ(compiled->report.equalized, equalize ? 2 : 0);
        db[equalize] = compiled->report.output_snr_db;
        engine = compiled->engine;
      }
      EXPECT_GT(db[1], db[0] + 3) << activation << " " << target;
      EXPECT_EQ(count(engine->graph(), "Mul"), 0);
      int steps = 0;
      for (const auto& n : engine->graph().nodes()) {
        if (n->op->name == "Linear") steps += n->input(ops::kPackedSteps) != nullptr;
      }
      EXPECT_EQ(steps, std::string_view(activation) == "Gelu" ? 1 : 0);
      const std::vector<Tensor> in = samples_of()[0];
      const Tensor want = test::run_ok(*test::open_session(engine), in)[0];
      test::for_each_target(
          [&](int threads) { EXPECT_TRUE(test::run_ok(*test::open_session(engine, threads), in)[0].same_bits(want)); });
    }
  }
}

// x [R, W] -> y [R, W], where GELU makes channel 3 large for the row whose x[0] is large, and never else.
std::unique_ptr<ir::Graph> massive() {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("R"), kWidth}));
  Tensor w = test::random_floats(m.random, {kWidth, 4 * kWidth}, -0.3, 0.3);
  for (int64_t k = 0; k < kWidth; ++k) w.mutable_data<float>()[k * 4 * kWidth + 3] = k == 0 ? 2.0F : 0.1F;
  ir::Value* h = b.op("Add", {b.op("MatMul", {x, b.constant(w)}, {}, kOnnxDomain, "layer"),
                              b.constant(test::random_floats(m.random, {4 * kWidth}, -0.2, 0.2))});
  m.graph->outputs().push_back({"y", m.linear(b.op("Gelu", {h}), 4 * kWidth, kWidth, "last")});
  return std::move(m.graph);
}
std::vector<std::vector<Tensor>> massive_samples() {
  auto all = samples_of();
  for (auto& sample : all) sample[0].mutable_data<float>()[0] = 20;
  return all;
}

TEST(Equalize, ComputesALargeChannelSeveralTimes) {
  const auto g = massive();
  const auto samples = massive_samples();
  auto e = equalized(*g, samples, 1);  // the same function
  const ir::Node* layer = nullptr;
  const ir::Node* last = nullptr;
  for (const auto& n : e->nodes()) {
    if (n->name == "layer") layer = n.get();
    if (n->name == "last") last = n.get();
  }
  ASSERT_TRUE(layer != nullptr && last != nullptr);
  const int64_t channels = layer->inputs[1]->constant.extent(1);
  EXPECT_GT(channels, 4 * kWidth);
  EXPECT_LE(channels, 4 * kWidth + 16);
  EXPECT_EQ(last->inputs[1]->constant.extent(0), channels);
  EXPECT_EQ(last->inputs[0]->type.dims->back(), ir::Dim(channels));
  for (const char* target : {"vnni", "avx2"}) {
    double db[2];
    for (const bool equalize : {false, true}) {
      auto options = test::options_for(PrecisionMode::kInt8, target);
      options.equalize = equalize;
      test::Samples copies(massive_samples());
      auto compiled = runtime::compile(*g, options, &copies);
      ASSERT_TRUE(compiled) << compiled.error().to_string();
      db[equalize] = compiled->report.output_snr_db;
      const Tensor want = test::run_ok(*test::open_session(compiled->engine), samples[0])[0];
      test::for_each_target([&](int threads) {
        EXPECT_TRUE(test::run_ok(*test::open_session(compiled->engine, threads), samples[0])[0].same_bits(want));
      });
    }
    EXPECT_GT(db[1], db[0] + 6) << target;
  }
}

// What rounds to whole steps adds up to the rounded whole, and kernels for seven bits find no large neighbours.
TEST(Equalize, CopiesHaveSharesThatRoundTogether) {
  Random random;
  constexpr size_t kChannels = 64;
  Tensor w = test::random_floats(random, {kChannels, 8}, -1, 1);
  test::ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{4, kChannels}));
  const quant::WeightMatrix matrix(m.b.op("MatMul", {x, m.b.constant(w)})->producer);
  quant::ChannelObserver seen;
  std::vector<float> row(kChannels, 1.0F);
  for (int i = 0; i < 100; ++i) seen.observe(row, kChannels);
  row[5] = 60;
  seen.observe(row, kChannels);
  EXPECT_EQ(quant::plan_channels(seen, {&matrix, 1}, 255, false)->channels.size(), kChannels);
  const auto plan = quant::plan_channels(seen, {&matrix, 1}, 255, true);
  ASSERT_TRUE(plan);
  ASSERT_GT(plan->channels.size(), kChannels);
  const Tensor reading = matrix.reading(*plan);
  for (int64_t n = 0; n < 8; ++n) {
    auto share = [&](size_t j) { return reading.data<float>()[static_cast<int64_t>(j) * 8 + n]; };
    float top = 0;
    for (size_t j = 0; j < plan->channels.size(); ++j) top = std::max(top, std::abs(share(j)));
    const float step = top / 127;
    float sum = 0;
    float rounded = 0;
    for (size_t j = 0; j < plan->channels.size(); ++j) {
      if (plan->channels[j].source != 5) continue;
      sum += share(j);
      rounded += std::nearbyint(share(j) / step) * step;
    }
    EXPECT_NEAR(sum, matrix.at(5, static_cast<size_t>(n)) * plan->scales[5], 1e-4 * std::abs(sum));
    EXPECT_LE(std::abs(rounded - sum), 0.53F * step);
  }
  for (size_t j = 1; j < plan->channels.size(); ++j)
    EXPECT_FALSE(plan->channels[j].source == 5 && plan->channels[j - 1].source == 5) << j;
}

// The observer that `auto` takes is the one whose engine says the most.
TEST(Equalize, AutoTakesTheObserverWithTheLeastNoise) {
  auto g = block("Gelu", true, false);
  std::map<runtime::Observer, double> db;
  for (runtime::Observer o : {runtime::Observer::kMse, runtime::Observer::kPercentile, runtime::Observer::kMinMax,
                              runtime::Observer::kAuto}) {
    auto options = test::options_for(PrecisionMode::kInt8);
    options.observer = o;
    test::Samples samples(samples_of());
    auto compiled = runtime::compile(*g, options, &samples);
    ASSERT_TRUE(compiled) << compiled.error().to_string();
    db[o] = compiled->report.output_snr_db;
    if (o != runtime::Observer::kAuto) continue;
    ASSERT_NE(compiled->report.observer, runtime::Observer::kAuto);
    EXPECT_EQ(db[o], db[compiled->report.observer]);
  }
  const double most =
      std::max({db[runtime::Observer::kMse], db[runtime::Observer::kPercentile], db[runtime::Observer::kMinMax]});
  EXPECT_GT(db[runtime::Observer::kAuto], most - 1.0);  // two steps of what counts as level
}

}  // namespace
}  // namespace lowp
