// Graphs that Python builds (lowp.nn traces modules into them), and sessions that share their states with numpy arrays.
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <mutex>

#include "arrays.h"
#include "bindings.h"
#include "errors.h"
#include "ops/text.h"
#include "passes/mixed_precision.h"
#include "quant/fake_quantization.h"
#include "train/training.h"

namespace lowp::python {
namespace {

// A graph under construction; nothing may be added once a program was made of it.
struct Graph {
  struct Content {
    BufferViews states;  // the arrays that the graph's states are
    ir::Graph graph;
  };
  std::shared_ptr<Content> content = std::make_shared<Content>();
  std::shared_ptr<ir::Graph> graph{content, &content->graph};
};

struct Value {
  std::shared_ptr<ir::Graph> graph;  // keeps the value alive
  ir::Value* value = nullptr;
};

DType dtype_named(const std::string& name) {
  const std::optional<DType> dtype = dtype_from_name(name);
  if (!dtype) throw_status(error(Code::kInvalidArgument, "there is no dtype '{}'", name));
  return *dtype;
}

ir::TensorType type_from(const std::string& dtype, nb::handle shape) {
  ir::Dims dims;
  for (nb::handle extent : shape) {
    if (extent.is_none()) {
      dims.emplace_back();
    } else if (nb::isinstance<nb::str>(extent)) {
      dims.push_back(ir::Dim::symbol(nb::cast<std::string>(extent)));
    } else {
      const auto n = nb::cast<int64_t>(extent);
      if (n < 0) throw_status(error(Code::kInvalidArgument, "an extent is {}", n));
      dims.emplace_back(n);
    }
  }
  return {dtype_named(dtype), std::move(dims)};
}

// A copy of a (buffer, shape, dtype name) triple.
ir::Tensor tensor_from(nb::handle triple) {
  BufferViews views;
  views.add(dtype_named(nb::cast<std::string>(triple[2])), triple[0], triple[1], false);
  return views.tensors()[0].clone();
}

AttrMap attributes_from(const nb::dict& attributes) {
  AttrMap map;
  for (auto [key, value] : attributes) {
    const auto name = nb::cast<std::string>(key);
    if (nb::isinstance<nb::bool_>(value) || nb::isinstance<nb::int_>(value)) {
      map[name] = nb::cast<int64_t>(nb::int_(nb::borrow<nb::object>(value)));
    } else if (nb::isinstance<nb::float_>(value)) {
      map[name] = nb::cast<float>(value);
    } else if (nb::isinstance<nb::str>(value)) {
      map[name] = nb::cast<std::string>(value);
    } else if (nb::isinstance<nb::list>(value)) {
      const nb::list list = nb::borrow<nb::list>(value);
      if (list.size() > 0 && nb::isinstance<nb::str>(list[0])) {
        map[name] = nb::cast<std::vector<std::string>>(value);
      } else if (list.size() > 0 && nb::isinstance<nb::float_>(list[0])) {
        map[name] = nb::cast<std::vector<float>>(value);
      } else {
        map[name] = nb::cast<std::vector<int64_t>>(value);
      }
    } else {
      throw_status(error(Code::kInvalidArgument, "attribute '{}' is neither a number, a string nor a list", name));
    }
  }
  return map;
}

Value input(const Graph& g, const std::string& name, const std::string& dtype, nb::handle shape) {
  return {g.graph, g.graph->add_input(name, type_from(dtype, shape))};
}

// `array`: pair of buffer and shape.
ir::Tensor add_view(const Graph& g, DType dtype, nb::handle array) {
  g.content->states.add(dtype, nb::object(array[0]), nb::object(array[1]), true);
  return g.content->states.tensors().back();
}

Value state(const Graph& g, const std::string& name, const std::string& dtype, nb::handle array) {
  for (const ir::State& s : g.graph->states()) {
    if (s.name == name) throw_status(error(Code::kInvalidArgument, "there is a state '{}' already", name));
  }
  return {g.graph, g.graph->add_state(name, add_view(g, dtype_named(dtype), array))};
}

// The state lives in the array from now on.
void move_state(const Graph& g, const std::string& name, nb::handle array) {
  for (ir::State& s : g.graph->states()) {
    if (s.name != name) continue;
    ir::Tensor view = add_view(g, s.value->type.dtype, array);
    if (!(view.type() == s.value->type))
      throw_status(error(Code::kShapeMismatch, "state '{}' is {}, the array {}", name, s.value->type.to_string(),
                         view.type().to_string()));
    if (view.bytes() > 0) std::memcpy(view.mutable_raw(), s.initial.raw(), view.bytes());
    s.initial = view;
    return;
  }
  throw_status(error(Code::kInvalidArgument, "there is no state '{}'", name));
}

Value constant(const Graph& g, const std::string& name, nb::handle triple) {
  return {g.graph, g.graph->add_constant(name, tensor_from(triple))};
}

std::vector<ir::Value*> values_of(const Graph& g, nb::handle list) {
  std::vector<ir::Value*> values;
  for (nb::handle item : list) {
    if (item.is_none()) {
      values.push_back(nullptr);
      continue;
    }
    const auto& v = nb::cast<const Value&>(item);
    if (v.graph != g.graph)
      throw_status(error(Code::kInvalidArgument, "'{}' is a value of another graph", v.value->name));
    values.push_back(v.value);
  }
  return values;
}

nb::list op(const Graph& g, const std::string& name, nb::handle inputs, const nb::dict& attributes, size_t outputs,
            const std::string& domain, const std::string& node_name) {
  GraphBuilder builder(*g.graph);
  const std::vector<ir::Value*> results = value_or_throw(
      builder.try_op(outputs, name, values_of(g, inputs), attributes_from(attributes), domain, node_name));
  nb::list list;
  for (ir::Value* v : results) list.append(Value{g.graph, v});
  return list;
}

void set_update(const Graph& g, const Value& state, const Value& update) {
  for (ir::State& s : g.graph->states()) {
    if (s.value != state.value) continue;
    if (!(s.value->type == update.value->type))
      throw_status(error(Code::kShapeMismatch, "state '{}' is {}, its update {}", s.name, s.value->type.to_string(),
                         update.value->type.to_string()));
    s.update = update.value;
    return;
  }
  throw_status(error(Code::kInvalidArgument, "'{}' is no state", state.value->name));
}

void output(const Graph& g, const std::string& name, const Value& value) {
  g.graph->outputs().push_back({name, value.value});
}

// The nodes of a model, its inputs being `inputs`, and constants named in `states` those values. Gives its outputs.
nb::list splice(const Graph& g, const Model& model, nb::handle inputs, const std::map<std::string, nb::object>& states,
                const std::string& prefix) {
  std::unordered_map<const ir::Value*, ir::Value*> at;
  const std::vector<ir::Value*> given = values_of(g, inputs);
  if (given.size() != model.graph.inputs().size())
    throw_status(error(Code::kInvalidArgument, "{} inputs were given, the model wants {}", given.size(),
                       model.graph.inputs().size()));
  for (size_t i = 0; i < given.size(); ++i) at[model.graph.inputs()[i]] = given[i];
  for (const auto& v : model.graph.values()) {
    if (!v->is_constant()) continue;
    const auto state = states.find(v->name);
    at[v.get()] = state != states.end() ? nb::cast<const Value&>(state->second).value
                                        : g.graph->add_constant(prefix + v->name, v->constant);
  }
  for (const auto& node : model.graph.nodes()) {
    std::vector<ir::Value*> operands;
    for (const ir::Value* v : node->inputs) operands.push_back(v == nullptr ? nullptr : at.at(v));
    ir::Node* copy =
        g.graph->add_node(node->op, node->attrs, std::move(operands), node->outputs.size(), prefix + node->name);
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (node->outputs[i] != nullptr) at[node->outputs[i]] = copy->outputs[i];
    }
  }
  check(infer_types(*g.graph));
  nb::list list;
  for (const auto& o : model.graph.outputs()) list.append(Value{g.graph, at.at(o.value)});
  return list;
}

// Names, dtypes, shapes and content of a model's floating-point constants.
nb::list float_constants(const Model& model) {
  nb::list list;
  for (const auto& v : model.graph.values()) {
    if (!v->is_constant() || v->constant.dtype() != DType::kF32 || v->uses.empty()) continue;
    list.append(nb::make_tuple(v->name, to_numpy(v->constant)));
  }
  return list;
}

// Memory for intermediate values of programs that take turns.
struct Workspace {
  std::shared_ptr<AlignedBuffer> arena = std::make_shared<AlignedBuffer>();
  std::mutex turn;  // held by the program that runs
};

// Runs on one graph with its states in memory that numpy arrays have.
class Program {
 public:
  Program(const Graph& g, int threads, bool profile, nb::handle states, std::shared_ptr<Workspace> workspace)
      : workspace_(std::move(workspace)), graph_(g.graph->clone()) {
    {
      const nb::gil_scoped_release release;
      check(train::lower(*graph_));
    }
    runtime::SessionOptions options;
    options.threads = threads;
    options.profile = profile;
    options.arena = workspace_->arena;
    for (ir::State& s : graph_->states()) {
      const nb::object pair = states[s.name.c_str()];
      state_views_.add(s.value->type.dtype, pair[0], pair[1], true);
      options.states[s.name] = s.initial = state_views_.tensors().back();
    }
    auto engine = std::make_shared<runtime::Engine>(std::move(graph_));
    session_ = value_or_throw(runtime::Session::create(std::move(engine), std::move(options)));
  }

