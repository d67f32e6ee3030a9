// lowp.AllReduceStart and lowp.AllReduceWait: the mean over all ranks of data parallel training, of several tensors
// together (a bucket), beside the computing between the two.
//
// AllReduceStart operands: gradients f32. Outputs: 0 pending f32 [n], all their elements one after another, which the
// exchange replaces by their means; 1 ticket i64 scalar, of the exchange (base/exchange_queue.h). Attributes: `ranks`,
// which must be the process's; `wire`, "f32" or "bf16": the form in which they travel (base/communicator.h).
//
// AllReduceWait operands: 0 pending, 1 ticket, 2... tensors of the gradients' shapes, in their order, of which only the
// types count. Outputs: the means, of these types.
//
// With ranks 1 the mean is the value itself, as it is to the reference, which exchanges nothing. Kernels: kUnsupported
// where the process has no communicator, or one of another size; a failed exchange is the run's status. A run that ends
// between the two with an error leaves an exchange that writes to the session's memory: the session must then live
// until the process ends.
#include "base/exchange_queue.h"
#include "ops/exchange.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

constexpr size_t kPending = 0, kTicket = 1, kFirstLike = 2;

struct WaitAttrs {
  int64_t ranks = 1;
  bool operator==(const WaitAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("ranks", &WaitAttrs::ranks)); }
};

Status infer_start(InferContext& ctx) {
  LOWP_TRY(ctx.attrs<ExchangeAttrs>().check());
  ir::Dim total(int64_t{0});
  for (size_t i = 0; i < ctx.inputs(); ++i) {
    LOWP_TRY(want_dtype(ctx, i, DType::kF32));
    if (total.known() && ctx.type(i).concrete()) {
      total = ir::Dim(total.value() + ir::element_count(ctx.type(i).extents()));
    } else {
      total = ir::Dim();
    }
  }
  ctx.set(0, DType::kF32, ir::Dims{total});
  ctx.set(1, TensorType(DType::kI64, Extents{}));
  return {};
}

Status infer_wait(InferContext& ctx) {
  LOWP_TRY(want_dtype(ctx, kPending, DType::kF32));
  LOWP_TRY(want_dtype(ctx, kTicket, DType::kI64));
  if (ctx.outputs() != ctx.inputs() - kFirstLike)
    return error(Code::kInvalidModel, "{} tensors are to be {} outputs", ctx.inputs() - kFirstLike, ctx.outputs());
  int64_t total = 0;
  bool concrete = ctx.type(kPending).concrete();
  for (size_t i = 0; i < ctx.outputs(); ++i) {
    const TensorType& like = ctx.type(kFirstLike + i);
    LOWP_TRY(want_dtype(ctx, kFirstLike + i, DType::kF32));
    concrete = concrete && like.concrete();
    if (concrete) total += ir::element_count(like.extents());
    ctx.set(i, like);
  }
  if (concrete && ctx.type(kPending).extents() != Extents{total})
    return error(Code::kShapeMismatch, "pending is {}, the tensors have {} elements", ctx.type(kPending).to_string(),
                 total);
  return {};
}

Status start(EvalContext& ctx) {
  float* to = ctx.out(0).mutable_data<float>();
  for (size_t i = 0; i < ctx.inputs(); ++i) {
    std::copy_n(ctx.in(i).data<float>(), ctx.in(i).size(), to);
    to += ctx.in(i).size();
  }
  if (ctx.wants(1)) ctx.out(1).mutable_data<int64_t>()[0] = 0;
  return {};
}

Status wait(EvalContext& ctx) {
  const float* from = ctx.in(kPending).data<float>();
  for (size_t i = 0; i < ctx.outputs(); ++i) {
    const int64_t n = ctx.in(kFirstLike + i).size();
    if (ctx.wants(i)) std::copy_n(from, n, ctx.out(i).mutable_data<float>());
    from += n;
  }
  return {};
}

