// Normalizations: LayerNormalization, RMSNormalization, InstanceNormalization, GroupNormalization, LpNormalization.
#include "ops/norm.h"

#include "kernels/convert/convert.h"
#include "kernels/norm/norm.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::field;

// ---- LayerNormalization(x, scale, bias?) and RMSNormalization(x, scale) ----

Status infer_layer_norm(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  ctx.set(0, ctx.type(0));
  const DType statistics = ctx.dtype(0) == DType::kF64 ? DType::kF64 : DType::kF32;
  if (!ctx.has_rank(0)) {
    for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set_unranked(i, statistics);
    return {};
  }
  ir::Dims reduced = ctx.dims(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<LayerNormAttrs>().axis, static_cast<int64_t>(reduced.size())));
  for (auto i = static_cast<size_t>(axis); i < reduced.size(); ++i) reduced[i] = ir::Dim(1);
  for (size_t i = 1; i < ctx.inputs(); ++i) {
    if (ctx.has_rank(i))
      LOWP_TRY([&]() -> Status {
        auto r = ir::broadcast_dims(ctx.dims(0), ctx.dims(i));
        return r ? Status() : r.error();
      }());
  }
  for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set(i, statistics, reduced);
  return {};
}
template <bool kCentre>
Status layer_norm(EvalContext& ctx) {
  const auto& a = ctx.attrs<LayerNormAttrs>();
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, x.rank()));
  int64_t n = 1;
  for (int i = static_cast<int>(axis); i < x.rank(); ++i) n *= x.extent(i);
  const int64_t rows = n == 0 ? 0 : x.size() / n;
  const auto scale = to_doubles(ctx.in(1));
  const auto bias = ctx.has(2) ? to_doubles(ctx.in(2)) : std::vector<double>{};
  // Scale and bias broadcast to x.
  const Extents ss = broadcast_strides(ctx.in(1).extents(), x.extents());
  const Extents sb = ctx.has(2) ? broadcast_strides(ctx.in(2).extents(), x.extents()) : ss;
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    std::vector<double> mean(static_cast<size_t>(rows));
    std::vector<double> inverse(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      const T* in = x.data<T>() + r * n;
      double sum = 0;
      double squares = 0;
      if (kCentre) {
        for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(static_cast<compute_t<T>>(in[i]));
      }
      const double m = sum / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) {
        const double d = static_cast<double>(static_cast<compute_t<T>>(in[i])) - m;
        squares += d * d;
      }
      mean[static_cast<size_t>(r)] = m;
      inverse[static_cast<size_t>(r)] =
          1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(a.epsilon));
      using Statistic = std::conditional_t<std::is_same_v<T, double>, double, float>;
      if (kCentre && ctx.wants(1)) ctx.out(1).mutable_data<Statistic>()[r] = static_cast<Statistic>(m);
      if (kCentre && ctx.wants(2))
        ctx.out(2).mutable_data<Statistic>()[r] = static_cast<Statistic>(inverse[static_cast<size_t>(r)]);
    }
    for_each_index(x.extents(), [&](int64_t i, const Extents& index) {
      const auto r = static_cast<size_t>(i / n);
      double v = (static_cast<double>(static_cast<compute_t<T>>(x.data<T>()[i])) - mean[r]) * inverse[r] *
                 scale[static_cast<size_t>(dot(ss, index))];
      if (!bias.empty()) v += bias[static_cast<size_t>(dot(sb, index))];
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(v));
    });
    return {};
  });
}
template <bool kCentre>
Status lower_layer_norm(LowerContext& ctx) {
  const auto& a = ctx.attrs<LayerNormAttrs>();
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, static_cast<int64_t>(ctx.in(0).size())));
  const Extents normalized(ctx.in(0).begin() + axis, ctx.in(0).end());
  kernels::LayerNormArgs args;
  args.n = ir::element_count(normalized);
  // Scale and bias for each normalized element; other broadcasts stay with the reference.
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype) || args.n == 0 || ctx.in(1) != normalized || ctx.dtype(1) != DType::kF32 ||
      (ctx.has(2) && (ctx.in(2) != normalized || ctx.dtype(2) != DType::kF32)))
    return {};
  args.rows = ctx.in_size(0) / args.n;
  args.rms = !kCentre;
  args.eps = a.epsilon;
  const bool bias = ctx.has(2);
  const bool mean = ctx.wants(1);
  const bool inv_std = ctx.wants(2);
  const int threads = ctx.threads();
  ctx.emit(fmt::format("layer_norm.{}", dtype_name(dtype)),
           [args, dtype, bias, mean, inv_std, threads](const StepArgs& s) {
             kernels::LayerNormArgs call = args;
             call.gamma = s.in<float>(1);
             if (bias) call.beta = s.in<float>(2);
             if (mean) call.mean_out = s.out<float>(1);
             if (inv_std) call.inv_std_out = s.out<float>(2);
             if (dtype != DType::kF32)
               return kernels::layer_norm_stored(call, dtype, s.inputs[0], s.outputs[0], threads);
             call.x = s.in<float>(0);
             call.y = s.out<float>(0);
             kernels::layer_norm_f32(call, threads);
           });
  return {};
}
// Whether a scale or bias has an element for each element that is normalized, which one kernel handles.
// per_item: whether the first axis is not normalized.
bool rows_are_items(const ir::Node& node) {
  const int64_t axis = node.attrs.get<LayerNormAttrs>().axis;
  return axis != 0 && axis != -node.outputs[0]->type.rank() && per_item_by_rank(node);
}

