// lowp.LSTM and lowp.GRU: the recurrent half of one direction of a layer, in every precision (recurrent.h).
#include "base/cpu.h"
#include "kernels/gemm/gemm.h"
#include "ops/packed.h"
#include "ops/recurrent.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using kernels::RnnKind;

constexpr RnnKind kind_of(bool lstm) { return lstm ? RnnKind::kLstm : RnnKind::kGru; }
int64_t packed_elements(RnnKind kind, DType dtype, int64_t hidden) {
  const kernels::WeightKind w = weight_kind(dtype).value();
  return static_cast<int64_t>(kernels::packed_rnn_bytes(w, kind, hidden) / kernels::weight_bytes(w));
}

template <bool kLstm>
Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  constexpr RnnKind kKind = kind_of(kLstm);
  const int64_t rows = kernels::rnn_gates(kKind) * a.hidden;
  if (a.hidden < 1 || a.hidden > kernels::kMaxInt8K) return error(Code::kInvalidModel, "{} hidden units", a.hidden);
  if (!(a.clip >= 0) || a.int8_class < 0 || a.int8_class >= kernels::kInt8Classes)
    return error(Code::kInvalidModel, "clip is {} and the INT8 class {}", a.clip, a.int8_class);
  const TensorType& r = ctx.type(kRecurrenceR);
  const bool packed = r.has_rank() && r.rank() == 1;
  const bool int8 = r.dtype == DType::kI8;
  // References, and so gradient checks, run in double too.
  const DType dtype = ctx.dtype(kRecurrenceXw);
  if (dtype != DType::kF64 || packed) LOWP_TRY(want_dtype(ctx, kRecurrenceXw, DType::kF32));
  if (packed ? !weight_kind(r.dtype) : r.dtype != dtype)
    return error(Code::kTypeMismatch, "weights of rank {} have dtype {}", r.rank(), dtype_name(r.dtype));
  if (packed || r.concrete()) {
    const Extents want = packed ? Extents{packed_elements(kKind, r.dtype, a.hidden)} : Extents{rows, a.hidden};
    if (!r.concrete() || r.extents() != want) {
      return error(Code::kShapeMismatch, "weights are {}, {} units want {}", r.to_string(), a.hidden,
                   TensorType(r.dtype, want).to_string());
    }
  }
  if (int8 && (!(a.h_scale > 0) || !std::isfinite(a.h_scale) || a.h_max < 1 || a.h_max > 255 || a.h_zero < 0 ||
               a.h_zero > a.h_max || !ctx.has(kRecurrenceScale) || !ctx.has(kRecurrenceBias)))
    return error(Code::kInvalidModel, "INT8 with h in steps of {} from {} to {}, scales {}, bias {}", a.h_scale,
                 -a.h_zero, a.h_max - a.h_zero, ctx.has(kRecurrenceScale), ctx.has(kRecurrenceBias));
  auto want = [&](size_t i, DType wanted, int64_t elements) -> Status {
    if (!ctx.has(i)) return {};
    if (ctx.dtype(i) == wanted && (!ctx.type(i).concrete() || ir::element_count(ctx.type(i).extents()) == elements))
      return {};
    return error(Code::kShapeMismatch, "operand {} is {}, {} elements of {} are wanted", i, ctx.type(i).to_string(),
                 elements, dtype_name(wanted));
  };
  LOWP_TRY(want(kRecurrenceScale, DType::kF32, rows));
  LOWP_TRY(want(kRecurrenceBias, DType::kI32, rows));
  if (kLstm) LOWP_TRY(want(kRecurrencePeephole, dtype, 3 * a.hidden));
  if (!kLstm) LOWP_TRY(want(kRecurrenceHiddenBias, dtype, a.hidden));
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set_unranked(i, dtype);
  if (!ctx.has_rank(kRecurrenceXw)) return {};
  const ir::Dims& x = ctx.dims(kRecurrenceXw);
  if (x.size() != 3 || (x[2].known() && x[2].value() != rows))
    return error(Code::kShapeMismatch, "xw has shape {}, [steps, batch, {}] is wanted",
                 ctx.type(kRecurrenceXw).to_string(), rows);
  if (x[1].known()) {
    LOWP_TRY(want(kRecurrenceLengths, DType::kI32, x[1].value()));
    LOWP_TRY(want(kRecurrenceH, dtype, x[1].value() * a.hidden));
    if (kLstm) LOWP_TRY(want(kRecurrenceC, dtype, x[1].value() * a.hidden));
  }
  const size_t gates = recurrence_gates_output(kLstm);
  for (size_t i = 0; i < ctx.outputs(); ++i) {
    const ir::Dim units(i == gates ? 4 * a.hidden : a.hidden);
    if (i == 0 || i >= gates) {
      ctx.set(i, dtype, {x[0], x[1], units});
    } else {
      ctx.set(i, dtype, {x[1], units});
    }
  }
  return {};
}

