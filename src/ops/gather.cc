// Gather(data, indices).
#include "ops/block_copy.h"
#include "ops/indices.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::Dims;
using ir::field;

struct GatherAttrs {
  int64_t axis = 0;
  bool operator==(const GatherAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("axis", &GatherAttrs::axis)); }
};
Status infer_gather(InferContext& ctx) {
  if (ctx.dtype(1) != DType::kI64 && ctx.dtype(1) != DType::kI32)
    return error(Code::kTypeMismatch, "indices have dtype {}, i32 or i64 is wanted", dtype_name(ctx.dtype(1)));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<GatherAttrs>().axis, static_cast<int64_t>(ctx.dims(0).size())));
  Dims out(ctx.dims(0).begin(), ctx.dims(0).begin() + axis);
  out.insert(out.end(), ctx.dims(1).begin(), ctx.dims(1).end());
  out.insert(out.end(), ctx.dims(0).begin() + axis + 1, ctx.dims(0).end());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status reference(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<GatherAttrs>().axis, x.rank()));
  const int64_t extent = x.extent(static_cast<int>(axis));
  Extents index = ctx.in(1).to_int64s();
  for (int64_t& i : index) {
    if (i < -extent || i >= extent)
      return error(Code::kInvalidArgument, "index {} is outside an axis of {}", i, extent);
    if (i < 0) i += extent;
  }
  int64_t outer = 1;
  int64_t inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= x.extent(static_cast<int>(i));
  for (int i = static_cast<int>(axis) + 1; i < x.rank(); ++i) inner *= x.extent(i);
  const size_t row = dtype_bytes(x.dtype(), static_cast<size_t>(inner));
  const char* in = static_cast<const char*>(x.raw());
  char* out = static_cast<char*>(ctx.out(0).mutable_raw());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i : index) {
      if (row > 0) std::memcpy(out, in + static_cast<size_t>(o * extent + i) * row, row);
      out += row;
    }
  }
  return {};
}

Status lower_gather(LowerContext& ctx) {
  if (!whole_bytes(ctx.dtype(0))) return {};
  const Extents& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<GatherAttrs>().axis, static_cast<int64_t>(x.size())));
  kernels::GatherArgs args;
  args.limit = x[static_cast<size_t>(axis)];
  args.count = ctx.in_size(1);
  args.index_dtype = ctx.dtype(1);
  args.row_bytes = static_cast<int64_t>(dtype_bytes(ctx.dtype(0), 1));
  for (size_t i = 0; i < x.size(); ++i) {
    if (static_cast<int64_t>(i) < axis) args.outer *= x[i];
    if (static_cast<int64_t>(i) > axis) args.row_bytes *= x[i];
  }
  // Rows of a table are rows of the output.
  if (axis == 0 && x.size() == 2) args.y_step = ctx.row_pitch() * static_cast<int64_t>(dtype_bytes(ctx.dtype(0), 1));
  const int threads = ctx.threads();
  ctx.emit("gather", [args, threads](const StepArgs& s) {
    if (!indices_fit(s, 1, args.index_dtype, args.count, args.limit)) return;
    kernels::GatherArgs call = args;
    call.x = s.inputs[0];
    call.indices = s.inputs[1];
    call.y = s.outputs[0];
    kernels::gather(call, threads);
  });
  return {};
}

Status gather_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("ScatterAdd", {g.in(1), g.grad_out(), g.in(0)},
                                  {{"axis", g.attrs<GatherAttrs>().axis}}, kLowpDomain));
  return {};
}

}  // namespace

std::vector<OpDef> gather() {
  OpDef def;
  def.name = "Gather";
  def.min_inputs = 2;
  def.max_inputs = 2;
  def.infer = infer_gather;
  def.reference = reference;
  def.attrs = ir::AttrCodec::of<GatherAttrs>();
  def.gradient = gather_gradient;
  def.quantize = QuantRule::kEmbedding;
  def.lower = lower_gather;
  // Rows of a table, one for each index.
  def.per_item = [](const ir::Node& node) {
    return node.attrs.get<GatherAttrs>().axis == 0 && node.inputs[0]->is_constant();
  };
  def.reads_rows = true;
  def.samples = [] {
    return std::vector<Sample>{{{}, {{DType::kF32, {11, 9}}, {DType::kI64, {2, 3}, -11, 10}}},
                               {{{"axis", int64_t{1}}}, {{DType::kF32, {3, 4, 5}}, {DType::kI32, {6}, 0, 3}}},
                               {{{"axis", int64_t{1}}}, {{DType::kF32, {1, 4}}, {DType::kI32, {2, 3}, 0, 3}}}};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
