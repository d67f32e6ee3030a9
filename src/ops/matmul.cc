// MatMul and Gemm. With constant weights the compiler turns them into lowp.Linear (linear.cc).
#include "ops/matmul.h"

#include "kernels/gemm/gemm.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::Dim;
using ir::Dims;

Status check_inner(const Dim& a, const Dim& b, const InferContext& ctx) {
  if (a.known() && b.known() && a.value() != b.value()) {
    return error(Code::kShapeMismatch, "{} x {}: inner dimensions are {} and {}", ctx.type(0).to_string(),
                 ctx.type(1).to_string(), a.value(), b.value());
  }
  return {};
}

Status infer_matmul(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  Dims a = ctx.dims(0);
  Dims b = ctx.dims(1);
  if (a.empty() || b.empty())
    return error(Code::kShapeMismatch, "MatMul of a scalar: {} x {}", ctx.type(0).to_string(), ctx.type(1).to_string());
  const bool row = a.size() == 1;
  const bool column = b.size() == 1;
  if (row) a.insert(a.begin(), Dim(1));
  if (column) b.push_back(Dim(1));
  LOWP_TRY(check_inner(a.back(), b[b.size() - 2], ctx));
  LOWP_ASSIGN(Dims out, ir::broadcast_dims(Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2)));
  if (!row) out.push_back(a[a.size() - 2]);
  if (!column) out.push_back(b.back());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

// Shapes of a batched product with missing dimensions filled in.
struct Product {
  Extents a, b, batch;  // batch: broadcast leading extents
  int64_t m, n, k;
};
Product product(Extents a, Extents b) {
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  Product p;
  p.m = a[a.size() - 2];
  p.k = a.back();
  p.n = b.back();
  p.a = std::move(a);
  p.b = std::move(b);
  auto batch = ir::broadcast_extents(Extents(p.a.begin(), p.a.end() - 2), Extents(p.b.begin(), p.b.end() - 2));
  LOWP_CHECK(batch.has_value());
  p.batch = std::move(*batch);
  return p;
}

Status matmul(EvalContext& ctx) {
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Product p = product(ctx.in(0).extents(), ctx.in(1).extents());
    const Extents sa = broadcast_strides(Extents(p.a.begin(), p.a.end() - 2), p.batch);
    const Extents sb = broadcast_strides(Extents(p.b.begin(), p.b.end() - 2), p.batch);
    const T* a = ctx.in(0).data<T>();
    const T* b = ctx.in(1).data<T>();
    T* y = ctx.out(0).mutable_data<T>();
    for_each_index(p.batch, [&](int64_t item, const Extents& index) {
      const T* pa = a + dot(sa, index) * p.m * p.k;
      const T* pb = b + dot(sb, index) * p.k * p.n;
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t j = 0; j < p.n; ++j) {
          using A = std::conditional_t<std::is_integral_v<T>, T, double>;
          A sum = 0;
          for (int64_t k = 0; k < p.k; ++k)
            sum = static_cast<A>(sum + static_cast<A>(static_cast<compute_t<T>>(pa[i * p.k + k])) *
                                           static_cast<A>(static_cast<compute_t<T>>(pb[k * p.n + j])));
          y[(item * p.m + i) * p.n + j] = static_cast<T>(static_cast<compute_t<T>>(sum));
        }
      }
    });
    return {};
  });
}

