#include "autograd/recompute.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace lowp::autograd {
namespace {

class Recomputer {
 public:
  Recomputer(ir::Graph& graph, const std::vector<ir::Node*>& forward)
      : graph_(graph), forward_(forward.begin(), forward.end()) {}

  Status mark(const std::vector<std::string>& prefixes) {
    for (size_t p = 0; p < prefixes.size(); ++p) {
      bool any = false;
      for (ir::Node* n : forward_) {
        if (!n->name.starts_with(prefixes[p])) continue;
        part_.emplace(n, p);
        any = true;
      }
      if (!any) return error(Code::kInvalidArgument, "no node's name starts with '{}'", prefixes[p]);
    }
    return {};
  }

  void run() {
    for (ir::Node* node : graph_.node_list()) {
      if (forward_.contains(node)) continue;
      for (size_t i = 0; i < node->inputs.size(); ++i) {
        if (node->inputs[i] != nullptr && is_dropped(node->inputs[i]))
          graph_.set_input(node, i, copy(node->inputs[i], node));
      }
    }
  }

 private:
  // Whether nobody but its own part reads the value before the gradients do.
  bool is_dropped(const ir::Value* v) const {
    auto own = v->producer == nullptr ? part_.end() : part_.find(v->producer);
    if (own == part_.end() || graph_.is_graph_output(v)) return false;
    return std::ranges::all_of(v->uses, [&](ir::Node* reader) {
      auto other = part_.find(reader);
      return !forward_.contains(reader) || (other != part_.end() && other->second == own->second);
    });
  }

  ir::Value* copy(ir::Value* v, ir::Node* before) {
    const auto known = copies_.find(v->producer);
    if (known != copies_.end()) return known->second->outputs[static_cast<size_t>(v->output_index)];
    ir::Node* from = v->producer;
    std::vector<ir::Value*> inputs;
    for (ir::Value* in : from->inputs) inputs.push_back(in != nullptr && is_dropped(in) ? copy(in, before) : in);
    ir::Node* to =
        graph_.add_node(from->op, from->attrs, std::move(inputs), from->outputs.size(), from->name + ":again", before);
    for (size_t i = 0; i < from->outputs.size(); ++i) {
      if (from->outputs[i] == nullptr) continue;
      to->outputs[i]->type = from->outputs[i]->type;
      to->outputs[i]->layout = from->outputs[i]->layout;
    }
    copies_[from] = to;
    return to->outputs[static_cast<size_t>(v->output_index)];
  }

  ir::Graph& graph_;
  std::unordered_set<ir::Node*> forward_;
  std::unordered_map<const ir::Node*, size_t> part_;
  std::unordered_map<ir::Node*, ir::Node*> copies_;
};

}  // namespace

Status recompute(ir::Graph& graph, const std::vector<ir::Node*>& forward, const std::vector<std::string>& prefixes) {
  if (prefixes.empty()) return {};
  Recomputer recomputer(graph, forward);
  LOWP_TRY(recomputer.mark(prefixes));
  recomputer.run();
  return {};
}

}  // namespace lowp::autograd
