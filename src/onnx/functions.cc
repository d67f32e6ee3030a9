#include "onnx/functions.h"

#include <functional>
#include <set>

namespace lowp::onnx {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNodes = 100'000;
constexpr size_t kMaxBytes = size_t{1} << 30;

using Names = std::map<std::string, std::string, std::less<>>;
using Rename = std::function<std::string(const std::string&)>;
using CallAttributes = std::map<std::string, const ::onnx::AttributeProto*, std::less<>>;

Status bind_attributes(::onnx::NodeProto& node, const CallAttributes& arguments);

Status bind_in_graph(::onnx::GraphProto& graph, const CallAttributes& arguments) {
  for (auto& node : *graph.mutable_node()) LOWP_TRY(bind_attributes(node, arguments));
  return {};
}

// Replaces references to the function's attributes by the call's values; an attribute that the call leaves out and that
// has no default is left out.
Status bind_attributes(::onnx::NodeProto& node, const CallAttributes& arguments) {
  auto* attributes = node.mutable_attribute();
  for (int i = 0; i < attributes->size();) {
    ::onnx::AttributeProto& attribute = *attributes->Mutable(i);
    if (!attribute.ref_attr_name().empty()) {
      auto it = arguments.find(attribute.ref_attr_name());
      if (it == arguments.end()) {
        attributes->DeleteSubrange(i, 1);
        continue;
      }
      std::string name = attribute.name();
      attribute = *it->second;
      attribute.set_name(name);
      ++i;
      continue;  // the call's own subgraph is not part of the body
    }
    if (attribute.has_g()) LOWP_TRY(bind_in_graph(*attribute.mutable_g(), arguments));
    for (auto& graph : *attribute.mutable_graphs()) LOWP_TRY(bind_in_graph(graph, arguments));
    ++i;
  }
  return {};
}

// Renames the values that a subgraph reads from outside; what it defines itself keeps its name.
void rename_captures(::onnx::GraphProto& graph, const Rename& outer) {
  std::set<std::string, std::less<>> own;
  for (const auto& input : graph.input()) own.insert(input.name());
  for (const auto& initializer : graph.initializer()) own.insert(initializer.name());
  for (const auto& node : graph.node()) own.insert(node.output().begin(), node.output().end());
  Rename rename = [&](const std::string& name) { return own.contains(name) ? name : outer(name); };
  for (auto& node : *graph.mutable_node()) {
    for (auto& input : *node.mutable_input()) input = rename(input);
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) rename_captures(*attribute.mutable_g(), rename);
    }
  }
  for (auto& output : *graph.mutable_output()) output.set_name(rename(output.name()));
}

}  // namespace

Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& imports) {
  Opsets opsets;
  for (const auto& import : imports) {
    std::string domain = import.domain() == "ai.onnx" ? "" : import.domain();
    auto [it, fresh] = opsets.emplace(domain, import.version());
    if (!fresh && it->second != import.version()) {
      return fail(Code::kInvalidModel, "domain '{}' is imported in versions {} and {}", domain, it->second,
                  import.version());
    }
  }
  return opsets;
}

Result<Functions> Functions::read(const ::onnx::ModelProto& model) {
  Functions functions;
  LOWP_ASSIGN(Opsets model_opsets, read_opsets(model.opset_import()));
  for (const auto& proto : model.functions()) {
    LOWP_ASSIGN(Opsets opsets, read_opsets(proto.opset_import()));
    opsets.insert(model_opsets.begin(), model_opsets.end());
    Key key{proto.domain() == "ai.onnx" ? "" : proto.domain(), proto.name(), proto.overload()};
    if (!functions.functions_.emplace(key, Function{&proto, std::move(opsets)}).second) {
      return fail(Code::kInvalidModel, "function '{}' of domain '{}' is defined twice", proto.name(), proto.domain());
    }
  }
  return functions;
}