// Both operands vary: batch dimensions coalesced to at most three for the kernel.
Status lower_matmul(LowerContext& ctx) {
  if (ctx.dtype(0) != DType::kF32) return {};
  const Product p = product(ctx.in(0), ctx.in(1));
  Extents batch;
  Extents sa;
  Extents sb;
  const Extents full_a = broadcast_strides(Extents(p.a.begin(), p.a.end() - 2), p.batch);
  const Extents full_b = broadcast_strides(Extents(p.b.begin(), p.b.end() - 2), p.batch);
  for (size_t i = 0; i < p.batch.size(); ++i) {
    if (p.batch[i] == 1) continue;
    if (!batch.empty() && sa.back() == full_a[i] * p.batch[i] && sb.back() == full_b[i] * p.batch[i]) {
      batch.back() *= p.batch[i];
      sa.back() = full_a[i];
      sb.back() = full_b[i];
    } else {
      batch.push_back(p.batch[i]);
      sa.push_back(full_a[i]);
      sb.push_back(full_b[i]);
    }
  }
  if (batch.size() > 3) return {};
  kernels::MatmulArgs args;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  int64_t c_stride = p.m * p.n;
  for (size_t i = batch.size(); i-- > 0;) {
    args.batch[i] = batch[i];
    args.a_batch[i] = sa[i] * p.m * p.k;
    args.b_batch[i] = sb[i] * p.k * p.n;
    args.c_batch[i] = c_stride;
    c_stride *= batch[i];
  }
  args.lda = p.k;
  args.b_row = p.n;
  args.b_col = 1;
  args.ldc = p.n;
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::matmul_scratch(args, threads));
  ctx.set_macs(ir::element_count(p.batch) * p.m * p.n * p.k);
  ctx.emit("matmul.f32", [args, threads](const StepArgs& s) {
    kernels::MatmulArgs call = args;
    call.a = s.in<float>(0);
    call.b = s.in<float>(1);
    call.c = s.out<float>(0);
    kernels::matmul(call, s.scratch, threads);
  });
  return {};
}

ir::Value* transposed(GradContext& g, ir::Value* v) {
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < v->type.rank(); ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return g.builder().op("Transpose", {v}, {{"perm", perm}});
}
Status matmul_gradient(GradContext& g) {
  if (g.in(0)->type.rank() < 2 || g.in(1)->type.rank() < 2)
    return error(Code::kUnsupported, "the gradient of MatMul wants operands of rank 2 or more");
  GraphBuilder& b = g.builder();
  for (size_t i = 0; i < 2; ++i) {
    if (!g.wants(i)) continue;
    ir::Value* d = i == 0 ? b.op("MatMul", {g.grad_out(), transposed(g, g.in(1))})
                          : b.op("MatMul", {transposed(g, g.in(0)), g.grad_out()});
    if (!(d->type == g.in(i)->type)) d = b.op("SumTo", {d, g.in(i)}, {}, kLowpDomain);
    g.set_grad_in(i, d);
  }
  return {};
}

// ---- Gemm: alpha * A' * B' + beta * C ----

