#include "onnx/graph_importer.h"

#include <algorithm>
#include <map>
#include <set>

#include "onnx/node_order.h"

namespace lowp::onnx {
namespace {

std::string_view normalized(const std::string& domain) { return domain == "ai.onnx" ? std::string_view() : domain; }

using OpUses = std::map<std::string, std::vector<std::string>>;

Status collect_unsupported(ImportContext& context, const ::onnx::GraphProto& proto, const Opsets& opsets,
                           OpUses& uses) {
  LOWP_ASSIGN(std::vector<FlatNode> nodes, context.functions.expand(proto.node(), opsets));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ::onnx::NodeProto& node = nodes[i].proto;
    std::string_view domain = normalized(node.domain());
    bool constant = domain.empty() && node.op_type() == "Constant";
    if (!constant && find_op(node.op_type(), domain) == nullptr) {
      std::string op = domain.empty() ? node.op_type() : fmt::format("{}.{}", domain, node.op_type());
      uses[op].push_back(display_name(node, i));
    }
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) LOWP_TRY(collect_unsupported(context, attribute.g(), *nodes[i].opsets, uses));
    }
  }
  return {};
}

Result<TensorType> read_type(const ::onnx::ValueInfoProto& info) {
  if (!info.has_type() || info.type().value_case() == ::onnx::TypeProto::VALUE_NOT_SET) return TensorType();
  if (!info.type().has_tensor_type()) {
    return fail(Code::kUnsupported, "value '{}' is a sequence, map or optional; lowp has tensors only", info.name());
  }
  const auto& proto = info.type().tensor_type();
  TensorType type;
  type.dtype = ir::dtype_from_onnx(proto.elem_type());
  if (proto.elem_type() != 0 && (type.dtype == DType::kInvalid || type.dtype == DType::kString)) {
    return fail(Code::kUnsupported, "value '{}' has ONNX data type {} ({}), which lowp does not compute with",
                info.name(), proto.elem_type(), type.dtype == DType::kString ? "string" : "unknown or complex");
  }
  if (!proto.has_shape()) return type;
  type.dims.emplace();
  for (const auto& dim : proto.shape().dim()) {
    // Exporters write -1 for "unknown".
    if (dim.has_dim_value() && dim.dim_value() >= 0) {
      type.dims->emplace_back(dim.dim_value());
    } else {
      type.dims->push_back(dim.has_dim_param() ? ir::Dim::symbol(dim.dim_param()) : ir::Dim());
    }
  }
  return type;
}

// Files of ONNX's first versions leave the kind out; then it is the field that is set.
::onnx::AttributeProto::AttributeType attribute_kind(const ::onnx::AttributeProto& a) {
  using P = ::onnx::AttributeProto;
  if (a.type() != P::UNDEFINED) return a.type();
  if (a.has_f()) return P::FLOAT;
  if (a.has_i()) return P::INT;
  if (a.has_s()) return P::STRING;
  if (a.has_t()) return P::TENSOR;
  if (a.has_g()) return P::GRAPH;
  if (a.floats_size() > 0) return P::FLOATS;
  if (a.strings_size() > 0) return P::STRINGS;
  return P::INTS;
}

// Everything but graphs.
Result<ir::AttrValue> read_attribute(const ::onnx::AttributeProto& a, ExternalData& external) {
  using P = ::onnx::AttributeProto;
  switch (attribute_kind(a)) {
    case P::FLOAT: return a.f();
    case P::INT: return a.i();
    case P::STRING: return a.s();
    case P::FLOATS: return std::vector<float>(a.floats().begin(), a.floats().end());
    case P::INTS: return std::vector<int64_t>(a.ints().begin(), a.ints().end());
    case P::STRINGS: return std::vector<std::string>(a.strings().begin(), a.strings().end());
    case P::TENSOR: {
      LOWP_ASSIGN(ir::Tensor tensor, read_tensor(a.t(), external));
      return ir::AttrValue(std::move(tensor));
    }
    default:
      return fail(Code::kUnsupported, "attribute '{}' has kind {}, which lowp does not have", a.name(),
                  static_cast<int>(attribute_kind(a)));
  }
}

size_t count_up_to_last_named(const google::protobuf::RepeatedPtrField<std::string>& names) {
  auto count = static_cast<size_t>(names.size());
  while (count > 0 && names.Get(static_cast<int>(count) - 1).empty()) --count;
  return count;
}

}  // namespace

