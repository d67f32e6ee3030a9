#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>

#include "kernels/gemm/reference.h"
#include "kernels/gemm/test_util.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::index_of;
using testing::kEveryBF16;
using testing::on_every_target;
using testing::Random;
using testing::RandomEpilogue;
using testing::same_bits;

struct Case {
  DType a;
  WeightKind b;
  Int8Class int8_class = Int8Class::kExact8;
};
constexpr Case kCases[] = {
    {DType::kF32, WeightKind::kF32},
    {DType::kF32, WeightKind::kBF16},
    {DType::kBF16, WeightKind::kBF16},
    {DType::kF32, WeightKind::kF16},
    {DType::kF16, WeightKind::kF16},
    {DType::kU8, WeightKind::kS8},
    {DType::kI8, WeightKind::kS8},
    {DType::kU8, WeightKind::kS8, Int8Class::kA7Quad},
    {DType::kU8, WeightKind::kS8, Int8Class::kA7Oct},
};

std::string describe(const Case& c, int64_t m, int64_t n, int64_t k) {
  return std::string(dtype_name(c.a)) + " x kind " + std::to_string(static_cast<int>(c.b)) + " class " +
         std::to_string(static_cast<int>(c.int8_class)) + " m=" + std::to_string(m) + " n=" + std::to_string(n) +
         " k=" + std::to_string(k);
}

DType weight_dtype(WeightKind kind) {
  switch (kind) {
    case WeightKind::kF32: return DType::kF32;
    case WeightKind::kBF16: return DType::kBF16;
    case WeightKind::kF16: return DType::kF16;
    case WeightKind::kS8: return DType::kI8;
  }
  return DType::kInvalid;
}

// Random weights [K, N] packed into a guarded buffer.
std::unique_ptr<GuardedBuffer> random_weights(Random& random, const Case& c, int64_t k, int64_t n) {
  const DType dtype = weight_dtype(c.b);
  std::vector<int8_t> raw(static_cast<size_t>(k * n) * static_cast<size_t>(dtype_bits(dtype)) / 8);
  fill_random(random, dtype, raw.data(), static_cast<size_t>(k * n));
  if (c.int8_class != Int8Class::kExact8) {
    testing::make_a7_safe(c.int8_class, raw, k, n);
    EXPECT_TRUE(a7_safe(c.int8_class, raw.data(), n, false, k, n));
  }
  auto packed = std::make_unique<GuardedBuffer>(packed_bytes(c.b, k, n), kPackedAlign);
  pack(c.b, dtype, raw.data(), n, false, k, n, packed->data());
  return packed;
}

struct Extras {
  Activation activation = Activation::kNone;
  DType out = DType::kF32;
  bool residual = false;
  DType residual_dtype = DType::kF32;
  bool every_choice = false;  // run all candidates, not only the formula's
};

void check(const Case& c, int64_t m, int64_t n, int64_t k, uint64_t seed, const Extras& extras) {
  SCOPED_TRACE(describe(c, m, n, k) + " seed " + std::to_string(seed));
  Random random(seed);
  const int64_t lda = k + static_cast<int64_t>(seed % 3), ldc = n + static_cast<int64_t>(seed % 2);
  const size_t a_count = m == 0 ? 0 : static_cast<size_t>((m - 1) * lda + k);
  GuardedBuffer a(a_count * static_cast<size_t>(dtype_bits(c.a)) / 8);
  fill_random(random, c.a, a.data(), a_count, c.int8_class == Int8Class::kExact8 ? 255 : 127);
  auto b = random_weights(random, c, k, n);
  const bool is_int = c.b == WeightKind::kS8;
  const float magnitude = 1.0f / (128.0f * 64.0f * std::sqrt(static_cast<float>(k) + 1.0f));
  RandomEpilogue epilogue(random, is_int, m, n, extras.activation, extras.out, extras.residual, extras.residual_dtype,
                          magnitude);
  const size_t c_count = static_cast<size_t>((m - 1) * ldc + n),
               c_bytes = c_count * static_cast<size_t>(dtype_bits(extras.out)) / 8;
  GuardedBuffer want(c_bytes), got(c_bytes);

  GemmArgs args;
  args.m = m;
  args.n = n;
  args.k = k;
  args.a_dtype = c.a;
  args.b_kind = c.b;
  args.int8_class = c.int8_class;
  args.a = a.data();
  args.lda = lda;
  args.b = b->data();
  args.ldc = ldc;
  args.epilogue = epilogue.e;

  std::vector<uint8_t> references[kBF16Products];
  on_every_target([&](Target target) {
    const BF16Products bf16 = c.b == WeightKind::kBF16 ? bf16_products(target) : BF16Products::kExpanded;
    std::vector<uint8_t>& expected = references[index_of(bf16)];
    if (expected.empty()) {
      want.fill(0xcd);
      args.c = want.data();
      reference::gemm(args, bf16);
      expected.assign(want.as<uint8_t>(), want.as<uint8_t>() + c_bytes);
    }
    for (int threads : {1, 2, 4}) {
      if (threads == (extras.every_choice ? 2 : 4)) continue;
      args.choice = {};
      std::vector<KernelChoice> choices = {args.choice};
      if (extras.every_choice) choices = gemm_candidates(args, threads);
      ASSERT_EQ(choices[0], KernelChoice{});
      for (const KernelChoice& choice : choices) {
        got.fill(0xcd);
        args.c = got.data();
        args.choice = choice;
        GuardedBuffer scratch(gemm_scratch(args, threads), 64);
        gemm(args, scratch.data(), threads);
        ASSERT_TRUE(same_bits(extras.out, expected.data(), got.data(), c_count))
            << threads << " threads, " << choice_text(choice);
      }
    }
  });
}

