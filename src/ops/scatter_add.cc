// The gradient of Gather, dense and sparse.
//
// lowp.ScatterAdd(indices, dy, like) {axis}: like's shape with dy's dtype; the rows of dy added up by index along
// `axis` in order of position, zeros where no index points. lowp.SparseRows(indices [...], dy [..., row], like [V,
// row]) -> rows i64 [N], values [N, row], count i64 []: the same along axis 0 for the rows that occur, N being the
// number of indices: rows[i] ascending and values[i] their sums for i < count; behind them rows are -1 and values 0.
// For an optimizer that touches these rows only. Of `like` only the type counts.
#include <map>

#include "kernels/convert/convert.h"
#include "kernels/gather/scatter.h"
#include "ops/indices.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct ScatterAttrs {
  int64_t axis = 0;
  bool operator==(const ScatterAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("axis", &ScatterAttrs::axis)); }
};

constexpr size_t kIndices = 0;
constexpr size_t kDy = 1;
constexpr size_t kLike = 2;

Status check_operands(const InferContext& ctx, int64_t wanted_axis) {
  LOWP_TRY(want_float(ctx, kDy));
  if (ctx.dtype(kIndices) != DType::kI64 && ctx.dtype(kIndices) != DType::kI32) {
    return error(Code::kTypeMismatch, "indices have dtype {}, i32 or i64 is wanted", dtype_name(ctx.dtype(kIndices)));
  }
  if (!ctx.has_rank(kLike) || !ctx.has_rank(kIndices) || !ctx.has_rank(kDy)) return {};
  const ir::Dims& like = ctx.dims(kLike);
  LOWP_ASSIGN(int64_t axis, normalize_axis(wanted_axis, static_cast<int64_t>(like.size())));
  ir::Dims want(like.begin(), like.begin() + axis);
  want.insert(want.end(), ctx.dims(kIndices).begin(), ctx.dims(kIndices).end());
  want.insert(want.end(), like.begin() + axis + 1, like.end());
  if (ir::may_be_equal(ctx.dims(kDy), want)) return {};
  return error(Code::kShapeMismatch, "indices {} along axis {} of {} want dy of {}, which is {}",
               ctx.type(kIndices).to_string(), axis, ctx.type(kLike).to_string(),
               TensorType(ctx.dtype(kDy), want).to_string(), ctx.type(kDy).to_string());
}
Status infer(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx, ctx.attrs<ScatterAttrs>().axis));
  TensorType t = ctx.type(kLike);
  t.dtype = ctx.dtype(kDy);
  ctx.set(0, std::move(t));
  return {};
}
Status infer_sparse(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx, 0));
  ir::Dim n;
  if (ctx.has_rank(kIndices)) {
    n = ir::Dim(1);
    for (const ir::Dim& d : ctx.dims(kIndices)) {
      // A symbol times 1 is itself; other products have no name.
      if (n.known() && d.known()) {
        n = ir::Dim(n.value() * d.value());
      } else if (n.known() && n.value() == 1) {
        n = d;
      } else if (!d.known() || d.value() != 1) {
        n = ir::Dim();
      }
    }
  }
  ctx.set(0, DType::kI64, ir::Dims{n});
  if (ctx.has_rank(kLike) && !ctx.dims(kLike).empty()) {
    ir::Dims values{n};
    values.insert(values.end(), ctx.dims(kLike).begin() + 1, ctx.dims(kLike).end());
    ctx.set(1, ctx.dtype(kDy), std::move(values));
  } else {
    ctx.set_unranked(1, ctx.dtype(kDy));
  }
  ctx.set(2, TensorType(DType::kI64, Extents{}));
  return {};
}

Result<Extents> positive_indices(const Tensor& t, int64_t limit) {
  Extents indices = t.to_int64s();
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < -limit || indices[i] >= limit) return fail(bad_index(indices[i], static_cast<int64_t>(i), limit));
    if (indices[i] < 0) indices[i] += limit;
  }
  return indices;
}
// Elements before and behind the axis.
std::pair<int64_t, int64_t> around(const Extents& like, int64_t axis) {
  return {ir::element_count(Extents(like.begin(), like.begin() + axis)),
          ir::element_count(Extents(like.begin() + axis + 1, like.end()))};
}

