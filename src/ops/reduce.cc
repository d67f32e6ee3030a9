// Reductions over axes, ArgMax and ArgMin.
#include "ops/reduce.h"

#include "kernels/reduce/reduce.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer_reduce(InferContext& ctx) {
  if (!ctx.has_rank(0) || (ctx.has(1) && ctx.known(1) == nullptr)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const auto& a = ctx.attrs<ReduceAttrs>();
  LOWP_ASSIGN(auto reduced, reduced_axes(a, ctx.dims(0).size(), ctx.known(1)));
  ir::Dims out;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) {
      out.push_back(ctx.dims(0)[i]);
    } else if (a.keepdims) {
      out.push_back(ir::Dim(1));
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

// y = finish(fold of `step` from `init` over the reduced elements, their count), in double for floats.
template <typename Step, typename Finish>
Status reduce(EvalContext& ctx, double init, Step step, Finish finish) {
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(auto reduced,
              reduced_axes(ctx.attrs<ReduceAttrs>(), static_cast<size_t>(x.rank()), ctx.has(1) ? &ctx.in(1) : nullptr));
  Extents kept;
  int64_t count = 1;
  for (size_t i = 0; i < reduced.size(); ++i) {
    kept.push_back(reduced[i] ? 1 : x.extents()[i]);
    if (reduced[i]) count *= x.extents()[i];
  }
  const Extents strides = broadcast_strides(kept, x.extents());
  return dispatch_numeric(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using A = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
    std::vector<A> sums(static_cast<size_t>(ctx.out(0).size()));
    A start = static_cast<A>(std::isinf(init) ? 0 : init);
    if constexpr (std::is_integral_v<T>) {
      if (std::isinf(init))
        start = static_cast<A>(init < 0 ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max());
    } else {
      start = init;
    }
    std::fill(sums.begin(), sums.end(), start);
    const T* p = x.data<T>();
    for_each_index(x.extents(), [&](int64_t i, const Extents& index) {
      A& s = sums[static_cast<size_t>(dot(strides, index))];
      s = static_cast<A>(step(s, static_cast<A>(static_cast<compute_t<T>>(p[i]))));
    });
    for (int64_t i = 0; i < ctx.out(0).size(); ++i) {
      ctx.out(0).mutable_data<T>()[i] =
          static_cast<T>(static_cast<compute_t<T>>(finish(sums[static_cast<size_t>(i)], count)));
    }
    return {};
  });
}
constexpr double kInf = std::numeric_limits<double>::infinity();
const auto kKeep = [](auto s, int64_t) { return s; };

Status reduce_sum(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + x; }, kKeep);
}
Status reduce_mean(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + x; },
      [](auto s, int64_t n) { return n == 0 ? s : static_cast<decltype(s)>(s / static_cast<decltype(s)>(n)); });
}
Status reduce_max(EvalContext& c) {
  return reduce(
      c, -kInf, [](auto s, auto x) { return s != s || s > x ? s : x; }, kKeep);
}
Status reduce_min(EvalContext& c) {
  return reduce(
      c, kInf, [](auto s, auto x) { return s != s || s < x ? s : x; }, kKeep);
}
Status reduce_prod(EvalContext& c) {
  return reduce(
      c, 1, [](auto s, auto x) { return s * x; }, kKeep);
}
Status reduce_l1(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + (x < 0 ? -x : x); }, kKeep);
}
Status reduce_l2(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + x * x; },
      [](auto s, int64_t) { return std::sqrt(static_cast<double>(s)); });
}
Status reduce_sum_square(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + x * x; }, kKeep);
}
Status reduce_log_sum(EvalContext& c) {
  return reduce(
      c, 0, [](auto s, auto x) { return s + x; }, [](auto s, int64_t) { return std::log(static_cast<double>(s)); });
}
Status reduce_log_sum_exp(EvalContext& ctx) {
  // In double, exp of an f32 that matters does not overflow until 709; shift by the maximum to be safe.
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(auto reduced,
              reduced_axes(ctx.attrs<ReduceAttrs>(), static_cast<size_t>(x.rank()), ctx.has(1) ? &ctx.in(1) : nullptr));
  Extents kept;
  for (size_t i = 0; i < reduced.size(); ++i) kept.push_back(reduced[i] ? 1 : x.extents()[i]);
  const Extents strides = broadcast_strides(kept, x.extents());
  const std::vector<double> v = to_doubles(x);
  const auto n = static_cast<size_t>(ctx.out(0).size());
  std::vector<double> top(n, -kInf);
  std::vector<double> sum(n, 0);
  for_each_index(x.extents(), [&](int64_t i, const Extents& index) {
    double& t = top[static_cast<size_t>(dot(strides, index))];
    t = std::max(t, v[static_cast<size_t>(i)]);
  });
  for_each_index(x.extents(), [&](int64_t i, const Extents& index) {
    const auto o = static_cast<size_t>(dot(strides, index));
    sum[o] += std::exp(v[static_cast<size_t>(i)] - (std::isinf(top[o]) ? 0 : top[o]));
  });
  return dispatch_numeric(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < n; ++i) {
      ctx.out(0).mutable_data<T>()[i] =
          static_cast<T>(static_cast<compute_t<T>>(std::log(sum[i]) + (std::isinf(top[i]) ? 0 : top[i])));
    }
    return {};
  });
}

