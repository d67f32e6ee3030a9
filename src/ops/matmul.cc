// MatMul and Gemm, which the compiler turns into lowp.Linear (linear.cc) where weights are constant; and what their
// gradients are made of: lowp.MatMul(a, b), whose operands may be transposed, and lowp.LinearWeightGradient.
#include "ops/matmul.h"

#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"
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

// MatMul has no attributes; it is lowp.MatMul without exchanged dimensions.
MatMulAttrs forms(const ir::Node& node) {
  return node.op->domain == kLowpDomain ? node.attrs.get<MatMulAttrs>() : MatMulAttrs{};
}

Status infer_matmul(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const MatMulAttrs form = forms(ctx.node());
  Dims a = ctx.dims(0);
  Dims b = ctx.dims(1);
  if (a.empty() || b.empty())
    return error(Code::kShapeMismatch, "MatMul of a scalar: {} x {}", ctx.type(0).to_string(), ctx.type(1).to_string());
  const bool row = a.size() == 1;
  const bool column = b.size() == 1;
  if ((row && form.trans_a) || (column && form.trans_b)) {
    return error(Code::kShapeMismatch, "an operand of rank 1 has no dimensions to exchange: {} x {}",
                 ctx.type(0).to_string(), ctx.type(1).to_string());
  }
  if (row) a.insert(a.begin(), Dim(1));
  if (column) b.push_back(Dim(1));
  if (form.trans_a) std::swap(a.back(), a[a.size() - 2]);
  if (form.trans_b) std::swap(b.back(), b[b.size() - 2]);
  LOWP_TRY(check_inner(a.back(), b[b.size() - 2], ctx));
  LOWP_ASSIGN(Dims out, ir::broadcast_dims(Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2)));
  if (!row) out.push_back(a[a.size() - 2]);
  if (!column) out.push_back(b.back());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

// A batched product with missing dimensions filled in: how each operand advances, in elements.
struct Product {
  Extents batch;                 // broadcast leading extents
  Extents a_strides, b_strides;  // of the items along them
  int64_t m, n, k;
  int64_t a_row, a_col, b_row, b_col;
};
Product product(Extents a, Extents b, MatMulAttrs form) {
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  Product p;
  const auto a_batch = Extents(a.begin(), a.end() - 2);
  const auto b_batch = Extents(b.begin(), b.end() - 2);
  const int64_t rows_a = a[a.size() - 2];
  const int64_t rows_b = b[b.size() - 2];
  p.m = form.trans_a ? a.back() : rows_a;
  p.k = form.trans_a ? rows_a : a.back();
  p.n = form.trans_b ? rows_b : b.back();
  p.a_row = form.trans_a ? 1 : p.k;
  p.a_col = form.trans_a ? p.m : 1;
  p.b_row = form.trans_b ? 1 : p.n;
  p.b_col = form.trans_b ? p.k : 1;
  auto batch = ir::broadcast_extents(a_batch, b_batch);
  LOWP_CHECK(batch.has_value());
  p.batch = std::move(*batch);
  p.a_strides = broadcast_strides(a_batch, p.batch);
  p.b_strides = broadcast_strides(b_batch, p.batch);
  for (int64_t& s : p.a_strides) s *= p.m * p.k;
  for (int64_t& s : p.b_strides) s *= p.k * p.n;
  // Weights that all items share: the items are further rows.
  if (!form.trans_a && ir::element_count(b_batch) == 1) {
    p.m *= ir::element_count(p.batch);
    p.batch = p.a_strides = p.b_strides = {};
  }
  return p;
}

template <typename T>
Status naive_product(const Product& p, const Tensor& a, const Tensor& b, Tensor& y) {
  for_each_index(p.batch, [&](int64_t item, const Extents& index) {
    const T* pa = a.data<T>() + dot(p.a_strides, index);
    const T* pb = b.data<T>() + dot(p.b_strides, index);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        std::conditional_t<std::is_integral_v<T>, int64_t, double> sum = 0;
        for (int64_t k = 0; k < p.k; ++k) {
          sum += static_cast<decltype(sum)>(static_cast<compute_t<T>>(pa[i * p.a_row + k * p.a_col])) *
                 static_cast<decltype(sum)>(static_cast<compute_t<T>>(pb[k * p.b_row + j * p.b_col]));
        }
        y.mutable_data<T>()[(item * p.m + i) * p.n + j] = static_cast<T>(static_cast<compute_t<T>>(sum));
      }
    }
  });
  return {};
}
Status matmul(EvalContext& ctx) {
  const Product p = product(ctx.in(0).extents(), ctx.in(1).extents(), forms(ctx.node()));
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    return naive_product<typename decltype(tag)::type>(p, ctx.in(0), ctx.in(1), ctx.out(0));
  });
}