bool is_normalized(const ir::Value* x, const ir::Value* operand, int64_t axis) {
  if (operand == nullptr) return true;
  const ir::Dims& d = *x->type.dims;
  return operand->type.has_rank() && *operand->type.dims == ir::Dims(d.begin() + axis, d.end());
}
Status layer_norm_gradient(GradContext& g) {
  if (g.grad_out(0) == nullptr || g.grad_out(1) != nullptr || g.grad_out(2) != nullptr)
    return error(Code::kUnsupported, "LayerNormalization has no gradient by way of its mean and its deviation");
  // With xhat = (x - mean) * r and s = dy * scale: dx = r * (s - mean(s) - xhat * mean(s * xhat))
  GraphBuilder& b = g.builder();
  const auto& a = g.attrs<LayerNormAttrs>();
  const int rank = g.in(0)->type.rank();
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, rank));
  if (is_normalized(g.in(0), g.in(1), axis) && is_normalized(g.in(0), g.node().input(2), axis)) {
    const std::vector<ir::Value*> d =
        b.op_n(3, "LayerNormGradient", {g.grad_out(), g.in(0), g.in(1), g.keep(1), g.keep(2)}, {{"axis", a.axis}},
               kLowpDomain);
    for (size_t i = 0; i < g.node().inputs.size(); ++i) {
      if (g.wants(i)) g.set_grad_in(i, d[i]);
    }
    return {};
  }
  std::vector<int64_t> list;
  for (int64_t i = axis; i < rank; ++i) list.push_back(i);
  ir::Value* axes = b.ints(list);
  ir::Value* x = g.in(0);
  auto mean = [&](ir::Value* v) { return b.op("ReduceMean", {v, axes}); };
  ir::Value* centred = b.op("Sub", {x, mean(x)});
  ir::Value* variance = mean(b.op("Mul", {centred, centred}));
  ir::Value* r =
      b.op("Reciprocal", {b.op("Sqrt", {b.op("Add", {variance, b.scalar_like(x, static_cast<double>(a.epsilon))})})});
  ir::Value* xhat = b.op("Mul", {centred, r});
  ir::Value* s = b.op("Mul", {g.grad_out(), g.in(1)});
  if (g.wants(0)) {
    ir::Value* inner = b.op("Sub", {b.op("Sub", {s, mean(s)}), b.op("Mul", {xhat, mean(b.op("Mul", {s, xhat}))})});
    g.set_grad_in(0, b.op("Mul", {r, inner}));
  }
  if (g.wants(1)) g.set_grad_in(1, b.op("SumTo", {b.op("Mul", {g.grad_out(), xhat}), g.in(1)}, {}, kLowpDomain));
  if (g.wants(2)) g.set_grad_in(2, b.op("SumTo", {g.grad_out(), g.in(2)}, {}, kLowpDomain));
  return {};
}

// ---- InstanceNormalization, GroupNormalization (x, scale, bias) ----