// Kernels reduce the middle of [outer, n, inner]: reduced axes must be neighbours.
template <kernels::Reduce kOp>
Status lower_reduce(LowerContext& ctx) {
  if (ctx.dtype(0) != DType::kF32 || (ctx.has(1) && ctx.known(1) == nullptr)) return {};
  const Extents& x = ctx.in(0);
  LOWP_ASSIGN(auto reduced, reduced_axes(ctx.attrs<ReduceAttrs>(), x.size(), ctx.known(1)));
  int64_t part[3] = {1, 1, 1};  // before, inside and behind the reduced axes
  int at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 1) continue;
    if (reduced[i] ? at == 2 : at == 1) ++at;
    if (reduced[i] && at == 0) at = 1;
    if (at > 2 || (at == 2 && reduced[i])) return {};
    part[at] *= x[i];
  }
  const int threads = ctx.threads();
  ctx.emit("reduce.f32", [outer = part[0], n = part[1], inner = part[2], threads](const StepArgs& s) {
    kernels::reduce_f32(kOp, s.in<float>(0), s.out<float>(0), outer, n, inner, threads);
  });
  return {};
}

// The gradient with the reduced axes put back as 1.
Result<ir::Value*> keep_axes(GradContext& g) {
  const auto& a = g.attrs<ReduceAttrs>();
  const Tensor* axes = g.node().input(1) != nullptr && g.in(1)->is_constant() ? &g.in(1)->constant : nullptr;
  if (g.node().input(1) != nullptr && axes == nullptr)
    return fail(Code::kUnsupported, "the gradient of a reduction wants constant axes");
  if (a.keepdims) return g.grad_out();
  LOWP_ASSIGN(auto reduced, reduced_axes(a, static_cast<size_t>(g.in(0)->type.rank()), axes));
  std::vector<int64_t> list;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (reduced[i]) list.push_back(static_cast<int64_t>(i));
  }
  return g.builder().op("Unsqueeze", {g.grad_out(), g.builder().ints(list)});
}
Status sum_gradient(GradContext& g) {
  LOWP_ASSIGN(ir::Value * d, keep_axes(g));
  g.set_grad_in(0, g.builder().op("Expand", {d, g.builder().op("Shape", {g.in(0)})}));
  return {};
}
Status mean_gradient(GradContext& g) {
  // dy / (elements of x / elements of y)
  GraphBuilder& b = g.builder();
  LOWP_ASSIGN(ir::Value * d, keep_axes(g));
  auto as_float = [&](ir::Value* v) { return b.cast(b.op("Size", {v}), g.in(0)->type.dtype); };
  ir::Value* scale = b.op("Div", {as_float(g.out()), as_float(g.in(0))});
  g.set_grad_in(0, b.op("Expand", {b.op("Mul", {d, scale}), b.op("Shape", {g.in(0)})}));
  return {};
}

Status upgrade_reduce(ImportedNode& node) {
  node.attr_to_input("axes", 1);
  return {};
}

