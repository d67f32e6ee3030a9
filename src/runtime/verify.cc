#include "runtime/verify.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/checksum.h"
#include "ops/packed.h"
#include "ops/quantize_linear.h"
#include "runtime/session.h"

namespace lowp::runtime {
namespace {

struct Probe {
  std::string name;
  const ir::Node* node;  // in the probed graph
};

// Scale and zero point of an INT8 tensor that a node computes; nullopt where they are not to be had.
std::optional<std::pair<double, double>> quantization_of(const ir::Node& node) {
  const ir::Node* n = &node;
  while (n != nullptr && (n->op->quantize == QuantRule::kPassThrough || n->op->name == "Reorder"))
    n = n->inputs[0]->producer;
  if (n == nullptr) return std::nullopt;
  if (n->op->domain == kLowpDomain) {  // ops/output_quantization.h
    const ir::AttrMap attrs = n->op->attrs.write(n->attrs);
    const auto scale = attrs.find("out_scale");
    const auto zero = attrs.find("out_zero");
    if (scale == attrs.end() || zero == attrs.end()) return std::nullopt;
    return std::pair(static_cast<double>(std::get<float>(scale->second)),
                     static_cast<double>(std::get<int64_t>(zero->second)));
  }
  if (n->op->name == "QuantizeLinear" && n->inputs[1]->is_constant() && n->inputs[1]->constant.size() == 1) {
    const double zero = n->input(2) != nullptr && n->inputs[2]->is_constant()
                            ? static_cast<double>(n->inputs[2]->constant.to_int64s()[0])
                            : 0;
    return std::pair(static_cast<double>(n->inputs[1]->constant.data<float>()[0]), zero);
  }
  return std::nullopt;
}

// A session over a copy of the engine's graph that gives out every tensor a node computes.
Result<std::unique_ptr<Session>> probe_all(const Engine& engine, int threads, std::vector<Probe>& probes) {
  std::unique_ptr<ir::Graph> copy = engine.graph().clone();
  for (ir::Node* node : copy->node_list()) {
    for (ir::Value* v : node->outputs) {
      if (v == nullptr || (v->type.dtype != DType::kF32 && v->type.dtype != DType::kU8 && v->type.dtype != DType::kI8))
        continue;
      ir::Value* plain = v;
      if (v->layout != ir::Layout::kPlain) {
        plain = copy->add_node(&op("Reorder", kLowpDomain), Attrs::make(ir::NoAttrs{}), {v}, 1, v->name + ":plain")
                    ->outputs[0];
        plain->type = v->type;
      }
      probes.push_back({v->name, node});
      copy->outputs().push_back({v->name, plain});
    }
  }
  LOWP_TRY(copy->sort());
  SessionOptions options;
  options.threads = threads;
  return Session::create(std::make_shared<Engine>(std::move(copy)), options);
}

std::vector<double> dequantized(const Tensor& t, const ir::Node* node) {
  std::vector<double> v(static_cast<size_t>(t.size()));
  if (t.dtype() == DType::kF32) {
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<double>(t.data<float>()[i]);
    return v;
  }
  auto q = node == nullptr ? std::nullopt : quantization_of(*node);
  if (!q) return {};
  for (size_t i = 0; i < v.size(); ++i) {
    const double x = t.dtype() == DType::kU8 ? t.data<uint8_t>()[i] : t.data<int8_t>()[i];
    v[i] = (x - q->second) * q->first;
  }
  return v;
}

std::string precision_text(const ir::Node* node, const Tensor& t) {
  const DType executed = node == nullptr ? DType::kInvalid : node->precision.executed;
  return std::string(dtype_name(executed == DType::kInvalid ? t.dtype() : executed));
}

void measure(TensorComparison& c, const std::vector<double>& a, const std::vector<double>& b) {
  double signal = 0;
  double noise = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = b[i] - a[i];
    if (a[i] != a[i] && b[i] != b[i]) continue;
    signal += a[i] * a[i];
    noise += d * d;
    c.max_abs = std::max(c.max_abs, std::abs(a[i]));
    c.max_abs_error = std::max(c.max_abs_error, std::abs(d));
  }
  c.snr_db = noise == 0 ? 200.0 : signal == 0 ? -200.0 : 10 * std::log10(signal / noise);
}

}  // namespace

