#include "ops/text.h"

#include "base/checksum.h"
#include "ops/op_def.h"
#include "ops/reference.h"

namespace lowp {
namespace {

constexpr int64_t kMaxInlineElements = 16;

std::string content(const Tensor& t) {
  if (t.size() > kMaxInlineElements || dtype_bits(t.dtype()) < 8 || t.dtype() > DType::kBool) {
    return fmt::format("#{:016x}", checksum(t.raw(), t.bytes()));
  }
  std::string text;
  if (is_floating(t.dtype())) {
    for (double v : ops::to_doubles(t)) text += fmt::format("{}{}", text.empty() ? "" : ", ", v);
  } else {
    for (int64_t v : t.to_int64s()) text += fmt::format("{}{}", text.empty() ? "" : ", ", v);
  }
  return t.rank() == 0 ? text : fmt::format("[{}]", text);
}

template <typename T>
std::string list(const std::vector<T>& values) {
  std::string text;
  for (const T& v : values) text += fmt::format("{}{}", text.empty() ? "" : ",", v);
  return fmt::format("[{}]", text);
}

std::string attribute(const ir::AttrValue& value) {
  struct Visitor {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(float v) const { return fmt::format("{}", v); }
    std::string operator()(const std::string& v) const { return fmt::format("\"{}\"", v); }
    std::string operator()(const std::vector<int64_t>& v) const { return list(v); }
    std::string operator()(const std::vector<float>& v) const { return list(v); }
    std::string operator()(const std::vector<std::string>& v) const { return list(v); }
    std::string operator()(const Tensor& v) const { return v.type().to_string() + " " + content(v); }
    std::string operator()(const ir::GraphPtr& v) const { return fmt::format("graph of {} nodes", v->nodes().size()); }
  };
  return std::visit(Visitor{}, value);
}

// Attributes that differ from the op's defaults.
std::string attributes(const ir::Node& node) {
  const AttrMap map = node.op->attrs.write(node.attrs);
  AttrMap defaults;
  if (auto parsed = node.op->attrs.read({})) defaults = node.op->attrs.write(*parsed);
  std::string text;
  for (const auto& [name, value] : map) {
    auto it = defaults.find(name);
    if (it != defaults.end() && it->second == value) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, attribute(value));
  }
  return text.empty() ? "" : " {" + text + "}";
}

std::string typed(const ir::Value& v) {
  return fmt::format("%{} : {}{}", v.name, v.type.to_string(),
                     v.layout == ir::Layout::kPlain ? "" : " " + std::string(ir::layout_name(v.layout)));
}

std::string precision(const ir::Precision& p) {
  if (p.executed == DType::kInvalid) return "";
  if (p.requested == DType::kInvalid || p.requested == p.executed) return fmt::format(" {}", dtype_name(p.executed));
  return fmt::format(" {} <- {} : {}", dtype_name(p.executed), dtype_name(p.requested), p.reason);
}

}  // namespace

std::string to_text(const ir::Graph& graph) {
  std::string text = fmt::format("graph \"{}\"\n", graph.name);
  for (const ir::Value* v : graph.inputs()) text += fmt::format("input {}\n", typed(*v));
  for (const ir::State& s : graph.states()) text += fmt::format("state {}\n", typed(*s.value));
  for (const auto& v : graph.values()) {
    if (v->is_constant()) text += fmt::format("const {} = {}\n", typed(*v), content(v->constant));
  }
  for (const auto& n : graph.nodes()) {
    std::string outputs;
    for (const ir::Value* v : n->outputs) outputs += (outputs.empty() ? "" : ", ") + (v == nullptr ? "_" : typed(*v));
    std::string inputs;
    for (const ir::Value* v : n->inputs) inputs += (inputs.empty() ? "" : ", ") + (v == nullptr ? "_" : "%" + v->name);
    text += fmt::format("{} = {}({}){} \"{}\"{}\n", outputs, op_display_name(*n->op), inputs, attributes(*n), n->name,
                        precision(n->precision));
  }
  for (const ir::State& s : graph.states()) {
    if (s.update != nullptr) text += fmt::format("update %{} = %{}\n", s.value->name, s.update->name);
  }
  for (const auto& o : graph.outputs()) text += fmt::format("output \"{}\" = %{}\n", o.name, o.value->name);
  return text;
}

}  // namespace lowp
