// Observers, weights, and post-training quantization as compile() does it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/packed.h"
#include "quant/observer.h"
#include "quant/weights.h"
#include "support/models.h"

namespace lowp {
namespace {

using quant::HistogramObserver;
using quant::RangeMethod;
using runtime::PrecisionMode;
using test::Random;

TEST(Observer, GrowsWithTheData) {
  HistogramObserver o;
  Random random;
  for (const float top : {0.01F, 1.0F, 100.0F}) {
    std::vector<float> v(1000);
    for (float& x : v) x = random.uniform(-top / 2, top);
    v[0] = top;
    ASSERT_TRUE(o.observe(v).is_ok());
    EXPECT_EQ(o.range(RangeMethod::kMinMax, 255).hi, top);
  }
  EXPECT_EQ(o.count(), 3000);
}

TEST(Observer, PercentileAndMseCutAnOutlier) {
  HistogramObserver o;
  Random random;
  std::vector<float> v(200000);
  for (float& x : v) x = random.uniform(-1, 1);
  v[7] = 50;
  ASSERT_TRUE(o.observe(v).is_ok());
  EXPECT_EQ(o.range(RangeMethod::kMinMax, 255).hi, 50);
  EXPECT_LT(o.range(RangeMethod::kPercentile, 255).hi, 1.1F);
  const quant::Range mse = o.range(RangeMethod::kMse, 255);
  EXPECT_LT(mse.hi, 40);
  EXPECT_GE(mse.hi, 1);
  EXPECT_LE(mse.lo, -0.9F);
}

TEST(Observer, RefusesNanAndInfinity) {
  HistogramObserver o;
  EXPECT_EQ(o.observe(std::vector<float>{1, NAN}).code(), Code::kCalibration);
  EXPECT_EQ(o.observe(std::vector<float>{1, INFINITY}).code(), Code::kCalibration);
  EXPECT_TRUE(o.empty());
  EXPECT_TRUE(o.observe(std::vector<float>{0, 0}).is_ok());
  EXPECT_EQ(o.range(RangeMethod::kMse, 255).hi, 0);
}

TEST(Weights, RoundingErrorIsAtMostHalfAStepOrClipped) {
  Random random;
  const Tensor w = test::random_floats(random, {6, 40});
  const auto q = quant::quantize_weights(w, quant::ChannelOrder::along_axis(w, 0));
  for (int64_t i = 0; i < w.size(); ++i) {
    const float s = q.scales.data<float>()[i / 40];
    const float back = static_cast<float>(q.values.data<int8_t>()[i]) * s;
    if (std::abs(q.values.data<int8_t>()[i]) < 127) {
      EXPECT_LE(std::abs(back - w.data<float>()[i]), 0.5001F * s);
    }
  }
}

double error_of(const quant::QuantizedWeights& q) { return std::accumulate(q.errors.begin(), q.errors.end(), 0.0); }

TEST(Weights, KeepToTheLimitOfAnA7Class) {
  using kernels::Int8Class;
  Random random;
  for (const int64_t k : {1, 7, 40, 65, 300}) {
    const Tensor w = test::random_floats(random, {k, 24});
    const quant::ChannelOrder order = quant::ChannelOrder::along_axis(w, 1);
    const double exact = error_of(quant::quantize_weights(w, order));
    for (Int8Class c : {Int8Class::kA7Quad, Int8Class::kA7Oct}) {
      const auto q = quant::quantize_weights(w, order, c);
      EXPECT_TRUE(kernels::a7_safe(c, q.values.data<int8_t>(), 24, false, k, 24)) << k;
      double error = 0;
      for (int64_t i = 0; i < w.size(); ++i) {
        const float back = static_cast<float>(q.values.data<int8_t>()[i]) * q.scales.data<float>()[i % 24];
        error += std::pow(static_cast<double>(back) - static_cast<double>(w.data<float>()[i]), 2);
      }
      EXPECT_NEAR(error, error_of(q), 1e-6 * error + 1e-12);
      EXPECT_GE(error, exact * 0.999);
    }
  }
}

// In the order of the kernels: (kh, kw, c).
TEST(Weights, FiltersKeepToTheLimit) {
  Random random;
  const Tensor w = test::random_floats(random, {6, 5, 3, 2});
  for (kernels::Int8Class c : {kernels::Int8Class::kA7Quad, kernels::Int8Class::kA7Oct}) {
    const auto q = quant::quantize_weights(w, quant::ChannelOrder::of_filters(w), c);
    EXPECT_TRUE(kernels::a7_safe_conv(c, q.values.data<int8_t>(), 6, 5, 3, 2));
  }
}

// Gaussian weights cost less than doubling the error; a channel of equal large weights only fits the exact class.
TEST(Weights, TheClassFollowsFromTheError) {
  Random random;
  Tensor w = Tensor::zeros(DType::kF32, {32, 256});
  for (int64_t i = 0; i < w.size(); ++i) {
    float sum = 0;
    for (int j = 0; j < 12; ++j) sum += random.uniform(-0.5F, 0.5F);
    w.mutable_data<float>()[i] = sum;
  }
  const quant::ChannelOrder order = quant::ChannelOrder::along_axis(w, 0);
  auto safe = [&](kernels::Int8Class c) {
    return kernels::a7_safe(c, quant::quantize_weights_a7(w, order).values.data<int8_t>(), 256, true, 256, 32);
  };
  EXPECT_TRUE(safe(kernels::Int8Class::kA7Oct));
  for (int64_t i = 0; i < w.size(); ++i) w.mutable_data<float>()[i] = random.uniform(0.5F, 1.0F);
  EXPECT_FALSE(safe(kernels::Int8Class::kA7Quad));
}

TEST(Compile, CalibrationMustBeThere) {
  auto g = test::conv_net();
  const auto options = test::options_for(PrecisionMode::kInt8);
  EXPECT_EQ(runtime::compile(*g, options, nullptr).error().code(), Code::kCalibration);
  test::Samples none({});
  EXPECT_EQ(runtime::compile(*g, options, &none).error().code(), Code::kCalibration);
  Random random;
  std::vector<Tensor> bad = test::conv_net_inputs(random, 1);
  bad[0].mutable_data<float>()[5] = NAN;
  test::Samples nan({test::conv_net_inputs(random, 1), bad});
  const auto failed = runtime::compile(*g, options, &nan);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().to_string().find("sample 1: input 'x'"), std::string::npos) << failed.error().to_string();
}

TEST(Compile, LayersStayFp32ByRequestAndStrictSaysSo) {
  auto g = test::conv_net();
  auto options = test::options_for(PrecisionMode::kInt8);
  options.keep_fp32 = {"pointwise"};
  test::Samples samples = test::conv_net_samples();
  auto compiled = runtime::compile(*g, options, &samples);
  ASSERT_TRUE(compiled) << compiled.error().to_string();
  int int8 = 0;
  for (const runtime::LayerReport& l : compiled->report.layers) {
    int8 += l.executed == DType::kI8;
    if (l.node != "pointwise") continue;
    EXPECT_EQ(l.executed, DType::kF32);
    EXPECT_EQ(l.reason, "kept in FP32 by request");
  }
  EXPECT_GE(int8, 4);
  options.strict = true;
  auto strict = runtime::compile(*g, options, &samples);
  ASSERT_FALSE(strict);
  EXPECT_EQ(strict.error().code(), Code::kUnsupported);
  EXPECT_NE(strict.error().to_string().find("pointwise"), std::string::npos);
  options.keep_fp32 = {"no such layer"};
  EXPECT_EQ(runtime::compile(*g, options, &samples).error().code(), Code::kInvalidArgument);
}

// The layers that cost most stay FP32 until the outputs are as good as asked for, and no more of them.
TEST(Compile, OutputsGetTheSignalToNoiseAskedFor) {
  auto g = test::conv_net();
  auto options = test::options_for(PrecisionMode::kInt8);
  auto kept = [](const runtime::CompileReport& report) {
    return std::ranges::count_if(report.layers, [](const auto& l) {
      return l.reason.find("dB of signal to noise, of which") != std::string::npos;
    });
  };
  test::Samples samples = test::conv_net_samples();
  auto plain = runtime::compile(*g, options, &samples);
  ASSERT_TRUE(plain) << plain.error().to_string();
  EXPECT_EQ(kept(plain->report), 0);
  options.min_output_snr_db = plain->report.output_snr_db + 0.1;
  auto better = runtime::compile(*g, options, &samples);
  ASSERT_TRUE(better) << better.error().to_string();
  EXPECT_EQ(kept(better->report), 1);
  EXPECT_GE(better->report.output_snr_db, options.min_output_snr_db);
  options.min_output_snr_db = std::nan("");
  EXPECT_EQ(runtime::compile(*g, options, &samples).error().code(), Code::kInvalidArgument);
}

// One huge input channel with a weight of zero leaves nothing of the others in eight bits.
TEST(Compile, ALayerThatInt8HurtsStaysFp32) {
  test::ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{16, 8}));
  Tensor w = test::random_floats(m.random, {8, 4});
  for (int64_t n = 0; n < 4; ++n) w.mutable_data<float>()[n] = 0;
  m.graph->outputs().push_back({"y", m.b.op("MatMul", {x, m.b.constant(w)}, {}, kOnnxDomain, "hurt")});
  Tensor in = test::random_floats(m.random, {16, 8});
  for (int64_t r = 0; r < 16; ++r) in.mutable_data<float>()[r * 8] = r % 2 ? 5000.0F : -5000.0F;
  test::Samples samples({{in}});
  auto compiled = runtime::compile(*m.graph, test::options_for(PrecisionMode::kInt8), &samples);
  ASSERT_TRUE(compiled) << compiled.error().to_string();
  ASSERT_EQ(compiled->report.layers.size(), 1U);
  EXPECT_EQ(compiled->report.layers[0].executed, DType::kF32);
  EXPECT_NE(compiled->report.layers[0].reason.find("INT8 hurts"), std::string::npos);
}