Result<std::vector<TensorComparison>> compare(const Engine& a, const Engine& b, std::span<const Tensor> inputs,
                                              int threads) {
  std::vector<Tensor> inputs_b;
  for (const ir::Value* v : b.graph().inputs()) {
    bool found = false;
    for (size_t i = 0; i < a.graph().inputs().size() && i < inputs.size(); ++i) {
      if (a.graph().inputs()[i]->name != v->name) continue;
      inputs_b.push_back(inputs[i]);
      found = true;
    }
    if (!found) return fail(Code::kInvalidArgument, "the second model has an input '{}', the first has not", v->name);
  }
  std::vector<Probe> probes_a;
  std::vector<Probe> probes_b;
  LOWP_ASSIGN(std::unique_ptr<Session> session_a, probe_all(a, threads, probes_a));
  LOWP_ASSIGN(std::unique_ptr<Session> session_b, probe_all(b, threads, probes_b));
  LOWP_ASSIGN(std::vector<Tensor> values_a, session_a->run(inputs));
  LOWP_ASSIGN(std::vector<Tensor> values_b, session_b->run(inputs_b));
  const size_t own_a = a.graph().outputs().size();
  const size_t own_b = b.graph().outputs().size();
  std::map<std::string, size_t> by_name;
  for (size_t i = 0; i < probes_b.size(); ++i) by_name[probes_b[i].name] = i;

  std::vector<TensorComparison> result;
  auto add = [&](const std::string& name, const Tensor& ta, const ir::Node* na, const Tensor& tb, const ir::Node* nb) {
    const std::vector<double> x = dequantized(ta, na);
    const std::vector<double> y = dequantized(tb, nb);
    if (x.size() != y.size() || x.empty()) return;
    TensorComparison c;
    c.name = name;
    c.op_a = na == nullptr ? "output" : op_display_name(*na->op);
    c.op_b = nb == nullptr ? "output" : op_display_name(*nb->op);
    c.precision_a = precision_text(na, ta);
    c.precision_b = precision_text(nb, tb);
    measure(c, x, y);
    result.push_back(std::move(c));
  };
  for (size_t i = 0; i < probes_a.size(); ++i) {
    auto it = by_name.find(probes_a[i].name);
    if (it == by_name.end()) continue;
    add(probes_a[i].name, values_a[own_a + i], probes_a[i].node, values_b[own_b + it->second],
        probes_b[it->second].node);
  }
  for (size_t i = 0; i < own_a; ++i) {
    for (size_t k = 0; k < own_b; ++k) {
      if (a.graph().outputs()[i].name == b.graph().outputs()[k].name)
        add(a.graph().outputs()[i].name, values_a[i], nullptr, values_b[k], nullptr);
    }
  }
  return result;
}

std::vector<Tensor> golden_inputs(const ir::Graph& graph, int64_t symbol_extent) {
  std::vector<Extents> extents;
  for (const ir::Value* v : graph.inputs()) {
    Extents& e = extents.emplace_back();
    if (!v->type.has_rank()) continue;
    for (const ir::Dim& d : *v->type.dims) e.push_back(d.known() ? d.value() : symbol_extent);
  }
  return pseudo_random_inputs(graph, extents);
}

std::vector<Tensor> pseudo_random_inputs(const ir::Graph& graph, std::span<const Extents> extents) {
  std::vector<Tensor> inputs;
  uint64_t state = 0x9e3779b97f4a7c15U;
  auto random = [&] {  // splitmix64 (Steele, Lea and Flood, 2014)
    uint64_t z = state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  };
  for (const ir::Value* v : graph.inputs()) {
    Tensor t = Tensor::zeros(v->type.dtype, extents[inputs.size()]);
    for (int64_t i = 0; i < t.size(); ++i) {
      const uint64_t r = random();
      switch (v->type.dtype) {
        case DType::kF32:
          t.mutable_data<float>()[i] = static_cast<float>(static_cast<int64_t>(r >> 40) - (1 << 23)) * 0x1p-23F;
          break;
        case DType::kI64: t.mutable_data<int64_t>()[i] = static_cast<int64_t>(r & 1); break;
        case DType::kI32: t.mutable_data<int32_t>()[i] = static_cast<int32_t>(r & 1); break;
        case DType::kU8: t.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(r); break;
        case DType::kI8: t.mutable_data<int8_t>()[i] = static_cast<int8_t>(r); break;
        case DType::kBool: t.mutable_data<bool>()[i] = true; break;
        default: break;  // zeros
      }
    }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

Result<std::string> golden_digest(const std::shared_ptr<const Engine>& engine) {
  LOWP_ASSIGN(std::unique_ptr<Session> session, Session::create(engine));
  LOWP_ASSIGN(std::vector<Tensor> outputs, session->run(golden_inputs(engine->graph(), 2)));
  uint64_t digest = 0;
  for (const Tensor& t : outputs) digest = digest * 31 + checksum(t.raw(), t.bytes());
  return fmt::format("{:016x}", digest);
}

}  // namespace lowp::runtime
