#include "runtime/dynamic.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/fp_mode.h"
#include "ops/infer.h"
#include "runtime/plan.h"

namespace lowp::runtime {
namespace {

// One node on concrete tensors: its kernel where it has one, else its reference.
Status run_node(const ir::Node& node, const std::vector<const Tensor*>& inputs, std::vector<Tensor>& outputs,
                int threads) {
  std::vector<TensorType> types;
  std::vector<const TensorType*> type_pointers;
  for (const Tensor* t : inputs) types.push_back(t == nullptr ? TensorType{} : t->type());
  for (size_t i = 0; i < inputs.size(); ++i) type_pointers.push_back(inputs[i] == nullptr ? nullptr : &types[i]);
  LOWP_ASSIGN(Inferred inferred, infer_node(node, type_pointers, inputs, 0));
  bool concrete = true;
  outputs.resize(node.outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs[i] == nullptr) continue;
    if (inferred.known[i].valid()) {
      outputs[i] = inferred.known[i];
    } else if (inferred.types[i].concrete()) {
      LOWP_ASSIGN(outputs[i], Tensor::allocate(inferred.types[i].dtype, inferred.types[i].extents()));
    } else {
      concrete = false;
    }
  }
  if (concrete) {
    LowerContext ctx(node, type_pointers, inferred.types, inputs, threads);
    if (node.op->lower != nullptr) LOWP_TRY(node.op->lower(ctx));
    if (ctx.alias_.first >= 0) {
      const Tensor& in = *inputs[static_cast<size_t>(ctx.alias_.second)];
      outputs[static_cast<size_t>(ctx.alias_.first)] =
          in.reshaped(outputs[static_cast<size_t>(ctx.alias_.first)].extents());
      return {};
    }
    // Values in channels-last layout are bytes in another order to a reference: reference_step() converts them.
    const StepFn step = ctx.fn_ ? ctx.fn_ : reference_step(node, type_pointers, inferred.types);
    LOWP_ASSIGN(Tensor scratch, Tensor::allocate(DType::kU8, {static_cast<int64_t>(ctx.scratch_)}));
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const Tensor* t : inputs) in.push_back(t == nullptr ? nullptr : t->raw());
    for (Tensor& t : outputs) out.push_back(t.valid() ? t.mutable_raw() : nullptr);
    Status status;
    step({in.data(), out.data(), scratch.mutable_raw(), &status});
    return status;
  }
  EvalContext ctx(node, inputs, outputs);
  return node.op->reference(ctx);
}

}  // namespace

Result<std::vector<Tensor>> run_node_by_node(const ir::Graph& graph, std::span<const Tensor> inputs,
                                             std::vector<Tensor>& states, int threads, const ValueObserver& observe) {
  if (inputs.size() != graph.inputs().size()) {
    return fail(Code::kInvalidArgument, "{} inputs were given, the model wants {}", inputs.size(),
                graph.inputs().size());
  }
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  if (auto bound = bind_types(graph, types); !bound) return fail(std::move(bound.error()));
  FpMode fp_mode;
  std::unordered_map<const ir::Value*, Tensor> values;
  std::unordered_map<const ir::Value*, size_t> readers;
  for (const auto& v : graph.values()) {
    readers[v.get()] = v->uses.size() + (graph.is_graph_output(v.get()) ? 1 : 0);
    if (v->is_constant()) values[v.get()] = v->constant;
  }
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i]] = inputs[i];
  for (size_t i = 0; i < states.size(); ++i) values[graph.states()[i].value] = states[i];
  auto seen = [&](const ir::Value* v) { return observe == nullptr || v == nullptr || observe(*v, values.at(v)); };
  const auto stopped = fail(Code::kCancelled, "the run was stopped");
  for (const ir::Value* v : graph.inputs()) {
    if (!seen(v)) return stopped;
  }
  for (const ir::State& s : graph.states()) {
    if (!seen(s.value)) return stopped;
  }
  for (const auto& node : graph.nodes()) {
    std::vector<const Tensor*> in;
    for (const ir::Value* v : node->inputs) in.push_back(v == nullptr ? nullptr : &values.at(v));
    std::vector<Tensor> out;
    if (Status s = run_node(*node, in, out, threads); !s.is_ok()) return fail(std::move(s).with_node(node->name));
    for (size_t i = 0; i < out.size(); ++i) {
      if (node->outputs[i] == nullptr) continue;
      values[node->outputs[i]] = std::move(out[i]);
      if (!seen(node->outputs[i])) return stopped;
    }
    for (const ir::Value* v : node->inputs) {
      if (v != nullptr && --readers[v] == 0) values.erase(v);
    }
  }
  std::vector<Tensor> outputs;
  for (const auto& o : graph.outputs()) {
    const Tensor& t = values.at(o.value);
    // Outputs are the caller's: never the bytes of an input, a constant, a state or another output.
    auto same_bytes = [&](const Tensor& other) { return other.storage() == t.storage(); };
    bool shared = std::ranges::any_of(inputs, same_bytes) || std::ranges::any_of(states, same_bytes) ||
                  std::ranges::any_of(outputs, same_bytes);
    for (const auto& v : graph.values()) shared = shared || (v->is_constant() && same_bytes(v->constant));
    outputs.push_back(shared ? t.clone() : t);
  }
  // One state may become the content of another: all are read before any is written.
  std::vector<Tensor> updates;
  for (const ir::State& s : graph.states())
    updates.push_back(s.update == nullptr ? Tensor() : values.at(s.update).clone());
  for (size_t i = 0; i < states.size(); ++i) {
    if (updates[i].valid() && updates[i].bytes() > 0)
      std::memcpy(states[i].mutable_raw(), updates[i].raw(), updates[i].bytes());
  }
  return outputs;
}

}  // namespace lowp::runtime
