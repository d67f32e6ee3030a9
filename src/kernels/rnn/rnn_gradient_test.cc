// That no target, thread count or absent result changes a bit, and that nothing beyond a buffer is touched. The values
// are checked against a naive way back in double, and against finite differences, where ops are (lowp.LSTMGradient).
#include "kernels/rnn/rnn_gradient.h"

#include <cmath>
#include <optional>

#include "base/aligned_buffer.h"
#include "kernels/gemm/gemm.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Case {
  RnnKind kind;
  int64_t steps, batch, hidden;
  bool reverse = false, initial = false, lengths = false, peephole = false, coupled = false;
  bool linear_before_reset = false;
};

struct Results {
  GuardedBuffer<float> dxw, dr, dh0, dc0, last;
  explicit Results(const Case& c)
      : dxw(rnn_gates(c.kind) * c.steps * c.batch * c.hidden),
        dr(rnn_gates(c.kind) * c.hidden * c.hidden),
        dh0(c.batch * c.hidden),
        dc0(c.batch * c.hidden),
        last(3 * c.hidden) {}
};

void check(const Case& c) {
  test::Random random;
  const int64_t state = c.batch * c.hidden;
  const bool lstm = c.kind == RnnKind::kLstm;
  GuardedBuffer<float> r = random.floats(rnn_gates(c.kind) * c.hidden * c.hidden, -0.3f, 0.3f),
                       gates = random.floats(4 * c.steps * state, 0, 1), cells = random.floats(c.steps * state),
                       y = random.floats(c.steps * state), dy = random.floats(c.steps * state);
  GuardedBuffer<float> states[] = {random.floats(state), random.floats(state), random.floats(state),
                                   random.floats(state)};
  GuardedBuffer<float> peephole = random.floats(3 * c.hidden);
  GuardedBuffer<int32_t> lengths = random.integers<int32_t>(c.batch, 0, c.steps);
  RnnGradientArgs a;
  a.kind = c.kind;
  a.steps = c.steps;
  a.batch = c.batch;
  a.hidden = c.hidden;
  a.reverse = c.reverse;
  a.coupled = c.coupled;
  a.linear_before_reset = c.linear_before_reset;
  a.r = r.data();
  a.gates = gates.data();
  if (lstm) a.cells = cells.data();
  a.y = y.data();
  a.dy = dy.data();
  if (c.lengths) a.lengths = lengths.data();
  if (c.initial) a.h0 = states[0].data(), a.dh = states[1].data();
  if (c.initial && lstm) a.c0 = states[2].data(), a.dc = states[3].data();
  if (c.peephole) a.peephole = peephole.data();
  auto run = [&](Results& out, bool all, int threads, WeightKind kind = WeightKind::kF32) {
    RnnGradientArgs call = a;
    call.r_kind = kind;
    call.dxw = out.dxw.data();
    if (all) {
      call.dr = out.dr.data();
      call.dh0 = out.dh0.data();
      if (lstm) call.dc0 = out.dc0.data();
      if (c.peephole) call.dpeephole = out.last.data();
      if (c.linear_before_reset) call.dhidden_bias = out.last.data() + 2 * c.hidden;
    }
    auto scratch = AlignedBuffer::allocate(rnn_gradient_scratch(call, threads));
    ASSERT_TRUE(scratch.has_value());
    memset(scratch->data(), 0xff, scratch->size());
    rnn_gradient(call, scratch->data(), threads);
  };
  Results want(c);
  run(want, true, 1);
  for (float v : want.dr) ASSERT_TRUE(std::isfinite(v));
  test::for_each_target([&](int threads) {
    Results got(c);
    run(got, true, threads);
    test::expect_same(got.dxw, want.dxw);
    test::expect_same(got.dr, want.dr);
    test::expect_same(got.dh0, want.dh0);
    test::expect_same(got.dc0, want.dc0);
    test::expect_same(got.last, want.last);
    Results little(c);
    run(little, false, threads);
    test::expect_same(little.dxw, want.dxw);
  });
  // Products of bf16: the same bits where the target's way is the same, and near those of f32.
  std::optional<Results> rounded[kBF16Products];
  test::for_each_target([&](int threads) {
    std::optional<Results>& first = rounded[static_cast<int>(bf16_products(active_target()))];
    Results got(c);
    run(got, true, threads, WeightKind::kBF16);
    if (!first) {
      first.emplace(got);
      double off = 0, size = 0;
      for (size_t i = 0; i < got.dxw.size(); ++i) {
        off += std::fabs(static_cast<double>(got.dxw[i]) - static_cast<double>(want.dxw[i]));
        size += std::fabs(static_cast<double>(want.dxw[i]));
      }
      EXPECT_LE(off, size * 0x1p-7);
      if (c.steps > 1 && !c.lengths) {
        EXPECT_GT(off, 0);
      }
    }
    test::expect_same(got.dxw, first->dxw);
    test::expect_same(got.dr, first->dr);
    test::expect_same(got.dh0, first->dh0);
  });
}

TEST(RnnGradient, LstmHasTheSameBitsOnAllTargets) {
  check({.kind = RnnKind::kLstm, .steps = 4, .batch = 3, .hidden = 37});
  check({.kind = RnnKind::kLstm, .steps = 1, .batch = 1, .hidden = 16});
  check({.kind = RnnKind::kLstm, .steps = 3, .batch = 1, .hidden = 40, .reverse = true});
  check({.kind = RnnKind::kLstm,
         .steps = 5,
         .batch = 4,
         .hidden = 20,
         .reverse = true,
         .initial = true,
         .lengths = true,
         .peephole = true});
  check({.kind = RnnKind::kLstm, .steps = 3, .batch = 2, .hidden = 530, .initial = true, .coupled = true});
}

TEST(RnnGradient, GruHasTheSameBitsOnAllTargets) {
  for (bool linear : {false, true}) {
    check({.kind = RnnKind::kGru, .steps = 4, .batch = 3, .hidden = 37, .linear_before_reset = linear});
    check({.kind = RnnKind::kGru, .steps = 1, .batch = 1, .hidden = 16, .linear_before_reset = linear});
    check({.kind = RnnKind::kGru,
           .steps = 5,
           .batch = 4,
           .hidden = 20,
           .reverse = true,
           .initial = true,
           .lengths = true,
           .linear_before_reset = linear});
  }
}

}  // namespace
}  // namespace lowp::kernels