// Batch dimensions are coalesced to at most three for the kernel; false where there are more.
bool matmul_args(const Product& p, DType dtype, kernels::MatmulArgs& args) {
  Extents batch;
  Extents sa;
  Extents sb;
  for (size_t i = 0; i < p.batch.size(); ++i) {
    if (p.batch[i] == 1) continue;
    if (!batch.empty() && sa.back() == p.a_strides[i] * p.batch[i] && sb.back() == p.b_strides[i] * p.batch[i]) {
      batch.back() *= p.batch[i];
      sa.back() = p.a_strides[i];
      sb.back() = p.b_strides[i];
    } else {
      batch.push_back(p.batch[i]);
      sa.push_back(p.a_strides[i]);
      sb.push_back(p.b_strides[i]);
    }
  }
  if (batch.size() > 3) return false;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.dtype = args.epilogue.out = dtype;
  int64_t c_stride = p.m * p.n;
  for (size_t i = batch.size(); i-- > 0;) {
    args.batch[i] = batch[i];
    args.a_batch[i] = sa[i];
    args.b_batch[i] = sb[i];
    args.c_batch[i] = c_stride;
    c_stride *= batch[i];
  }
  args.lda = p.a_row;
  args.a_col = p.a_col;
  args.b_row = p.b_row;
  args.b_col = p.b_col;
  args.ldc = p.n;
  return true;
}

// Both operands vary.
void emit_product(LowerContext& ctx, const Product& p) {
  kernels::MatmulArgs args;
  if (!kernels::is_stored_float(ctx.dtype(0)) || !matmul_args(p, ctx.dtype(0), args)) return;
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::matmul_scratch(args, threads));
  ctx.set_macs(ir::element_count(p.batch) * p.m * p.n * p.k);
  ctx.emit(fmt::format("matmul.{}", dtype_name(ctx.dtype(0))), [args, threads](const StepArgs& s) {
    kernels::MatmulArgs call = args;
    call.a = s.inputs[0];
    call.b = s.inputs[1];
    call.c = s.outputs[0];
    kernels::matmul(call, s.scratch, threads);
  });
}
Status lower_matmul(LowerContext& ctx) {
  emit_product(ctx, product(ctx.in(0), ctx.in(1), forms(ctx.node())));
  return {};
}

ir::Value* multiply(GraphBuilder& b, ir::Value* left, bool trans_left, ir::Value* right, bool trans_right) {
  return b.op("MatMul", {left, right},
              {{"trans_a", static_cast<int64_t>(trans_left)}, {"trans_b", static_cast<int64_t>(trans_right)}},
              kLowpDomain);
}
Status matmul_gradient(GradContext& g) {
  if (g.in(0)->type.rank() < 2 || g.in(1)->type.rank() < 2)
    return error(Code::kUnsupported, "the gradient of MatMul wants operands of rank 2 or more");
  GraphBuilder& b = g.builder();
  const MatMulAttrs f = forms(g.node());
  ir::Value* dy = g.grad_out();
  auto set = [&](size_t i, ir::Value* d) {
    if (!(d->type == g.in(i)->type)) d = b.op("SumTo", {d, g.in(i)}, {}, kLowpDomain);
    g.set_grad_in(i, d);
  };
  if (g.wants(0))
    set(0, f.trans_a ? multiply(b, g.in(1), f.trans_b, dy, true) : multiply(b, dy, false, g.in(1), !f.trans_b));
  if (!g.wants(1)) return {};
  if (g.in(1)->type.rank() == 2 && !f.trans_a) {
    // One product over the rows of all items, not one for each and a sum.
    g.set_grad_in(1, f.trans_b ? b.op("LinearWeightGradient", {dy, g.in(0)}, {}, kLowpDomain)
                               : b.op("LinearWeightGradient", {g.in(0), dy}, {}, kLowpDomain));
    return {};
  }
  set(1, f.trans_b ? multiply(b, dy, true, g.in(0), f.trans_a) : multiply(b, g.in(0), !f.trans_a, dy, false));
  return {};
}

// ---- lowp.LinearWeightGradient(x [..., I], dy [..., O]) -> [I, O]: x^T dy over the rows of all leading dimensions
// ----

