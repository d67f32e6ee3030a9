#include "passes/mixed_precision.h"

#include <map>
#include <nlohmann/json.hpp>

#include "ops/infer.h"
#include "ops/op_def.h"

namespace lowp::passes {
namespace {

using Json = nlohmann::json;

// Whether operand i stays f32 beside 16-bit activations: scale and bias of normalizations, bias of convolutions, which
// are small and added in f32 anyway; and ranges.
bool stays_f32(std::string_view op, size_t i) {
  if (op == "lowp.BatchNormTraining") return i == 1 || i == 2;
  if (op == "LayerNormalization" || op == "lowp.FakeQuantize" || op == "lowp.ObserveRange" ||
      op == "lowp.ObserveChannels")
    return i > 0;
  return op == "Conv" && i == 2;
}

class Caster {
 public:
  Caster(ir::Graph& graph, DType dtype, const PrecisionLists& lists) : graph_(graph), dtype_(dtype), lists_(lists) {}

  Status run() {
    for (const ir::State& s : graph_.states()) weights_.insert(s.value);
    for (const auto& v : graph_.values()) {
      if (v->is_constant()) weights_.insert(v.get());
    }
    std::vector<DType> wanted;
    for (const auto& o : graph_.outputs()) wanted.push_back(o.value->type.dtype);
    for (ir::Node* node : graph_.node_list()) LOWP_TRY(visit(node));
    for (size_t i = 0; i < wanted.size(); ++i) {
      ir::Value*& v = graph_.outputs()[i].value;
      if (v->type.dtype != wanted[i]) v = cast(v, wanted[i], nullptr);
    }
    for (ir::State& s : graph_.states()) {
      if (s.update != nullptr && s.update->type.dtype != s.value->type.dtype)
        s.update = cast(s.update, s.value->type.dtype, nullptr);
    }
    return {};
  }

 private:
  bool is_half(const ir::Value* v) const { return v != nullptr && v->type.dtype == dtype_; }
  static bool is_f32(const ir::Value* v) { return v != nullptr && v->type.dtype == DType::kF32; }

  DType target(const ir::Node* node, const std::string& op) const {
    if (lists_.allow.contains(op)) return dtype_;
    if (!lists_.follow.contains(op)) return DType::kF32;
    for (const ir::Value* v : node->inputs) {
      if (is_half(v) && !weights_.contains(v)) return dtype_;
    }
    return DType::kF32;
  }

  Status visit(ir::Node* node) {
    const std::string op = op_display_name(*node->op);
    const DType to = target(node, op);
    bool changed = false;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      ir::Value* v = node->inputs[i];
      if (!(to == dtype_ ? is_f32(v) : is_half(v))) {
        changed = changed || is_half(v);
        continue;
      }
      if (to == dtype_ && stays_f32(op, i)) continue;
      graph_.set_input(node, i, cast(v, to, node));
      changed = true;
    }
    if (!changed) return {};
    std::vector<const TensorType*> types;
    std::vector<const Tensor*> known;
    for (const ir::Value* v : node->inputs) {
      types.push_back(v == nullptr ? nullptr : &v->type);
      known.push_back(v != nullptr && v->is_constant() ? &v->constant : nullptr);
    }
    auto inferred = infer_node(*node, types, known, 0);
    if (!inferred)
      return std::move(inferred.error()).with_node(node->name).with_context(fmt::format("in {}", dtype_name(dtype_)));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (node->outputs[i] != nullptr) node->outputs[i]->type = std::move(inferred->types[i]);
    }
    return {};
  }

  // One cast serves all readers, and casting back gives the value that was cast.
  ir::Value* cast(ir::Value* v, DType to, ir::Node* before) {
    auto& known = casts_[{v, to}];
    if (known == nullptr) {
      GraphBuilder builder(graph_, before);
      known = builder.cast(v, to, v->name + ":" + std::string(dtype_name(to)));
      if (weights_.contains(v)) weights_.insert(known);
    }
    return known;
  }

  ir::Graph& graph_;
  DType dtype_;
  const PrecisionLists& lists_;
  std::set<const ir::Value*> weights_;  // states, constants and their casts
  std::map<std::pair<ir::Value*, DType>, ir::Value*> casts_;
};

bool is_known(std::string_view name) {
  constexpr std::string_view kPrefix = "lowp.";
  return name.starts_with(kPrefix) ? find_op(name.substr(kPrefix.size()), kLowpDomain) != nullptr
                                   : find_op(name) != nullptr;
}

}  // namespace

std::string precision_lists_to_json(const PrecisionLists& lists) {
  return Json{{"allow", lists.allow}, {"deny", lists.deny}, {"follow", lists.follow}}.dump();
}

Result<PrecisionLists> precision_lists_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return fail(Code::kInvalidArgument, "the lists of mixed precision are no JSON object");
  PrecisionLists lists;
  for (const auto& [name, member] : json.items()) {
    auto* list = name == "allow"    ? &lists.allow
                 : name == "deny"   ? &lists.deny
                 : name == "follow" ? &lists.follow
                                    : nullptr;
    if (list == nullptr)
      return fail(Code::kInvalidArgument, "there is no list '{}', there are allow, deny and follow", name);
    list->clear();
    if (!member.is_array())
      return fail(Code::kInvalidArgument, "'{}' is {}, a list of ops is wanted", name, member.dump());
    for (const Json& op : member) {
      if (!op.is_string() || !is_known(op.get<std::string>()))
        return fail(Code::kInvalidArgument, "'{}' has {}, which is no op", name, op.dump());
      list->insert(op.get<std::string>());
    }
  }
  for (const auto* other : {&lists.deny, &lists.follow}) {
    for (const std::string& op : *other) {
      if (lists.allow.contains(op) || (other == &lists.follow && lists.deny.contains(op)))
        return fail(Code::kInvalidArgument, "'{}' is in two lists", op);
    }
  }
  return lists;
}

Status mixed_precision(ir::Graph& graph, DType dtype, const PrecisionLists& lists) {
  if (dtype == DType::kF32) return {};
  if (dtype != DType::kBF16 && dtype != DType::kF16)
    return error(Code::kInvalidArgument, "mixed precision in {}, bf16 or f16 is wanted", dtype_name(dtype));
  LOWP_TRY(Caster(graph, dtype, lists).run());
  return ir::verify(graph);
}

}  // namespace lowp::passes