const Functions::Function* Functions::find(const ::onnx::NodeProto& node) const {
  auto it = functions_.find(Key{node.domain() == "ai.onnx" ? "" : node.domain(), node.op_type(), node.overload()});
  return it == functions_.end() ? nullptr : &it->second;
}

Result<std::vector<FlatNode>> Functions::expand(const google::protobuf::RepeatedPtrField<::onnx::NodeProto>& nodes,
                                                const Opsets& opsets) {
  std::vector<FlatNode> out;
  out.reserve(static_cast<size_t>(nodes.size()));
  for (const auto& node : nodes) LOWP_TRY(expand_into(out, node, opsets, 0));
  return out;
}

Status Functions::expand_into(std::vector<FlatNode>& out, ::onnx::NodeProto node, const Opsets& opsets, int depth) {
  const Function* function = find(node);
  if (function != nullptr) return call(out, node, *function, depth).with_node(node.name());
  // Nodes that stand in the file are bounded by the file; only copies made by calls need a limit.
  if (depth > 0) {
    bytes_ += node.ByteSizeLong();
    if (++nodes_ > kMaxNodes || bytes_ > kMaxBytes) {
      return error(Code::kResource, "expanding the model's functions gives more than {} nodes or {} bytes", kMaxNodes,
                   kMaxBytes);
    }
  }
  out.push_back({std::move(node), &opsets});
  return {};
}

Status Functions::call(std::vector<FlatNode>& out, const ::onnx::NodeProto& call, const Function& function, int depth) {
  const ::onnx::FunctionProto& proto = *function.proto;
  if (depth >= kMaxDepth) {
    return error(Code::kInvalidModel, "function '{}' calls itself, or calls are nested more than {} deep", proto.name(),
                 kMaxDepth);
  }
  if (++calls_ > static_cast<int>(kMaxNodes)) {
    return error(Code::kResource, "the model's functions are called more than {} times", kMaxNodes);
  }
  if (call.input_size() > proto.input_size() || call.output_size() > proto.output_size()) {
    return error(Code::kInvalidModel, "function '{}' has {} inputs and {} outputs, the node gives {} and {}",
                 proto.name(), proto.input_size(), proto.output_size(), call.input_size(), call.output_size());
  }
  // An input that the call leaves out is absent inside as well; an output it leaves out still has a name there.
  Names names;
  names.emplace("", "");
  for (int i = 0; i < proto.input_size(); ++i) {
    names.emplace(proto.input(i), i < call.input_size() ? call.input(i) : std::string());
  }
  for (int i = 0; i < call.output_size(); ++i) {
    if (call.output(i).empty()) continue;
    if (!names.emplace(proto.output(i), call.output(i)).second) {
      return error(Code::kUnsupported, "function '{}' returns its input '{}'", proto.name(), proto.output(i));
    }
  }
  std::string prefix = fmt::format("{}#{}/", call.name().empty() ? proto.name() : call.name(), calls_);
  Rename rename = [&](const std::string& name) {
    auto it = names.find(name);
    return it != names.end() ? it->second : prefix + name;
  };
  CallAttributes arguments;
  for (const auto& attribute : proto.attribute_proto()) arguments[attribute.name()] = &attribute;
  for (const auto& attribute : call.attribute()) arguments[attribute.name()] = &attribute;

  for (const auto& body : proto.node()) {
    ::onnx::NodeProto node = body;
    // Captures first: the subgraphs that bind_attributes inserts belong to the caller and have its names already.
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) rename_captures(*attribute.mutable_g(), rename);
    }
    LOWP_TRY(bind_attributes(node, arguments));
    for (auto& input : *node.mutable_input()) input = rename(input);
    for (auto& output : *node.mutable_output()) output = rename(output);
    node.set_name(prefix + (node.name().empty() ? node.op_type() : node.name()));
    LOWP_TRY(expand_into(out, std::move(node), function.opsets, depth + 1));
  }
  return {};
}

}  // namespace lowp::onnx
