// LSTM, GRU and RNN as ONNX defines them. The references run as they are where a layer is out of the ordinary; layers
// with constant weights and the usual activations become lowp.LSTM and lowp.GRU (passes/split_recurrent.cc).
#include "ops/recurrent.h"

#include <algorithm>
#include <cmath>

#include "ops/reference.h"

namespace lowp::ops {
namespace {

using Kind = NaiveRecurrence::Kind;

constexpr int64_t gates_of(Kind kind) { return kind == Kind::kLstm ? 4 : kind == Kind::kGru ? 3 : 1; }
// f, g and h of a direction.
constexpr size_t functions_of(Kind kind) { return kind == Kind::kLstm ? 3 : kind == Kind::kGru ? 2 : 1; }

template <Kind kKind>
Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<RecurrentAttrs>();
  if (a.direction != "forward" && a.direction != "reverse" && a.direction != "bidirectional")
    return error(Code::kInvalidModel, "direction is '{}'; forward, reverse and bidirectional are known", a.direction);
  if (a.layout != 0 && a.layout != 1) return error(Code::kInvalidModel, "layout is {}, 0 or 1 is wanted", a.layout);
  if (!(a.clip >= 0)) return error(Code::kInvalidModel, "clip is {}", a.clip);
  const size_t wanted = functions_of(kKind) * static_cast<size_t>(a.directions());
  if (!a.activations.empty() && a.activations.size() != wanted)
    return error(Code::kInvalidModel, "{} activations are given, {} are wanted", a.activations.size(), wanted);
  LOWP_TRY(want_float(ctx, 0));
  for (size_t i = 1; i < ctx.inputs(); ++i) {
    if (i != 4) LOWP_TRY(want_same_dtype(ctx, 0, i));
  }
  LOWP_TRY(want_dtype(ctx, 4, DType::kI32));
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set_unranked(i, ctx.dtype(0));
  if (!ctx.has_rank(0) || !ctx.has_rank(1) || !ctx.has_rank(2)) return {};
  const ir::Dims& x = ctx.dims(0);
  const ir::Dims& w = ctx.dims(1);
  const ir::Dims& r = ctx.dims(2);
  if (x.size() != 3 || w.size() != 3 || r.size() != 3) {
    return error(Code::kShapeMismatch, "X {}, W {} and R {} should have rank 3", ctx.type(0).to_string(),
                 ctx.type(1).to_string(), ctx.type(2).to_string());
  }
  const ir::Dim hidden = r[2].known() ? r[2] : ir::Dim(a.hidden_size);
  auto differs = [](const ir::Dim& d, int64_t n) { return d.known() && d.value() != n; };
  if (hidden.known()) {
    const int64_t n = hidden.value(), rows = gates_of(kKind) * n;
    if (n < 1 || (a.hidden_size != 0 && a.hidden_size != n))
      return error(Code::kShapeMismatch, "hidden_size is {}, R has shape {}", a.hidden_size, ctx.type(2).to_string());
    if (differs(w[0], a.directions()) || differs(r[0], a.directions()) || differs(w[1], rows) || differs(r[1], rows) ||
        (w[2].known() && x[2].known() && w[2].value() != x[2].value())) {
      return error(Code::kShapeMismatch, "X {}, W {} and R {} do not go together with {} directions and {} units",
                   ctx.type(0).to_string(), ctx.type(1).to_string(), ctx.type(2).to_string(), a.directions(), n);
    }
    const auto want = [&](size_t i, int64_t elements) -> Status {
      if (!ctx.has(i) || !ctx.type(i).concrete()) return {};
      if (ir::element_count(ctx.type(i).extents()) == elements) return {};
      return error(Code::kShapeMismatch, "operand {} has shape {}, {} elements are wanted", i, ctx.type(i).to_string(),
                   elements);
    };
    LOWP_TRY(want(3, a.directions() * 2 * rows));
    if (kKind == Kind::kLstm) LOWP_TRY(want(7, a.directions() * 3 * n));
    const ir::Dim& batch = x[a.layout == 0 ? 1 : 0];
    if (batch.known()) {
      LOWP_TRY(want(4, batch.value()));
      LOWP_TRY(want(5, a.directions() * batch.value() * n));
      if (kKind == Kind::kLstm) LOWP_TRY(want(6, a.directions() * batch.value() * n));
    }
  }
  const ir::Dim directions(a.directions());
  if (a.layout == 0) {
    ctx.set(0, ctx.dtype(0), {x[0], directions, x[1], hidden});
    for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set(i, ctx.dtype(0), {directions, x[1], hidden});
  } else {
    ctx.set(0, ctx.dtype(0), {x[0], x[1], directions, hidden});
    for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set(i, ctx.dtype(0), {x[0], directions, hidden});
  }
  return {};
}

struct Function {
  std::string_view name;
  float alpha, beta;  // ONNX's defaults; 0 where unused
  bool has_alpha, has_beta;
  double (*value)(double x, double alpha, double beta);
};
constexpr Function kFunctions[] = {
    {"sigmoid", 0, 0, false, false, [](double x, double, double) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", 0, 0, false, false, [](double x, double, double) { return std::tanh(x); }},
    {"relu", 0, 0, false, false, [](double x, double, double) { return std::max(x, 0.0); }},
    {"softsign", 0, 0, false, false, [](double x, double, double) { return x / (1 + std::abs(x)); }},
    {"softplus", 0, 0, false, false, [](double x, double, double) { return std::log1p(std::exp(x)); }},
    {"affine", 1, 0, true, true, [](double x, double a, double b) { return a * x + b; }},
    {"leakyrelu", 0.01F, 0, true, false, [](double x, double a, double) { return x < 0 ? a * x : x; }},
    {"thresholdedrelu", 1, 0, true, false, [](double x, double a, double) { return x > a ? x : 0; }},
    {"scaledtanh", 1, 1, true, true, [](double x, double a, double b) { return a * std::tanh(b * x); }},
    {"hardsigmoid", 0.2F, 0.5F, true, true,
     [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); }},
    {"elu", 1, 0, true, false, [](double x, double a, double) { return x < 0 ? a * std::expm1(x) : x; }},
};

Result<std::vector<std::function<double(double)>>> activations_of(const RecurrentAttrs& a, Kind kind) {
  std::vector<std::string> names = a.activations;
  for (int64_t d = 0; d < a.directions() && a.activations.empty(); ++d) {
    if (kind != Kind::kRnn) names.emplace_back("sigmoid");
    names.emplace_back("tanh");
    if (kind == Kind::kLstm) names.emplace_back("tanh");
  }
  std::vector<std::function<double(double)>> result;
  size_t alphas = 0;
  size_t betas = 0;
  for (std::string name : names) {
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto* f = std::ranges::find(kFunctions, name, &Function::name);
    if (f == std::end(kFunctions)) return fail(Code::kUnsupported, "activation '{}' is not known", name);
    double alpha = static_cast<double>(f->alpha);
    double beta = static_cast<double>(f->beta);
    if (f->has_alpha && alphas < a.activation_alpha.size()) alpha = static_cast<double>(a.activation_alpha[alphas++]);
    if (f->has_beta && betas < a.activation_beta.size()) beta = static_cast<double>(a.activation_beta[betas++]);
    result.emplace_back([value = f->value, alpha, beta](double x) { return value(x, alpha, beta); });
  }
  return result;
}

// Element (t, b) of X and of Y, item b of a state of direction d, by layout.
struct Places {
  int64_t steps, batch, directions, layout;
  int64_t row(int64_t t, int64_t b) const { return layout == 0 ? t * batch + b : b * steps + t; }
  int64_t y(int64_t t, int64_t d, int64_t b) const {
    return layout == 0 ? (t * directions + d) * batch + b : (b * steps + t) * directions + d;
  }
  int64_t state(int64_t d, int64_t b) const { return layout == 0 ? d * batch + b : b * directions + d; }
};

void store(Tensor& out, const std::vector<double>& values) {
  const Status s = dispatch_float(out.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < values.size(); ++i)
      out.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(values[i]));
    return {};
  });
  LOWP_CHECK(s.is_ok());
}

