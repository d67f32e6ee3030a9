// lowp.Reorder: the same tensor in another layout; its value's layout attribute says which. The layout pass inserts it.
#include <array>

#include "kernels/layout/layout.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status reference(EvalContext& ctx) {
  if (ctx.in(0).bytes() > 0) std::memcpy(ctx.out(0).mutable_raw(), ctx.in(0).raw(), ctx.in(0).bytes());
  return {};
}

Status lower(LowerContext& ctx) {
  const Extents& e = ctx.in(0);
  const bool to_last = ctx.out_layout(0) == ir::Layout::kChannelsLast;
  int64_t image = 1;
  for (size_t i = 2; i < e.size(); ++i) image *= e[i];
  if (ctx.in_layout(0) == ctx.out_layout(0) || e[1] == 1 || image == 1) {
    ctx.alias(0, 0);
    return {};
  }
  // N x C x image to N x image x C or back.
  const std::array<int64_t, 3> shape =
      to_last ? std::array<int64_t, 3>{e[0], e[1], image} : std::array<int64_t, 3>{e[0], image, e[1]};
  const size_t bytes = dtype_bytes(ctx.dtype(0), 1);
  const int threads = ctx.threads();
  ctx.emit("layout.transpose", [shape, bytes, threads](const StepArgs& s) {
    static constexpr int kPerm[3] = {0, 2, 1};
    kernels::transpose(shape.data(), kPerm, 3, bytes, s.inputs[0], s.outputs[0], threads);
  });
  return {};
}

}  // namespace

std::vector<OpDef> reorder() {
  OpDef def;
  def.name = "Reorder";
  def.domain = kLowpDomain;
  def.infer = infer_same_as_input;
  def.reference = reference;
  def.lower = lower;
  def.per_item = always_per_item;
  return {std::move(def)};
}

}  // namespace lowp::ops