struct ArgAttrs {
  int64_t axis = 0;
  bool keepdims = true;
  bool select_last_index = false;
  bool operator==(const ArgAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("axis", &ArgAttrs::axis), ir::field("keepdims", &ArgAttrs::keepdims),
                      ir::field("select_last_index", &ArgAttrs::select_last_index));
  }
};
Status infer_arg(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, DType::kI64);
    return {};
  }
  const auto& a = ctx.attrs<ArgAttrs>();
  ir::Dims out = ctx.dims(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, static_cast<int64_t>(out.size())));
  if (a.keepdims) {
    out[static_cast<size_t>(axis)] = ir::Dim(1);
  } else {
    out.erase(out.begin() + axis);
  }
  ctx.set(0, DType::kI64, std::move(out));
  return {};
}
template <bool kMax>
Status arg(EvalContext& ctx) {
  const auto& a = ctx.attrs<ArgAttrs>();
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, x.rank()));
  int64_t outer = 1;
  int64_t inner = 1;
  for (int i = 0; i < axis; ++i) outer *= x.extent(i);
  for (int i = static_cast<int>(axis) + 1; i < x.rank(); ++i) inner *= x.extent(i);
  const int64_t n = x.extent(static_cast<int>(axis));
  return dispatch_numeric(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        int64_t best = 0;
        for (int64_t k = 1; k < n; ++k) {
          const C v = static_cast<C>(x.data<T>()[(o * n + k) * inner + i]);
          const C b = static_cast<C>(x.data<T>()[(o * n + best) * inner + i]);
          if ((kMax ? v > b : v < b) || (v == b && a.select_last_index)) best = k;
        }
        ctx.out(0).mutable_data<int64_t>()[o * inner + i] = best;
      }
    }
    return {};
  });
}

std::vector<Sample> samples() {
  const SampleInput last = constant_ints({-1});
  const SampleInput middle = constant_ints({1});
  return {{{{"keepdims", int64_t{0}}}, {{DType::kF32, {3, 35}, 0.1, 2.0}, last}},
          {{}, {{DType::kF32, {3, 5, 7}, 0.1, 2.0}, middle}},
          {{}, {{DType::kF32, {3, 5}, 0.1, 2.0}}}};
}

}  // namespace

Result<std::vector<bool>> reduced_axes(const ReduceAttrs& attrs, size_t rank, const Tensor* axes) {
  std::vector<bool> reduced(rank, false);
  const Extents list = axes != nullptr ? axes->to_int64s() : Extents{};
  if (list.empty()) return std::vector<bool>(rank, !attrs.noop_with_empty_axes);
  for (int64_t a : list) {
    LOWP_ASSIGN(int64_t axis, normalize_axis(a, static_cast<int64_t>(rank)));
    reduced[static_cast<size_t>(axis)] = true;
  }
  return reduced;
}

std::vector<OpDef> reduce() {
  struct Row {
    const char* name;
    Status (*reference)(EvalContext&);
    Status (*gradient)(GradContext&);
    Status (*lower)(LowerContext&);
  };
  using R = kernels::Reduce;
  const Row rows[] = {{"ReduceSum", reduce_sum, sum_gradient, lower_reduce<R::kSum>},
                      {"ReduceMean", reduce_mean, mean_gradient, lower_reduce<R::kMean>},
                      {"ReduceMax", reduce_max, nullptr, lower_reduce<R::kMax>},
                      {"ReduceMin", reduce_min, nullptr, lower_reduce<R::kMin>},
                      {"ReduceProd", reduce_prod, nullptr, lower_reduce<R::kProd>},
                      {"ReduceL1", reduce_l1, nullptr, lower_reduce<R::kL1>},
                      {"ReduceL2", reduce_l2, nullptr, lower_reduce<R::kL2>},
                      {"ReduceSumSquare", reduce_sum_square, nullptr, lower_reduce<R::kSumSquare>},
                      {"ReduceLogSum", reduce_log_sum, nullptr, lower_reduce<R::kLogSum>},
                      {"ReduceLogSumExp", reduce_log_sum_exp, nullptr, lower_reduce<R::kLogSumExp>}};
  std::vector<OpDef> defs;
  for (const Row& row : rows) {
    OpDef def;
    def.name = row.name;
    def.max_inputs = 2;
    def.attrs = ir::AttrCodec::of<ReduceAttrs>();
    def.infer = infer_reduce;
    def.reference = row.reference;
    def.gradient = row.gradient;
    def.lower = row.lower;
    def.upgrade = upgrade_reduce;
    def.samples = samples;
    defs.push_back(std::move(def));
  }
  for (const bool max : {true, false}) {
    OpDef def;
    def.name = max ? "ArgMax" : "ArgMin";
    def.attrs = ir::AttrCodec::of<ArgAttrs>();
    def.infer = infer_arg;
    def.reference = max ? arg<true> : arg<false>;
    def.samples = [] { return std::vector<Sample>{{{{"axis", int64_t{-1}}}, {{DType::kF32, {3, 35}}}}}; };
    defs.push_back(std::move(def));
  }
  return defs;
}

}  // namespace lowp::ops
