// lowp.LSTMGradient and lowp.GRUGradient: backpropagation through time of one direction of a layer (recurrent.h lists
// the operands, kernels/rnn/rnn_gradient.h has the formulas).
#include <array>

#include "base/cpu.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rnn/rnn_gradient.h"
#include "ops/recurrent.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using kernels::RnnKind;

constexpr RnnKind kind_of(bool lstm) { return lstm ? RnnKind::kLstm : RnnKind::kGru; }
constexpr size_t kPeepholeOutput = 4;    // LSTM
constexpr size_t kHiddenBiasOutput = 3;  // GRU

template <bool kLstm>
Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  constexpr int64_t kGates = kernels::rnn_gates(kind_of(kLstm));
  if (a.hidden < 1) return error(Code::kInvalidModel, "{} hidden units", a.hidden);
  if (a.clip > 0) return error(Code::kUnsupported, "a recurrence clipped at {} has no gradient", a.clip);
  const DType dtype = ctx.dtype(kBackGates);
  if (dtype != DType::kF64) LOWP_TRY(want_dtype(ctx, kBackGates, DType::kF32));
  for (size_t i = 0; i < ctx.inputs(); ++i) {
    if (i == kBackLengths) {
      LOWP_TRY(want_dtype(ctx, i, DType::kI32));
    } else {
      LOWP_TRY(want_same_dtype(ctx, kBackGates, i));
    }
  }
  ir::Dim steps, batch;
  if (ctx.has_rank(kBackGates)) {
    const ir::Dims& g = ctx.dims(kBackGates);
    if (g.size() != 3 || (g[2].known() && g[2].value() != 4 * a.hidden)) {
      return error(Code::kShapeMismatch, "gates have shape {}, [steps, batch, {}] is wanted",
                   ctx.type(kBackGates).to_string(), 4 * a.hidden);
    }
    steps = g[0];
    batch = g[1];
  }
  // Elements that an operand must have, where all extents are known.
  auto want = [&](size_t i, std::initializer_list<ir::Dim> dims) -> Status {
    int64_t elements = 1;
    for (const ir::Dim& d : dims) {
      if (!d.known()) return {};
      elements *= d.value();
    }
    if (!ctx.has(i) || !ctx.type(i).concrete() || ir::element_count(ctx.type(i).extents()) == elements) return {};
    return error(Code::kShapeMismatch, "operand {} is {}, {} elements are wanted", i, ctx.type(i).to_string(),
                 elements);
  };
  const ir::Dim n(a.hidden);
  LOWP_TRY(want(kBackR, {ir::Dim(kGates), n, n}));
  for (size_t i : {kBackY, kBackDy}) LOWP_TRY(want(i, {steps, batch, n}));
  for (size_t i : {kBackDh, kBackH}) LOWP_TRY(want(i, {batch, n}));
  LOWP_TRY(want(kBackLengths, {batch}));
  if (kLstm) {
    if (!ctx.has(kBackCells)) return error(Code::kInvalidModel, "the cells are missing");
    LOWP_TRY(want(kBackCells, {steps, batch, n}));
    for (size_t i : {kBackDc, kBackC}) LOWP_TRY(want(i, {batch, n}));
    LOWP_TRY(want(kBackPeephole, {ir::Dim(3), n}));
  }
  for (size_t i = 0; i < ctx.outputs(); ++i) {
    if (i == 0) {
      ctx.set(i, dtype, {steps, batch, ir::Dim(kGates * a.hidden)});
    } else if (i == 1) {
      ctx.set(i, dtype, {ir::Dim(kGates * a.hidden), n});
    } else if (i == 2 || (kLstm && i == 3)) {
      ctx.set(i, dtype, {batch, n});
    } else {
      ctx.set(i, dtype, ir::Dims{kLstm ? ir::Dim(3 * a.hidden) : n});
    }
  }
  return {};
}

// One item's way back in double, with naive products.
struct NaiveBack {
  bool lstm = false, reverse = false, coupled = false, linear = false;
  int64_t steps = 0, batch = 0, n = 0;
  std::vector<double> r, gates, y, dy, dh, h0, cells, dc, c0, peephole;
  std::vector<int64_t> lengths;
  std::vector<double> dxw, dr, dh0, dc0, dpeephole, dbias;

  int64_t width() const { return (lstm ? 4 : 3) * n; }
  static double at(const std::vector<double>& v, int64_t i) { return v.empty() ? 0 : v[static_cast<size_t>(i)]; }

