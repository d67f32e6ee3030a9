#include "kernels/rnn/rnn.h"

#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rnn/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Case {
  RnnKind kind;
  int64_t steps, batch, hidden;
  WeightKind r_kind = WeightKind::kF32;
  bool reverse = false;
  bool initial = false;
  bool lengths = false;
  bool peephole = false;
  bool coupled = false;
  bool linear_before_reset = false;
  float clip = 0;
  Int8Class int8_class = Int8Class::kExact8;
};

// Packed R of a case with INT8 scales and folded zero points.
struct Weights {
  GuardedBuffer<uint8_t> packed;
  GuardedBuffer<float> scale;
  GuardedBuffer<int32_t> bias;
};

Weights make_weights(test::Random& random, const Case& c, const RnnArgs& a) {
  const int64_t rows = rnn_gates(c.kind) * c.hidden;
  const size_t bytes = packed_rnn_bytes(c.r_kind, c.kind, c.hidden);
  Weights w{GuardedBuffer<uint8_t>(static_cast<int64_t>(bytes)), random.floats(rows, 0.0001f, 0.001f),
            GuardedBuffer<int32_t>(rows)};
  if (c.r_kind != WeightKind::kS8) {
    GuardedBuffer<float> r = random.floats(rows * c.hidden, -0.4f, 0.4f);
    pack_rnn(c.r_kind, c.kind, DType::kF32, r.data(), c.hidden, w.packed.data());
    return w;
  }
  const int limit = c.int8_class == Int8Class::kExact8 ? 127 : kLaneLimit / lane_weights(c.int8_class);
  GuardedBuffer<int8_t> r = random.integers<int8_t>(rows * c.hidden, -limit, limit);
  pack_rnn(c.r_kind, c.kind, DType::kI8, r.data(), c.hidden, w.packed.data());
  std::vector<int32_t> sums(static_cast<size_t>(rows));
  column_sums(r.data(), c.hidden, true, c.hidden, rows, sums.data());
  fold_zero_point(nullptr, sums.data(), rows, DType::kU8, a.h_zero, w.bias.data());
  return w;
}

void check(const Case& c) {
  test::Random random;
  RnnArgs a;
  a.kind = c.kind;
  a.steps = c.steps;
  a.batch = c.batch;
  a.hidden = c.hidden;
  a.reverse = c.reverse;
  a.clip = c.clip;
  a.coupled = c.coupled;
  a.linear_before_reset = c.linear_before_reset;
  a.r_kind = c.r_kind;
  a.int8_class = c.int8_class;
  if (c.int8_class != Int8Class::kExact8) {
    a.h_inv_scale = 63.0f;
    a.h_zero = 64;
    a.h_max = 127;
  }
  const Weights w = make_weights(random, c, a);
  a.r = w.packed.data();
  a.r_scale = w.scale.data();
  a.r_bias = w.bias.data();
  const int64_t gates = rnn_gates(c.kind), state = c.batch * c.hidden;
  GuardedBuffer<float> xw = random.floats(c.steps * state * gates, -3.0f, 3.0f), h0 = random.floats(state),
                       c0 = random.floats(state, -2.0f, 2.0f), peephole = random.floats(3 * c.hidden),
                       bias = random.floats(c.hidden);
  GuardedBuffer<int32_t> lengths = random.integers<int32_t>(c.batch, 0, c.steps);
  a.xw = xw.data();
  if (c.linear_before_reset) a.hidden_bias = bias.data();
  if (c.peephole) a.peephole = peephole.data();
  if (c.lengths) a.lengths = lengths.data();
  if (c.initial) a.h0 = h0.data(), a.c0 = c0.data();

  test::for_each_target([&](int threads) {
    GuardedBuffer<float> want_y(c.steps * state), want_h(state), want_c(state), y(c.steps * state), h(state),
        cell(state), want_gates(c.steps * state * 4), gates(c.steps * state * 4), want_cells(c.steps * state),
        cells(c.steps * state);
    RnnArgs want = a;
    want.y = want_y.data();
    want.y_h = want_h.data();
    want.y_c = want_c.data();
    want.gates = want_gates.data();
    if (c.kind == RnnKind::kLstm) want.cells = want_cells.data();
    reference::rnn(want, bf16_products(active_target()));
    RnnArgs got = a;
    got.y = y.data();
    got.y_h = h.data();
    got.y_c = cell.data();
    got.gates = gates.data();
    if (c.kind == RnnKind::kLstm) got.cells = cells.data();
    auto scratch = AlignedBuffer::allocate(rnn_scratch(got, threads));
    ASSERT_TRUE(scratch.has_value());
    memset(scratch->data(), 0xff, scratch->size());
    rnn(got, scratch->data(), threads);
    test::expect_same(y, want_y);
    test::expect_same(h, want_h);
    if (c.kind == RnnKind::kLstm) test::expect_same(cell, want_c);
    test::expect_same(gates, want_gates);
    test::expect_same(cells, want_cells);
    // Outputs are optional.
    got.y = got.y_c = got.gates = got.cells = nullptr;
    rnn(got, scratch->data(), threads);
    test::expect_same(h, want_h);
  });
}

