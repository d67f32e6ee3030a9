// What tests of the core share: random tensors, small graphs, the naive evaluation of a graph by its ops' references.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <unordered_map>
#include <vector>

#include "base/cpu.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/reference.h"
#include "passes/pass.h"
#include "runtime/plan.h"
#include "runtime/session.h"
#include "support/kernel_test.h"

namespace lowp::test {

template <typename T>
void fill(Tensor& t, const std::function<double()>& next) {
  T* p = t.mutable_data<T>();
  for (int64_t i = 0; i < t.size(); ++i) {
    if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
      p[i] = T(static_cast<float>(next()));
    } else {
      p[i] = static_cast<T>(next());
    }
  }
}

// Uniform in [low, high]; integers inclusive.
inline Tensor random_tensor(Random& random, DType dtype, const Extents& extents, double low = -2, double high = 2) {
  Tensor t = Tensor::zeros(dtype, extents);
  if (dtype == DType::kBool) {
    fill<bool>(t, [&] { return static_cast<double>(random.integer(0, 1)); });
    return t;
  }
  std::function<double()> next = [&] {
    return static_cast<double>(random.uniform(static_cast<float>(low), static_cast<float>(high)));
  };
  if (!is_floating(dtype)) {
    next = [&] {
      return static_cast<double>(
          random.integer(static_cast<int64_t>(std::ceil(low)), static_cast<int64_t>(std::floor(high))));
    };
  }
  const Status status = ops::dispatch_numeric(dtype, [&](auto tag) -> Status {
    fill<typename decltype(tag)::type>(t, next);
    return {};
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return t;
}
inline Tensor random_floats(Random& random, const Extents& extents, double low = -1, double high = 1) {
  return random_tensor(random, DType::kF32, extents, low, high);
}

// Every value of the graph, computed node by node with the ops' references.
inline Result<std::vector<Tensor>> evaluate(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                                            std::vector<Tensor>* new_states = nullptr) {
  std::unordered_map<const ir::Value*, Tensor> values;
  for (const auto& v : graph.values()) {
    if (v->is_constant()) values[v.get()] = v->constant;
  }
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i]] = inputs[i];
  for (const ir::State& s : graph.states()) values[s.value] = s.initial;
  for (const auto& node : graph.nodes()) {
    std::vector<const Tensor*> in;
    std::vector<TensorType> types(node->inputs.size());
    std::vector<const TensorType*> pointers;
    for (size_t i = 0; i < types.size(); ++i) {
      const ir::Value* v = node->inputs[i];
      in.push_back(v == nullptr ? nullptr : &values.at(v));
      if (v != nullptr) types[i] = in.back()->type();
      pointers.push_back(v == nullptr ? nullptr : &types[i]);
    }
    LOWP_ASSIGN(Inferred inferred, infer_node(*node, pointers, in, 0));
    LOWP_ASSIGN(std::vector<Tensor> out, evaluate_node(*node, in, inferred.types));
    for (size_t i = 0; i < out.size(); ++i) {
      if (node->outputs[i] != nullptr) values[node->outputs[i]] = std::move(out[i]);
    }
  }
  if (new_states != nullptr) {
    for (const ir::State& s : graph.states())
      new_states->push_back(values.at(s.update == nullptr ? s.value : s.update).clone());
  }
  std::vector<Tensor> outputs;
  for (const auto& o : graph.outputs()) outputs.push_back(values.at(o.value));
  return outputs;
}

inline double largest(const std::vector<double>& v) {
  double m = 0;
  for (double x : v) {
    if (std::isfinite(x)) m = std::max(m, std::abs(x));
  }
  return m;
}

// Largest absolute difference; infinite where one is NaN or infinite and the other is not the same.
inline double max_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = ops::to_doubles(a);
  const std::vector<double> y = ops::to_doubles(b);
  if (a.extents() != b.extents()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double d = std::abs(x[i] - y[i]);
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
  }
  return worst;
}

// A session over a copy of the graph, lowered where asked for.
inline std::unique_ptr<runtime::Session> session_for(const ir::Graph& graph, int threads = 1, bool lower = true,
                                                     bool profile = false) {
  std::unique_ptr<ir::Graph> copy = graph.clone();
  if (lower) {
    Status s = passes::run_stage(*copy, passes::Stage::kLower, {});
    EXPECT_TRUE(s.is_ok()) << s.to_string();
  }
  runtime::SessionOptions options;
  options.threads = threads;
  options.profile = profile;
  auto session = runtime::Session::create(std::make_shared<runtime::Engine>(std::move(copy)), options);
  EXPECT_TRUE(session) << (session ? "" : session.error().to_string());
  return session ? std::move(*session) : nullptr;
}
inline std::vector<Tensor> run_ok(runtime::Session& session, const std::vector<Tensor>& inputs) {
  auto out = session.run(inputs);
  EXPECT_TRUE(out) << (out ? "" : out.error().to_string());
  return out ? std::move(*out) : std::vector<Tensor>{};
}
inline std::vector<Tensor> evaluate_ok(const ir::Graph& graph, const std::vector<Tensor>& inputs) {
  auto out = evaluate(graph, inputs);
  EXPECT_TRUE(out) << (out ? "" : out.error().to_string());
  return out ? std::move(*out) : std::vector<Tensor>{};
}

// Of one thread, without lowering.
inline size_t arena_bytes(const ir::Graph& graph, const std::vector<Tensor>& inputs) {
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  auto plan = runtime::Plan::bind(graph, types, 1);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().to_string());
  return plan ? (*plan)->arena_bytes() : 0;
}

inline int count_ops(const ir::Graph& graph, std::string_view name, std::string_view domain = kOnnxDomain) {
  int n = 0;
  for (const auto& node : graph.nodes()) n += node->op->name == name && node->op->domain == domain;
  return n;
}
inline ir::Node* find_op_node(const ir::Graph& graph, std::string_view name, std::string_view domain = kOnnxDomain) {
  for (const auto& node : graph.nodes()) {
    if (node->op->name == name && node->op->domain == domain) return node.get();
  }
  return nullptr;
}

}  // namespace lowp::test