  nb::list run(nb::handle inputs) {
    BufferViews views;
    views.assign(session_->engine().graph(), inputs);
    Result<std::vector<ir::Tensor>> outputs;
    {
      const nb::gil_scoped_release release;
      const std::lock_guard turn(workspace_->turn);
      outputs = session_->run(views.tensors());
    }
    return to_numpy(value_or_throw(std::move(outputs)));
  }

  // None, or (node, op, value, dtype and shape, index, count, element).
  nb::object find_nonfinite(nb::handle inputs) {
    BufferViews views;
    views.assign(session_->engine().graph(), inputs);
    std::unique_ptr<runtime::NonfiniteValue> found;
    {
      const nb::gil_scoped_release release;
      const std::lock_guard turn(workspace_->turn);
      found = value_or_throw(session_->find_nonfinite(views.tensors()));
    }
    if (found == nullptr) return nb::none();
    return nb::make_tuple(found->node, found->op, found->value, found->type.to_string(), found->index, found->count,
                          found->element);
  }

  void cancel() { session_->cancel(); }
  size_t arena_bytes() const { return session_->arena_bytes(); }
  std::string text() const { return to_text(session_->engine().graph()); }

  nb::list inputs() const { return describe_inputs(session_->engine().graph()); }
  nb::list outputs() const { return describe_outputs(session_->engine().graph()); }
  nb::list profile() const { return describe_profile(session_->profile()); }

