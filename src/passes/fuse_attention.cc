// Multi-head attention as exporters write it, per head with transposes, becomes lowp.Attention on the projections:
//   q = Transpose(Reshape(Q, [B, S, A, D]), 0 2 1 3), v likewise, k with 0 2 3 1 (or 0 2 1 3 and another transpose)
//   y = Reshape(Transpose(MatMul(Softmax(MatMul(q, k) * c + mask), v), 0 2 1 3), [B, S, A * D])
#include "ops/attention.h"
#include "ops/movement.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// Whether two dims can be the same extent.
bool may_agree(const ir::Dim& a, const ir::Dim& b) { return !a.known() || !b.known() || a == b; }

struct Heads {
  ir::Value* projection;  // [B, S, A * D]
  int64_t heads;
  int64_t size;
};

// The projection behind Transpose(Reshape(.)) with this permutation.
std::optional<Heads> split_heads(const ir::Value* v, const std::vector<int64_t>& perm) {
  const ir::Node* transpose = producer(v, "Transpose");
  if (transpose == nullptr || transpose->attrs.get<ops::TransposeAttrs>().perm != perm) return std::nullopt;
  const ir::Node* reshape = producer(transpose->inputs[0], "Reshape");
  if (reshape == nullptr || reshape->inputs[0]->type.rank() != 3 || transpose->inputs[0]->type.rank() != 4)
    return std::nullopt;
  const ir::Dims& d = *transpose->inputs[0]->type.dims;
  const ir::Dims& whole = *reshape->inputs[0]->type.dims;
  if (!d[2].known() || !d[3].known() || !whole[2].known() || whole[2].value() != d[2].value() * d[3].value() ||
      !may_agree(whole[0], d[0]) || !may_agree(whole[1], d[1]))
    return std::nullopt;
  return Heads{reshape->inputs[0], d[2].value(), d[3].value()};
}

struct Scores {
  ir::Node* product;  // MatMul(q, k)
  double scale = 1;
  ir::Value* mask = nullptr;
};

std::optional<Scores> match_scores(ir::Value* v) {
  Scores s;
  if (ir::Node* add = producer(v, "Add")) {
    // The mask is what is not a product.
    auto is_product = [](const ir::Value* x) {
      return producer(x, "Div") != nullptr || producer(x, "Mul") != nullptr || producer(x, "MatMul") != nullptr;
    };
    auto scored = [&](const ir::Value* x) {
      const ir::Node* p = x->producer;
      if (p == nullptr || !is_product(x)) return false;
      return is_op(p, "MatMul") || producer(p->inputs[0], "MatMul") != nullptr;
    };
    const size_t at = scored(add->inputs[0]) ? 0 : 1;
    if (!scored(add->inputs[at])) return std::nullopt;
    s.mask = add->inputs[1 - at];
    v = add->inputs[at];
  }
  if (ir::Node* div = producer(v, "Div")) {
    auto c = scalar(div->inputs[1]);
    if (!c || *c == 0) return std::nullopt;
    s.scale = 1 / *c;
    v = div->inputs[0];
  } else if (ir::Node* mul = producer(v, "Mul")) {
    auto c = scalar(mul->inputs[1]);
    if (!c) return std::nullopt;
    s.scale = *c;
    v = mul->inputs[0];
  }
  s.product = producer(v, "MatMul");
  if (s.product == nullptr) return std::nullopt;
  return s;
}

bool mask_fits(const ir::Value* mask, const Heads& k) {
  if (mask == nullptr) return true;
  if (mask->type.dtype != DType::kF32 || mask->type.rank() < 1 || mask->type.rank() > 4) return false;
  const ir::Dim& keys = (*k.projection->type.dims)[1];
  // Symbols are lost where sequences of unknown length are added; binding checks the extents again.
  const ir::Dim& last = mask->type.dims->back();
  return last.known() ? last == keys : !keys.known();
}

}  // namespace

Result<int> fuse_attention(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* softmax : graph.node_list()) {
    if (!is_op(softmax, "Softmax") || softmax->inputs[0]->type.rank() != 4 ||
        softmax->inputs[0]->type.dtype != DType::kF32)
      continue;
    const AttrMap attrs = softmax->op->attrs.write(softmax->attrs);
    const int64_t axis = std::get<int64_t>(attrs.at("axis"));
    if (axis != -1 && axis != 3) continue;
    ir::Node* mix = only_user(graph, softmax->outputs[0]);
    if (!is_op(mix, "MatMul") || mix->inputs[0] != softmax->outputs[0]) continue;
    auto scores = match_scores(softmax->inputs[0]);
    if (!scores) continue;
    auto q = split_heads(scores->product->inputs[0], {0, 2, 1, 3});
    auto k = split_heads(scores->product->inputs[1], {0, 2, 3, 1});
    if (!k) {
      // 0 2 1 3, then the last two swapped.
      const ir::Node* swap = producer(scores->product->inputs[1], "Transpose");
      if (swap != nullptr && swap->attrs.get<ops::TransposeAttrs>().perm == std::vector<int64_t>{0, 1, 3, 2})
        k = split_heads(swap->inputs[0], {0, 2, 1, 3});
    }
    auto v = split_heads(mix->inputs[1], {0, 2, 1, 3});
    ir::Node* merge = only_user(graph, mix->outputs[0]);
    if (!q || !k || !v || q->heads != k->heads || q->heads != v->heads || q->size != k->size ||
        !mask_fits(scores->mask, *k))
      continue;
    if (!is_op(merge, "Transpose") || merge->attrs.get<ops::TransposeAttrs>().perm != std::vector<int64_t>{0, 2, 1, 3})
      continue;
    ir::Node* reshape = only_user(graph, merge->outputs[0]);
    if (!is_op(reshape, "Reshape") || reshape->outputs[0]->type.rank() != 3) continue;
    const ir::Dim& width = (*reshape->outputs[0]->type.dims)[2];
    const ir::Dims& whole = *q->projection->type.dims;
    const ir::Dims& merged = *reshape->outputs[0]->type.dims;
    if (!width.known() || width.value() != v->heads * v->size || !may_agree(whole[0], merged[0]) ||
        !may_agree(whole[1], merged[1]))
      continue;
    GraphBuilder b(graph, reshape);
    std::vector<ir::Value*> inputs = {q->projection, k->projection, v->projection};
    if (scores->mask != nullptr) inputs.push_back(scores->mask);
    ir::Value* y = b.op("Attention", inputs, {{"heads", q->heads}, {"scale", static_cast<float>(scores->scale)}},
                        kLowpDomain, softmax->name + ":attention");
    ir::Graph::take_name(y, reshape->outputs[0]);
    graph.replace_uses(reshape->outputs[0], y);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