template <Kind kKind>
Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<RecurrentAttrs>();
  const Extents& xe = ctx.in(0).extents();
  const Places at{xe[a.layout == 0 ? 0 : 1], xe[a.layout == 0 ? 1 : 0], a.directions(), a.layout};
  const int64_t inputs = xe[2];
  const int64_t n = ctx.in(2).extent(2);
  const int64_t rows = gates_of(kKind) * n;
  LOWP_ASSIGN(auto functions, activations_of(a, kKind));
  const auto x = to_doubles(ctx.in(0));
  const auto w = to_doubles(ctx.in(1));
  const auto r = to_doubles(ctx.in(2));
  const auto bias =
      ctx.has(3) ? to_doubles(ctx.in(3)) : std::vector<double>(static_cast<size_t>(2 * rows * at.directions));
  const auto h0 = ctx.has(5) ? to_doubles(ctx.in(5)) : std::vector<double>{};
  const auto c0 = kKind == Kind::kLstm && ctx.has(6) ? to_doubles(ctx.in(6)) : std::vector<double>{};
  const auto p = kKind == Kind::kLstm && ctx.has(7) ? to_doubles(ctx.in(7)) : std::vector<double>{};
  std::vector<double> y(static_cast<size_t>(at.steps * at.directions * at.batch * n));
  std::vector<double> last_h(static_cast<size_t>(at.directions * at.batch * n));
  std::vector<double> last_c(last_h.size());
  for (int64_t d = 0; d < at.directions; ++d) {
    NaiveRecurrence one;
    one.kind = kKind;
    one.steps = at.steps;
    one.batch = at.batch;
    one.hidden = n;
    one.reverse = a.direction == "reverse" || d == 1;
    one.coupled = a.input_forget != 0;
    one.linear_before_reset = a.linear_before_reset != 0;
    one.clip = static_cast<double>(a.clip);
    const size_t count = functions_of(kKind);
    const auto first = functions.begin() + static_cast<int64_t>(count) * d;
    one.activations.assign(first, first + static_cast<int64_t>(count));
    const double* wb = bias.data() + d * 2 * rows;
    const double* rb = wb + rows;
    for (int64_t t = 0; t < at.steps; ++t) {
      for (int64_t b = 0; b < at.batch; ++b) {
        for (int64_t g = 0; g < rows; ++g) {
          // With linear_before_reset the hidden gate's own bias stays inside the product that is reset.
          const bool inside = kKind == Kind::kGru && one.linear_before_reset && g >= 2 * n;
          double sum = wb[g] + (inside ? 0 : rb[g]);
          for (int64_t k = 0; k < inputs; ++k)
            sum +=
                x[static_cast<size_t>(at.row(t, b) * inputs + k)] * w[static_cast<size_t>((d * rows + g) * inputs + k)];
          one.xw.push_back(sum);
        }
      }
    }
    if (kKind == Kind::kGru && one.linear_before_reset) one.hidden_bias.assign(rb + 2 * n, rb + 3 * n);
    if (!p.empty()) one.peephole.assign(p.begin() + d * 3 * n, p.begin() + (d + 1) * 3 * n);
    one.lengths = ctx.has(4) ? ctx.in(4).to_int64s() : std::vector<int64_t>(static_cast<size_t>(at.batch), at.steps);
    for (int64_t length : one.lengths) {
      if (length < 0 || length > at.steps)
        return error(Code::kInvalidArgument, "a sequence has length {}, 0 to {} is wanted", length, at.steps);
    }
    for (int64_t b = 0; b < at.batch; ++b) {
      for (int64_t j = 0; j < n; ++j) {
        const auto i = static_cast<size_t>(at.state(d, b) * n + j);
        one.h.push_back(h0.empty() ? 0 : h0[i]);
        one.c.push_back(c0.empty() ? 0 : c0[i]);
      }
    }
    one.product = [&](const double* state, int64_t row) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) sum += state[k] * r[static_cast<size_t>((d * rows + row) * n + k)];
      return sum;
    };
    one.run();
    for (int64_t b = 0; b < at.batch; ++b) {
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t t = 0; t < at.steps; ++t)
          y[static_cast<size_t>(at.y(t, d, b) * n + j)] = one.y[static_cast<size_t>((t * at.batch + b) * n + j)];
        last_h[static_cast<size_t>(at.state(d, b) * n + j)] = one.h[static_cast<size_t>(b * n + j)];
        last_c[static_cast<size_t>(at.state(d, b) * n + j)] = one.c[static_cast<size_t>(b * n + j)];
      }
    }
  }
  if (ctx.wants(0)) store(ctx.out(0), y);
  if (ctx.wants(1)) store(ctx.out(1), last_h);
  if (ctx.wants(2)) store(ctx.out(2), last_c);
  return {};
}