Status infer_weight_gradient(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  Dims out(2);
  for (size_t i = 0; i < 2; ++i) {
    if (!ctx.has_rank(i)) continue;
    if (ctx.dims(i).empty())
      return error(Code::kShapeMismatch, "input {} has shape {}, rank 1 or more is wanted", i, ctx.type(i).to_string());
    out[i] = ctx.dims(i).back();
  }
  if (ctx.has_rank(0) && ctx.has_rank(1)) {
    const std::span<const Dim> x = ctx.dims(0), dy = ctx.dims(1);
    if (!ir::may_be_equal(x.first(x.size() - 1), dy.first(dy.size() - 1))) {
      return error(Code::kShapeMismatch, "x is {} and dy {}: all dimensions but the last must be the same",
                   ctx.type(0).to_string(), ctx.type(1).to_string());
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Product weight_product(const Extents& x, const Extents& dy) {
  const int64_t rows = ir::element_count(Extents(x.begin(), x.end() - 1));
  return product({rows, x.back()}, {rows, dy.back()}, {.trans_a = true});
}
Status weight_gradient(EvalContext& ctx) {
  const Product p = weight_product(ctx.in(0).extents(), ctx.in(1).extents());
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    return naive_product<typename decltype(tag)::type>(p, ctx.in(0), ctx.in(1), ctx.out(0));
  });
}
Status lower_weight_gradient(LowerContext& ctx) {
  emit_product(ctx, weight_product(ctx.in(0), ctx.in(1)));
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
// y = alpha y + beta c after the product, where the kernel's epilogue cannot: one pass for each factor that is not 1.
struct GemmTail {
  float alpha = 1, beta = 1;
  bool add = false;
  int64_t count = 0;         // of C's elements
  kernels::Broadcast add_c;  // y + c
  bool any() const { return alpha != 1 || add; }
  void run(float* y, const float* c, float* scaled, int64_t size, int threads) const {
    auto scale = [&](const float* x, float factor, float* out, int64_t n) {
      kernels::Broadcast by_scalar;
      const int64_t one = 1;
      LOWP_CHECK(kernels::make_broadcast(&n, 1, &one, 1, &by_scalar));
      kernels::binary_f32(kernels::Binary::kMul, by_scalar, x, &factor, out, threads);
    };
    if (alpha != 1) scale(y, alpha, y, size);
    if (!add) return;
    if (beta != 1) scale(c, beta, scaled, count);
    kernels::binary_f32(kernels::Binary::kAdd, add_c, y, beta != 1 ? scaled : c, y, threads);
  }
};
Status lower_gemm(LowerContext& ctx) {
  const auto& attrs = ctx.attrs<GemmAttrs>();
  const bool has_c = ctx.has(2);
  const DType dtype = ctx.dtype(0);
  kernels::MatmulArgs args;
  if (!kernels::is_stored_float(dtype) ||
      !matmul_args(product(ctx.in(0), ctx.in(1), {attrs.trans_a, attrs.trans_b}), dtype, args))
    return {};
  // The epilogue takes one f32 bias a column.
  const bool bias_row =
      has_c && ir::element_count(ctx.in(2)) == ctx.out(0)[1] && (ctx.in(2).size() == 1 || ctx.in(2)[0] == 1);
  const bool in_epilogue = bias_row && attrs.alpha == 1.0F && attrs.beta == 1.0F;
  GemmTail tail;
  tail.alpha = attrs.alpha;
  tail.add = has_c && !in_epilogue && attrs.beta != 0.0F;
  if (tail.add) {
    tail.beta = attrs.beta;
    tail.count = ir::element_count(ctx.in(2));
    if (!kernels::make_broadcast(ctx.out(0).data(), 2, ctx.in(2).data(), static_cast<int>(ctx.in(2).size()),
                                 &tail.add_c))
      return {};
  }
  if (tail.any() && dtype != DType::kF32) return {};
  const int threads = ctx.threads();
  const size_t scratch = (kernels::matmul_scratch(args, threads) + 63) & ~size_t{63};
  // Of C: scaled, or a bias widened from 16 bits.
  const bool widened = in_epilogue && dtype != DType::kF32;
  const int64_t own_floats = widened ? args.n : tail.beta != 1 ? tail.count : 0;
  ctx.set_scratch(scratch + static_cast<size_t>(own_floats) * sizeof(float));
  ctx.set_macs(args.m * args.n * args.k);
  ctx.emit(fmt::format("matmul.{}", dtype_name(dtype)),
           [args, tail, scratch, threads, in_epilogue, widened, dtype](const StepArgs& s) {
             auto* own = reinterpret_cast<float*>(static_cast<char*>(s.scratch) + scratch);
             kernels::MatmulArgs call = args;
             call.a = s.inputs[0];
             call.b = s.inputs[1];
             call.c = s.outputs[0];
             if (widened) kernels::convert_stored(dtype, s.inputs[2], DType::kF32, own, call.n, threads);
             if (in_epilogue) call.epilogue.bias = widened ? own : s.in<float>(2);
             kernels::matmul(call, s.scratch, threads);
             if (!tail.any()) return;
             tail.run(s.out<float>(0), tail.add ? s.in<float>(2) : nullptr, own, args.m * args.n, threads);
           });
  return {};
}
Status gemm_gradient(GradContext& g) {
  const auto& a = g.attrs<GemmAttrs>();
  GraphBuilder& b = g.builder();
  ir::Value* dy = g.grad_out();
  auto scaled = [&](ir::Value* v, float by) {
    return by == 1.0F ? v : b.op("Mul", {v, b.scalar_like(v, static_cast<double>(by))});
  };
  if (g.wants(0)) {
    g.set_grad_in(
        0, scaled(a.trans_a ? multiply(b, g.in(1), a.trans_b, dy, true) : multiply(b, dy, false, g.in(1), !a.trans_b),
                  a.alpha));
  }
  if (g.wants(1)) {
    g.set_grad_in(
        1, scaled(a.trans_b ? multiply(b, dy, true, g.in(0), a.trans_a) : multiply(b, g.in(0), !a.trans_a, dy, false),
                  a.alpha));
  }
  if (g.wants(2)) g.set_grad_in(2, scaled(b.op("SumTo", {dy, g.in(2)}, {}, kLowpDomain), a.beta));
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
                               {{}, {{DType::kF32, {2, 1, 6, 8}}, {DType::kF32, {3, 8, 9}}}},
                               {{}, {{DType::kF32, {2, 3, 6, 8}}, {DType::kF32, {8, 9}}}},
                               {{}, {{DType::kBF16, {2, 6, 8}}, {DType::kBF16, {8, 9}}}}};
  };
  OpDef form = mm;
  form.name = "MatMul";
  form.domain = kLowpDomain;
  form.attrs = ir::AttrCodec::of<MatMulAttrs>();
  form.quantize = QuantRule::kFloat;
  form.samples = [] {
    const AttrMap a = {{"trans_a", int64_t{1}}};
    const AttrMap b = {{"trans_b", int64_t{1}}};
    const AttrMap both = {{"trans_a", int64_t{1}}, {"trans_b", int64_t{1}}};
    std::vector<Sample> list = {{b, {{DType::kF32, {2, 3, 6, 8}}, {DType::kF32, {9, 8}}}},
                                {a, {{DType::kF32, {2, 3, 33, 6}}, {DType::kF32, {2, 3, 33, 18}}}},
                                {b, {{DType::kF32, {2, 3, 5, 33}}, {DType::kF32, {2, 1, 18, 33}}}},
                                {both, {{DType::kF32, {2, 300, 7}}, {DType::kF32, {5, 300}}}},
                                {b, {{DType::kBF16, {3, 5, 33}}, {DType::kBF16, {18, 33}}}},
                                {a, {{DType::kF16, {2, 33, 5}}, {DType::kF16, {2, 33, 7}}}}};
    list[3].tolerance_ulps = 16;  // 300 products
    return list;
  };
  OpDef weight;
  weight.name = "LinearWeightGradient";
  weight.domain = kLowpDomain;
  weight.min_inputs = weight.max_inputs = 2;
  weight.infer = infer_weight_gradient;
  weight.reference = weight_gradient;
  weight.lower = lower_weight_gradient;
  weight.samples = [] {
    return std::vector<Sample>{{{}, {{DType::kF32, {2, 3, 21}}, {DType::kF32, {2, 3, 35}}}},
                               {{}, {{DType::kF32, {70, 5}}, {DType::kF32, {70, 1}}}},
                               {{}, {{DType::kBF16, {4, 80, 5}}, {DType::kBF16, {4, 80, 17}}}}};
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
        {{}, {{DType::kF32, {17, 9}}, {DType::kF32, {9, 40}}}},
        {{{"transA", int64_t{1}}, {"alpha", 0.5F}, {"beta", 0.25F}},
         {{DType::kF32, {17, 9}}, {DType::kF32, {17, 20}}, {DType::kF32, {9, 1}}}},
        {{{"transA", int64_t{1}}, {"transB", int64_t{1}}},
         {{DType::kF32, {17, 9}}, {DType::kF32, {20, 17}}, {DType::kF32, {9, 20}}}},
        {{{"alpha", 2.0F}}, {{DType::kF32, {3, 9}}, {DType::kF32, {9, 20}}}},
        {{{"transB", int64_t{1}}}, {{DType::kBF16, {3, 9}}, {DType::kBF16, {20, 9}}}}};
  };
  return {std::move(mm), std::move(form), std::move(weight), std::move(ge)};
}

}  // namespace lowp::ops
