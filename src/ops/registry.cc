#include <algorithm>
#include <map>

#include "ops/op_def.h"

namespace lowp {

// Each file of src/ops that ops.inc lists returns its definitions from a function of the same name.
namespace ops {
#define LOWP_OPS(file) std::vector<OpDef> file();
#include "ops/ops.inc"
#undef LOWP_OPS
}  // namespace ops

namespace {

struct Registry {
  std::vector<std::unique_ptr<OpDef>> owned;
  std::vector<const OpDef*> list;
  std::map<std::pair<std::string, std::string>, const OpDef*, std::less<>> by_name;

  Registry() {
    auto add = [&](std::vector<OpDef> defs) {
      for (OpDef& def : defs) {
        owned.push_back(std::make_unique<OpDef>(std::move(def)));
        const OpDef* p = owned.back().get();
        LOWP_CHECK(p->infer != nullptr && p->reference != nullptr);
        LOWP_CHECK(by_name.emplace(std::pair(p->domain, p->name), p).second);
        list.push_back(p);
      }
    };
#define LOWP_OPS(file) add(ops::file());
#include "ops/ops.inc"
#undef LOWP_OPS
  }
};

const Registry& registry() {
  static const Registry instance;
  return instance;
}

}  // namespace

const OpDef* find_op(std::string_view name, std::string_view domain) {
  const auto& map = registry().by_name;
  auto it = map.find(std::pair(std::string(domain == "ai.onnx" ? kOnnxDomain : domain), std::string(name)));
  return it == map.end() ? nullptr : it->second;
}

const OpDef& op(std::string_view name, std::string_view domain) {
  const OpDef* def = find_op(name, domain);
  if (def == nullptr) throw InternalError(fmt::format("lowp has no op '{}' in domain '{}'", name, domain));
  return *def;
}

const std::vector<const OpDef*>& all_ops() { return registry().list; }

bool per_item_by_rank(const ir::Node& node) {
  const int rank = node.outputs[0]->type.rank();
  if (rank < 1) return false;
  return std::ranges::all_of(node.inputs, [rank](const ir::Value* v) {
    return v == nullptr || (v->is_constant() ? v->type.rank() < rank : v->type.rank() == rank);
  });
}

std::string op_display_name(const OpDef& op) { return op.domain.empty() ? op.name : op.domain + "." + op.name; }

}  // namespace lowp