// Element (n, k) of R in either order.
double weight(const Tensor& r, RnnKind kind, int64_t hidden, int64_t n, int64_t k) {
  if (r.rank() == 2) {
    const int64_t at = n * hidden + k;
    return r.dtype() == DType::kF64 ? r.data<double>()[at] : static_cast<double>(r.data<float>()[at]);
  }
  if (kind == RnnKind::kLstm || n < 2 * hidden) return packed_element(r, 0, k, n, hidden);
  const kernels::WeightKind w = weight_kind(r.dtype()).value();
  const size_t offset = kernels::packed_bytes(w, hidden, 2 * hidden) / kernels::weight_bytes(w);
  return packed_element(r, offset, k, n - 2 * hidden, hidden);
}

template <bool kLstm>
Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  constexpr RnnKind kKind = kind_of(kLstm);
  const Tensor& r = ctx.in(kRecurrenceR);
  NaiveRecurrence one;
  one.kind = kLstm ? NaiveRecurrence::Kind::kLstm : NaiveRecurrence::Kind::kGru;
  one.steps = ctx.in(kRecurrenceXw).extent(0);
  one.batch = ctx.in(kRecurrenceXw).extent(1);
  one.hidden = a.hidden;
  one.reverse = a.reverse;
  one.coupled = a.coupled;
  one.linear_before_reset = a.linear_before_reset;
  one.clip = static_cast<double>(a.clip);
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  auto hyperbolic = [](double x) { return std::tanh(x); };
  one.activations = {sigmoid, hyperbolic, hyperbolic};
  one.xw = to_doubles(ctx.in(kRecurrenceXw));
  one.lengths = ctx.has(kRecurrenceLengths) ? ctx.in(kRecurrenceLengths).to_int64s()
                                            : std::vector<int64_t>(static_cast<size_t>(one.batch), one.steps);
  if (ctx.has(kRecurrenceLengths))
    LOWP_TRY(check_lengths(ctx.in(kRecurrenceLengths).data<int32_t>(), one.batch, one.steps));
  const auto size = static_cast<size_t>(one.batch * a.hidden);
  one.h = ctx.has(kRecurrenceH) ? to_doubles(ctx.in(kRecurrenceH)) : std::vector<double>(size);
  one.c = kLstm && ctx.has(kRecurrenceC) ? to_doubles(ctx.in(kRecurrenceC)) : std::vector<double>(size);
  if (kLstm && ctx.has(kRecurrencePeephole)) one.peephole = to_doubles(ctx.in(kRecurrencePeephole));
  if (!kLstm && ctx.has(kRecurrenceHiddenBias)) one.hidden_bias = to_doubles(ctx.in(kRecurrenceHiddenBias));
  const bool int8 = r.dtype() == DType::kI8;
  one.product = [&](const double* state, int64_t n) {
    double sum = int8 ? ctx.in(kRecurrenceBias).template data<int32_t>()[n] : 0;
    for (int64_t k = 0; k < a.hidden; ++k) {
      double h = state[k];
      if (int8) {
        const auto zero = static_cast<double>(a.h_zero);
        h = std::nearbyint(std::clamp(h / static_cast<double>(a.h_scale), -zero, static_cast<double>(a.h_max) - zero)) +
            zero;
      }
      sum += h * weight(r, kKind, a.hidden, n, k);
    }
    return int8 ? sum * static_cast<double>(ctx.in(kRecurrenceScale).template data<float>()[n]) : sum;
  };
  one.run();
  auto store = [&](size_t i, const std::vector<double>& values) {
    if (!ctx.wants(i)) return;
    for (size_t k = 0; k < values.size(); ++k) {
      if (ctx.out(i).dtype() == DType::kF64) {
        ctx.out(i).template mutable_data<double>()[k] = values[k];
      } else {
        ctx.out(i).template mutable_data<float>()[k] = static_cast<float>(values[k]);
      }
    }
  };
  store(0, one.y);
  store(1, one.h);
  if (kLstm) store(2, one.c);
  store(recurrence_gates_output(kLstm), one.gates);
  if (kLstm) store(kRecurrenceCells, one.cells);
  return {};
}

