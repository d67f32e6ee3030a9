#include "quant/equalize.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/matmul.h"
#include "ops/norm.h"
#include "passes/match.h"

namespace lowp::quant {
namespace {

using passes::is_op;
using passes::only_user;

constexpr size_t kWeights = 1;
constexpr size_t kGemmBias = 2;
constexpr size_t kAttentionValues = 2;

bool is_product(const ir::Node* node) { return is_op(node, "MatMul") || is_op(node, "Gemm"); }

bool is_vector(const ir::Value* v, int64_t n) {
  return v != nullptr && v->is_constant() && v->constant.dtype() == DType::kF32 && v->constant.rank() == 1 &&
         v->constant.size() == n;
}

// Constant f32 weights of a layer that no other node reads.
bool owns_weights(const ir::Node* product) {
  const ir::Value* w = product->inputs[kWeights];
  return w->is_constant() && w->constant.dtype() == DType::kF32 && w->constant.rank() == 2 && w->uses.size() == 1;
}

// A product's weight matrix as a table of inputs and outputs, whichever way it lies.
class Matrix {
 public:
  explicit Matrix(const ir::Node* product) : weights_(product->inputs[kWeights]->constant) {
    const bool transposed = is_op(product, "Gemm") && product->attrs.get<ops::GemmAttrs>().trans_b;
    inputs_ = weights_.extent(transposed ? 1 : 0);
    outputs_ = weights_.extent(transposed ? 0 : 1);
    input_stride_ = transposed ? 1 : outputs_;
    output_stride_ = transposed ? inputs_ : 1;
  }
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }

  // |w|, the outputs of each input together.
  std::vector<float> magnitudes() const {
    std::vector<float> table;
    table.reserve(static_cast<size_t>(inputs_ * outputs_));
    for (int64_t i = 0; i < inputs_; ++i) {
      for (int64_t o = 0; o < outputs_; ++o) table.push_back(std::abs(weights_.data<float>()[offset(i, o)]));
    }
    return table;
  }
  // Copies with a factor for each input, or for each output.
  Tensor scaled_inputs(std::span<const float> factors) const {
    return scaled([&](int64_t in, int64_t) { return factors[static_cast<size_t>(in)]; });
  }
  Tensor scaled_outputs(std::span<const float> factors) const {
    return scaled([&](int64_t, int64_t out) { return factors[static_cast<size_t>(out)]; });
  }

 private:
  int64_t offset(int64_t in, int64_t out) const { return in * input_stride_ + out * output_stride_; }
  template <typename Factor>
  Tensor scaled(Factor factor) const {
    Tensor copy = weights_.clone();
    for (int64_t i = 0; i < inputs_; ++i) {
      for (int64_t o = 0; o < outputs_; ++o) copy.mutable_data<float>()[offset(i, o)] *= factor(i, o);
    }
    return copy;
  }

