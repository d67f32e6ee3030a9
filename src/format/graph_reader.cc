#include "format/graph_reader.h"

#include <cmath>
#include <unordered_set>

#include "ops/op_def.h"

namespace lowp::format {
namespace {

// No op has tensors of more dimensions, and each rank costs work wherever types are handled.
constexpr size_t kMaxRank = 64;

template <typename T>
size_t length(const T* vector) {
  return vector == nullptr ? 0 : vector->size();
}

}  // namespace

struct GraphReader::Scope {
  const fb::Graph& table;
  ir::Graph& graph;
  std::vector<ir::TensorType> types;
  std::vector<std::string> names;
  std::vector<ir::Value*> values;  // null until defined
  bool has_absent_outputs = false;
};

Status GraphReader::spend(size_t bytes) {
  if (bytes > budget_) return error(Code::kCorrupt, "the graph's tables share their content, which lowp never writes");
  budget_ -= bytes;
  return {};
}

Result<std::string> GraphReader::text(const flatbuffers::String* s) {
  if (s == nullptr) return std::string();
  LOWP_TRY(spend(s->size()));
  return s->str();
}

Result<DType> GraphReader::dtype(uint8_t number, bool may_be_invalid) {
  auto dtype = static_cast<DType>(number);
  if (number >= kDTypeCount || dtype == DType::kString)
    return fail(Code::kUnsupported, "dtype number {} is unknown", number);
  if (dtype == DType::kInvalid && !may_be_invalid) return fail(Code::kCorrupt, "a tensor has no dtype");
  return dtype;
}

Result<ir::Tensor> GraphReader::tensor(const fb::Tensor* table) {
  if (table == nullptr) return fail(Code::kCorrupt, "a tensor is missing");
  LOWP_ASSIGN(DType type, dtype(table->dtype()));
  if (length(table->extents()) > kMaxRank)
    return fail(Code::kCorrupt, "a tensor has rank {}", length(table->extents()));
  if (!is_aligned(table->extents(), alignof(int64_t))) return fail(Code::kCorrupt, "a shape is not aligned");
  ir::Extents extents;
  if (table->extents() != nullptr) extents.assign(table->extents()->begin(), table->extents()->end());
  auto count = ir::checked_element_count(extents);
  if (!count) return fail(Code::kCorrupt, "a tensor has the impossible shape {}", ir::extents_to_string(extents));
  if (table->blob() >= blobs_.size()) {
    return fail(Code::kCorrupt, "a tensor lies in blob {} of {}", table->blob(), blobs_.size());
  }
  auto bytes = blobs_[table->blob()];
  if (bytes.size() != dtype_bytes(type, static_cast<size_t>(*count))) {
    return fail(Code::kCorrupt, "a tensor of {} {} lies in {} bytes", ir::extents_to_string(extents), dtype_name(type),
                bytes.size());
  }
  // Constants are never written to; the mapping would not allow it.
  auto* data = const_cast<std::byte*>(bytes.data());
  if (type == DType::kBool) {
    for (std::byte b : bytes) {
      if (b > std::byte{1}) return fail(Code::kCorrupt, "a bool tensor holds {}", static_cast<int>(b));
    }
  }
  return ir::Tensor::view(type, std::move(extents), data, owner_);
}

Result<ir::TensorType> GraphReader::type(const fb::Type* table) {
  ir::TensorType type;
  if (table == nullptr) return type;
  LOWP_ASSIGN(type.dtype, dtype(table->dtype(), true));
  if (!table->ranked()) return type;
  type.dims.emplace();
  if (length(table->dims()) > kMaxRank) return fail(Code::kCorrupt, "a value has rank {}", length(table->dims()));
  for (size_t i = 0; i < length(table->dims()); ++i) {
    const fb::Dim* dim = table->dims()->Get(static_cast<flatbuffers::uoffset_t>(i));
    if (dim->value() >= 0) {
      type.dims->emplace_back(dim->value());
      continue;
    }
    LOWP_ASSIGN(std::string symbol, text(dim->symbol()));
    type.dims->push_back(ir::Dim::symbol(std::move(symbol)));
  }
  if (type.concrete() && !ir::checked_element_count(type.extents())) {
    return fail(Code::kCorrupt, "a value has the impossible type {}", type.to_string());
  }
  return type;
}

Result<ir::AttrValue> GraphReader::attribute(const fb::Attr& table) {
  switch (table.kind()) {
    case fb::AttrKind::Int: return table.i();
    case fb::AttrKind::Float: return table.f();
    case fb::AttrKind::String: {
      LOWP_ASSIGN(std::string s, text(table.s()));
      return s;
    }
    case fb::AttrKind::Ints: {
      LOWP_TRY(spend(length(table.ints()) * sizeof(int64_t)));
      if (!is_aligned(table.ints(), alignof(int64_t))) return fail(Code::kCorrupt, "an attribute is not aligned");
      std::vector<int64_t> ints;
      if (table.ints() != nullptr) ints.assign(table.ints()->begin(), table.ints()->end());
      return ints;
    }
    case fb::AttrKind::Floats: {
      LOWP_TRY(spend(length(table.floats()) * sizeof(float)));
      std::vector<float> floats;
      if (table.floats() != nullptr) floats.assign(table.floats()->begin(), table.floats()->end());
      return floats;
    }
    case fb::AttrKind::Strings: {
      LOWP_TRY(spend(length(table.strings()) * sizeof(flatbuffers::uoffset_t)));
      std::vector<std::string> strings;
      for (size_t i = 0; i < length(table.strings()); ++i) {
        LOWP_ASSIGN(std::string s, text(table.strings()->Get(static_cast<flatbuffers::uoffset_t>(i))));
        strings.push_back(std::move(s));
      }
      return strings;
    }
    case fb::AttrKind::Tensor: {
      LOWP_ASSIGN(ir::Tensor t, tensor(table.tensor()));
      return ir::AttrValue(std::move(t));
    }
    case fb::AttrKind::Graph: {
      if (table.graph() == nullptr) return fail(Code::kCorrupt, "a graph attribute is empty");
      auto graph = std::make_shared<ir::Graph>();
      LOWP_TRY(read(*table.graph(), *graph));
      return ir::AttrValue(std::move(graph));
    }
  }
  return fail(Code::kCorrupt, "an attribute has the unknown kind {}", static_cast<int>(table.kind()));
}

Result<ir::Tuning> GraphReader::tuning(const fb::Tuning& table) {
  LOWP_TRY(spend(sizeof(flatbuffers::uoffset_t)));
  ir::Tuning t;
  LOWP_ASSIGN(t.cpu, text(table.cpu()));
  LOWP_ASSIGN(t.target, text(table.target()));
  t.threads = table.threads();
  LOWP_ASSIGN(t.shape, text(table.shape()));
  LOWP_ASSIGN(t.kernel, text(table.kernel()));
  LOWP_ASSIGN(t.runner_up, text(table.runner_up()));
  t.kernel_us = table.kernel_us();
  t.runner_up_us = table.runner_up_us();
  for (double us : {t.kernel_us, t.runner_up_us}) {
    if (!std::isfinite(us) || us < 0) return fail(Code::kCorrupt, "a measured time is {} us", us);
  }
  return t;
}

Status GraphReader::read_entries(const flatbuffers::Vector<flatbuffers::Offset<fb::KeyValue>>* table,
                                 std::map<std::string, std::string>& entries) {
  for (size_t i = 0; i < length(table); ++i) {
    const fb::KeyValue* entry = table->Get(static_cast<flatbuffers::uoffset_t>(i));
    LOWP_ASSIGN(std::string key, text(entry->key()));
    LOWP_ASSIGN(std::string value, text(entry->value()));
    entries.insert_or_assign(std::move(key), std::move(value));
  }
  return {};
}

// A value may be used once it is defined: as an input, constant or state, or by a node before.
Result<ir::Value*> GraphReader::value_at(Scope& scope, int32_t index, const char* what) {
  if (index < 0 || static_cast<size_t>(index) >= scope.values.size()) {
    return fail(Code::kCorrupt, "{} is value {} of {}", what, index, scope.values.size());
  }
  ir::Value* value = scope.values[static_cast<size_t>(index)];
  if (value == nullptr) {
    return fail(Code::kCorrupt, "{} is value '{}', which is not defined there", what,
                scope.names[static_cast<size_t>(index)]);
  }
  return value;
}

// Types and names of all values; defines inputs and constants.
Status GraphReader::read_values(Scope& scope) {
  const auto* table = scope.table.values();
  size_t count = length(table);
  scope.values.assign(count, nullptr);
  std::unordered_set<std::string> seen;
  for (size_t i = 0; i < count; ++i) {
    const fb::Value* value = table->Get(static_cast<flatbuffers::uoffset_t>(i));
    LOWP_ASSIGN(std::string name, text(value->name()));
    if (!seen.insert(name).second) return error(Code::kCorrupt, "two values are named '{}'", name);
    LOWP_ASSIGN(ir::TensorType value_type, type(value->type()));
    if (value->layout() > static_cast<uint8_t>(ir::Layout::kChannelsLast)) {
      return error(Code::kCorrupt, "value '{}' has the unknown layout {}", name, value->layout());
    }
    scope.names.push_back(std::move(name));
    scope.types.push_back(std::move(value_type));
  }
  auto finish = [&](size_t i, ir::Value* value) {
    value->name = scope.names[i];
    value->type = scope.types[i];
    value->layout = static_cast<ir::Layout>(table->Get(static_cast<flatbuffers::uoffset_t>(i))->layout());
    scope.values[i] = value;
  };
  for (size_t i = 0; i < length(scope.table.inputs()); ++i) {
    int32_t index = scope.table.inputs()->Get(static_cast<flatbuffers::uoffset_t>(i));
    if (index < 0 || static_cast<size_t>(index) >= count || scope.values[static_cast<size_t>(index)] != nullptr) {
      return error(Code::kCorrupt, "graph input {} is value {} of {}, or listed twice", i, index, count);
    }
    auto at = static_cast<size_t>(index);
    finish(at, scope.graph.add_input(scope.names[at], scope.types[at]));
  }
  for (size_t i = 0; i < count; ++i) {
    const fb::Tensor* constant = table->Get(static_cast<flatbuffers::uoffset_t>(i))->constant();
    if (constant == nullptr) continue;
    LOWP_ASSIGN(ir::Tensor content, tensor(constant));
    const ir::TensorType& declared = scope.types[i];
    if (scope.values[i] != nullptr || !declared.concrete() || declared.dtype != content.dtype() ||
        ir::checked_element_count(declared.extents()) != content.size()) {
      return error(Code::kCorrupt, "constant '{}' does not fit its type {}", scope.names[i], declared.to_string());
    }
    finish(i, scope.graph.add_constant(scope.names[i], std::move(content)));
  }
  return {};
}

Status GraphReader::read_states(Scope& scope) {
  for (size_t i = 0; i < length(scope.table.states()); ++i) {
    const fb::State* state = scope.table.states()->Get(static_cast<flatbuffers::uoffset_t>(i));
    int32_t index = state->value();
    if (index < 0 || static_cast<size_t>(index) >= scope.values.size() ||
        scope.values[static_cast<size_t>(index)] != nullptr) {
      return error(Code::kCorrupt, "state {} is value {} of {}, or defined twice", i, index, scope.values.size());
    }
    auto at = static_cast<size_t>(index);
    LOWP_ASSIGN(ir::Tensor initial, tensor(state->initial()));
    if (initial.type() != scope.types[at]) {
      return error(Code::kCorrupt, "state '{}' has type {}, its content {}", scope.names[at],
                   scope.types[at].to_string(), initial.type().to_string());
    }
    ir::Value* value = scope.graph.add_state(scope.names[at], std::move(initial));
    value->name = scope.names[at];
    LOWP_ASSIGN(scope.graph.states().back().name, text(state->name()));
    scope.values[at] = value;
  }
  return {};
}

Status GraphReader::read_node(Scope& scope, const fb::Node& table) {
  LOWP_ASSIGN(std::string name, text(table.name()));
  std::string_view op_name = table.op() == nullptr ? std::string_view() : table.op()->string_view();
  std::string_view domain = table.domain() == nullptr ? std::string_view() : table.domain()->string_view();
  const OpDef* op = find_op(op_name, domain);
  if (op == nullptr) {
    return error(Code::kUnsupported, "op '{}' of domain '{}' is not one this lowp has", op_name, domain)
        .with_node(name);
  }
  ir::AttrMap attributes;
  for (size_t i = 0; i < length(table.attrs()); ++i) {
    const fb::Attr* attr = table.attrs()->Get(static_cast<flatbuffers::uoffset_t>(i));
    LOWP_ASSIGN(std::string key, text(attr->name()));
    LOWP_ASSIGN(ir::AttrValue value, attribute(*attr));
    attributes.insert_or_assign(std::move(key), std::move(value));
  }
  auto attrs = op->attrs.read(attributes);
  if (!attrs) return std::move(attrs.error()).with_node(name);

  size_t input_count = length(table.inputs());
  size_t output_count = length(table.outputs());
  LOWP_TRY(spend((input_count + output_count) * sizeof(int32_t)));
  if (input_count > static_cast<size_t>(op->max_inputs) || output_count > static_cast<size_t>(op->max_outputs)) {
    return error(Code::kCorrupt, "{} has {} inputs and {} outputs, at most {} and {} are wanted", op_name, input_count,
                 output_count, op->max_inputs, op->max_outputs)
        .with_node(name);
  }
  std::vector<ir::Value*> inputs(input_count, nullptr);
  for (size_t i = 0; i < input_count; ++i) {
    int32_t index = table.inputs()->Get(static_cast<flatbuffers::uoffset_t>(i));
    if (index == -1) continue;
    auto value = value_at(scope, index, "an input");
    if (!value) return std::move(value.error()).with_node(name);
    inputs[i] = *value;
  }
  ir::Node* node = scope.graph.add_node(op, std::move(*attrs), std::move(inputs), output_count, name);
  LOWP_ASSIGN(node->precision.requested, dtype(table.requested(), true));
  LOWP_ASSIGN(node->precision.executed, dtype(table.executed(), true));
  LOWP_ASSIGN(node->precision.reason, text(table.reason()));
  for (size_t i = 0; i < length(table.tuning()); ++i) {
    auto measured = tuning(*table.tuning()->Get(static_cast<flatbuffers::uoffset_t>(i)));
    if (!measured) return std::move(measured.error()).with_node(name);
    node->tuning.push_back(std::move(*measured));
  }
  for (size_t i = 0; i < output_count; ++i) {
    int32_t index = table.outputs()->Get(static_cast<flatbuffers::uoffset_t>(i));
    if (index == -1) {
      node->outputs[i]->producer = nullptr;
      node->outputs[i] = nullptr;
      scope.has_absent_outputs = true;
      continue;
    }
    if (index < 0 || static_cast<size_t>(index) >= scope.values.size() ||
        scope.values[static_cast<size_t>(index)] != nullptr) {
      return error(Code::kCorrupt, "output {} is value {} of {}, or defined twice", i, index, scope.values.size())
          .with_node(name);
    }
    auto at = static_cast<size_t>(index);
    ir::Value* value = node->outputs[i];
    value->name = scope.names[at];
    value->type = scope.types[at];
    value->layout =
        static_cast<ir::Layout>(scope.table.values()->Get(static_cast<flatbuffers::uoffset_t>(index))->layout());
    scope.values[at] = value;
  }
  return {};
}

Status GraphReader::read(const fb::Graph& table, ir::Graph& graph) {
  Scope scope{table, graph, {}, {}, {}, false};
  LOWP_ASSIGN(graph.name, text(table.name()));
  LOWP_TRY(read_entries(table.metadata(), graph.metadata));
  LOWP_TRY(read_values(scope));
  LOWP_TRY(read_states(scope));
  for (size_t i = 0; i < length(table.nodes()); ++i) {
    LOWP_TRY(read_node(scope, *table.nodes()->Get(static_cast<flatbuffers::uoffset_t>(i))));
  }
  for (size_t i = 0; i < length(table.outputs()); ++i) {
    const fb::Output* output = table.outputs()->Get(static_cast<flatbuffers::uoffset_t>(i));
    LOWP_ASSIGN(std::string name, text(output->name()));
    LOWP_ASSIGN(ir::Value * value, value_at(scope, output->value(), "a graph output"));
    graph.outputs().push_back({std::move(name), value});
  }
  for (size_t i = 0; i < length(table.states()); ++i) {
    int32_t update = table.states()->Get(static_cast<flatbuffers::uoffset_t>(i))->update();
    if (update == -1) continue;
    LOWP_ASSIGN(ir::Value * value, value_at(scope, update, "a state's update"));
    graph.states()[i].update = value;
  }
  if (scope.has_absent_outputs) graph.remove_dead();  // takes away the values that add_node made for them
  return {};
}

}  // namespace lowp::format
