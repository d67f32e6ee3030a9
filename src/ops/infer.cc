#include "ops/infer.h"

#include <algorithm>

namespace lowp {
namespace {

Status check_arity(const ir::Node& node) {
  const OpDef& op = *node.op;
  const int in = static_cast<int>(node.inputs.size());
  const int out = static_cast<int>(node.outputs.size());
  if (in < op.min_inputs || in > op.max_inputs) {
    return error(Code::kInvalidModel, "{} takes {} to {} inputs, the node has {}", op_display_name(op), op.min_inputs,
                 op.max_inputs, in);
  }
  if (out < op.min_outputs || out > op.max_outputs) {
    return error(Code::kInvalidModel, "{} has {} to {} outputs, the node wants {}", op_display_name(op), op.min_outputs,
                 op.max_outputs, out);
  }
  for (int i = 0; i < op.min_inputs; ++i) {
    if (node.inputs[static_cast<size_t>(i)] == nullptr)
      return error(Code::kInvalidModel, "{} wants input {}, which is absent", op_display_name(op), i);
  }
  return {};
}

bool small(const std::vector<TensorType>& types, int64_t max_elements) {
  int64_t total = 0;
  for (const TensorType& t : types) {
    if (t.dtype == DType::kInvalid) continue;
    if (!t.concrete()) return false;
    auto n = ir::checked_element_count(t.extents());
    if (!n || *n > max_elements) return false;
    total += *n;
  }
  return total <= max_elements;
}

}  // namespace

Result<std::vector<Tensor>> evaluate_node(const ir::Node& node, std::span<const Tensor* const> inputs,
                                          std::span<const TensorType> output_types) {
  std::vector<Tensor> outputs(node.outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs[i] == nullptr || !output_types[i].concrete()) continue;
    LOWP_ASSIGN(outputs[i], Tensor::allocate(output_types[i].dtype, output_types[i].extents()));
  }
  EvalContext ctx(node, inputs, outputs);
  if (Status s = node.op->reference(ctx); !s.is_ok()) return fail(std::move(s).with_node(node.name));
  return outputs;
}

Result<Inferred> infer_node(const ir::Node& node, std::span<const TensorType* const> types,
                            std::span<const Tensor* const> known, int64_t max_elements) {
  auto infer = [&]() -> Result<Inferred> {
    LOWP_TRY(check_arity(node));
    InferContext ctx(node, types, known);
    LOWP_TRY(node.op->infer(ctx));
    Inferred result{std::move(ctx.out_types()), std::move(ctx.out_known())};
    for (size_t i = 0; i < result.types.size(); ++i) {
      if (node.outputs[i] != nullptr && result.types[i].dtype == DType::kInvalid) {
        return fail(Code::kUnsupported, "{} does not give output {} of the {} it can have", op_display_name(*node.op),
                    i, node.op->max_outputs);
      }
      if (result.types[i].concrete() && !ir::checked_element_count(result.types[i].extents())) {
        return fail(Code::kResource, "output {} would have the impossible shape {}", i, result.types[i].to_string());
      }
    }
    bool all_known = node.op->pure && max_elements > 0;
    bool data_free = true;
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] != nullptr && (i >= known.size() || known[i] == nullptr)) all_known = false;
      if (types[i] != nullptr && known.size() > i && known[i] != nullptr && known[i]->size() > max_elements * 16)
        data_free = false;
    }
    for (const Tensor& t : result.known) all_known = all_known && !t.valid();
    if (all_known && data_free && small(result.types, max_elements)) {
      LOWP_ASSIGN(result.known, evaluate_node(node, known, result.types));
      for (size_t i = 0; i < result.known.size(); ++i) {
        if (result.known[i].valid()) result.types[i] = result.known[i].type();
      }
    }
    return result;
  };
  // While types are inferred, what an op takes for granted is what the model promises: a shape operand of integers,
  // say.
  auto guarded = [&]() -> Result<Inferred> {
    try {
      return infer();
    } catch (const InternalError& problem) {
      return fail(Code::kInvalidModel, "the operands or attributes break the rules of {} ({})",
                  op_display_name(*node.op), problem.what());
    }
  };
  auto result = guarded();
  if (!result) return fail(std::move(result.error()).with_node(node.name));
  return result;
}

