#include "ir/graph.h"

#include <algorithm>
#include <queue>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace lowp::ir {
namespace {

void remove_one_use(Value* value, Node* node) {
  auto it = std::find(value->uses.begin(), value->uses.end(), node);
  LOWP_CHECK(it != value->uses.end());
  value->uses.erase(it);
}

}  // namespace

std::string Graph::unique_name(Names& names, std::string_view base) {
  auto it = names.find(base);
  if (it == names.end()) {
    names.emplace(std::string(base), 1);
    return std::string(base);
  }
  for (;;) {
    std::string name = fmt::format("{}.{}", base, it->second++);
    if (names.emplace(name, 1).second) return name;
  }
}

Value* Graph::new_value(std::string name) {
  auto value = std::make_unique<Value>();
  value->id = next_id_++;
  value->name = unique_value_name(name.empty() ? "v" : name);
  values_.push_back(std::move(value));
  return values_.back().get();
}

Value* Graph::add_input(std::string name, TensorType type) {
  Value* v = new_value(std::move(name));
  v->type = std::move(type);
  inputs_.push_back(v);
  return v;
}

Value* Graph::add_constant(std::string name, Tensor tensor) {
  LOWP_CHECK(tensor.valid());
  Value* v = new_value(std::move(name));
  v->type = tensor.type();
  v->constant = std::move(tensor);
  return v;
}

Value* Graph::add_state(std::string name, Tensor initial) {
  Value* v = new_value(name);
  v->type = initial.type();
  states_.push_back({v->name, v, nullptr, std::move(initial)});
  return v;
}

Node* Graph::add_node(const OpDef* op, Attrs attrs, std::vector<Value*> inputs, size_t outputs, std::string name,
                      Node* before) {
  LOWP_CHECK(op != nullptr);
  auto node = std::make_unique<Node>();
  Node* n = node.get();
  n->id = next_id_++;
  n->op = op;
  n->name = unique_name(node_names_, name.empty() ? "n" : name);
  n->attrs = std::move(attrs);
  n->inputs = std::move(inputs);
  for (Value* v : n->inputs) {
    if (v != nullptr) v->uses.push_back(n);
  }
  for (size_t i = 0; i < outputs; ++i) {
    Value* v = new_value(outputs == 1 ? n->name + ":out" : fmt::format("{}:out{}", n->name, i));
    v->producer = n;
    v->output_index = static_cast<int>(i);
    n->outputs.push_back(v);
  }
  auto position = nodes_.end();
  if (before != nullptr) {
    position = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& p) { return p.get() == before; });
  }
  nodes_.insert(position, std::move(node));
  return n;
}

Value* Graph::add_output(Node* node, size_t i) {
  if (node->outputs.size() <= i) node->outputs.resize(i + 1, nullptr);
  if (node->outputs[i] != nullptr) return node->outputs[i];
  Value* v = new_value(fmt::format("{}:out{}", node->name, i));
  v->producer = node;
  v->output_index = static_cast<int>(i);
  node->outputs[i] = v;
  return v;
}

std::vector<Node*> Graph::node_list() const {
  std::vector<Node*> list;
  list.reserve(nodes_.size());
  for (const auto& n : nodes_) list.push_back(n.get());
  return list;
}

Value* Graph::find_value(std::string_view name) const {
  for (const auto& v : values_) {
    if (v->name == name) return v.get();
  }
  return nullptr;
}

bool Graph::is_graph_output(const Value* value) const {
  return std::any_of(outputs_.begin(), outputs_.end(), [&](const Output& o) { return o.value == value; }) ||
         std::any_of(states_.begin(), states_.end(), [&](const State& s) { return s.update == value; });
}

void Graph::set_input(Node* node, size_t index, Value* value) {
  if (index >= node->inputs.size()) node->inputs.resize(index + 1, nullptr);
  if (Value* old = node->inputs[index]) remove_one_use(old, node);
  node->inputs[index] = value;
  if (value != nullptr) value->uses.push_back(node);
}