// One large weight a column, the others small: no sum of eight can overflow.
TEST(Compile, ForAvx2MakesOctLayersWithTheSameOutputsEverywhere) {
  test::ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{16, 64}));
  Tensor w = test::random_floats(m.random, {64, 32}, -0.2, 0.2);
  for (int64_t n = 0; n < 32; ++n) w.mutable_data<float>()[n] = 1;
  m.graph->outputs().push_back({"y", m.b.op("MatMul", {x, m.b.constant(w)})});
  const std::vector<Tensor> in = {test::random_floats(m.random, {16, 64})};
  test::Samples samples({in});
  auto engine = test::compile_ok(*m.graph, test::options_for(PrecisionMode::kInt8, "avx2"), &samples);
  const ir::Node* linear = test::find_op_node(engine->graph(), "Linear", kLowpDomain);
  ASSERT_NE(linear, nullptr);
  EXPECT_EQ(linear->attrs.get<ops::LinearAttrs>().int8_class, static_cast<int64_t>(kernels::Int8Class::kA7Oct));
  const Tensor want = test::run_ok(*test::open_session(engine), in)[0];
  test::for_each_target(
      [&](int threads) { EXPECT_TRUE(test::run_ok(*test::open_session(engine, threads), in)[0].same_bits(want)); });
}