Status upgrade(ImportedNode& node) {
  node.attrs.erase("output_sequence");  // opset 1: outputs say it themselves
  return {};
}

Sample sample(Kind kind, RecurrentAttrs a, int64_t steps, int64_t batch, bool bias, bool state) {
  constexpr int64_t kInputs = 5;
  constexpr int64_t kHidden = 6;
  const int64_t d = a.directions();
  const int64_t rows = gates_of(kind) * kHidden;
  a.hidden_size = kHidden;
  Sample s;
  s.attrs = ir::AttrCodec::of<RecurrentAttrs>().write(ir::Attrs::make(a));
  SampleInput absent;
  absent.absent = true;
  const Extents x = a.layout == 0 ? Extents{steps, batch, kInputs} : Extents{batch, steps, kInputs};
  const Extents states = a.layout == 0 ? Extents{d, batch, kHidden} : Extents{batch, d, kHidden};
  s.inputs = {
      {DType::kF32, x}, {DType::kF32, {d, rows, kInputs}, -0.5, 0.5}, {DType::kF32, {d, rows, kHidden}, -0.5, 0.5}};
  s.inputs.push_back(bias ? SampleInput{DType::kF32, {d, 2 * rows}, -0.5, 0.5} : absent);
  if (state) {
    s.inputs.push_back({DType::kI32, {batch}, 0, static_cast<double>(steps)});
    s.inputs.push_back({DType::kF32, states});
    if (kind == Kind::kLstm) {
      s.inputs.push_back({DType::kF32, states});
      s.inputs.push_back({DType::kF32, {d, 3 * kHidden}});
    }
  }
  s.outputs = kind == Kind::kLstm ? 3 : 2;
  return s;
}