 private:
  std::shared_ptr<Workspace> workspace_;
  std::unique_ptr<ir::Graph> graph_;  // until the session has it
  BufferViews state_views_;
  std::unique_ptr<runtime::Session> session_;
};

// The model with the states' present content as constants, Q/DQ where training rounded.
Model freeze(const Graph& g, nb::handle states) {
  std::unique_ptr<ir::Graph> frozen = g.graph->clone();
  BufferViews views;
  check(train::states_to_constants(*frozen, [&](const ir::State& s) -> Result<ir::Tensor> {
    const nb::object pair = states[s.name.c_str()];
    views.add(s.value->type.dtype, pair[0], pair[1], false);
    return views.tensors().back();
  }));
  check(quant::export_fake_quantization(*frozen));
  frozen->remove_dead();
  return {std::move(*frozen)};
}

}  // namespace

void bind_graph(nb::module_& module) {
  nb::class_<Value>(module, "Value", "A value of a graph.")
      .def_prop_ro("name", [](const Value& v) { return v.value->name; })
      .def_prop_ro(
          "type", [](const Value& v) { return describe(v.value->name, v.value->type); },
          "(name, dtype, extents): None where the rank is not known.");
  nb::class_<Graph>(module, "Graph", "A graph under construction.")
      .def(nb::init<>())
      .def("input", &input, nb::arg("name"), nb::arg("dtype"), nb::arg("shape"))
      .def("state", &state, nb::arg("name"), nb::arg("dtype"), nb::arg("array"),
           "A value that persists between runs, in this array (buffer and shape).")
      .def("move_state", &move_state, nb::arg("name"), nb::arg("array"),
           "Copies a state's content to this array (buffer and shape), where it lives from now on.")
      .def("constant", &constant, nb::arg("name"), nb::arg("array"), "From (buffer, shape, dtype name).")
      .def("op", &op, nb::arg("name"), nb::arg("inputs"), nb::arg("attributes"), nb::arg("outputs"), nb::arg("domain"),
           nb::arg("node_name"), "Adds a node; gives its outputs.")
      .def("set_update", &set_update, nb::arg("state"), nb::arg("update"), "What the state becomes after a run.")
      .def("output", &output, nb::arg("name"), nb::arg("value"))
      .def("splice", &splice, nb::arg("model"), nb::arg("inputs"), nb::arg("states"), nb::arg("prefix"),
           "Adds a model's nodes; gives its outputs.")
      .def(
          "states",
          [](const Graph& g, const nb::set& known) {
            nb::list list;
            for (const ir::State& s : g.graph->states()) {
              if (!known.contains(s.name.c_str())) list.append(describe(s.name, s.value->type));
            }
            return list;
          },
          nb::arg("known"), "Description of each state but those whose names are known.")
      .def(
          "fake_quantize",
          [](const Graph& g, int levels, float momentum, bool observe, bool equalize,
             const std::vector<std::string>& exclude) {
            quant::FakeQuantization options;
            options.equalize = equalize;
            options.levels = levels;
            options.momentum = momentum;
            options.observe = observe;
            options.exclude = {exclude.begin(), exclude.end()};
            return value_or_throw(quant::insert_fake_quantization(*g.graph, options));
          },
          nb::arg("levels"), nb::arg("momentum"), nb::arg("observe"), nb::arg("equalize"), nb::arg("exclude"),
          "Rounds as INT8 will; gives the names of the states that hold ranges.")
      .def(
          "mixed_precision",
          [](const Graph& g, const std::string& dtype, const std::string& lists) {
            check(train::simplify(*g.graph));
            check(passes::mixed_precision(*g.graph, dtype_named(dtype),
                                          value_or_throw(passes::precision_lists_from_json(lists))));
          },
          nb::arg("dtype"), nb::arg("lists"), "Casts by the lists (JSON).")
      .def(
          "add_training",
          [](const Graph& g, const std::string& loss, const std::string& options) {
            return value_or_throw(
                train::add_training(*g.graph, loss, value_or_throw(train::options_from_json(options))));
          },
          nb::arg("loss"), nb::arg("options"), "Makes a run a step of training (options: JSON); names what is trained.")
      .def("freeze", &freeze, nb::arg("states"), "The model with the content of states as constants.")
      .def("text", [](const Graph& g) { return to_text(*g.graph); });
  nb::class_<Workspace>(module, "Workspace", "Memory for intermediate values, shared by programs that take turns.")
      .def(nb::init<>());
  nb::class_<Program>(module, "Program", "A graph that runs, with states in the caller's arrays.")
      .def(nb::init<const Graph&, int, bool, nb::handle, std::shared_ptr<Workspace>>(), nb::arg("graph"),
           nb::arg("threads"), nb::arg("profile"), nb::arg("states"), nb::arg("workspace"))
      .def("run", &Program::run, nb::arg("inputs"), "Pairs of buffer and shape in, pairs of array and shape out.")
      .def("find_nonfinite", &Program::find_nonfinite, nb::arg("inputs"),
           "Runs without changing states; (node, op, value, type, index, count, element) of the first tensor with an "
           "infinity or NaN, or None.")
      .def("cancel", &Program::cancel)
      .def("profile", &Program::profile, "(node, op, kernel, runs, nanoseconds, macs, bytes) of each step.")
      .def("text", &Program::text)
      .def_prop_ro("arena_bytes", &Program::arena_bytes)
      .def_prop_ro("inputs", &Program::inputs)
      .def_prop_ro("outputs", &Program::outputs);
  module.def("float_constants", &float_constants, nb::arg("model"), "Name and content of a model's f32 constants.");
  module.def(
      "precision_lists",
      [](const std::string& lists) {
        return passes::precision_lists_to_json(value_or_throw(passes::precision_lists_from_json(lists)));
      },
      nb::arg("lists") = "{}", "The lists of mixed precision, checked; of those that are missing the default (JSON).");
}

}  // namespace lowp::python