template <bool kLstm>
Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  if (ctx.dtype(kRecurrenceXw) != DType::kF32) return {};
  // Weights in plain order change from run to run and are packed in each.
  const bool plain = ctx.in(kRecurrenceR).size() == 2;
  kernels::RnnArgs args;
  args.kind = kind_of(kLstm);
  args.steps = ctx.in(kRecurrenceXw)[0];
  args.batch = ctx.in(kRecurrenceXw)[1];
  args.hidden = a.hidden;
  args.reverse = a.reverse;
  args.clip = a.clip;
  args.coupled = a.coupled;
  args.linear_before_reset = a.linear_before_reset;
  args.r_kind = weight_kind(ctx.dtype(kRecurrenceR)).value();
  if (plain && a.bf16_products && args.r_kind == kernels::WeightKind::kF32)
    args.r_kind = kernels::product_kind(DType::kBF16);
  args.int8_class = static_cast<kernels::Int8Class>(a.int8_class);
  const bool int8 = args.r_kind == kernels::WeightKind::kS8;
  if (int8) {
    args.h_inv_scale = 1.0F / a.h_scale;
    args.h_zero = static_cast<int32_t>(a.h_zero);
    args.h_max = static_cast<int32_t>(a.h_max);
  }
  const int threads = ctx.threads();
  // Operands and outputs that are there.
  std::array<bool, 8> has{};
  for (size_t i = 0; i < has.size(); ++i) has[i] = ctx.has(i);
  std::array<bool, 5> wants{};
  for (size_t i = 0; i < wants.size(); ++i) wants[i] = ctx.wants(i);
  const size_t packed = plain ? (kernels::packed_rnn_bytes(args.r_kind, args.kind, a.hidden) + 63) & ~size_t{63} : 0;
  ctx.set_scratch(packed + kernels::rnn_scratch(args, threads));
  ctx.set_macs(args.steps * args.batch * kernels::rnn_gates(args.kind) * a.hidden * a.hidden);
  ctx.emit(fmt::format("{}.{} {}", kLstm ? "lstm" : "gru",
                       operand_kinds(int8 ? DType::kU8 : DType::kF32, ctx.dtype(kRecurrenceR)),
                       target_name(active_target())),
           [args, has, wants, packed, threads](const StepArgs& s) {
             kernels::RnnArgs call = args;
             auto floats = [&](size_t i) { return has[i] ? s.in<float>(i) : nullptr; };
             call.xw = floats(kRecurrenceXw);
             call.r = s.inputs[kRecurrenceR];
             call.r_scale = floats(kRecurrenceScale);
             call.r_bias = has[kRecurrenceBias] ? s.in<int32_t>(kRecurrenceBias) : nullptr;
             call.h0 = floats(kRecurrenceH);
             if (kLstm) {
               call.c0 = floats(kRecurrenceC);
               call.peephole = floats(kRecurrencePeephole);
             } else {
               call.hidden_bias = floats(kRecurrenceHiddenBias);
             }
             if (has[kRecurrenceLengths]) {
               call.lengths = s.in<int32_t>(kRecurrenceLengths);
               *s.status = check_lengths(call.lengths, call.batch, call.steps);
               if (!s.status->is_ok()) return;
             }
             if (wants[0]) call.y = s.out<float>(0);
             if (wants[1]) call.y_h = s.out<float>(1);
             if (kLstm && wants[2]) call.y_c = s.out<float>(2);
             if (wants[recurrence_gates_output(kLstm)]) call.gates = s.out<float>(recurrence_gates_output(kLstm));
             if (kLstm && wants[kRecurrenceCells]) call.cells = s.out<float>(kRecurrenceCells);
             if (packed > 0) {
               kernels::pack_changing_rnn(call.r_kind, call.kind, s.in<float>(kRecurrenceR), call.hidden, s.scratch,
                                          threads);
               call.r = s.scratch;
             }
             kernels::rnn(call, static_cast<char*>(s.scratch) + packed, threads);
           });
  return {};
}