Status reference(EvalContext& ctx) {
  const Extents& like = ctx.in(kLike).extents();
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<ScatterAttrs>().axis, static_cast<int64_t>(like.size())));
  const int64_t limit = like[static_cast<size_t>(axis)];
  LOWP_ASSIGN(const Extents indices, positive_indices(ctx.in(kIndices), limit));
  const auto [outer, n] = around(like, axis);
  const auto count = static_cast<int64_t>(indices.size());
  const auto dy = to_doubles(ctx.in(kDy));
  std::vector<double> sums(static_cast<size_t>(outer * limit * n), 0.0);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t i = 0; i < n; ++i) {
        sums[static_cast<size_t>((o * limit + indices[static_cast<size_t>(k)]) * n + i)] +=
            dy[static_cast<size_t>((o * count + k) * n + i)];
      }
    }
  }
  return dispatch_float(ctx.in(kDy).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < sums.size(); ++i)
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sums[i]));
    return {};
  });
}
Status reference_sparse(EvalContext& ctx) {
  const Extents& like = ctx.in(kLike).extents();
  LOWP_ASSIGN(const Extents indices, positive_indices(ctx.in(kIndices), like[0]));
  const auto n = static_cast<size_t>(around(like, 0).second);
  const auto dy = to_doubles(ctx.in(kDy));
  std::map<int64_t, std::vector<double>> sums;
  for (size_t k = 0; k < indices.size(); ++k) {
    auto& sum = sums.try_emplace(indices[k], n, 0.0).first->second;
    for (size_t i = 0; i < n; ++i) sum[i] += dy[k * n + i];
  }
  return dispatch_float(ctx.in(kDy).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto* rows = ctx.out(0).mutable_data<int64_t>();
    std::fill_n(rows, indices.size(), -1);
    std::fill_n(ctx.out(1).mutable_data<T>(), ctx.out(1).size(), T{});
    size_t at = 0;
    for (const auto& [row, sum] : sums) {
      rows[at] = row;
      for (size_t i = 0; i < n; ++i)
        ctx.out(1).mutable_data<T>()[at * n + i] = static_cast<T>(static_cast<compute_t<T>>(sum[i]));
      ++at;
    }
    ctx.out(2).mutable_data<int64_t>()[0] = static_cast<int64_t>(at);
    return {};
  });
}

kernels::ScatterArgs scatter_args(const LowerContext& ctx, int64_t axis) {
  kernels::ScatterArgs args;
  std::tie(args.outer, args.n) = around(ctx.in(kLike), axis);
  args.limit = ctx.in(kLike)[static_cast<size_t>(axis)];
  args.count = ctx.in_size(kIndices);
  args.dtype = ctx.dtype(kDy);
  args.index_dtype = ctx.dtype(kIndices);
  return args;
}
bool fits_kernel(const kernels::ScatterArgs& a) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  return kernels::is_stored_float(a.dtype) && a.limit <= kMost && a.count <= kMost;
}
// Operands of a call; false where an index is wrong.
bool bind(kernels::ScatterArgs& call, const StepArgs& s) {
  call.indices = s.inputs[kIndices];
  call.dy = s.inputs[kDy];
  return indices_fit(s, kIndices, call.index_dtype, call.count, call.limit);
}

Status lower(LowerContext& ctx) {
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<ScatterAttrs>().axis, static_cast<int64_t>(ctx.in(kLike).size())));
  const kernels::ScatterArgs args = scatter_args(ctx, axis);
  if (!fits_kernel(args)) return {};
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::scatter_scratch(args));
  ctx.emit(fmt::format("scatter_add.{}", dtype_name(args.dtype)), [args, threads](const StepArgs& s) {
    kernels::ScatterArgs call = args;
    if (bind(call, s)) kernels::scatter_add(call, s.outputs[0], s.scratch, threads);
  });
  return {};
}
Status lower_sparse(LowerContext& ctx) {
  const kernels::ScatterArgs args = scatter_args(ctx, 0);
  if (!fits_kernel(args)) return {};
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::scatter_scratch(args));
  ctx.emit(fmt::format("sparse_rows.{}", dtype_name(args.dtype)), [args, threads](const StepArgs& s) {
    kernels::ScatterArgs call = args;
    if (bind(call, s)) {
      kernels::sparse_rows(call, s.out<int64_t>(0), s.outputs[1], s.out<int64_t>(2), s.scratch, threads);
    }
  });
  return {};
}

Sample sample(int64_t axis, Extents like, Extents indices, DType dtype) {
  const auto limit = static_cast<double>(like[static_cast<size_t>(axis)]);
  Extents dy(like.begin(), like.begin() + axis);
  dy.insert(dy.end(), indices.begin(), indices.end());
  dy.insert(dy.end(), like.begin() + axis + 1, like.end());
  Sample s;
  s.inputs = {{DType::kI64, std::move(indices), -limit, limit - 1}, {dtype, std::move(dy)}, {dtype, std::move(like)}};
  return s;
}

}  // namespace

std::vector<OpDef> scatter_add() {
  OpDef dense;
  dense.name = "ScatterAdd";
  dense.domain = kLowpDomain;
  dense.min_inputs = dense.max_inputs = 3;
  dense.attrs = ir::AttrCodec::of<ScatterAttrs>();
  dense.infer = infer;
  dense.reference = reference;
  dense.lower = lower;
  dense.samples = [] {
    std::vector<Sample> list = {sample(0, {11, 37}, {2, 9}, DType::kF32), sample(1, {3, 5, 4}, {7}, DType::kF32),
                                sample(0, {6, 3, 5}, {}, DType::kF32), sample(0, {11, 20}, {30}, DType::kBF16)};
    list[1].attrs = {{"axis", int64_t{1}}};
    return list;
  };
  OpDef sparse = dense;
  sparse.name = "SparseRows";
  sparse.attrs = ir::AttrCodec::of<ir::NoAttrs>();
  sparse.min_outputs = sparse.max_outputs = 3;
  sparse.infer = infer_sparse;
  sparse.reference = reference_sparse;
  sparse.lower = lower_sparse;
  sparse.samples = [] {
    std::vector<Sample> list = {sample(0, {11, 37}, {2, 9}, DType::kF32), sample(0, {6, 3, 5}, {}, DType::kF32),
                                sample(0, {40, 20}, {30}, DType::kBF16)};
    for (Sample& s : list) s.outputs = 3;
    return list;
  };
  return {std::move(dense), std::move(sparse)};
}

}  // namespace lowp::ops