// Both halves of a recurrent layer become INT8: the input's product and the recurrence, whose state may begin outside
// of what the gates can give.
TEST(Compile, RecurrentLayersInEveryPrecision) {
  for (const char* kind : {"LSTM", "GRU"}) {
    const int64_t gates = std::string_view(kind) == "LSTM" ? 4 : 3;
    test::ModelBuilder m;
    ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{6, 2, 24}));
    ir::Value* h = m.graph->add_input("h", TensorType(DType::kF32, Extents{1, 2, 32}));
    auto constant = [&](Extents e) { return m.b.constant(test::random_floats(m.random, e, -0.3, 0.3)); };
    std::vector<ir::Value*> operands = {
        x, constant({1, gates * 32, 24}), constant({1, gates * 32, 32}), nullptr, nullptr, h};
    m.graph->outputs().push_back({"y", m.b.op_n(2, kind, operands, {}, kOnnxDomain, "layer")[0]});
    std::vector<std::vector<Tensor>> inputs;
    for (int i = 0; i < 4; ++i)
      inputs.push_back({test::random_floats(m.random, {6, 2, 24}), test::random_floats(m.random, {1, 2, 32}, -3, 3)});
    test::Samples samples(inputs);
    const Tensor want = test::evaluate_ok(*m.graph, inputs[0])[0];
    for (const char* target : {"vnni", "avx2"}) {
      auto engine = test::compile_ok(*m.graph, test::options_for(PrecisionMode::kInt8, target), &samples);
      const ir::Node* node = test::find_op_node(engine->graph(), kind, kLowpDomain);
      ASSERT_NE(node, nullptr);
      EXPECT_EQ(node->precision.executed, DType::kI8) << node->precision.reason;
      EXPECT_EQ(node->inputs[1]->type.dtype, DType::kI8);
      const Tensor first = test::run_ok(*test::open_session(engine), inputs[0])[0];
      EXPECT_LT(test::max_difference(first, want), 0.06) << kind << " " << target;
      test::for_each_target([&](int threads) {
        EXPECT_TRUE(test::run_ok(*test::open_session(engine, threads), inputs[0])[0].same_bits(first));
      });
    }
    for (const auto& [mode, dtype] :
         {std::pair{PrecisionMode::kBf16, DType::kBF16}, {PrecisionMode::kFp16, DType::kF16}}) {
      auto engine = test::compile_ok(*m.graph, test::options_for(mode));
      const ir::Node* node = test::find_op_node(engine->graph(), kind, kLowpDomain);
      EXPECT_EQ(node->inputs[1]->type.dtype, dtype);
      EXPECT_EQ(node->precision.executed, dtype);
      EXPECT_LT(test::max_difference(test::run_ok(*test::open_session(engine), inputs[0])[0], want), 0.03);
    }
  }
}

}  // namespace
}  // namespace lowp
