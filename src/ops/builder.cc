#include "base/cpu.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace lowp {

LowerContext::LowerContext(const ir::Node& node, std::span<const TensorType* const> in, std::span<const TensorType> out,
                           std::span<const Tensor* const> known, int threads, KernelChooser* chooser)
    : node_(node), in_(in), out_(out), known_(known), threads_(threads), chooser_(chooser) {
  for (const TensorType* t : in) in_extents_.push_back(t == nullptr ? Extents{} : t->extents());
  for (const TensorType& t : out) out_extents_.push_back(t.concrete() ? t.extents() : Extents{});
}

kernels::KernelChoice LowerContext::choose(const std::string& shape,
                                           std::span<const kernels::KernelChoice> candidates) const {
  if (chooser_ != nullptr) return chooser_->choose(node_, shape, threads_, candidates);
  static const std::string cpu = cpu_name();
  const std::string_view target = target_name(active_target());
  for (const ir::Tuning& t : node_.tuning) {
    if (t.threads != threads_ || t.target != target || t.shape != shape || t.cpu != cpu) continue;
    for (const kernels::KernelChoice& c : candidates) {
      if (kernels::choice_text(c) == t.kernel) return c;
    }
  }
  return candidates.front();
}

ir::Value* GraphBuilder::op(std::string_view name, std::vector<ir::Value*> inputs, AttrMap attrs,
                            std::string_view domain, std::string_view node_name) {
  return op_n(1, name, std::move(inputs), std::move(attrs), domain, node_name)[0];
}

std::vector<ir::Value*> GraphBuilder::op_n(size_t outputs, std::string_view name, std::vector<ir::Value*> inputs,
                                           AttrMap attrs, std::string_view domain, std::string_view node_name) {
  auto added = try_op(outputs, name, std::move(inputs), attrs, domain, node_name);
  if (!added) throw InternalError(fmt::format("{}: {}", name, added.error().to_string()));
  return std::move(*added);
}

Result<std::vector<ir::Value*>> GraphBuilder::try_op(size_t outputs, std::string_view name,
                                                     std::vector<ir::Value*> inputs, const AttrMap& attrs,
                                                     std::string_view domain, std::string_view node_name) {
  const OpDef* def = find_op(name, domain);
  if (def == nullptr) return fail(Code::kUnsupported, "there is no op '{}' in domain '{}'", name, domain);
  if (static_cast<int>(inputs.size()) < def->min_inputs || static_cast<int>(inputs.size()) > def->max_inputs ||
      static_cast<int>(outputs) < def->min_outputs || static_cast<int>(outputs) > def->max_outputs)
    return fail(Code::kInvalidModel, "{} has {} to {} inputs and {} to {} outputs, here are {} and {}", name,
                def->min_inputs, def->max_inputs, def->min_outputs, def->max_outputs, inputs.size(), outputs);
  LOWP_ASSIGN(Attrs parsed, def->attrs.read(attrs));
  const std::string base = prefix_ + std::string(node_name.empty() ? name : node_name);
  ir::Node* node = graph_.add_node(def, std::move(parsed), std::move(inputs), outputs, base, before_);
  std::vector<const TensorType*> types;
  std::vector<const Tensor*> known;
  for (const ir::Value* v : node->inputs) {
    types.push_back(v == nullptr ? nullptr : &v->type);
    known.push_back(v != nullptr && v->is_constant() ? &v->constant : nullptr);
  }
  auto inferred = infer_node(*node, types, known, 0);
  if (!inferred) {
    graph_.erase(node);
    return fail(std::move(inferred.error()).with_node(base));
  }
  for (size_t i = 0; i < outputs; ++i) node->outputs[i]->type = std::move(inferred->types[i]);
  return node->outputs;
}

ir::Value* GraphBuilder::cast(ir::Value* v, DType to, std::string_view node_name) {
  if (v->type.dtype == to) return v;
  return op("Cast", {v}, {{"to", ir::dtype_to_onnx(to)}}, kOnnxDomain, node_name);
}