void Graph::replace_uses(Value* from, Value* to) {
  if (from == to) return;
  for (Node* user : from->uses) {
    for (Value*& in : user->inputs) {
      if (in == from) {
        in = to;
        to->uses.push_back(user);
        break;  // uses has one entry for each operand position
      }
    }
  }
  from->uses.clear();
  for (Output& o : outputs_) {
    if (o.value == from) o.value = to;
  }
  for (State& s : states_) {
    if (s.update == from) s.update = to;
  }
}

void Graph::erase(Node* node) {
  std::unordered_set<const Value*> gone;
  for (Value* out : node->outputs) {
    if (out == nullptr) continue;
    LOWP_CHECK(out->uses.empty() && !is_graph_output(out));
    gone.insert(out);
  }
  for (Value* in : node->inputs) {
    if (in != nullptr) remove_one_use(in, node);
  }
  nodes_.remove_if([&](const auto& p) { return p.get() == node; });
  std::erase_if(values_, [&](const auto& v) { return gone.contains(v.get()); });
}

int Graph::remove_dead() {
  std::unordered_set<const Value*> live_values;
  std::unordered_set<const Node*> live;
  std::vector<Node*> work;
  auto reach = [&](Value* v) {
    if (v == nullptr) return;
    live_values.insert(v);
    if (v->producer != nullptr && live.insert(v->producer).second) work.push_back(v->producer);
  };
  for (const Output& o : outputs_) reach(o.value);
  for (const State& s : states_) {
    reach(s.value);
    reach(s.update);
  }
  for (Value* v : inputs_) live_values.insert(v);
  while (!work.empty()) {
    Node* n = work.back();
    work.pop_back();
    for (Value* in : n->inputs) reach(in);
    for (Value* out : n->outputs) live_values.insert(out);
  }
  const size_t before = nodes_.size();
  for (const auto& v : values_) {
    std::erase_if(v->uses, [&](Node* n) { return !live.contains(n); });
  }
  nodes_.remove_if([&](const auto& n) { return !live.contains(n.get()); });
  std::erase_if(values_, [&](const auto& v) { return !live_values.contains(v.get()); });
  return static_cast<int>(before - nodes_.size());
}

void Graph::drop_unused_inputs() {
  std::unordered_set<const Value*> unused;
  for (const Value* v : inputs_) {
    if (v->uses.empty() && !is_graph_output(v)) unused.insert(v);
  }
  std::erase_if(inputs_, [&](const Value* v) { return unused.contains(v); });
  std::erase_if(values_, [&](const auto& v) { return unused.contains(v.get()); });
}