struct InstanceNormAttrs {
  float epsilon = 1e-5F;
  bool operator==(const InstanceNormAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("epsilon", &InstanceNormAttrs::epsilon)); }
};
struct GroupNormAttrs {
  float epsilon = 1e-5F;
  int64_t num_groups = 1;
  int64_t stash_type = 1;
  bool operator==(const GroupNormAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("epsilon", &GroupNormAttrs::epsilon),
                      ir::required_field("num_groups", &GroupNormAttrs::num_groups),
                      field("stash_type", &GroupNormAttrs::stash_type));
  }
};
Status infer_channel_norm(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  if (ctx.has_rank(0) && ctx.dims(0).size() < 2)
    return error(Code::kShapeMismatch, "input has shape {}, rank 2 or more is wanted", ctx.type(0).to_string());
  return infer_same_as_input(ctx);
}
Status grouped(EvalContext& ctx, int64_t groups, double epsilon) {
  const Tensor& x = ctx.in(0);
  const int64_t channels = x.extent(1);
  if (groups < 1 || channels % groups != 0)
    return error(Code::kShapeMismatch, "{} channels do not divide into {} groups", channels, groups);
  if (ctx.in(1).size() != channels || ctx.in(2).size() != channels)
    return error(Code::kShapeMismatch, "{} channels, but {} scales and {} biases", channels, ctx.in(1).size(),
                 ctx.in(2).size());
  const auto scale = to_doubles(ctx.in(1));
  const auto bias = to_doubles(ctx.in(2));
  int64_t inner = 1;
  for (int i = 2; i < x.rank(); ++i) inner *= x.extent(i);
  const int64_t n = channels / groups * inner;
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t r = 0; r < x.extent(0) * groups; ++r) {
      const T* in = x.data<T>() + r * n;
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(static_cast<compute_t<T>>(in[i]));
      const double mean = sum / static_cast<double>(n);
      double squares = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double d = static_cast<double>(static_cast<compute_t<T>>(in[i])) - mean;
        squares += d * d;
      }
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
      for (int64_t i = 0; i < n; ++i) {
        const auto c = static_cast<size_t>((r * n + i) / inner % channels);
        const double v = (static_cast<double>(static_cast<compute_t<T>>(in[i])) - mean) * inverse * scale[c] + bias[c];
        ctx.out(0).mutable_data<T>()[r * n + i] = static_cast<T>(static_cast<compute_t<T>>(v));
      }
    }
    return {};
  });
}
Status instance_norm(EvalContext& ctx) {
  return grouped(ctx, ctx.in(0).extent(1), static_cast<double>(ctx.attrs<InstanceNormAttrs>().epsilon));
}
Status group_norm(EvalContext& ctx) {
  const auto& a = ctx.attrs<GroupNormAttrs>();
  return grouped(ctx, a.num_groups, static_cast<double>(a.epsilon));
}

// ---- LpNormalization ----

struct LpNormAttrs {
  int64_t axis = -1;
  int64_t p = 2;
  bool operator==(const LpNormAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("axis", &LpNormAttrs::axis), field("p", &LpNormAttrs::p)); }
};
Status lp_norm(EvalContext& ctx) {
  const auto& a = ctx.attrs<LpNormAttrs>();
  if (a.p != 1 && a.p != 2) return error(Code::kInvalidModel, "p is {}, 1 or 2 is wanted", a.p);
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, x.rank()));
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < x.rank(); ++i) inner *= x.extent(i);
  const int64_t n = x.extent(static_cast<int>(axis));
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t o = 0; o < (n * inner == 0 ? 0 : x.size() / (n * inner)); ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* in = x.data<T>() + o * n * inner + i;
        double sum = 0;
        auto at = [&](int64_t k) { return static_cast<double>(static_cast<compute_t<T>>(in[k * inner])); };
        for (int64_t k = 0; k < n; ++k) sum += a.p == 1 ? std::abs(at(k)) : at(k) * at(k);
        const double norm = a.p == 1 ? sum : std::sqrt(sum);
        for (int64_t k = 0; k < n; ++k) {
          ctx.out(0).mutable_data<T>()[o * n * inner + i + k * inner] =
              static_cast<T>(static_cast<compute_t<T>>(norm == 0 ? 0 : at(k) / norm));
        }
      }
    }
    return {};
  });
}

