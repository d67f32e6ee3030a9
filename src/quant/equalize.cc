#include "quant/equalize.h"

#include <algorithm>
#include <array>

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
  if (!is_product(l.product) || !owns_weights(l.product) || WeightMatrix(l.product).outputs() != channels)
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

// Whether nothing but the layer that computes the activation says how many channels it has.
bool may_copy(const Site& site) {
  return site.place != Place::kNorm && !is_op(site.value->producer, "Attention", kLowpDomain);
}

std::vector<Site> find_sites(ir::Graph& graph, const Scheme& scheme) {
  std::vector<Site> sites;
  for (const Layer& layer : find_layers(graph)) {
    if (!is_product(layer.node) || scheme.keep_float.contains(layer.node->name)) continue;
    auto known = std::find_if(sites.begin(), sites.end(), [&](const Site& s) { return s.value == layer.activation; });
    if (known == sites.end()) {
      Site site;
      site.value = layer.activation;
      site.channels = WeightMatrix(layer.node).inputs();
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

// The vector for the planned channels, each times the factor of the channel as it was.
Tensor planned_vector(const ir::Value* v, const ChannelPlan& plan, std::span<const float> factors) {
  std::vector<float> values;
  for (const Channel& c : plan.channels) values.push_back(v->constant.data<float>()[c.source] * factors[c.source]);
  return Tensor::from<float>({std::ssize(values)}, values);
}

void replace_constant(ir::Graph& graph, ir::Node* node, size_t operand, Tensor tensor) {
  const std::string name = graph.unique_value_name(node->inputs[operand]->name + ":equalized");
  graph.set_input(node, operand, graph.add_constant(name, std::move(tensor)));
}

void scale_norm(ir::Graph& graph, const Site& site, const ChannelPlan& plan, std::span<const float> factors) {
  ir::Node* norm = site.value->producer;
  if (site.others_read) {
    norm = graph.add_node(norm->op, norm->attrs, norm->inputs, 1, norm->name + ":equalized", norm);
    norm->outputs[0]->type = site.value->type;
    for (ir::Node* reader : site.readers) graph.set_input(reader, 0, norm->outputs[0]);
  }
  for (size_t i = 1; i < norm->inputs.size(); ++i) {
    if (norm->inputs[i] != nullptr) replace_constant(graph, norm, i, planned_vector(norm->inputs[i], plan, factors));
  }
}

// Between the product and the readers everything has as many channels.
void compute_channels(ir::Graph& graph, const Site& site, const ChannelPlan& plan, std::span<const float> factors) {
  const Linear& l = site.linear;
  replace_constant(graph, l.product, kWeights, WeightMatrix(l.product).computing(plan, factors));
  if (l.bias_node != nullptr)
    replace_constant(graph, l.bias_node, l.bias, planned_vector(l.bias_node->inputs[l.bias], plan, factors));
  if (!may_copy(site)) return;
  for (ir::Value* v :
       {l.product->outputs[0], l.bias_node == nullptr ? site.value : l.bias_node->outputs[0], site.value})
    if (v->type.has_rank()) v->type.dims->back() = ir::Dim(std::ssize(plan.channels));
}

// In front of the readers, of which the first is the first in the graph.
void insert_factor(ir::Graph& graph, const Site& site, const ChannelPlan& plan, std::span<const float> factors) {
  GraphBuilder b(graph, site.readers.front());
  std::vector<float> values;
  for (const Channel& c : plan.channels) values.push_back(factors[c.source]);
  ir::Value* scaled = b.op(
      "Mul", {site.value, b.constant(Tensor::from<float>({std::ssize(values)}, values), site.value->name + ":factors")},
      {}, kOnnxDomain, site.value->name + ":equalized");
  for (ir::Node* reader : site.readers) graph.set_input(reader, 0, scaled);
}

void change_site(ir::Graph& graph, const Site& site, const ChannelPlan& plan) {
  std::vector<float> factors;
  for (float s : plan.scales) factors.push_back(1 / s);
  switch (site.place) {
    case Place::kNorm: scale_norm(graph, site, plan, factors); break;
    case Place::kLinear: compute_channels(graph, site, plan, factors); break;
    case Place::kFactor:
      compute_channels(graph, site, plan, std::vector<float>(factors.size(), 1.0F));
      insert_factor(graph, site, plan, factors);
      break;
  }
  for (ir::Node* reader : site.readers) replace_constant(graph, reader, kWeights, WeightMatrix(reader).reading(plan));
}

}  // namespace

bool is_curved(const ir::Node* node) {
  static constexpr std::array kNames = {"Gelu", "Swish", "HardSwish", "Sigmoid", "Tanh"};
  return std::ranges::any_of(kNames, [&](const char* name) { return is_op(node, name); });
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
    std::vector<WeightMatrix> readers;
    for (const ir::Node* reader : site.readers) readers.emplace_back(reader);
    const auto plan = plan_channels(it->second, readers, scheme.levels, may_copy(site));
    if (!plan) continue;
    change_site(graph, site, *plan);
    ++scaled;
  }
  graph.remove_dead();
  LOWP_TRY(graph.sort());
  LOWP_TRY(ir::verify(graph));
  return scaled;
}

}  // namespace lowp::quant