Status Graph::sort() {
  std::unordered_map<Node*, int> pending;
  std::unordered_map<Node*, int> order;
  int position = 0;
  auto later = [&](Node* a, Node* b) { return order[a] > order[b]; };
  std::priority_queue<Node*, std::vector<Node*>, decltype(later)> ready(later);
  for (const auto& n : nodes_) {
    order[n.get()] = position++;
    int count = 0;
    for (Value* in : n->inputs) count += in != nullptr && in->producer != nullptr;
    pending[n.get()] = count;
    if (count == 0) ready.push(n.get());
  }
  std::vector<Node*> sorted;
  while (!ready.empty()) {
    Node* n = ready.top();
    ready.pop();
    sorted.push_back(n);
    for (Value* out : n->outputs) {
      if (out == nullptr) continue;
      for (Node* user : out->uses) {
        if (--pending[user] == 0) ready.push(user);
      }
    }
  }
  if (sorted.size() != nodes_.size()) {
    std::string names;
    int listed = 0;
    for (const auto& n : nodes_) {
      if (pending[n.get()] > 0 && listed++ < 5) names += (names.empty() ? "'" : ", '") + n->name + "'";
    }
    return error(Code::kInvalidModel, "the graph has a cycle; nodes on or behind it: {}", names);
  }
  std::unordered_map<Node*, std::unique_ptr<Node>> owned;
  for (auto& n : nodes_) {
    Node* key = n.get();
    owned.emplace(key, std::move(n));
  }
  nodes_.clear();
  for (Node* n : sorted) nodes_.push_back(std::move(owned[n]));
  return {};
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>();
  copy->name = name;
  copy->metadata = metadata;
  copy->value_names_ = value_names_;
  copy->node_names_ = node_names_;
  copy->next_id_ = next_id_;
  std::unordered_map<const Value*, Value*> values;
  std::unordered_map<const Node*, Node*> nodes;
  auto map_value = [&](const Value* v) { return v == nullptr ? nullptr : values.at(v); };
  for (const auto& v : values_) {
    copy->values_.push_back(std::make_unique<Value>(*v));
    values[v.get()] = copy->values_.back().get();
  }
  for (const auto& n : nodes_) {
    copy->nodes_.push_back(std::make_unique<Node>(*n));
    Node* c = copy->nodes_.back().get();
    nodes[n.get()] = c;
    for (Value*& in : c->inputs) in = map_value(in);
    for (Value*& out : c->outputs) out = map_value(out);
  }
  for (const auto& v : copy->values_) {
    if (v->producer != nullptr) v->producer = nodes.at(v->producer);
    for (Node*& user : v->uses) user = nodes.at(user);
  }
  for (const Value* v : inputs_) copy->inputs_.push_back(map_value(v));
  for (const Output& o : outputs_) copy->outputs_.push_back({o.name, map_value(o.value)});
  for (const State& s : states_) copy->states_.push_back({s.name, map_value(s.value), map_value(s.update), s.initial});
  return copy;
}

Status verify(const Graph& graph) {
  std::unordered_set<const Value*> values;
  std::set<std::string> names;
  for (const auto& v : graph.values()) {
    values.insert(v.get());
    if (!names.insert(v->name).second) return error(Code::kInternal, "two values are named '{}'", v->name);
  }
  std::unordered_map<const Value*, size_t> reads;
  std::unordered_set<const Node*> seen;
  for (const auto& n : graph.nodes()) {
    for (const Value* in : n->inputs) {
      if (in == nullptr) continue;
      if (!values.contains(in))
        return error(Code::kInternal, "node '{}' reads a value that is not in the graph", n->name);
      if (in->producer != nullptr && !seen.contains(in->producer)) {
        return error(Code::kInternal, "node '{}' reads '{}' before it is produced", n->name, in->name);
      }
      ++reads[in];
    }
    for (const Value* out : n->outputs) {
      if (out == nullptr) continue;
      if (!values.contains(out))
        return error(Code::kInternal, "node '{}' writes a value that is not in the graph", n->name);
      if (out->producer != n.get())
        return error(Code::kInternal, "value '{}' does not name node '{}' as its producer", out->name, n->name);
    }
    seen.insert(n.get());
  }
  for (const auto& v : graph.values()) {
    if (v->uses.size() != reads[v.get()])
      return error(Code::kInternal, "value '{}' lists {} uses but has {}", v->name, v->uses.size(), reads[v.get()]);
    if (v->is_constant() && v->producer != nullptr)
      return error(Code::kInternal, "value '{}' is a constant and a node's output", v->name);
  }
  for (const auto& o : graph.outputs()) {
    if (o.value == nullptr || !values.contains(o.value))
      return error(Code::kInternal, "graph output '{}' has no value", o.name);
  }
  for (const State& s : graph.states()) {
    if (s.value == nullptr || !values.contains(s.value))
      return error(Code::kInternal, "state '{}' has no value", s.name);
    if (s.update != nullptr && !values.contains(s.update))
      return error(Code::kInternal, "state '{}' is updated by a value that is not in the graph", s.name);
  }
  return {};
}

}  // namespace lowp::ir
