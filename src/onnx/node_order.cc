#include "onnx/node_order.h"

#include <queue>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace lowp::onnx {
namespace {

void collect_free(const ::onnx::GraphProto& graph, std::vector<std::string>& names,
                  std::unordered_set<std::string>& seen) {
  std::unordered_set<std::string> own;
  for (const auto& input : graph.input()) own.insert(input.name());
  for (const auto& initializer : graph.initializer()) own.insert(initializer.name());
  for (const auto& node : graph.node()) own.insert(node.output().begin(), node.output().end());
  auto read = [&](const std::string& name) {
    if (!name.empty() && !own.contains(name) && seen.insert(name).second) names.push_back(name);
  };
  for (const auto& node : graph.node()) {
    for (const auto& input : node.input()) read(input);
    for (const auto& attribute : node.attribute()) {
      if (!attribute.has_g()) continue;
      for (const std::string& name : free_names(attribute.g())) read(name);
    }
  }
  for (const auto& output : graph.output()) read(output.name());
}

}  // namespace

std::vector<std::string> free_names(const ::onnx::GraphProto& graph) {
  std::vector<std::string> names;
  std::unordered_set<std::string> seen;
  collect_free(graph, names, seen);
  return names;
}

std::string display_name(const ::onnx::NodeProto& node, size_t index) {
  return node.name().empty() ? fmt::format("{}_{}", node.op_type(), index) : node.name();
}

Result<std::vector<size_t>> node_order(const std::vector<FlatNode>& nodes,
                                       const std::function<bool(const std::string&)>& is_given) {
  std::unordered_map<std::string, size_t> producers;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].proto.output()) {
      if (output.empty()) continue;
      auto [it, fresh] = producers.emplace(output, i);
      if (!fresh || is_given(output)) {
        std::string other = fresh ? "the graph's inputs or initializers"
                                  : fmt::format("node '{}'", display_name(nodes[it->second].proto, it->second));
        return fail(error(Code::kInvalidModel, "value '{}' is defined here and by {}", output, other)
                        .with_node(display_name(nodes[i].proto, i)));
      }
    }
  }
  std::vector<std::vector<size_t>> readers(nodes.size());
  std::vector<size_t> missing(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    auto read = [&](const std::string& name) -> Status {
      if (name.empty() || is_given(name)) return {};
      auto it = producers.find(name);
      if (it == producers.end()) {
        return error(Code::kInvalidModel, "input '{}' is neither a graph input, an initializer nor any node's output",
                     name)
            .with_node(display_name(nodes[i].proto, i));
      }
      readers[it->second].push_back(i);
      ++missing[i];
      return {};
    };
    for (const std::string& input : nodes[i].proto.input()) LOWP_TRY(read(input));
    for (const auto& attribute : nodes[i].proto.attribute()) {
      if (!attribute.has_g()) continue;
      for (const std::string& name : free_names(attribute.g())) LOWP_TRY(read(name));
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (missing[i] == 0) ready.push(i);
  }
  std::vector<size_t> order;
  order.reserve(nodes.size());
  while (!ready.empty()) {
    size_t i = ready.top();
    ready.pop();
    order.push_back(i);
    for (size_t reader : readers[i]) {
      if (--missing[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() == nodes.size()) return order;
  std::string names;
  int listed = 0;
  for (size_t i = 0; i < nodes.size() && listed < 5; ++i) {
    if (missing[i] == 0) continue;
    names += fmt::format("{}'{}'", listed++ == 0 ? "" : ", ", display_name(nodes[i].proto, i));
  }
  return fail(Code::kInvalidModel, "the graph has a cycle; nodes on it or behind it: {}", names);
}

}  // namespace lowp::onnx