Status lower_start(LowerContext& ctx) {
  const auto& a = ctx.attrs<ExchangeAttrs>();
  LOWP_ASSIGN(const std::shared_ptr<ExchangeQueue> queue, exchanges_of(a.ranks));
  std::vector<size_t> sizes;
  for (size_t i = 0; i < ctx.node().inputs.size(); ++i) sizes.push_back(static_cast<size_t>(ctx.in_size(i)));
  const Wire wire = a.wire == "bf16" ? Wire::kBF16 : Wire::kF32;
  const bool wants_ticket = ctx.wants(1);
  ctx.emit("all_reduce_start." + a.wire, [=](const StepArgs& s) {
    auto* pending = s.out<float>(0);
    size_t total = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] > 0) std::memcpy(pending + total, s.in<float>(i), sizes[i] * sizeof(float));
      total += sizes[i];
    }
    const int64_t ticket = queue != nullptr ? queue->start_mean({pending, total}, wire) : 0;
    if (wants_ticket) *s.out<int64_t>(1) = ticket;
  });
  return {};
}

Status lower_wait(LowerContext& ctx) {
  LOWP_ASSIGN(const std::shared_ptr<ExchangeQueue> queue, exchanges_of(ctx.attrs<WaitAttrs>().ranks));
  std::vector<std::pair<size_t, bool>> sizes;  // and whether anybody wants it
  for (size_t i = 0; i < ctx.node().outputs.size(); ++i)
    sizes.emplace_back(static_cast<size_t>(ctx.in_size(kFirstLike + i)), ctx.wants(i));
  ctx.emit("all_reduce_wait", [=](const StepArgs& s) {
    if (queue != nullptr) {
      *s.status = queue->wait(*s.in<int64_t>(kTicket));
      if (!s.status->is_ok()) return;
    }
    const auto* from = s.in<float>(kPending);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto [n, wanted] = sizes[i];
      if (wanted && n > 0) std::memcpy(s.out<float>(i), from, n * sizeof(float));
      from += n;
    }
  });
  return {};
}

std::vector<Sample> start_samples() {
  const SampleInput a{DType::kF32, {5, 7}}, b{DType::kF32, {3}}, c{DType::kF32, {}}, none{DType::kF32, {0, 4}};
  return {{{}, {a, b, c}, 2, 0}, {{{"wire", std::string("bf16")}}, {a}, 2, 0}, {{}, {none, b}, 2, 0}};
}

std::vector<Sample> wait_samples() {
  SampleInput ticket{DType::kI64, {}};
  ticket.value = Tensor::scalar(int64_t{0});
  const SampleInput a{DType::kF32, {5, 7}}, b{DType::kF32, {3}}, c{DType::kF32, {}};
  return {{{}, {SampleInput{DType::kF32, {39}}, ticket, a, b, c}, 3, 0}, {{}, {b, ticket, b}, 1, 0}};
}

}  // namespace

std::vector<OpDef> all_reduce() {
  OpDef s;
  s.name = "AllReduceStart";
  s.domain = kLowpDomain;
  s.max_inputs = 1 << 20;
  s.min_outputs = 2;
  s.max_outputs = 2;
  s.attrs = ir::AttrCodec::of<ExchangeAttrs>();
  s.infer = infer_start;
  s.reference = start;
  s.lower = lower_start;
  s.pure = false;
  s.samples = start_samples;
  OpDef w;
  w.name = "AllReduceWait";
  w.domain = kLowpDomain;
  w.min_inputs = 3;
  w.max_inputs = 1 << 20;
  w.max_outputs = 1 << 20;
  w.attrs = ir::AttrCodec::of<WaitAttrs>();
  w.infer = infer_wait;
  w.reference = wait;
  w.lower = lower_wait;
  w.pure = false;
  w.samples = wait_samples;
  return {std::move(s), std::move(w)};
}

}  // namespace lowp::ops