Status lower_lp_norm(LowerContext& ctx) {
  const auto& a = ctx.attrs<LpNormAttrs>();
  const Extents& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, static_cast<int64_t>(x.size())));
  if (ctx.dtype(0) != DType::kF32 || a.p != 2 || axis != static_cast<int64_t>(x.size()) - 1 || x.back() == 0) return {};
  const int64_t n = x.back();
  const int64_t rows = ctx.in_size(0) / n;
  const int threads = ctx.threads();
  // A row of zeros stays one: the smallest normal number as the least norm keeps 0 / 0 away.
  ctx.emit("l2_normalize.f32", [n, rows, threads](const StepArgs& s) {
    kernels::l2_normalize_f32(s.in<float>(0), s.out<float>(0), rows, n, std::numeric_limits<float>::min(), threads);
  });
  return {};
}
template <bool kInstance>
Status lower_grouped(LowerContext& ctx) {
  const Extents& x = ctx.in(0);
  if (ctx.dtype(0) != DType::kF32 || ctx.dtype(1) != DType::kF32 || ctx.in_size(0) == 0) return {};
  kernels::GroupNormArgs args;
  args.batch = x[0];
  args.channels = x[1];
  args.inner = ctx.in_size(0) / (x[0] * x[1]);
  if constexpr (kInstance) {
    args.groups = args.channels;
    args.eps = ctx.attrs<InstanceNormAttrs>().epsilon;
  } else {
    args.groups = ctx.attrs<GroupNormAttrs>().num_groups;
    args.eps = ctx.attrs<GroupNormAttrs>().epsilon;
  }
  if (args.groups < 1 || args.channels % args.groups != 0 || ctx.in_size(1) != args.channels ||
      ctx.in_size(2) != args.channels)
    return {};
  const int threads = ctx.threads();
  ctx.emit("group_norm.f32", [args, threads](const StepArgs& s) {
    kernels::GroupNormArgs call = args;
    call.x = s.in<float>(0);
    call.gamma = s.in<float>(1);
    call.beta = s.in<float>(2);
    call.y = s.out<float>(0);
    kernels::group_norm_f32(call, threads);
  });
  return {};
}

std::vector<Sample> layer_norm_samples() {
  return {{{}, {{DType::kF32, {3, 5, 37}}, {DType::kF32, {37}}, {DType::kF32, {37}}}},
          {{{"epsilon", 1e-12F}}, {{DType::kF32, {7, 128}}, {DType::kF32, {128}}, {DType::kF32, {128}}}},
          {{{"axis", int64_t{1}}}, {{DType::kF32, {3, 4, 7}}, {DType::kF32, {4, 1}}, {DType::kF32, {7}}}},
          {{}, {{DType::kBF16, {5, 37}}, {DType::kF32, {37}}, {DType::kF32, {37}}}}};
}
std::vector<Sample> rms_norm_samples() { return {{{}, {{DType::kF32, {3, 5, 37}}, {DType::kF32, {37}}}}}; }
std::vector<Sample> channel_samples() {
  return {{{}, {{DType::kF32, {2, 5, 3, 7}}, {DType::kF32, {5}}, {DType::kF32, {5}}}}};
}

}  // namespace

std::vector<OpDef> norm() {
  std::vector<OpDef> defs;
  auto add = [&](const char* name, int min_in, int max_in, Status (*infer)(InferContext&),
                 Status (*reference)(EvalContext&), int since) -> OpDef& {
    OpDef def;
    def.name = name;
    def.min_inputs = min_in;
    def.max_inputs = max_in;
    def.infer = infer;
    def.reference = reference;
    def.since_version = since;
    defs.push_back(std::move(def));
    return defs.back();
  };
  {
    OpDef& def = add("LayerNormalization", 2, 3, infer_layer_norm, layer_norm<true>, 17);
    def.max_outputs = 3;
    def.attrs = ir::AttrCodec::of<LayerNormAttrs>();
    def.gradient = layer_norm_gradient;
    def.lower = lower_layer_norm<true>;
    def.per_item = rows_are_items;
    def.samples = layer_norm_samples;
  }
  {
    OpDef& def = add("RMSNormalization", 2, 2, infer_layer_norm, layer_norm<false>, 23);
    def.attrs = ir::AttrCodec::of<LayerNormAttrs>();
    def.lower = lower_layer_norm<false>;
    def.per_item = rows_are_items;
    def.samples = rms_norm_samples;
  }
  {
    OpDef& def = add("InstanceNormalization", 3, 3, infer_channel_norm, instance_norm, 1);
    def.attrs = ir::AttrCodec::of<InstanceNormAttrs>();
    def.upgrade = [](ImportedNode& node) -> Status {
      node.attrs.erase("consumed_inputs");
      return {};
    };
    def.lower = lower_grouped<true>;
    def.samples = channel_samples;
  }
  {
    OpDef& def = add("GroupNormalization", 3, 3, infer_channel_norm, group_norm, 21);
    def.attrs = ir::AttrCodec::of<GroupNormAttrs>();
    def.lower = lower_grouped<false>;
  }
  {
    OpDef& def = add("LpNormalization", 1, 1, infer_same_as_input, lp_norm, 1);
    def.attrs = ir::AttrCodec::of<LpNormAttrs>();
    def.lower = lower_lp_norm;
    def.samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {3, 37}}}}}; };
  }
  return defs;
}

}  // namespace lowp::ops