Status infer_gemm(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  LOWP_TRY(want_same_dtype(ctx, 0, 2));
  const auto& a = ctx.attrs<GemmAttrs>();
  for (size_t i = 0; i < 2; ++i) {
    if (ctx.has_rank(i) && ctx.dims(i).size() != 2)
      return error(Code::kShapeMismatch, "input {} has shape {}, rank 2 is wanted", i, ctx.type(i).to_string());
  }
  Dims out(2);
  if (ctx.has_rank(0)) out[0] = ctx.dims(0)[a.trans_a ? 1 : 0];
  if (ctx.has_rank(1)) out[1] = ctx.dims(1)[a.trans_b ? 0 : 1];
  if (ctx.has_rank(0) && ctx.has_rank(1))
    LOWP_TRY(check_inner(ctx.dims(0)[a.trans_a ? 0 : 1], ctx.dims(1)[a.trans_b ? 1 : 0], ctx));
  if (ctx.has_rank(2))
    LOWP_TRY([&]() -> Status {
      auto r = ir::broadcast_dims(out, ctx.dims(2));
      return r ? Status() : r.error();
    }());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status gemm(EvalContext& ctx) {
  const auto& attrs = ctx.attrs<GemmAttrs>();
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Tensor& a = ctx.in(0);
    const Tensor& b = ctx.in(1);
    Tensor& y = ctx.out(0);
    const int64_t m = y.extent(0);
    const int64_t n = y.extent(1);
    const int64_t k = a.extent(attrs.trans_a ? 0 : 1);
    const Extents sc = ctx.has(2) ? broadcast_strides(ctx.in(2).extents(), y.extents()) : Extents{0, 0};
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t q = 0; q < k; ++q) {
          sum += static_cast<double>(static_cast<compute_t<T>>(a.data<T>()[attrs.trans_a ? q * m + i : i * k + q])) *
                 static_cast<double>(static_cast<compute_t<T>>(b.data<T>()[attrs.trans_b ? j * k + q : q * n + j]));
        }
        double v = static_cast<double>(attrs.alpha) * sum;
        if (ctx.has(2))
          v += static_cast<double>(attrs.beta) *
               static_cast<double>(static_cast<compute_t<T>>(ctx.in(2).data<T>()[i * sc[0] + j * sc[1]]));
        y.mutable_data<T>()[i * n + j] = static_cast<T>(static_cast<compute_t<T>>(v));
      }
    }
    return {};
  });
}
Status lower_gemm(LowerContext& ctx) {
  const auto& attrs = ctx.attrs<GemmAttrs>();
  const bool bias = ctx.has(2);
  // The kernel takes A row-major and one bias a column.
  const bool bias_row =
      bias && ir::element_count(ctx.in(2)) == ctx.out(0)[1] && (ctx.in(2).size() == 1 || ctx.in(2)[0] == 1);
  if (ctx.dtype(0) != DType::kF32 || attrs.trans_a || attrs.alpha != 1.0F ||
      (bias && (attrs.beta != 1.0F || !bias_row)))
    return {};
  kernels::MatmulArgs args;
  args.m = ctx.out(0)[0];
  args.n = ctx.out(0)[1];
  args.k = ctx.in(0)[1];
  args.lda = args.k;
  args.b_row = attrs.trans_b ? 1 : args.n;
  args.b_col = attrs.trans_b ? args.k : 1;
  args.ldc = args.n;
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::matmul_scratch(args, threads));
  ctx.set_macs(args.m * args.n * args.k);
  ctx.emit("matmul.f32", [args, threads, bias](const StepArgs& s) {
    kernels::MatmulArgs call = args;
    call.a = s.in<float>(0);
    call.b = s.in<float>(1);
    call.c = s.out<float>(0);
    if (bias) call.epilogue.bias = s.in<float>(2);
    kernels::matmul(call, s.scratch, threads);
  });
  return {};
}
Status gemm_gradient(GradContext& g) {
  const auto& a = g.attrs<GemmAttrs>();
  if (a.alpha != 1.0F || a.trans_a || (g.node().input(2) != nullptr && a.beta != 1.0F))
    return error(Code::kUnsupported, "the gradient of Gemm wants alpha 1, beta 1 and transA 0");
  GraphBuilder& b = g.builder();
  if (g.wants(0)) g.set_grad_in(0, b.op("MatMul", {g.grad_out(), a.trans_b ? g.in(1) : transposed(g, g.in(1))}));
  if (g.wants(1)) {
    g.set_grad_in(1, a.trans_b ? b.op("MatMul", {transposed(g, g.grad_out()), g.in(0)})
                               : b.op("MatMul", {transposed(g, g.in(0)), g.grad_out()}));
  }
  if (g.wants(2)) g.set_grad_in(2, b.op("SumTo", {g.grad_out(), g.in(2)}, {}, kLowpDomain));
  return {};
}
Status upgrade_gemm(ImportedNode& node) {
  node.attrs.erase("broadcast");  // before opset 7
  return {};
}

}  // namespace

std::vector<OpDef> matmul() {
  OpDef mm;
  mm.name = "MatMul";
  mm.min_inputs = mm.max_inputs = 2;
  mm.infer = infer_matmul;
  mm.reference = matmul;
  mm.gradient = matmul_gradient;
  mm.lower = lower_matmul;
  mm.quantize = QuantRule::kCompute;
  mm.samples = [] {
    return std::vector<Sample>{{{}, {{DType::kF32, {3, 5}}, {DType::kF32, {5, 7}}}},
                               {{}, {{DType::kF32, {2, 4, 19, 33}}, {DType::kF32, {2, 4, 33, 21}}}},
                               {{}, {{DType::kF32, {2, 1, 6, 8}}, {DType::kF32, {3, 8, 9}}}}};
  };
  OpDef ge;
  ge.name = "Gemm";
  ge.min_inputs = 2;
  ge.max_inputs = 3;
  ge.attrs = ir::AttrCodec::of<GemmAttrs>();
  ge.infer = infer_gemm;
  ge.reference = gemm;
  ge.gradient = gemm_gradient;
  ge.lower = lower_gemm;
  ge.quantize = QuantRule::kCompute;
  ge.upgrade = upgrade_gemm;
  ge.samples = [] {
    return std::vector<Sample>{
        {{{"transB", int64_t{1}}}, {{DType::kF32, {3, 65}}, {DType::kF32, {33, 65}}, {DType::kF32, {33}}}},
        {{}, {{DType::kF32, {17, 9}}, {DType::kF32, {9, 40}}}}};
  };
  return {std::move(mm), std::move(ge)};
}

}  // namespace lowp::ops
