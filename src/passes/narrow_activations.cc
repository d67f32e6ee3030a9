// Results of BF16 layers that are read by BF16 layers only, as operands or as residuals, are stored in bf16: half the
// memory, and operands need no rounding when they are read. What only moves elements, pools or normalizes may stand
// between. Where a layer alone reads a result this changes no bit on targets that multiply bf16, as they round operands
// in any case (docs/numerics.md); sums of residuals are rounded once more.
#include <algorithm>
#include <map>

#include "ops/packed.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

bool multiplies_bf16(const ir::Node* n) {
  return (is_op(n, "Linear", kLowpDomain) || is_op(n, "Conv", kLowpDomain)) &&
         n->inputs[ops::kPackedWeights]->type.dtype == DType::kBF16;
}

// Takes its first operand in bf16 and then gives bf16.
bool follows(const ir::Node* n) {
  return n->op->quantize == QuantRule::kPassThrough || is_op(n, "GlobalAveragePool") || is_op(n, "AveragePool") ||
         is_op(n, "LayerNormalization");
}

class Narrowing {
 public:
  explicit Narrowing(const ir::Graph& graph) : graph_(graph) {}

  // Whether every reader of the value takes it in bf16.
  bool fits(const ir::Value* v) {
    auto [known, fresh] = known_.try_emplace(v, false);
    if (fresh) known->second = find(v);
    return known_.at(v);
  }

 private:
  bool find(const ir::Value* v) {
    if (v->type.dtype != DType::kF32 || graph_.is_graph_output(v) || v->uses.empty()) return false;
    return std::ranges::all_of(v->uses, [&](const ir::Node* reader) {
      for (size_t i = 0; i < reader->inputs.size(); ++i) {
        if (reader->inputs[i] == v && !takes(reader, i)) return false;
      }
      return true;
    });
  }
  bool takes(const ir::Node* reader, size_t operand) {
    if (multiplies_bf16(reader)) return operand == ops::kPackedX || operand == ops::kPackedResidual;
    return operand == 0 && follows(reader) &&
           std::ranges::all_of(reader->outputs, [&](const ir::Value* y) { return y == nullptr || fits(y); });
  }

  const ir::Graph& graph_;
  std::map<const ir::Value*, bool> known_;
};

template <typename A>
void give_bf16(ir::Node* node) {
  auto attrs = node->attrs.get<A>();
  attrs.out_dtype = DType::kBF16;
  node->attrs = Attrs::make(A(attrs));
}

}  // namespace

Result<int> narrow_activations(ir::Graph& graph, const PassOptions& options) {
  int changed = 0;
  if (!options.narrow_activations) return changed;
  Narrowing narrowing(graph);
  for (const auto& node : graph.nodes()) {
    if (!multiplies_bf16(node.get()) || !narrowing.fits(node->outputs[0])) continue;
    is_op(node.get(), "Conv", kLowpDomain) ? give_bf16<ops::PackedConvAttrs>(node.get())
                                           : give_bf16<ops::LinearAttrs>(node.get());
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