  Tensor weights_;
  int64_t inputs_ = 0, outputs_ = 0, input_stride_ = 0, output_stride_ = 0;
};

// A linear layer: the product, and the node and operand that hold its bias.
struct Linear {
  ir::Node* product = nullptr;
  ir::Node* bias_node = nullptr;  // null without a bias
  size_t bias = 0;
};

// The linear layer whose result is `v`, if nothing else reads what it is made of.
std::optional<Linear> linear_behind(const ir::Graph& graph, const ir::Value* v, int64_t channels) {
  Linear l;
  if (is_op(v->producer, "Add")) {
    l.bias_node = v->producer;
    l.bias = is_vector(l.bias_node->inputs[0], channels) ? 0 : 1;
    if (!is_vector(l.bias_node->inputs[l.bias], channels)) return std::nullopt;
    v = l.bias_node->inputs[1 - l.bias];
    if (only_user(graph, v) != l.bias_node) return std::nullopt;
  }
  l.product = v->producer;
  if (!is_product(l.product) || !owns_weights(l.product) || Matrix(l.product).outputs() != channels)
    return std::nullopt;
  if (const ir::Value* c = is_op(l.product, "Gemm") ? l.product->input(kGemmBias) : nullptr) {
    if (l.bias_node != nullptr || !is_vector(c, channels)) return std::nullopt;
    l.bias_node = l.product;
    l.bias = kGemmBias;
  }
  return l;
}

bool is_norm(const ir::Node* node, int64_t channels) {
  if (!is_op(node, "LayerNormalization")) return false;
  const int64_t axis = node->attrs.get<ops::LayerNormAttrs>().axis;
  return (axis == -1 || axis == node->outputs[0]->type.rank() - 1) && is_vector(node->input(1), channels) &&
         (node->input(2) == nullptr || is_vector(node->input(2), channels));
}

// Activations that do not scale with their input and that linear layers take into their epilogue.
bool is_curved(const ir::Node* node) {
  static constexpr std::array kNames = {"Gelu", "Swish", "HardSwish", "Sigmoid", "Tanh"};
  return std::ranges::any_of(kNames, [&](const char* name) { return is_op(node, name); });
}

// What takes the division of an activation's channels.
enum class Place : uint8_t { kNorm, kLinear, kFactor };

// An activation whose channels can be scaled, and the layers that read it.
struct Site {
  ir::Value* value = nullptr;
  int64_t channels = 0;
  std::vector<ir::Node*> readers;
  bool others_read = false;  // beside `readers`
  Place place = Place::kNorm;
  Linear linear;  // kLinear
};

// Fills in `place`; false where there is none.
bool find_place(const ir::Graph& graph, Site& site) {
  const ir::Node* producer = site.value->producer;
  if (producer == nullptr) return false;
  if (is_norm(producer, site.channels)) return true;
  if (site.others_read) return false;
  const ir::Value* linear = site.value;
  if (is_op(producer, "Attention", kLowpDomain)) {
    linear = producer->input(kAttentionValues);
  } else if (is_op(producer, "Relu") || is_op(producer, "LeakyRelu") || is_curved(producer)) {
    linear = producer->input(0);
  }
  if (linear != site.value && only_user(graph, linear) != producer) return false;
  const auto found = linear_behind(graph, linear, site.channels);
  if (!found) return false;
  site.linear = *found;
  site.place = is_curved(producer) ? Place::kFactor : Place::kLinear;
  return true;
}

std::vector<Site> find_sites(ir::Graph& graph, const Scheme& scheme) {
  std::vector<Site> sites;
  for (const Layer& layer : find_layers(graph)) {
    if (!is_product(layer.node) || scheme.keep_float.contains(layer.node->name)) continue;
    auto known = std::find_if(sites.begin(), sites.end(), [&](const Site& s) { return s.value == layer.activation; });
    if (known == sites.end()) {
      Site site;
      site.value = layer.activation;
      site.channels = Matrix(layer.node).inputs();
      known = sites.insert(sites.end(), std::move(site));
    }
    known->readers.push_back(layer.node);
  }
  std::erase_if(sites, [&](Site& s) {
    s.others_read = s.value->uses.size() != s.readers.size() || graph.is_graph_output(s.value);
    return !std::ranges::all_of(s.readers, owns_weights) || !find_place(graph, s);
  });
  return sites;
}

// Scales of a site's channels, and what error they are expected to leave in the outputs of all readers.
class Search {
 public:
  Search(const Site& site, const ChannelObserver& seen, int levels)
      : seen_(seen),
        levels_(levels),
        top_weight_(static_cast<size_t>(site.channels)),
        weight_power_(top_weight_.size()) {
    for (const ir::Node* reader : site.readers) {
      const Matrix matrix(reader);
      tables_.push_back({static_cast<size_t>(matrix.outputs()), matrix.magnitudes()});
      for (size_t c = 0; c < top_weight_.size(); ++c) {
        for (float w : tables_.back().row(c)) {
          top_weight_[c] = std::max(top_weight_[c], w);
          weight_power_[c] += static_cast<double>(w) * static_cast<double>(w);
        }
      }
    }
  }

  // Empty where scaling nothing is best.
  std::vector<float> best() const {
    double least = expected_error(std::vector<float>(top_weight_.size(), 1.0F));
    std::vector<float> best;
    constexpr int kSteps = 20;
    for (int i = 0; i <= kSteps; ++i) {
      std::vector<float> scales = scales_of(static_cast<double>(i) / kSteps);
      const double e = expected_error(scales);
      if (!(e < least)) continue;
      least = e;
      best = std::move(scales);
    }
    return best;
  }

 private:
  // |w| of a reader, [channels, outputs].
  struct Table {
    size_t outputs;
    std::vector<float> values;
    std::span<const float> row(size_t c) const { return std::span(values).subspan(c * outputs, outputs); }
  };

  std::vector<float> scales_of(double strength) const {
    std::vector<float> scales;
    for (size_t c = 0; c < top_weight_.size(); ++c) {
      const auto x = static_cast<double>(std::max(-seen_.low(c), seen_.high(c)));
      const auto w = static_cast<double>(top_weight_[c]);
      const double s = std::pow(x, strength) / std::pow(w, 1 - strength);
      // A channel that is always zero, or that nobody reads, stays as it is.
      const bool usable = x > 0 && w > 0 && s > 1e-15 && s < 1e15;
      scales.push_back(usable ? static_cast<float>(s) : 1.0F);
    }
    return scales;
  }

  // Rounding to steps of d leaves d^2 / 12. Steps of the activation, (max x / s - min x / s) / levels, reach an output
  // by the squares of its scaled weights; steps of its weights, max |s w| / 127, by the squares of the scaled inputs.
  double expected_error(const std::vector<float>& scales) const {
    double low = 0;
    double high = 0;
    double weights = 0;
    double inputs = 0;
    for (size_t c = 0; c < scales.size(); ++c) {
      const auto s = static_cast<double>(scales[c]);
      low = std::min(low, static_cast<double>(seen_.low(c)) / s);
      high = std::max(high, static_cast<double>(seen_.high(c)) / s);
      weights += s * s * weight_power_[c];
      inputs += seen_.power(c) / (s * s);
    }
    double columns = 0;
    for (const Table& table : tables_) {
      std::vector<float> top(table.outputs, 0.0F);
      for (size_t c = 0; c < scales.size(); ++c) {
        const float* row = table.row(c).data();
        for (size_t n = 0; n < table.outputs; ++n) top[n] = std::max(top[n], scales[c] * row[n]);
      }
      for (float t : top) columns += static_cast<double>(t) * static_cast<double>(t);
    }
    const double step = (high - low) / levels_;
    return (step * step * weights + columns / (127.0 * 127.0) * inputs) / 12;
  }