Status check_ops(ImportContext& context, const ::onnx::GraphProto& proto, const Opsets& opsets) {
  OpUses uses;
  LOWP_TRY(collect_unsupported(context, proto, opsets, uses));
  if (uses.empty()) return {};
  std::string list;
  for (const auto& [op, nodes] : uses) {
    constexpr size_t kShown = 3;
    std::string names;
    for (size_t i = 0; i < std::min(nodes.size(), kShown); ++i)
      names += fmt::format("{}'{}'", i > 0 ? ", " : "", nodes[i]);
    if (nodes.size() > kShown) names += fmt::format(" and {} more", nodes.size() - kShown);
    list += fmt::format("{}{} (node{} {})", list.empty() ? "" : ", ", op, nodes.size() > 1 ? "s" : "", names);
  }
  return error(Code::kUnsupported, "{} op{} of the model {} not supported: {}", uses.size(), uses.size() > 1 ? "s" : "",
               uses.size() > 1 ? "are" : "is", list);
}

ir::Value* GraphImporter::find(const std::string& name) const {
  auto it = values_.find(name);
  return it == values_.end() ? nullptr : it->second;
}

Status GraphImporter::define(const std::string& name, ir::Value* value) {
  if (!values_.emplace(name, value).second) return error(Code::kInvalidModel, "value '{}' is defined twice", name);
  return {};
}

Status GraphImporter::import(const ::onnx::GraphProto& proto, const Opsets& opsets, const Captures& captures) {
  // Initializers first: an input of the same name is then known to be a default value.
  LOWP_TRY(add_initializers(proto));
  LOWP_TRY(add_inputs(proto));
  LOWP_TRY(add_captures(captures));
  LOWP_ASSIGN(std::vector<FlatNode> nodes, context_.functions.expand(proto.node(), opsets));
  LOWP_ASSIGN(std::vector<size_t> order,
              node_order(nodes, [&](const std::string& name) { return values_.contains(name); }));
  for (size_t index : order) {
    std::string name = display_name(nodes[index].proto, index);
    LOWP_TRY(add_node(nodes[index], name).with_node(name));
    nodes[index].proto.Clear();  // large attribute tensors are held once
  }
  return add_outputs(proto);
}

Status GraphImporter::add_initializers(const ::onnx::GraphProto& proto) {
  if (proto.sparse_initializer_size() > 0) {
    return error(Code::kUnsupported, "the graph has {} sparse initializers; lowp has dense tensors only",
                 proto.sparse_initializer_size());
  }
  for (const auto& initializer : proto.initializer()) {
    if (initializer.name().empty()) return error(Code::kInvalidModel, "an initializer has no name");
    LOWP_ASSIGN(ir::Tensor tensor, read_tensor(initializer, context_.external));
    LOWP_TRY(define(initializer.name(), graph_.add_constant(initializer.name(), std::move(tensor))));
  }
  return {};
}

Status GraphImporter::add_inputs(const ::onnx::GraphProto& proto) {
  std::set<std::string> seen;
  for (const auto& input : proto.input()) {
    if (!seen.insert(input.name()).second || input.name().empty()) {
      return error(Code::kInvalidModel, "graph input '{}' is listed twice or has no name", input.name());
    }
    LOWP_ASSIGN(TensorType type, read_type(input));
    const ir::Value* initializer = find(input.name());
    if (initializer == nullptr) {
      LOWP_TRY(define(input.name(), graph_.add_input(input.name(), std::move(type))));
    } else if (type.dtype != DType::kInvalid && type.dtype != initializer->type.dtype) {
      return error(Code::kTypeMismatch, "input '{}' has dtype {}, its initializer {}", input.name(),
                   dtype_name(type.dtype), dtype_name(initializer->type.dtype));
    }
  }
  return {};
}

Status GraphImporter::add_captures(const Captures& captures) {
  for (const auto& [name, value] : captures) {
    if (find(name) != nullptr) continue;
    LOWP_TRY(define(
        name, value->is_constant() ? graph_.add_constant(name, value->constant) : graph_.add_input(name, value->type)));
  }
  return {};
}

Status GraphImporter::add_constant(const ::onnx::NodeProto& proto) {
  if (proto.output_size() != 1 || proto.attribute_size() != 1) {
    return error(Code::kInvalidModel, "Constant has {} attributes and {} outputs, 1 and 1 are wanted",
                 proto.attribute_size(), proto.output_size());
  }
  const auto& attribute = proto.attribute(0);
  LOWP_ASSIGN(ir::AttrValue value, read_attribute(attribute, context_.external));
  ir::Tensor tensor;
  if (const auto* t = std::get_if<ir::Tensor>(&value)) {
    tensor = *t;
  } else if (const auto* f = std::get_if<float>(&value)) {
    tensor = ir::Tensor::scalar(*f);
  } else if (const auto* i = std::get_if<int64_t>(&value)) {
    tensor = ir::Tensor::scalar(*i);
  } else if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
    tensor = ir::Tensor::from<float>({static_cast<int64_t>(floats->size())}, std::span<const float>(*floats));
  } else if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    tensor = ir::Tensor::from<int64_t>({static_cast<int64_t>(ints->size())}, std::span<const int64_t>(*ints));
  } else {
    return error(Code::kUnsupported, "Constant has attribute '{}' of kind {}; lowp has tensors of numbers only",
                 attribute.name(), ir::attr_kind_name(value));
  }
  return define(proto.output(0), graph_.add_constant(proto.output(0), std::move(tensor)));
}