template <bool kLstm>
Status gradient(GradContext& g) {
  const auto& a = g.attrs<RecurrenceAttrs>();
  const size_t gates = recurrence_gates_output(kLstm);
  if (g.in(kRecurrenceR)->type.rank() != 2)
    return error(Code::kUnsupported, "packed recurrent weights have no gradient");
  if (a.clip > 0) return error(Code::kUnsupported, "a recurrence clipped at {} has no gradient", a.clip);
  if (g.grad_out(gates) != nullptr || g.grad_out(kRecurrenceCells) != nullptr)
    return error(Code::kUnsupported, "gates and cells of a recurrence have no gradient");
  const ir::Node& node = g.node();
  std::vector<ir::Value*> operands(kLstm ? 11 : 7, nullptr);
  operands[kBackR] = g.in(kRecurrenceR);
  operands[kBackGates] = g.keep(gates);
  operands[kBackY] = g.keep(0);
  operands[kBackDy] = g.grad_out(0);
  operands[kBackDh] = g.grad_out(1);
  operands[kBackLengths] = node.input(kRecurrenceLengths);
  operands[kBackH] = node.input(kRecurrenceH);
  if (kLstm) {
    operands[kBackCells] = g.keep(kRecurrenceCells);
    operands[kBackDc] = g.grad_out(2);
    operands[kBackC] = node.input(kRecurrenceC);
    operands[kBackPeephole] = node.input(kRecurrencePeephole);
  }
  const bool last = g.wants(kLstm ? kRecurrencePeephole : kRecurrenceHiddenBias);
  const bool state = g.wants(kRecurrenceH) || (kLstm && g.wants(kRecurrenceC));
  const size_t outputs = last ? (kLstm ? 5 : 4) : state ? (kLstm ? 4 : 3) : 2;
  const std::vector<ir::Value*> d =
      g.builder().op_n(outputs, kLstm ? "LSTMGradient" : "GRUGradient", std::move(operands),
                       node.op->attrs.write(node.attrs), kLowpDomain, node.name + ":gradient");
  auto set = [&](size_t input, size_t output) {
    if (!g.wants(input)) return;
    ir::Value* v = d[output];
    if (!(v->type == g.in(input)->type)) v = g.builder().op("Reshape", {v, g.builder().op("Shape", {g.in(input)})});
    g.set_grad_in(input, v);
  };
  set(kRecurrenceXw, 0);
  set(kRecurrenceR, 1);
  set(kRecurrenceH, 2);
  if (kLstm) {
    set(kRecurrenceC, 3);
    set(kRecurrencePeephole, 4);
  } else {
    set(kRecurrenceHiddenBias, 3);
  }
  return {};
}

