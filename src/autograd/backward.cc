#include "autograd/backward.h"

#include <set>

namespace lowp::autograd {

Result<std::map<ir::Value*, ir::Value*>> build_gradients(ir::Graph& graph, ir::Value* loss,
                                                         const std::vector<ir::Value*>& wanted) {
  if (!is_floating(loss->type.dtype) || loss->type.rank() != 0) {
    return fail(Code::kInvalidArgument, "the loss '{}' is {}, a floating-point scalar is wanted", loss->name,
                loss->type.to_string());
  }
  const std::vector<ir::Node*> nodes = graph.node_list();
  // What depends on a wanted value: only there gradients flow.
  std::set<const ir::Value*> active(wanted.begin(), wanted.end());
  for (const ir::Node* n : nodes) {
    bool depends = false;
    for (const ir::Value* in : n->inputs) depends = depends || (in != nullptr && active.contains(in));
    if (!depends || n->op->stops_gradients) continue;
    for (const ir::Value* out : n->outputs) {
      if (out != nullptr && is_floating(out->type.dtype)) active.insert(out);
    }
  }

  GraphBuilder builder(graph);
  std::map<ir::Value*, ir::Value*> gradients;
  gradients[loss] = builder.scalar_like(loss, 1);
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    ir::Node* node = *it;
    std::vector<ir::Value*> out_gradients;
    bool reached = false;
    for (ir::Value* out : node->outputs) {
      auto g = out == nullptr ? gradients.end() : gradients.find(out);
      out_gradients.push_back(g == gradients.end() ? nullptr : g->second);
      reached = reached || g != gradients.end();
    }
    if (!reached) continue;
    std::vector<bool> wants;
    bool any = false;
    for (const ir::Value* in : node->inputs) {
      wants.push_back(in != nullptr && active.contains(in));
      any = any || wants.back();
    }
    if (!any) continue;
    if (node->op->gradient == nullptr)
      return fail(error(Code::kUnsupported, "{} has no gradient", op_display_name(*node->op)).with_node(node->name));
    builder.set_prefix(node->name + ":gradient.");
    GradContext context(*node, builder, out_gradients, wants);
    if (Status s = node->op->gradient(context); !s.is_ok()) return fail(std::move(s).with_node(node->name));
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      ir::Value* g = context.grads_in()[i];
      if (!wants[i] || g == nullptr) continue;
      ir::Value*& total = gradients[node->inputs[i]];
      total = total == nullptr ? g : builder.op("Add", {total, g}, {}, kOnnxDomain, "sum");
    }
  }
  std::map<ir::Value*, ir::Value*> result;
  for (ir::Value* v : wanted) {
    if (auto it = gradients.find(v); it != gradients.end()) result[v] = it->second;
  }
  return result;
}

}  // namespace lowp::autograd