TEST(Rnn, LstmHasTheBitsOfTheReference) {
  check({.kind = RnnKind::kLstm, .steps = 5, .batch = 1, .hidden = 40});
  check({.kind = RnnKind::kLstm, .steps = 3, .batch = 4, .hidden = 17, .reverse = true, .initial = true});
  check({.kind = RnnKind::kLstm, .steps = 6, .batch = 5, .hidden = 33, .reverse = true, .lengths = true});
  check({.kind = RnnKind::kLstm,
         .steps = 4,
         .batch = 2,
         .hidden = 16,
         .initial = true,
         .lengths = true,
         .peephole = true});
  check({.kind = RnnKind::kLstm,
         .steps = 3,
         .batch = 1,
         .hidden = 20,
         .initial = true,
         .peephole = true,
         .coupled = true,
         .clip = 0.5f});
  check({.kind = RnnKind::kLstm, .steps = 1, .batch = 1, .hidden = 1});
  // Blocks of K, and threads side by side.
  check({.kind = RnnKind::kLstm, .steps = 3, .batch = 1, .hidden = 530, .initial = true});
}

TEST(Rnn, GruHasTheBitsOfTheReference) {
  check({.kind = RnnKind::kGru, .steps = 5, .batch = 1, .hidden = 40});
  check(
      {.kind = RnnKind::kGru, .steps = 4, .batch = 3, .hidden = 19, .reverse = true, .initial = true, .lengths = true});
  check({.kind = RnnKind::kGru, .steps = 4, .batch = 3, .hidden = 37, .initial = true, .linear_before_reset = true});
  check({.kind = RnnKind::kGru, .steps = 4, .batch = 2, .hidden = 5, .linear_before_reset = true, .clip = 0.3f});
  check({.kind = RnnKind::kGru, .steps = 3, .batch = 1, .hidden = 530, .initial = true});
}

TEST(Rnn, EveryWeightKind) {
  for (RnnKind kind : {RnnKind::kLstm, RnnKind::kGru}) {
    for (bool linear : {false, true}) {
      for (WeightKind r : {WeightKind::kBF16, WeightKind::kF16, WeightKind::kS8})
        check({.kind = kind,
               .steps = 3,
               .batch = 2,
               .hidden = 35,
               .r_kind = r,
               .initial = true,
               .lengths = true,
               .linear_before_reset = linear});
      for (Int8Class c : {Int8Class::kA7Quad, Int8Class::kA7Oct})
        check({.kind = kind,
               .steps = 3,
               .batch = 1,
               .hidden = 48,
               .r_kind = WeightKind::kS8,
               .reverse = true,
               .linear_before_reset = linear,
               .int8_class = c});
    }
  }
}

}  // namespace
}  // namespace lowp::kernels