  void run() {
    dxw.assign(static_cast<size_t>(steps * batch * width()), 0);
    dr.assign(static_cast<size_t>(width() * n), 0);
    dh0.assign(static_cast<size_t>(batch * n), 0);
    dc0 = dh0;
    dpeephole.assign(static_cast<size_t>(3 * n), 0);
    dbias.assign(static_cast<size_t>(n), 0);
    for (int64_t b = 0; b < batch; ++b) item(b);
  }

  void item(int64_t b) {
    const int64_t length = lengths[static_cast<size_t>(b)];
    std::vector<double> h(static_cast<size_t>(n)), c(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j) {
      h[static_cast<size_t>(j)] = at(dh, b * n + j);
      c[static_cast<size_t>(j)] = at(dc, b * n + j);
    }
    auto row_at = [&](int64_t s) { return (reverse ? length - 1 - s : s) * batch + b; };
    for (int64_t s = length; s-- > 0;) {
      const int64_t row = row_at(s);
      for (int64_t j = 0; j < n; ++j) h[static_cast<size_t>(j)] += at(dy, row * n + j);
      auto before = [&](const std::vector<double>& all, const std::vector<double>& initial, int64_t j) {
        return s > 0 ? all[static_cast<size_t>(row_at(s - 1) * n + j)] : at(initial, b * n + j);
      };
      lstm ? lstm_step(row, h, c, before) : gru_step(row, h, before);
    }
    std::copy(h.begin(), h.end(), dh0.begin() + b * n);
    std::copy(c.begin(), c.end(), dc0.begin() + b * n);
  }

  double gate(int64_t row, int64_t g, int64_t j) const { return gates[static_cast<size_t>((row * 4 + g) * n + j)]; }
  // d of gate g before its activation: into dR with the operand that R's row met, and into *to.
  void meets(int64_t g, int64_t j, double d, const std::vector<double>& operand, std::vector<double>& to) {
    for (int64_t k = 0; k < n; ++k) {
      const auto i = static_cast<size_t>((g * n + j) * n + k);
      dr[i] += d * operand[static_cast<size_t>(k)];
      to[static_cast<size_t>(k)] += d * r[i];
    }
  }
  void store(int64_t row, int64_t g, int64_t j, double d) { dxw[static_cast<size_t>(row * width() + g * n + j)] = d; }

  template <typename Before>
  void lstm_step(int64_t row, std::vector<double>& h, std::vector<double>& c, Before before) {
    std::vector<double> previous(h.size()), next(h.size(), 0.0);
    for (int64_t k = 0; k < n; ++k) previous[static_cast<size_t>(k)] = before(y, h0, k);
    for (int64_t j = 0; j < n; ++j) {
      const auto u = static_cast<size_t>(j);
      const double i = gate(row, 0, j), o = gate(row, 1, j), f = gate(row, 2, j), g = gate(row, 3, j);
      const double cell = cells[static_cast<size_t>(row * n + j)], cell_before = before(cells, c0, j);
      const double t = std::tanh(cell);
      const double o_pre = h[u] * t * o * (1 - o);
      const double d = c[u] + h[u] * o * (1 - t * t) + o_pre * at(peephole, n + j);
      double di = d * g, df = d * cell_before;
      if (coupled) di -= df, df = 0;
      const double i_pre = di * i * (1 - i), f_pre = df * f * (1 - f), g_pre = d * i * (1 - g * g);
      c[u] = d * f + i_pre * at(peephole, j) + f_pre * at(peephole, 2 * n + j);
      const double pre[] = {i_pre, o_pre, f_pre, g_pre};
      for (int64_t k = 0; k < 4; ++k) {
        store(row, k, j, pre[k]);
        meets(k, j, pre[k], previous, next);
      }
      dpeephole[u] += i_pre * cell_before;
      dpeephole[static_cast<size_t>(n + j)] += o_pre * cell;
      dpeephole[static_cast<size_t>(2 * n + j)] += f_pre * cell_before;
    }
    h = next;
  }