namespace {

// Walks the graph once; `at` gives the type of a value already seen.
template <typename TypeOf, typename Store>
Status walk(const ir::Graph& graph, std::unordered_map<const ir::Value*, Tensor>& known, TypeOf type_of, Store store) {
  for (const auto& node : graph.nodes()) {
    std::vector<const TensorType*> types(node->inputs.size());
    std::vector<const Tensor*> contents(node->inputs.size());
    for (size_t i = 0; i < types.size(); ++i) {
      const ir::Value* v = node->inputs[i];
      if (v == nullptr) continue;
      types[i] = type_of(v);
      if (v->is_constant()) {
        contents[i] = &v->constant;
      } else if (auto it = known.find(v); it != known.end()) {
        contents[i] = &it->second;
      }
    }
    LOWP_ASSIGN(Inferred inferred, infer_node(*node, types, contents, kShapeElements));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      const ir::Value* out = node->outputs[i];
      if (out == nullptr) continue;
      store(node->outputs[i], std::move(inferred.types[i]));
      if (inferred.known[i].valid()) known[out] = std::move(inferred.known[i]);
    }
  }
  return {};
}

}  // namespace

Status infer_types(ir::Graph& graph) {
  std::unordered_map<const ir::Value*, Tensor> known;
  return walk(
      graph, known, [](const ir::Value* v) { return &v->type; },
      [](ir::Value* v, TensorType t) { v->type = std::move(t); });
}

Result<BoundTypes> bind_types(const ir::Graph& graph, std::span<const TensorType> inputs) {
  LOWP_CHECK(inputs.size() == graph.inputs().size());
  BoundTypes bound;
  std::unordered_map<std::string, std::pair<int64_t, std::string>> symbols;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ir::Value* v = graph.inputs()[i];
    const TensorType& want = v->type;
    const TensorType& have = inputs[i];
    if (have.dtype != want.dtype) {
      return fail(error(Code::kTypeMismatch, "input '{}' has dtype {}, the model wants {}", v->name,
                        dtype_name(have.dtype), dtype_name(want.dtype))
                      .with_hint(fmt::format("convert the array to {} before the call", dtype_name(want.dtype))));
    }
    if (want.has_rank()) {
      if (want.rank() != have.rank()) {
        return fail(Code::kShapeMismatch, "input '{}' has shape {} (rank {}), the model wants {} (rank {})", v->name,
                    have.to_string(), have.rank(), want.to_string(), want.rank());
      }
      for (int d = 0; d < want.rank(); ++d) {
        const ir::Dim& w = (*want.dims)[static_cast<size_t>(d)];
        const int64_t h = (*have.dims)[static_cast<size_t>(d)].value();
        if (w.known() && w.value() != h) {
          return fail(Code::kShapeMismatch,
                      "input '{}' has shape {}, the model wants {}: dimension {} is {} instead of {}", v->name,
                      have.to_string(), want.to_string(), d, h, w.value());
        }
        if (!w.known() && !w.symbol().empty()) {
          auto [it, fresh] = symbols.emplace(w.symbol(), std::pair(h, v->name));
          if (!fresh && it->second.first != h) {
            return fail(Code::kShapeMismatch,
                        "input '{}' has shape {}, the model wants {}: '{}' is {} here and {} in input '{}'", v->name,
                        have.to_string(), want.to_string(), w.symbol(), h, it->second.first, it->second.second);
          }
        }
      }
    }
    bound.types[v] = have;
  }
  for (const ir::State& s : graph.states()) bound.types[s.value] = s.value->type;
  auto type_of = [&](const ir::Value* v) -> const TensorType* {
    return v->is_constant() ? &v->type : &bound.types.at(v);
  };
  LOWP_TRY(walk(graph, bound.known, type_of, [&](const ir::Value* v, TensorType t) { bound.types[v] = std::move(t); }));
  return bound;
}

}  // namespace lowp