std::vector<Sample> samples_of(Kind kind) {
  RecurrentAttrs plain;
  RecurrentAttrs both;
  both.direction = "bidirectional";
  both.clip = 0.7F;
  RecurrentAttrs batch_first;
  batch_first.direction = "reverse";
  batch_first.layout = 1;
  batch_first.linear_before_reset = kind == Kind::kGru;
  RecurrentAttrs other;
  if (kind == Kind::kGru) other.activations = {"HardSigmoid", "Relu"};
  if (kind == Kind::kRnn) other.activations = {"Affine"};
  if (kind == Kind::kLstm) other.activations = {"HardSigmoid", "Relu", "ScaledTanh"}, other.input_forget = 1;
  other.activation_alpha = {0.3F};
  return {sample(kind, plain, 3, 2, false, false), sample(kind, both, 4, 3, true, true),
          sample(kind, batch_first, 3, 2, true, true), sample(kind, other, 2, 1, true, false)};
}

template <Kind kKind>
OpDef define(std::string name, int inputs, int outputs) {
  OpDef def;
  def.name = std::move(name);
  def.min_inputs = 3;
  def.max_inputs = inputs;
  def.max_outputs = outputs;
  def.min_outputs = 0;
  def.attrs = ir::AttrCodec::of<RecurrentAttrs>();
  def.infer = infer<kKind>;
  def.reference = reference<kKind>;
  def.upgrade = upgrade;
  def.samples = [] { return samples_of(kKind); };
  return def;
}

}  // namespace

