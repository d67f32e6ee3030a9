// Two small models with everything that matters in them.
#pragma once

#include "runtime/compiler.h"
#include "support/graphs.h"

namespace lowp::test {

// Builds layers with random weights.
struct ModelBuilder {
  Random random;
  std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
  GraphBuilder b{*graph};

  ir::Value* floats(const Extents& e, double low = -1, double high = 1) {
    return b.constant(random_floats(random, e, low, high), "w");
  }
  // Weights scaled so that activations neither grow nor vanish.
  ir::Value* weights(const Extents& e, int64_t fan_in) {
    const double limit = std::sqrt(3.0 / static_cast<double>(fan_in));
    return floats(e, -limit, limit);
  }
  ir::Value* conv(ir::Value* x, int64_t in, int64_t out, int64_t k, int64_t stride, int64_t group,
                  std::string_view name) {
    return b.op("Conv", {x, weights({out, in / group, k, k}, in / group * k * k), floats({out}, -0.1, 0.1)},
                {{"kernel_shape", std::vector<int64_t>{k, k}},
                 {"strides", std::vector<int64_t>{stride, stride}},
                 {"pads", std::vector<int64_t>(4, k / 2)},
                 {"group", group}},
                kOnnxDomain, name);
  }
  ir::Value* linear(ir::Value* x, int64_t in, int64_t out, std::string_view name) {
    ir::Value* y = b.op("MatMul", {x, weights({in, out}, in)}, {}, kOnnxDomain, name);
    return b.op("Add", {y, floats({out}, -0.1, 0.1)});
  }
};

// x f32 [N, 3, 16, 16] -> y [N, 10]: strided and padded, depthwise, residual, max pool, global average, Gemm.
inline std::unique_ptr<ir::Graph> conv_net() {
  ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 3, 16, 16}));
  x = m.b.op("Relu", {m.conv(x, 3, 24, 3, 2, 1, "stem")});
  ir::Value* y = m.b.op("Relu", {m.conv(x, 24, 24, 3, 1, 24, "depthwise")});
  y = m.conv(y, 24, 24, 1, 1, 1, "pointwise");
  x = m.b.op("Relu", {m.b.op("Add", {y, x})});
  x = m.b.op("Relu", {m.conv(x, 24, 24, 3, 1, 1, "square")});
  x = m.b.op("MaxPool", {x},
             {{"kernel_shape", std::vector<int64_t>{3, 3}},
              {"strides", std::vector<int64_t>{2, 2}},
              {"pads", std::vector<int64_t>(4, 1)}});
  x = m.b.op("Relu", {m.conv(x, 24, 40, 3, 1, 2, "grouped")});
  x = m.b.op("Flatten", {m.b.op("GlobalAveragePool", {x})});
  x = m.b.op("Gemm", {x, m.weights({10, 40}, 40), m.floats({10})}, {{"transB", int64_t{1}}}, kOnnxDomain, "head");
  m.graph->outputs().push_back({"y", x});
  return std::move(m.graph);
}