// With weights that vary, and all outputs or those without a gradient left out.
Sample trained(RnnKind kind, RecurrenceAttrs a, int64_t steps, int64_t batch, bool state, bool lengths, bool keep) {
  const bool lstm = kind == RnnKind::kLstm;
  const int64_t rows = kernels::rnn_gates(kind) * a.hidden;
  SampleInput absent;
  absent.absent = true;
  Sample s;
  s.attrs = ir::AttrCodec::of<RecurrenceAttrs>().write(ir::Attrs::make(a));
  s.inputs = {{DType::kF32, {steps, batch, rows}}, {DType::kF32, {rows, a.hidden}, -0.4, 0.4}, absent, absent};
  s.inputs.push_back(lengths ? SampleInput{DType::kI32, {batch}, 0, static_cast<double>(steps)} : absent);
  if (state) {
    s.inputs.push_back({DType::kF32, {batch, a.hidden}, -1, 1});
    if (lstm) s.inputs.push_back({DType::kF32, {batch, a.hidden}});
    if (lstm || a.linear_before_reset) s.inputs.push_back({DType::kF32, {lstm ? 3 * a.hidden : a.hidden}});
  }
  s.outputs = (lstm ? 3 : 2) + (keep ? (lstm ? 2 : 1) : 0);
  s.tolerance_ulps = 4 * sample_tolerance(DType::kF32, a.hidden) * static_cast<double>(steps);
  return s;
}

Sample sample(RnnKind kind, DType dtype, RecurrenceAttrs a, int64_t steps, int64_t batch, bool state) {
  const bool lstm = kind == RnnKind::kLstm;
  const int64_t rows = kernels::rnn_gates(kind) * a.hidden;
  const Tensor r = sample_weights(dtype == DType::kI8 ? DType::kI8 : DType::kF32, {rows, a.hidden},
                                  sample_weight_limit(a.int8_class));
  SampleInput absent;
  absent.absent = true;
  auto given = [](Tensor t) {
    SampleInput s{t.dtype(), t.extents()};
    s.value = std::move(t);
    s.constant = true;
    s.differentiable = false;
    return s;
  };
  Sample s;
  if (dtype == DType::kI8) {
    a.h_scale = a.int8_class == 0 ? 1.0F / 127 : 1.0F / 63;
    a.h_zero = a.int8_class == 0 ? 128 : 64;
    a.h_max = a.int8_class == 0 ? 255 : 127;
  }
  s.attrs = ir::AttrCodec::of<RecurrenceAttrs>().write(ir::Attrs::make(a));
  s.inputs = {{DType::kF32, {steps, batch, rows}}, given(pack_recurrent_weights(r, kind, dtype))};
  if (dtype == DType::kI8) {
    Tensor scale = Tensor::zeros(DType::kF32, {rows});
    Tensor bias = Tensor::zeros(DType::kI32, {rows});
    std::vector<int32_t> sums(static_cast<size_t>(rows));
    kernels::column_sums(r.data<int8_t>(), a.hidden, true, a.hidden, rows, sums.data());
    kernels::fold_zero_point(nullptr, sums.data(), rows, DType::kU8, static_cast<int32_t>(a.h_zero),
                             bias.mutable_data<int32_t>());
    for (int64_t i = 0; i < rows; ++i)
      scale.mutable_data<float>()[i] = a.h_scale * (0.001F + 0.00001F * static_cast<float>(i));
    s.inputs.push_back(given(std::move(scale)));
    s.inputs.push_back(given(std::move(bias)));
  } else {
    s.inputs.resize(4, absent);
  }
  if (state) {
    s.inputs.push_back({DType::kI32, {batch}, 0, static_cast<double>(steps)});
    s.inputs.push_back({DType::kF32, {batch, a.hidden}, -1, 1});
    if (lstm) s.inputs.push_back({DType::kF32, {batch, a.hidden}});
    s.inputs.push_back({DType::kF32, {lstm ? 3 * a.hidden : a.hidden}});
  }
  s.outputs = lstm ? 3 : 2;
  // A state of the kernel's and one in double may round to neighbouring steps: 1/127 times some weights of 0.1.
  s.tolerance_ulps = dtype == DType::kI8 ? 1e5 : 4 * sample_tolerance(dtype, a.hidden) * static_cast<double>(steps);
  return s;
}