TEST(Gemm, ReductionLengths) {
  for (const Case& c : kCases) {
    for (int64_t k : {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 64, 100, 255, 256, 257, 511, 512, 513, 600}) {
      check(c, 5, 19, k, static_cast<uint64_t>(k), {});
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Gemm, RowsAndColumns) {
  for (const Case& c : kCases) {
    for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 29, 57}) {
      for (int64_t n : {1, 15, 16, 17, 33, 48, 80, 112, 129}) {
        check(c, m, n, 12, static_cast<uint64_t>(m * 1000 + n), {});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// More rows than one chunk, more panels than one group.
TEST(Gemm, Blocking) {
  for (const Case& c : kCases) {
    check(c, 500, 24, 9, 1, {});
    check(c, 3, 600, 30, 2, {});
    check(c, 40, 70, 300, 3, {});
    if (HasFatalFailure()) return;
  }
}

// What a choice may change: the tile, the order of loops, copies of rows, chunks, the split between threads.
TEST(Gemm, EveryChoiceGivesTheSameBits) {
  const Extras every{Activation::kRelu, DType::kF32, true, DType::kF32, true};
  for (const Case& c : kCases) {
    for (auto [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 200, 40}, {31, 70, 264}, {90, 100, 20}}) {
      check(c, m, n, k, static_cast<uint64_t>(m + n + k), every);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Gemm, CandidatesDiffer) {
  GemmArgs args;
  args.m = 196, args.n = 256, args.k = 64, args.lda = 64, args.ldc = 256;
  on_every_target([&](Target) {
    for (int threads : {1, 2, 6}) {
      const std::vector<KernelChoice> list = gemm_candidates(args, threads);
      ASSERT_GT(list.size(), 3U);
      for (size_t i = 0; i < list.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          EXPECT_NE(list[i], list[j]);
          EXPECT_NE(choice_text(list[i]), choice_text(list[j]));
        }
        EXPECT_LE(list[i].split_m * list[i].split_n, threads);
      }
    }
    // Nothing to choose where there is nothing to compute.
    for (int64_t GemmArgs::*extent : {&GemmArgs::m, &GemmArgs::n, &GemmArgs::k}) {
      GemmArgs empty = args;
      empty.*extent = 0;
      EXPECT_EQ(gemm_candidates(empty, 2), std::vector<KernelChoice>(1));
    }
  });
}

TEST(Gemm, Epilogues) {
  uint64_t seed = 0;
  for (const Case& c : {kCases[0], kCases[3], kCases[6]}) {
    for (DType out : {DType::kF32, DType::kBF16, DType::kF16, DType::kU8, DType::kI8}) {
      for (Activation activation : testing::kAllActivations) {
        check(c, 7, 37, 20, ++seed, {activation, out, false, DType::kF32});
        for (DType residual : {DType::kF32, DType::kBF16, DType::kF16, DType::kU8, DType::kI8}) {
          check(c, 7, 37, 20, ++seed, {activation, out, true, residual});
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Enough rows for tiles of two panels, and whole ones: those that finish.inl.h is for.
TEST(Gemm, EpiloguesOfTilesThatFinish) {
  uint64_t seed = 0;
  for (const Case& c : {kCases[0], kCases[3], kCases[6]}) {
    for (DType out : {DType::kF32, DType::kBF16, DType::kU8, DType::kI8}) {
      for (Activation activation : testing::kAllActivations) {
        for (bool residual : {false, true}) check(c, 29, 64, 20, ++seed, {activation, out, residual, out});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// What is added may lie where the result goes.
TEST(Gemm, ResidualMayBeTheOutput) {
  const int64_t m = 29, n = 75, k = 24;
  for (DType out : {DType::kF32, DType::kU8, DType::kI8}) {
    Random random(31);
    const Case c = out == DType::kF32 ? kCases[0] : kCases[5];
    const bool is_int = c.b == WeightKind::kS8;
    const size_t count = static_cast<size_t>(m * n), bytes = count * static_cast<size_t>(dtype_bits(out)) / 8;
    GuardedBuffer a(static_cast<size_t>(m * k) * static_cast<size_t>(dtype_bits(c.a)) / 8);
    fill_random(random, c.a, a.data(), static_cast<size_t>(m * k));
    auto b = random_weights(random, c, k, n);
    RandomEpilogue epilogue(random, is_int, m, n, Activation::kRelu, out, true, out, 1e-4f);
    GemmArgs args;
    args.m = m, args.n = n, args.k = k, args.a_dtype = c.a, args.b_kind = c.b;
    args.a = a.data(), args.lda = k, args.b = b->data(), args.ldc = n;
    args.epilogue = epilogue.e;
    args.epilogue.residual_ld = n;
    std::vector<uint8_t> want(bytes), got(bytes);
    args.c = want.data();
    reference::gemm(args, BF16Products::kExpanded);
    const void* residual = args.epilogue.residual;
    args.c = got.data();
    args.epilogue.residual = got.data();
    on_every_target([&](Target) {
      for (int threads : {1, 3}) {
        std::memcpy(got.data(), residual, bytes);
        GuardedBuffer scratch(gemm_scratch(args, threads), 64);
        gemm(args, scratch.data(), threads);
        ASSERT_TRUE(same_bits(out, want.data(), got.data(), count));
      }
    });
  }
}

// Every product at its extreme, for the longest K of the models at hand.
TEST(Gemm, Int8Extremes) {
  for (auto [dtype, value, weight] :
       {std::tuple{DType::kU8, 255, 127}, {DType::kU8, 255, -128}, {DType::kI8, 127, -128}, {DType::kI8, -128, 127}}) {
    const int64_t m = 6, n = 32, k = 4608;
    std::vector<uint8_t> a(static_cast<size_t>(m * k), static_cast<uint8_t>(value));
    std::vector<int8_t> w(static_cast<size_t>(k * n), static_cast<int8_t>(weight));
    std::vector<int32_t> sums(n), bias(n);
    std::vector<float> scale(n, 1.0f);
    GuardedBuffer b(packed_bytes(WeightKind::kS8, k, n), kPackedAlign);
    pack_s8(w.data(), n, false, k, n, b.as<int8_t>());
    column_sums(w.data(), n, false, k, n, sums.data());
    const int zero = 3;
    fold_zero_point(nullptr, sums.data(), n, dtype, zero, bias.data());
    const auto expected = static_cast<float>(k * (value - zero) * weight);
    std::vector<float> c(static_cast<size_t>(m * n));
    GemmArgs args;
    args.m = m, args.n = n, args.k = k, args.a_dtype = dtype, args.b_kind = WeightKind::kS8;
    args.a = a.data(), args.lda = k, args.b = b.data(), args.c = c.data(), args.ldc = n;
    args.epilogue.scale = scale.data();
    args.epilogue.bias_s32 = bias.data();
    on_every_target([&](Target) {
      GuardedBuffer scratch(gemm_scratch(args, 1), 64);
      gemm(args, scratch.data(), 1);
      for (float y : c) ASSERT_EQ(y, expected);
    });
  }
}

// The largest sums that the A7 classes allow: 127 against weights of one sign that add up to 258.
TEST(Gemm, LaneExtremes) {
  const int64_t m = 5, n = 16, k = 272;
  const int weights[kMaxLaneWeights] = {127, 127, 3, 1, 0, 0, 0, 0};
  for (Int8Class c : {Int8Class::kA7Quad, Int8Class::kA7Oct}) {
    for (int sign : {1, -1}) {
      std::vector<uint8_t> a(static_cast<size_t>(m * k), 127);
      std::vector<int8_t> w(static_cast<size_t>(k * n));
      for (int64_t i = 0; i < k; ++i) {
        int64_t rows[kMaxLaneWeights];
        lane_rows(c, i, rows);
        const int64_t which = std::find(rows, rows + lane_weights(c), i) - rows;
        ASSERT_LT(which, lane_weights(c));
        for (int64_t j = 0; j < n; ++j)
          w[static_cast<size_t>(i * n + j)] = static_cast<int8_t>(sign * weights[(which + j) % lane_weights(c)]);
      }
      ASSERT_TRUE(a7_safe(c, w.data(), n, false, k, n));
      auto worse = w;
      for (int64_t i = 0; i < 2 * lane_weights(c); ++i) {
        if (std::abs(worse[static_cast<size_t>(i * n)]) == 1) {
          worse[static_cast<size_t>(i * n)] = static_cast<int8_t>(sign * 2);
          break;
        }
      }
      ASSERT_FALSE(a7_safe(c, worse.data(), n, false, k, n));
      GuardedBuffer b(packed_bytes(WeightKind::kS8, k, n), kPackedAlign);
      pack_s8(w.data(), n, false, k, n, b.as<int8_t>());
      std::vector<float> c_out(static_cast<size_t>(m * n)), scale(n, 1.0f);
      GemmArgs args;
      args.m = m, args.n = n, args.k = k, args.a_dtype = DType::kU8, args.b_kind = WeightKind::kS8;
      args.int8_class = c;
      args.a = a.data(), args.lda = k, args.b = b.data(), args.c = c_out.data(), args.ldc = n;
      args.epilogue.scale = scale.data();
      on_every_target([&](Target) {
        GuardedBuffer scratch(gemm_scratch(args, 1), 64);
        gemm(args, scratch.data(), 1);
        for (float y : c_out) ASSERT_EQ(y, static_cast<float>(sign * 127 * 258 * (k / lane_weights(c))));
      });
    }
  }
}

TEST(Gemm, NonFiniteFloats) {
  const int64_t m = 4, n = 40, k = 40;
  const float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> a(static_cast<size_t>(m * k), 1.0f), w(static_cast<size_t>(k * n), 0.5f);
  a[3] = kInf;
  a[k + 5] = kNan;
  a[2 * k] = 1e30f, a[2 * k + 1] = -1e30f;
  a[3 * k] = 1e-42f;
  GuardedBuffer b(packed_bytes(WeightKind::kF32, k, n), kPackedAlign);
  pack_f32(w.data(), n, false, k, n, b.as<float>());
  for (DType out : {DType::kF32, DType::kBF16, DType::kF16, DType::kU8, DType::kI8}) {
    for (Activation activation : {Activation::kNone, Activation::kRelu, Activation::kClip}) {
      const size_t bytes = static_cast<size_t>(m * n) * static_cast<size_t>(dtype_bits(out)) / 8;
      std::vector<uint8_t> want(bytes), got(bytes);
      GemmArgs args;
      args.m = m, args.n = n, args.k = k;
      args.a = a.data(), args.lda = k, args.b = b.data(), args.ldc = n;
      args.epilogue.out = out;
      args.epilogue.activation = activation;
      args.epilogue.lo = -1.0f, args.epilogue.hi = 6.0f;
      args.c = want.data();
      reference::gemm(args, BF16Products::kExpanded);
      args.c = got.data();
      on_every_target([&](Target) {
        GuardedBuffer scratch(gemm_scratch(args, 1), 64);
        gemm(args, scratch.data(), 1);
        EXPECT_TRUE(same_bits(out, want.data(), got.data(), static_cast<size_t>(m * n)));
      });
    }
  }
}

TEST(Gemm, ExpandedPanelsArePackedF32) {
  const int64_t k = 7, n = 20;
  Random random(9);
  std::vector<float> w(static_cast<size_t>(k * n));
  fill_random(random, DType::kF32, w.data(), w.size());
  for (WeightKind kind : {WeightKind::kBF16, WeightKind::kF16}) {
    std::vector<float> rounded;
    for (float v : w)
      rounded.push_back(kind == WeightKind::kBF16 ? static_cast<float>(BFloat16(v)) : static_cast<float>(Float16(v)));
    std::vector<uint8_t> packed(packed_bytes(kind, k, n));
    std::vector<float> want(packed_bytes(WeightKind::kF32, k, n) / 4), got(want.size());
    pack(kind, DType::kF32, w.data(), n, false, k, n, packed.data());
    pack_f32(rounded.data(), n, false, k, n, want.data());
    expand_packed(kind, packed.data(), k, n, got.data());
    EXPECT_EQ(want, got);
  }
}

TEST(Gemm, PackBothOrders) {
  const int64_t k = 21, n = 35;
  Random random(7);
  std::vector<float> kn(static_cast<size_t>(k * n)), nk(static_cast<size_t>(k * n));
  fill_random(random, DType::kF32, kn.data(), kn.size());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < n; ++j) nk[static_cast<size_t>(j * k + i)] = kn[static_cast<size_t>(i * n + j)];
  }
  for (WeightKind kind : {WeightKind::kF32, WeightKind::kBF16, WeightKind::kF16}) {
    std::vector<uint8_t> p(packed_bytes(kind, k, n)), q(p.size());
    pack(kind, DType::kF32, kn.data(), n, false, k, n, p.data());
    pack(kind, DType::kF32, nk.data(), k, true, k, n, q.data());
    EXPECT_EQ(p, q);
  }
}

TEST(Gemm, Matmul) {
  uint64_t seed = 100;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int form : {0, 1, 2, 3}) {
      const bool a_transposed = form & 1, b_transposed = form & 2;
      for (const bool broadcast : {false, true}) {
        for (auto [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{5, 7, 9},
                               {32, 32, 64},
                               {1, 40, 300},
                               {17, 64, 33},
                               {3, 200, 530}}) {
          Random random(++seed);
          MatmulArgs g;
          g.m = m, g.n = n, g.k = k;
          g.dtype = dtype;
          g.batch[1] = 2, g.batch[2] = 3;
          g.lda = a_transposed ? 1 : k, g.a_col = a_transposed ? m : 1, g.ldc = n;
          g.a_batch[1] = 3 * m * k, g.a_batch[2] = m * k;
          g.b_batch[1] = broadcast ? 0 : 3 * k * n, g.b_batch[2] = broadcast ? 0 : k * n;
          g.c_batch[1] = 3 * m * n, g.c_batch[2] = m * n;
          g.b_row = b_transposed ? 1 : n, g.b_col = b_transposed ? k : 1;
          const size_t bytes = static_cast<size_t>(dtype_bits(dtype)) / 8;
          GuardedBuffer a(static_cast<size_t>(6 * m * k) * bytes),
              b(static_cast<size_t>((broadcast ? 1 : 6) * k * n) * bytes);
          fill_random(random, dtype, a.data(), a.size() / bytes);
          fill_random(random, dtype, b.data(), b.size() / bytes);
          g.a = a.data(), g.b = b.data();
          g.epilogue.out = dtype;
          std::vector<float> want[kBF16Products], got(static_cast<size_t>(6 * m * n));
          for (const BF16Products bf16 : kEveryBF16) {
            want[index_of(bf16)].resize(got.size());
            g.c = want[index_of(bf16)].data();
            reference::matmul(g, bf16);
          }
          g.c = got.data();
          on_every_target([&](Target target) {
            for (int threads : {1, 2, 8}) {
              std::fill(got.begin(), got.end(), -7.0f);
              GuardedBuffer scratch(matmul_scratch(g, threads), 64);
              matmul(g, scratch.data(), threads);
              EXPECT_TRUE(same_bits(g.epilogue.out, want[index_of(target)].data(), got.data(), got.size()));
            }
          });
        }
      }
    }
  }
}

// f32 operands that are rounded first give the bits of bf16 ones, where the target multiplies bf16.
TEST(Gemm, MatmulRoundsToBf16) {
  for (const bool a_transposed : {false, true}) {
    Random random(9);
    MatmulArgs g;
    g.m = 37, g.n = 50, g.k = 301;
    g.lda = a_transposed ? 1 : g.k, g.a_col = a_transposed ? g.m : 1, g.b_row = g.n, g.b_col = 1, g.ldc = g.n;
    GuardedBuffer a(static_cast<size_t>(g.m * g.k) * 4), b(static_cast<size_t>(g.k * g.n) * 4);
    fill_random(random, DType::kF32, a.data(), a.size() / 4);
    fill_random(random, DType::kF32, b.data(), b.size() / 4);
    g.a = a.data(), g.b = b.data();
    std::vector<float> want[kBF16Products], got(static_cast<size_t>(g.m * g.n));
    for (std::vector<float>& w : want) w.resize(got.size());
    g.c = want[0].data();
    reference::matmul(g, BF16Products::kExpanded);
    std::vector<BFloat16> rounded_a, rounded_b;
    for (size_t i = 0; i < a.size() / 4; ++i) rounded_a.emplace_back(a.as<float>()[i]);
    for (size_t i = 0; i < b.size() / 4; ++i) rounded_b.emplace_back(b.as<float>()[i]);
    MatmulArgs rounded = g;
    rounded.dtype = DType::kBF16;
    rounded.a = rounded_a.data(), rounded.b = rounded_b.data();
    for (const BF16Products bf16 : {BF16Products::kPairs, BF16Products::kTiles}) {
      rounded.c = want[index_of(bf16)].data();
      reference::matmul(rounded, bf16);
    }
    g.bf16 = true;
    g.c = got.data();
    on_every_target([&](Target target) {
      GuardedBuffer scratch(matmul_scratch(g, 2), 64);
      matmul(g, scratch.data(), 2);
      EXPECT_TRUE(same_bits(DType::kF32, want[index_of(target)].data(), got.data(), got.size()));
    });
  }
}

// A transposed operand of more rows than are copied at once.
TEST(Gemm, MatmulCopiesATransposedOperandInPieces) {
  Random random(7);
  MatmulArgs g;
  g.m = 800, g.n = 20, g.k = 6000;
  g.lda = 1, g.a_col = g.m, g.b_row = g.n, g.b_col = 1, g.ldc = g.n;
  GuardedBuffer a(static_cast<size_t>(g.m * g.k) * 4), b(static_cast<size_t>(g.k * g.n) * 4);
  fill_random(random, DType::kF32, a.data(), a.size() / 4);
  fill_random(random, DType::kF32, b.data(), b.size() / 4);
  g.a = a.data(), g.b = b.data();
  std::vector<float> want(static_cast<size_t>(g.m * g.n)), got(want.size());
  g.c = want.data();
  reference::matmul(g, BF16Products::kExpanded);
  g.c = got.data();
  for (int threads : {1, 2}) {
    std::fill(got.begin(), got.end(), -7.0f);
    GuardedBuffer scratch(matmul_scratch(g, threads), 64);
    matmul(g, scratch.data(), threads);
    EXPECT_TRUE(same_bits(DType::kF32, want.data(), got.data(), want.size()));
  }
}

// Gradients of small layers' weights, which are summed up block by block of K.
TEST(Gemm, MatmulWithALongKIsSummedUpInBlocks) {
  Random random(8);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool b_transposed : {false, true}) {
      for (auto [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{33, 50, 1100}, {64, 16, 4096}, {5, 1, 1024}}) {
        MatmulArgs g;
        g.m = m, g.n = n, g.k = k;
        g.dtype = dtype;
        g.batch[2] = 3;
        g.a_batch[2] = m * k, g.b_batch[2] = k * n, g.c_batch[2] = m * (n + 3);
        g.lda = 1, g.a_col = m, g.ldc = n + 3;
        g.b_row = b_transposed ? 1 : n, g.b_col = b_transposed ? k : 1;
        const size_t bytes = static_cast<size_t>(dtype_bits(dtype)) / 8;
        GuardedBuffer a(static_cast<size_t>(3 * m * k) * bytes), b(static_cast<size_t>(3 * k * n) * bytes);
        fill_random(random, dtype, a.data(), a.size() / bytes);
        fill_random(random, dtype, b.data(), b.size() / bytes);
        g.a = a.data(), g.b = b.data();
        std::vector<float> wants[kBF16Products], got;
        for (const BF16Products bf16 : kEveryBF16) {
          std::vector<float>& want = wants[index_of(bf16)];
          want.assign(static_cast<size_t>(3 * m * (n + 3)), -7.0f);
          g.c = want.data();
          reference::matmul(g, bf16);
        }
        on_every_target([&](Target target) {
          const std::vector<float>& want = wants[index_of(target)];
          for (int threads : {1, 2, 4}) {
            got.assign(want.size(), -7.0f);
            g.c = got.data();
            GuardedBuffer scratch(matmul_scratch(g, threads), 64);
            matmul(g, scratch.data(), threads);
            EXPECT_TRUE(same_bits(DType::kF32, want.data(), got.data(), want.size()))
                << g.m << ' ' << g.n << ' ' << g.k;
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace lowp::kernels