// ids i64 [B, S] -> y f32 [B, S, 32]: embedding, layer norm, attention over 4 heads, GELU, two residuals.
inline std::unique_ptr<ir::Graph> transformer() {
  ModelBuilder m;
  constexpr int64_t kWidth = 32;
  GraphBuilder& b = m.b;
  ir::Value* ids =
      m.graph->add_input("ids", TensorType(DType::kI64, ir::Dims{ir::Dim::symbol("B"), ir::Dim::symbol("S")}));
  ir::Value* x = b.op("Gather", {m.floats({600, kWidth}), ids}, {}, kOnnxDomain, "embedding");
  auto norm = [&](ir::Value* v) {
    return b.op("LayerNormalization", {v, m.floats({kWidth}, 0.5, 1.5), m.floats({kWidth})});
  };
  auto heads = [&](ir::Value* v, std::vector<int64_t> perm) {
    return b.op("Transpose", {b.op("Reshape", {v, b.ints({0, 0, 4, kWidth / 4})})}, {{"perm", std::move(perm)}});
  };
  ir::Value* n = norm(x);
  ir::Value* q = heads(m.linear(n, kWidth, kWidth, "query"), {0, 2, 1, 3});
  ir::Value* k = heads(m.linear(n, kWidth, kWidth, "key"), {0, 2, 3, 1});
  ir::Value* v = heads(m.linear(n, kWidth, kWidth, "value"), {0, 2, 1, 3});
  ir::Value* scores = b.op("Div", {b.op("MatMul", {q, k}), b.constant(Tensor::scalar(2.828427F))});
  ir::Value* mixed = b.op("MatMul", {b.op("Softmax", {scores}, {{"axis", int64_t{-1}}}), v});
  mixed = b.op("Reshape",
               {b.op("Transpose", {mixed}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}), b.ints({0, 0, kWidth})});
  x = b.op("Add", {m.linear(mixed, kWidth, kWidth, "projection"), x});
  ir::Value* h = b.op("Gelu", {m.linear(norm(x), kWidth, 3 * kWidth, "up")});
  x = b.op("Add", {m.linear(h, 3 * kWidth, kWidth, "down"), x});
  m.graph->outputs().push_back({"y", x});
  return std::move(m.graph);
}

inline std::vector<Tensor> conv_net_inputs(Random& random, int64_t batch) {
  return {random_floats(random, {batch, 3, 16, 16})};
}
inline std::vector<Tensor> transformer_inputs(Random& random, int64_t batch, int64_t length) {
  return {random_tensor(random, DType::kI64, {batch, length}, 0, 599)};
}

// Calibration samples held in memory.
class Samples : public runtime::SampleSource {
 public:
  explicit Samples(std::vector<std::vector<Tensor>> samples) : samples_(std::move(samples)) {}
  Status rewind() override {
    at_ = 0;
    return {};
  }
  Result<bool> next(std::vector<Tensor>& inputs) override {
    if (at_ == samples_.size()) return false;
    inputs = samples_[at_++];
    return true;
  }
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }

 private:
  std::vector<std::vector<Tensor>> samples_;
  size_t at_ = 0;
};
inline Samples conv_net_samples(int count = 4) {
  Random random;
  std::vector<std::vector<Tensor>> all;
  for (int i = 0; i < count; ++i) all.push_back(conv_net_inputs(random, 2));
  return Samples(std::move(all));
}
inline Samples transformer_samples(int count = 4) {
  Random random;
  std::vector<std::vector<Tensor>> all;
  for (int i = 0; i < count; ++i) all.push_back(transformer_inputs(random, 2, 7));
  return Samples(std::move(all));
}

inline runtime::CompileOptions options_for(runtime::PrecisionMode precision, std::string optimize_for = "vnni") {
  runtime::CompileOptions o;
  o.precision = precision;
  o.measure = false;
  o.threads = 1;
  o.optimize_for = std::move(optimize_for);
  return o;
}
inline std::shared_ptr<const runtime::Engine> compile_ok(const ir::Graph& graph, const runtime::CompileOptions& options,
                                                         runtime::SampleSource* samples = nullptr) {
  auto compiled = runtime::compile(graph, options, samples);
  EXPECT_TRUE(compiled) << (compiled ? "" : compiled.error().to_string());
  return compiled ? compiled->engine : nullptr;
}
inline std::unique_ptr<runtime::Session> open_session(std::shared_ptr<const runtime::Engine> engine, int threads = 1) {
  runtime::SessionOptions options;
  options.threads = threads;
  auto session = runtime::Session::create(std::move(engine), options);
  EXPECT_TRUE(session) << (session ? "" : session.error().to_string());
  return session ? std::move(*session) : nullptr;
}

}  // namespace lowp::test