ir::Value* GradContext::keep(size_t i) {
  if (ir::Value* v = node_.output(i)) return v;
  ir::Value* v = builder_.graph().add_output(&node_, i);
  std::vector<const TensorType*> types;
  std::vector<const Tensor*> known;
  for (const ir::Value* in : node_.inputs) {
    types.push_back(in == nullptr ? nullptr : &in->type);
    known.push_back(in != nullptr && in->is_constant() ? &in->constant : nullptr);
  }
  auto inferred = infer_node(node_, types, known, 0);
  if (!inferred) throw InternalError(inferred.error().to_string());
  v->type = std::move(inferred->types[i]);
  return v;
}

ir::Value* GraphBuilder::constant(Tensor tensor, std::string_view name) {
  return graph_.add_constant(std::string(name), std::move(tensor));
}

ir::Value* GraphBuilder::ints(std::vector<int64_t> values) {
  const auto n = static_cast<int64_t>(values.size());
  return constant(Tensor::from<int64_t>({n}, std::span<const int64_t>(values)), "ints");
}

Tensor scalar_tensor(DType dtype, double value) {
  switch (dtype) {
    case DType::kF32: return Tensor::scalar<float>(static_cast<float>(value));
    case DType::kF64: return Tensor::scalar<double>(value);
    case DType::kF16: return Tensor::scalar<Float16>(Float16(static_cast<float>(value)));
    case DType::kBF16: return Tensor::scalar<BFloat16>(BFloat16(static_cast<float>(value)));
    case DType::kI64: return Tensor::scalar<int64_t>(static_cast<int64_t>(value));
    case DType::kI32: return Tensor::scalar<int32_t>(static_cast<int32_t>(value));
    case DType::kI8: return Tensor::scalar<int8_t>(static_cast<int8_t>(value));
    case DType::kU8: return Tensor::scalar<uint8_t>(static_cast<uint8_t>(value));
    case DType::kI16: return Tensor::scalar<int16_t>(static_cast<int16_t>(value));
    case DType::kU16: return Tensor::scalar<uint16_t>(static_cast<uint16_t>(value));
    case DType::kU32: return Tensor::scalar<uint32_t>(static_cast<uint32_t>(value));
    case DType::kU64: return Tensor::scalar<uint64_t>(static_cast<uint64_t>(value));
    case DType::kBool: return Tensor::scalar<bool>(value != 0);
    default: throw InternalError(fmt::format("no scalar of dtype {}", dtype_name(dtype)));
  }
}

ir::Value* GraphBuilder::scalar_like(const ir::Value* like, double value) {
  return constant(scalar_tensor(like->type.dtype, value), "scalar");
}

void ImportedNode::attr_to_input(std::string_view attr, size_t input) {
  auto it = attrs.find(attr);
  if (it == attrs.end()) return;
  std::vector<int64_t> values;
  if (const auto* v = std::get_if<std::vector<int64_t>>(&it->second)) values = *v;
  if (const auto* v = std::get_if<int64_t>(&it->second)) values = {*v};
  if (inputs.size() <= input) inputs.resize(input + 1, nullptr);
  inputs[input] = GraphBuilder(graph).ints(std::move(values));
  attrs.erase(it);
}

void ImportedNode::float_attr_to_input(std::string_view attr, size_t input) {
  auto it = attrs.find(attr);
  if (it == attrs.end()) return;
  const float* value = std::get_if<float>(&it->second);
  const DType dtype = !inputs.empty() && inputs[0] != nullptr && inputs[0]->type.dtype != DType::kInvalid
                          ? inputs[0]->type.dtype
                          : DType::kF32;
  if (inputs.size() <= input) inputs.resize(input + 1, nullptr);
  inputs[input] =
      graph.add_constant(name + ":" + std::string(attr), scalar_tensor(dtype, value == nullptr ? 0.0 : *value));
  attrs.erase(it);
}

}  // namespace lowp