std::vector<Sample> samples_of(RnnKind kind) {
  RecurrenceAttrs plain;
  plain.hidden = 21;
  RecurrenceAttrs reverse = plain;
  reverse.reverse = true;
  reverse.clip = 0.8F;
  reverse.linear_before_reset = kind == RnnKind::kGru;
  RecurrenceAttrs seven = plain;
  seven.hidden = 32;
  seven.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Quad);
  RecurrenceAttrs oct = seven;
  oct.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Oct);
  RecurrenceAttrs backwards;
  backwards.hidden = 19;
  backwards.reverse = true;
  backwards.coupled = kind == RnnKind::kLstm;
  backwards.linear_before_reset = kind == RnnKind::kGru;
  return {trained(kind, plain, 4, 2, false, false, false),
          trained(kind, plain, 3, 3, true, true, false),
          trained(kind, backwards, 4, 3, true, false, false),
          trained(kind, backwards, 4, 1, false, true, false),
          trained(kind, backwards, 3, 2, false, false, false),
          trained(kind, plain, 3, 2, true, true, true),
          sample(kind, DType::kF32, plain, 4, 1, false),
          sample(kind, DType::kF32, reverse, 5, 3, true),
          sample(kind, DType::kBF16, plain, 3, 2, true),
          sample(kind, DType::kF16, plain, 3, 2, false),
          sample(kind, DType::kI8, reverse, 3, 2, true),
          sample(kind, DType::kI8, seven, 3, 1, false),
          sample(kind, DType::kI8, oct, 3, 2, true)};
}

template <bool kLstm>
OpDef define(std::string name) {
  OpDef def;
  def.name = std::move(name);
  def.domain = kLowpDomain;
  def.min_inputs = 2;
  def.max_inputs = kLstm ? 8 : 7;
  def.max_outputs = kLstm ? 5 : 3;
  def.min_outputs = 0;
  def.attrs = ir::AttrCodec::of<RecurrenceAttrs>();
  def.infer = infer<kLstm>;
  def.reference = reference<kLstm>;
  def.gradient = gradient<kLstm>;
  def.lower = lower<kLstm>;
  def.quantize = QuantRule::kRecurrent;
  def.samples = [] { return samples_of(kind_of(kLstm)); };
  return def;
}

}  // namespace

Tensor pack_recurrent_weights(const Tensor& r, RnnKind kind, DType dtype) {
  const int64_t hidden = r.extent(1);
  const kernels::WeightKind w = weight_kind(dtype).value();
  Tensor packed = Tensor::zeros(dtype, {packed_elements(kind, dtype, hidden)});
  kernels::pack_rnn(w, kind, r.dtype(), r.raw(), hidden, packed.mutable_raw());
  return packed;
}

Status check_lengths(const int32_t* lengths, int64_t batch, int64_t steps) {
  for (int64_t i = 0; i < batch; ++i) {
    if (lengths[i] < 0 || lengths[i] > steps)
      return error(Code::kInvalidArgument, "sequence {} has length {}, 0 to {} is wanted", i, lengths[i], steps);
  }
  return {};
}

std::vector<OpDef> recurrence() { return {define<true>("LSTM"), define<false>("GRU")}; }

}  // namespace lowp::ops