  template <typename Before>
  void gru_step(int64_t row, std::vector<double>& h, Before before) {
    std::vector<double> previous(h.size()), reset(h.size()), next(h.size(), 0.0), dq(h.size(), 0.0);
    for (int64_t k = 0; k < n; ++k) {
      previous[static_cast<size_t>(k)] = before(y, h0, k);
      reset[static_cast<size_t>(k)] = gate(row, 3, k);  // q: r h
    }
    for (int64_t j = 0; j < n; ++j) {
      const auto u = static_cast<size_t>(j);
      const double z = gate(row, 0, j), c = gate(row, 2, j);
      const double n_pre = h[u] * (1 - z) * (1 - c * c), z_pre = h[u] * (previous[u] - c) * z * (1 - z);
      next[u] += h[u] * z;
      store(row, 0, j, z_pre);
      store(row, 2, j, n_pre);
      meets(0, j, z_pre, previous, next);
      if (linear) {
        const double d = n_pre * gate(row, 1, j);
        dbias[u] += d;
        meets(2, j, d, previous, next);
      } else {
        meets(2, j, n_pre, reset, dq);
      }
    }
    for (int64_t j = 0; j < n; ++j) {
      const auto u = static_cast<size_t>(j);
      const double z = gate(row, 0, j), gate_r = gate(row, 1, j), c = gate(row, 2, j);
      const double inner = linear ? h[u] * (1 - z) * (1 - c * c) * gate(row, 3, j) : dq[u] * previous[u];
      const double r_pre = inner * gate_r * (1 - gate_r);
      if (!linear) next[u] += dq[u] * gate_r;
      store(row, 1, j, r_pre);
      meets(1, j, r_pre, previous, next);
    }
    h = next;
  }
};

template <bool kLstm>
Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  NaiveBack b;
  b.lstm = kLstm;
  b.reverse = a.reverse;
  b.coupled = a.coupled;
  b.linear = a.linear_before_reset;
  b.steps = ctx.in(kBackGates).extent(0);
  b.batch = ctx.in(kBackGates).extent(1);
  b.n = a.hidden;
  const std::pair<size_t, std::vector<double>*> operands[] = {
      {kBackR, &b.r},  {kBackGates, &b.gates}, {kBackY, &b.y},   {kBackDy, &b.dy}, {kBackDh, &b.dh},
      {kBackH, &b.h0}, {kBackCells, &b.cells}, {kBackDc, &b.dc}, {kBackC, &b.c0},  {kBackPeephole, &b.peephole}};
  for (const auto& [i, values] : operands) {
    if (ctx.has(i)) *values = to_doubles(ctx.in(i));
  }
  b.lengths.assign(static_cast<size_t>(b.batch), b.steps);
  if (ctx.has(kBackLengths)) {
    LOWP_TRY(check_lengths(ctx.in(kBackLengths).data<int32_t>(), b.batch, b.steps));
    b.lengths = ctx.in(kBackLengths).to_int64s();
  }
  b.run();
  const std::vector<double>* results[] = {&b.dxw, &b.dr, &b.dh0, kLstm ? &b.dc0 : &b.dbias, &b.dpeephole};
  for (size_t k = 0; k < ctx.outputs(); ++k) {
    if (!ctx.wants(k)) continue;
    LOWP_TRY(dispatch_float(ctx.out(k).dtype(), [&](auto tag) -> Status {
      using T = typename decltype(tag)::type;
      for (size_t i = 0; i < results[k]->size(); ++i)
        ctx.out(k).template mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>((*results[k])[i]));
      return {};
    }));
  }
  return {};
}

template <bool kLstm>
Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<RecurrenceAttrs>();
  if (ctx.dtype(kBackGates) != DType::kF32) return {};
  kernels::RnnGradientArgs args;
  args.kind = kind_of(kLstm);
  args.steps = ctx.in(kBackGates)[0];
  args.batch = ctx.in(kBackGates)[1];
  args.hidden = a.hidden;
  args.reverse = a.reverse;
  args.coupled = a.coupled;
  args.linear_before_reset = a.linear_before_reset;
  if (a.bf16_products) args.r_kind = kernels::product_kind(DType::kBF16);
  std::array<bool, kBackPeephole + 1> has{};
  for (size_t i = 0; i < has.size(); ++i) has[i] = ctx.has(i);
  std::array<bool, 5> wants{};
  for (size_t i = 0; i < wants.size(); ++i) wants[i] = ctx.wants(i);
  auto bind = [has, wants](kernels::RnnGradientArgs& call, auto&& in, auto&& out) {
    auto floats = [&](size_t i) { return has[i] ? static_cast<const float*>(in(i)) : nullptr; };
    auto result = [&](size_t i) { return wants[i] ? static_cast<float*>(out(i)) : nullptr; };
    call.r = floats(kBackR);
    call.gates = floats(kBackGates);
    call.y = floats(kBackY);
    call.dy = floats(kBackDy);
    call.dh = floats(kBackDh);
    call.lengths = has[kBackLengths] ? static_cast<const int32_t*>(in(kBackLengths)) : nullptr;
    call.h0 = floats(kBackH);
    call.dxw = result(0);
    call.dr = result(1);
    call.dh0 = result(2);
    if (kLstm) {
      call.cells = floats(kBackCells);
      call.dc = floats(kBackDc);
      call.c0 = floats(kBackC);
      call.peephole = floats(kBackPeephole);
      call.dc0 = result(3);
      call.dpeephole = result(kPeepholeOutput);
    } else if (call.linear_before_reset) {
      call.dhidden_bias = result(kHiddenBiasOutput);
    }
  };
  if (!wants[0] || (!kLstm && wants[kHiddenBiasOutput] && !a.linear_before_reset)) return {};
  // Scratch follows from which operands there are.
  float there = 0;
  kernels::RnnGradientArgs shape = args;
  bind(
      shape, [&](size_t) -> const void* { return &there; }, [&](size_t) -> void* { return &there; });
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::rnn_gradient_scratch(shape, threads));
  ctx.set_macs(2 * args.steps * args.batch * kernels::rnn_gates(args.kind) * a.hidden * a.hidden);
  ctx.emit(fmt::format("{}_gradient.f32 {}", kLstm ? "lstm" : "gru", target_name(active_target())),
           [args, bind, threads](const StepArgs& s) {
             kernels::RnnGradientArgs call = args;
             bind(
                 call, [&](size_t i) { return s.inputs[i]; }, [&](size_t i) { return s.outputs[i]; });
             if (call.lengths != nullptr) {
               *s.status = check_lengths(call.lengths, call.batch, call.steps);
               if (!s.status->is_ok()) return;
             }
             kernels::rnn_gradient(call, s.scratch, threads);
           });
  return {};
}