  const ChannelObserver& seen_;
  int levels_;
  std::vector<Table> tables_;
  std::vector<float> top_weight_;     // of each channel, over all readers
  std::vector<double> weight_power_;  // sum of squares
};

Tensor scaled_vector(const ir::Value* v, std::span<const float> factors) {
  Tensor copy = v->constant.clone();
  for (size_t i = 0; i < factors.size(); ++i) copy.mutable_data<float>()[i] *= factors[i];
  return copy;
}

void replace_constant(ir::Graph& graph, ir::Node* node, size_t operand, Tensor tensor) {
  const std::string name = graph.unique_value_name(node->inputs[operand]->name + ":equalized");
  graph.set_input(node, operand, graph.add_constant(name, std::move(tensor)));
}

void scale_norm(ir::Graph& graph, const Site& site, std::span<const float> factors) {
  ir::Node* norm = site.value->producer;
  if (site.others_read) {
    norm = graph.add_node(norm->op, norm->attrs, norm->inputs, 1, norm->name + ":equalized", norm);
    norm->outputs[0]->type = site.value->type;
    for (ir::Node* reader : site.readers) graph.set_input(reader, 0, norm->outputs[0]);
  }
  for (size_t i = 1; i < norm->inputs.size(); ++i) {
    if (norm->inputs[i] != nullptr) replace_constant(graph, norm, i, scaled_vector(norm->inputs[i], factors));
  }
}

void scale_linear(ir::Graph& graph, const Linear& l, std::span<const float> factors) {
  replace_constant(graph, l.product, kWeights, Matrix(l.product).scaled_outputs(factors));
  if (l.bias_node != nullptr)
    replace_constant(graph, l.bias_node, l.bias, scaled_vector(l.bias_node->inputs[l.bias], factors));
}

// In front of the readers, of which the first is the first in the graph.
void insert_factor(ir::Graph& graph, const Site& site, std::span<const float> factors) {
  GraphBuilder b(graph, site.readers.front());
  ir::Value* scaled = b.op(
      "Mul", {site.value, b.constant(Tensor::from<float>({site.channels}, factors), site.value->name + ":factors")}, {},
      kOnnxDomain, site.value->name + ":equalized");
  for (ir::Node* reader : site.readers) graph.set_input(reader, 0, scaled);
}

void scale_site(ir::Graph& graph, const Site& site, const std::vector<float>& scales) {
  std::vector<float> factors;
  for (float s : scales) factors.push_back(1 / s);
  switch (site.place) {
    case Place::kNorm: scale_norm(graph, site, factors); break;
    case Place::kLinear: scale_linear(graph, site.linear, factors); break;
    case Place::kFactor: insert_factor(graph, site, factors); break;
  }
  for (ir::Node* reader : site.readers) replace_constant(graph, reader, kWeights, Matrix(reader).scaled_inputs(scales));
}

}  // namespace

void ChannelObserver::observe(std::span<const float> values, int64_t channels) {
  const auto n = static_cast<size_t>(channels);
  low_.resize(n, 0.0F);
  high_.resize(n, 0.0F);
  squares_.resize(n, 0.0);
  for (size_t at = 0; at < values.size(); at += n) {
    for (size_t c = 0; c < n; ++c) {
      const float v = values[at + c];
      low_[c] = std::min(low_[c], v);
      high_[c] = std::max(high_[c], v);
      squares_[c] += static_cast<double>(v) * static_cast<double>(v);
    }
    ++rows_;
  }
}

std::vector<std::string> equalizable_values(ir::Graph& graph, const Scheme& scheme) {
  std::vector<std::string> names;
  for (const Site& s : find_sites(graph, scheme)) names.push_back(s.value->name);
  return names;
}

Result<int> equalize(ir::Graph& graph, const Scheme& scheme, const std::map<std::string, ChannelObserver>& observers) {
  int scaled = 0;
  for (const Site& site : find_sites(graph, scheme)) {
    auto it = observers.find(site.value->name);
    LOWP_CHECK(it != observers.end());
    const std::vector<float> scales = Search(site, it->second, scheme.levels).best();
    if (scales.empty()) continue;
    scale_site(graph, site, scales);
    ++scaled;
  }
  graph.remove_dead();
  LOWP_TRY(graph.sort());
  LOWP_TRY(ir::verify(graph));
  return scaled;
}

}  // namespace lowp::quant