void NaiveRecurrence::run() {
  y.assign(static_cast<size_t>(steps * batch * hidden), 0);
  gates.assign(4 * y.size(), 0);
  cells.assign(kind == Kind::kLstm ? y.size() : 0, 0);
  for (int64_t item = 0; item < batch; ++item) {
    const int64_t length = lengths[static_cast<size_t>(item)];
    for (int64_t s = 0; s < length; ++s) {
      const int64_t row = (reverse ? length - 1 - s : s) * batch + item;
      step(row, item);
      std::copy_n(h.begin() + item * hidden, hidden, y.begin() + row * hidden);
      if (kind == Kind::kLstm) std::copy_n(c.begin() + item * hidden, hidden, cells.begin() + row * hidden);
    }
  }
}

void NaiveRecurrence::step(int64_t row, int64_t item) {
  const int64_t n = hidden;
  const double* in = xw.data() + row * gates_of(kind) * n;
  double* state = h.data() + item * n;
  double* cell = c.data() + item * n;
  auto bounded = [&](double v) { return clip > 0 ? std::clamp(v, -clip, clip) : v; };
  std::vector<double> next(static_cast<size_t>(n));
  if (kind == Kind::kRnn) {
    for (int64_t j = 0; j < n; ++j) next[static_cast<size_t>(j)] = activations[0](bounded(in[j] + product(state, j)));
  } else if (kind == Kind::kLstm) {
    auto peep = [&](int64_t gate, int64_t j, double v) {
      return peephole.empty() ? 0.0 : peephole[static_cast<size_t>(gate * n + j)] * v;
    };
    for (int64_t j = 0; j < n; ++j) {
      const double i = activations[0](bounded(in[j] + product(state, j) + peep(0, j, cell[j])));
      const double f =
          coupled ? 1 - i : activations[0](bounded(in[2 * n + j] + product(state, 2 * n + j) + peep(2, j, cell[j])));
      const double candidate = activations[1](bounded(in[3 * n + j] + product(state, 3 * n + j)));
      cell[j] = f * cell[j] + i * candidate;
      const double o = activations[0](bounded(in[n + j] + product(state, n + j) + peep(1, j, cell[j])));
      next[static_cast<size_t>(j)] = o * activations[2](bounded(cell[j]));
      keep(row, 0, j, i);
      keep(row, 1, j, o);
      keep(row, 2, j, f);
      keep(row, 3, j, candidate);
    }
  } else {
    std::vector<double> reset(static_cast<size_t>(n));
    std::vector<double> r(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j) {
      r[static_cast<size_t>(j)] = activations[0](bounded(in[n + j] + product(state, n + j)));
      reset[static_cast<size_t>(j)] = r[static_cast<size_t>(j)] * state[j];
    }
    for (int64_t j = 0; j < n; ++j) {
      const double z = activations[0](bounded(in[j] + product(state, j)));
      double inner;
      double kept = reset[static_cast<size_t>(j)];
      if (linear_before_reset) {
        const double own = hidden_bias.empty() ? 0 : hidden_bias[static_cast<size_t>(j)];
        kept = product(state, 2 * n + j) + own;
        inner = r[static_cast<size_t>(j)] * kept;
      } else {
        inner = product(reset.data(), 2 * n + j);
      }
      const double candidate = activations[1](bounded(in[2 * n + j] + inner));
      next[static_cast<size_t>(j)] = (1 - z) * candidate + z * state[j];
      keep(row, 0, j, z);
      keep(row, 1, j, r[static_cast<size_t>(j)]);
      keep(row, 2, j, candidate);
      keep(row, 3, j, kept);
    }
  }
  std::ranges::copy(next, state);
}

std::vector<OpDef> recurrent() {
  return {define<Kind::kLstm>("LSTM", 8, 3), define<Kind::kGru>("GRU", 6, 2), define<Kind::kRnn>("RNN", 6, 2)};
}

}  // namespace lowp::ops