Result<AttrMap> GraphImporter::read_attributes(const FlatNode& flat, std::vector<ir::Value*>& operands) {
  // All subgraphs of a node get the same captures, in one order, so that the op can pass its operands on to any of
  // them.
  Captures captures;
  std::set<std::string> captured;
  for (const auto& attribute : flat.proto.attribute()) {
    if (!attribute.has_g()) continue;
    for (const std::string& name : free_names(attribute.g())) {
      ir::Value* value = find(name);
      if (value == nullptr) return fail(Code::kInvalidModel, "a subgraph reads '{}', which nothing defines", name);
      if (!captured.insert(name).second) continue;
      captures.emplace_back(name, value);
      if (!value->is_constant()) operands.push_back(value);
    }
  }
  auto varying =
      std::count_if(captures.begin(), captures.end(), [](const auto& c) { return !c.second->is_constant(); });
  AttrMap attributes;
  for (const auto& attribute : flat.proto.attribute()) {
    ir::AttrValue value;
    if (attribute_kind(attribute) == ::onnx::AttributeProto::GRAPH) {
      auto subgraph = std::make_shared<ir::Graph>();
      subgraph->name = attribute.g().name();
      subgraph->metadata["captures"] = std::to_string(varying);
      LOWP_TRY(GraphImporter(context_, *subgraph)
                   .import(attribute.g(), *flat.opsets, captures)
                   .with_context(fmt::format("subgraph '{}'", attribute.name())));
      subgraph->remove_dead();
      value = std::move(subgraph);
    } else {
      LOWP_ASSIGN(value, read_attribute(attribute, context_.external));
    }
    if (!attributes.emplace(attribute.name(), std::move(value)).second) {
      return fail(Code::kInvalidModel, "attribute '{}' is given twice", attribute.name());
    }
  }
  return attributes;
}

Status GraphImporter::add_node(const FlatNode& flat, const std::string& name) {
  const ::onnx::NodeProto& proto = flat.proto;
  std::string_view domain = normalized(proto.domain());
  if (domain.empty() && proto.op_type() == "Constant") return add_constant(proto);
  const OpDef* op = find_op(proto.op_type(), domain);
  LOWP_CHECK(op != nullptr);  // check_ops has been through

  std::vector<ir::Value*> operands;
  size_t own_inputs = count_up_to_last_named(proto.input());
  for (size_t i = 0; i < own_inputs; ++i) {
    const std::string& input = proto.input(static_cast<int>(i));
    operands.push_back(input.empty() ? nullptr : find(input));
    LOWP_CHECK(input.empty() || operands.back() != nullptr);  // node_order has been through
  }
  LOWP_ASSIGN(AttrMap attributes, read_attributes(flat, operands));
  size_t outputs = std::max<size_t>(count_up_to_last_named(proto.output()), 1);

  auto version = flat.opsets->find(domain);
  if (version == flat.opsets->end() && domain.empty()) {
    return error(Code::kInvalidModel, "the op is ONNX's, but the model or function imports no version of ONNX's opset");
  }
  std::string node_name = name;
  ImportedNode imported{graph_,   node_name, attributes,
                        operands, outputs,   version == flat.opsets->end() ? 1 : version->second};
  if (op->upgrade != nullptr && (op->since_version <= 1 || imported.version < op->since_version)) {
    LOWP_TRY(op->upgrade(imported).with_context(proto.op_type()));
  }
  auto attrs = op->attrs.read(attributes);
  if (!attrs) return std::move(attrs.error()).with_context(proto.op_type());

  ir::Node* node = graph_.add_node(op, std::move(*attrs), std::move(operands), outputs, node_name);
  for (size_t i = 0; i < outputs; ++i) {
    std::string output = static_cast<int>(i) < proto.output_size() ? proto.output(static_cast<int>(i)) : std::string();
    if (output.empty()) {
      node->outputs[i]->producer = nullptr;  // nobody reads it; remove_dead() takes the value away
      node->outputs[i] = nullptr;
      continue;
    }
    node->outputs[i]->name = graph_.unique_value_name(output);
    LOWP_TRY(define(output, node->outputs[i]));
  }
  return {};
}

Status GraphImporter::add_outputs(const ::onnx::GraphProto& proto) {
  for (const auto& output : proto.output()) {
    ir::Value* value = find(output.name());
    if (value == nullptr) {
      return error(Code::kInvalidModel, "graph output '{}' is neither an input, an initializer nor any node's output",
                   output.name());
    }
    if (auto type = read_type(output); !type) return std::move(type.error());
    graph_.outputs().push_back({output.name(), value});
  }
  return {};
}

}  // namespace lowp::onnx
