// The one intermediate representation: a graph of nodes and typed values in static single assignment.
//
// A value is a graph input, a constant, a state's current content, or a node's output. Nodes are kept in an order in
// which producers come before consumers (sort() restores it after a pass). Op names and meanings are ONNX's; the domain
// "lowp" adds what ONNX lacks: fused, packed and quantized forms, and what training needs.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/attributes.h"
#include "ir/type.h"

namespace lowp {
struct OpDef;  // src/ops/op_def.h
}

namespace lowp::ir {

class Node;

// How a node asked to be computed and how it is.
struct Precision {
  DType requested = DType::kInvalid;  // kInvalid: nobody asked
  DType executed = DType::kInvalid;
  std::string reason;  // why they differ; empty where they do not
  bool operator==(const Precision&) const = default;
};

// What was measured for a node on one machine: how a kernel computed it fastest, and the next best way. Never changes a
// bit of a result; where nothing fits the kernel decides by formula.
struct Tuning {
  std::string cpu;
  std::string target;
  int threads = 0;
  std::string shape;              // the kernel's name for the layer's sizes, types and epilogue
  std::string kernel, runner_up;  // texts of choices (kernels/gemm/choice.h); runner_up may be empty
  double kernel_us = 0, runner_up_us = 0;
  bool operator==(const Tuning&) const = default;
};

struct Value {
  int id = 0;
  std::string name;
  TensorType type;  // logical shape; see layout
  Layout layout = Layout::kPlain;
  Tensor constant;           // valid() for constants; its bytes lie in `layout`
  Node* producer = nullptr;  // null for inputs, constants and states
  int output_index = 0;      // which output of the producer
  std::vector<Node*> uses;   // one entry for each operand position that reads it

  bool is_constant() const { return constant.valid(); }
};

class Node {
 public:
  int id = 0;
  const OpDef* op = nullptr;
  std::string name;
  Attrs attrs;
  std::vector<Value*> inputs;   // null where an optional input is absent
  std::vector<Value*> outputs;  // null where an optional output is absent
  Precision precision;
  std::vector<Tuning> tuning;

  Value* input(size_t i) const { return i < inputs.size() ? inputs[i] : nullptr; }
  Value* output(size_t i = 0) const { return i < outputs.size() ? outputs[i] : nullptr; }
};

// A value that persists between runs: weights in training, optimizer moments, a recurrent state. `value` is its content
// when a run starts; when the run ends, its content becomes `update` (null: unchanged). Both have the same type.
struct State {
  std::string name;
  Value* value = nullptr;
  Value* update = nullptr;
  Tensor initial;
};

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

  std::string name;
  std::map<std::string, std::string> metadata;

  Value* add_input(std::string name, TensorType type);
  Value* add_constant(std::string name, Tensor tensor);
  Value* add_state(std::string name, Tensor initial);
  // Appends, or inserts before `before`. Outputs get fresh values without a type; infer() fills types. Empty output
  // names are generated. An absent input is null.
  Node* add_node(const OpDef* op, Attrs attrs, std::vector<Value*> inputs, size_t outputs, std::string name = {},
                 Node* before = nullptr);
  // Output i of the node: the value that is there, else a fresh one without a type, and absent outputs before it.
  Value* add_output(Node* node, size_t i);

  // Inputs of the model (no initializers), in order. The names users see.
  const std::vector<Value*>& inputs() const { return inputs_; }
  struct Output {
    std::string name;
    Value* value;
  };
  std::vector<Output>& outputs() { return outputs_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  std::vector<State>& states() { return states_; }
  const std::vector<State>& states() const { return states_; }
  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  const std::vector<std::unique_ptr<Value>>& values() const { return values_; }
  // The nodes at this moment, so that a pass may add and erase while it goes through them.
  std::vector<Node*> node_list() const;

  // Value by name; null where there is none.
  Value* find_value(std::string_view name) const;
  bool is_graph_output(const Value* value) const;  // an output or a state's update

  void set_input(Node* node, size_t index, Value* value);
  // Every reader of `from` (graph outputs and state updates included) reads `to` instead.
  void replace_uses(Value* from, Value* to);
  // Gives `to` the name of `from`, which it replaces, and `from` the other name.
  static void take_name(Node* to, Node* from) { std::swap(to->name, from->name); }
  // The same for values, so that tensors of a compiled graph keep the names they had in the model.
  static void take_name(Value* to, Value* from) { std::swap(to->name, from->name); }
  // Erases a node whose outputs have no readers.
  void erase(Node* node);
  // Erases nodes whose outputs nobody reads, transitively, and values without producer or reader. Returns nodes erased.
  int remove_dead();
  // Removes inputs that nothing reads.
  void drop_unused_inputs();
  // Stable topological order. kInvalidModel with the names of nodes on a cycle.
  Status sort();

  std::unique_ptr<Graph> clone() const;
  // A name that no value has, made from `base`; it is taken from then on.
  std::string unique_value_name(std::string_view base) { return unique_name(value_names_, base); }
  int next_id() const { return next_id_; }  // above every value's and node's id

 private:
  using Names = std::map<std::string, int, std::less<>>;
  static std::string unique_name(Names& names, std::string_view base);
  Value* new_value(std::string name);

  std::vector<std::unique_ptr<Value>> values_;
  std::list<std::unique_ptr<Node>> nodes_;
  std::vector<Value*> inputs_;
  std::vector<Output> outputs_;
  std::vector<State> states_;
  Names value_names_;
  Names node_names_;
  int next_id_ = 0;
};

// Structure: operands exist in the graph, uses match, order is topological, names are unique, states are consistent.
Status verify(const Graph& graph);

}  // namespace lowp::ir