Sample sample(bool lstm, RecurrenceAttrs a, int64_t steps, int64_t batch, bool state, bool lengths) {
  const int64_t n = a.hidden;
  SampleInput absent;
  absent.absent = true;
  const Extents rows{steps, batch, n};
  const Extents states{batch, n};
  auto given = [&](bool there, DType dtype, Extents e, double low, double high) {
    return there ? SampleInput{dtype, std::move(e), low, high} : absent;
  };
  Sample s;
  s.attrs = ir::AttrCodec::of<RecurrenceAttrs>().write(ir::Attrs::make(a));
  s.inputs = {{DType::kF32, {(lstm ? 4 : 3) * n, n}, -0.4, 0.4},
              {DType::kF32, {steps, batch, 4 * n}, 0, 1},
              {DType::kF32, rows, -1, 1},
              {DType::kF32, rows},
              given(state, DType::kF32, states, -1, 1),
              given(lengths, DType::kI32, {batch}, 0, static_cast<double>(steps)),
              given(state, DType::kF32, states, -1, 1)};
  if (lstm) {
    s.inputs.push_back({DType::kF32, rows});
    for (int i = 0; i < 2; ++i) s.inputs.push_back(given(state, DType::kF32, states, -1, 1));
    s.inputs.push_back(given(state, DType::kF32, {3 * n}, -1, 1));
  }
  s.outputs = lstm ? (state ? 5 : 4) : (a.linear_before_reset ? 4 : 3);
  // Each step multiplies the error of the one after it, which sums over the hidden units.
  s.tolerance_ulps = 8 * static_cast<double>(steps) * std::sqrt(static_cast<double>(n));
  return s;
}
template <bool kLstm>
std::vector<Sample> samples() {
  RecurrenceAttrs plain;
  plain.hidden = 21;
  RecurrenceAttrs other = plain;
  other.hidden = 17;
  other.reverse = true;
  other.coupled = kLstm;
  other.linear_before_reset = !kLstm;
  return {sample(kLstm, plain, 4, 2, false, false), sample(kLstm, plain, 5, 3, true, true),
          sample(kLstm, plain, 3, 1, true, false),  sample(kLstm, other, 4, 3, true, false),
          sample(kLstm, other, 4, 3, false, true),  sample(kLstm, other, 1, 2, false, false)};
}

template <bool kLstm>
OpDef define(std::string name) {
  OpDef def;
  def.name = std::move(name);
  def.domain = kLowpDomain;
  def.min_inputs = 3;
  def.max_inputs = kLstm ? 11 : 7;
  def.max_outputs = kLstm ? 5 : 4;
  def.attrs = ir::AttrCodec::of<RecurrenceAttrs>();
  def.infer = infer<kLstm>;
  def.reference = reference<kLstm>;
  def.lower = lower<kLstm>;
  def.samples = samples<kLstm>;
  return def;
}

}  // namespace

std::vector<OpDef> recurrence_gradient() { return {define<true>("LSTMGradient"), define<false>("GRUGradient")}; }

}  // namespace lowp::ops
