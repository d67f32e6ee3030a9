#include "kernels/attention/attention.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "kernels/attention/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Case {
  int64_t batch, heads, kv_heads, s, t, d, dv;
  bool causal = false;
  bool head_major = false;  // [B, H, S, D] instead of [B, S, H, D]
};

HeadStrides strides(const Case& c, int64_t heads, int64_t length, int64_t width) {
  if (c.head_major) return {heads * length * width, width, length * width};
  return {length * heads * width, heads * width, width};
}

enum class MaskKind { kNone, kKeys, kFull };

void check(const Case& c, MaskKind mask_kind, DType y_dtype, bool s16) {
  test::Random random;
  int64_t kv = c.kv_heads > 0 ? c.kv_heads : c.heads;
  GuardedBuffer<float> q = random.floats(c.batch * c.heads * c.s * c.d), k = random.floats(c.batch * kv * c.t * c.d);
  GuardedBuffer<float> v = random.floats(c.batch * kv * c.t * c.dv);
  bool full = mask_kind == MaskKind::kFull;
  GuardedBuffer<float> mask = random.floats(full ? c.batch * c.heads * c.s * c.t : c.batch * c.t, -3.0f, 0.0f);
  for (size_t i = 0; i < mask.size(); i += 5) mask[i] = -10000.0f;

  AttentionArgs a;
  a.batch = c.batch;
  a.heads = c.heads;
  a.kv_heads = c.kv_heads;
  a.s = c.s;
  a.t = c.t;
  a.d = c.d;
  a.dv = c.dv;
  a.scale = 0.37f;
  a.causal = c.causal;
  a.s16 = s16;
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.q_strides = strides(c, c.heads, c.s, c.d);
  a.k_strides = strides(c, kv, c.t, c.d);
  a.v_strides = strides(c, kv, c.t, c.dv);
  a.y_strides = strides(c, c.heads, c.s, c.dv);
  if (mask_kind != MaskKind::kNone) a.mask = mask.data();
  a.mask_batch = full ? c.heads * c.s * c.t : c.t;
  a.mask_head = full ? c.s * c.t : 0;
  a.mask_row = full ? c.t : 0;
  a.y_dtype = y_dtype;
  a.y_scale = 0.01f;
  a.y_zero = y_dtype == DType::kU8 ? 128 : -2;
  a.y_range = {-30, 190};

  int64_t bytes = c.batch * c.heads * c.s * c.dv * (y_dtype == DType::kF32 ? 4 : 1);
  GuardedBuffer<uint8_t> expected(bytes);
  a.y = expected.data();
  reference::attention(a);
  test::for_each_target([&](int threads) {
    GuardedBuffer<uint8_t> y(bytes);
    a.y = y.data();
    auto scratch = AlignedBuffer::allocate(attention_scratch(a, threads));
    ASSERT_TRUE(scratch.has_value());
    memset(scratch->data(), 0xff, scratch->size());
    attention(a, scratch->data(), threads);
    if (y_dtype == DType::kF32) {
      GuardedBuffer<float> left(bytes / 4), right(bytes / 4);
      memcpy(left.data(), y.data(), y.size());
      memcpy(right.data(), expected.data(), y.size());
      test::expect_same(left, right);
    } else {
      test::expect_same(y, expected);
    }
  });
}

void check(const Case& c, MaskKind mask_kind, DType y_dtype) {
  for (bool s16 : {false, true}) check(c, mask_kind, y_dtype, s16);
}

TEST(Attention, HasTheBitsOfTheReference) {
  check({2, 3, 0, 9, 9, 16, 16}, MaskKind::kNone, DType::kF32);
  check({1, 2, 0, 33, 33, 32, 32, false, true}, MaskKind::kKeys, DType::kF32);
  check({1, 2, 0, 5, 40, 20, 24}, MaskKind::kFull, DType::kF32);
  check({1, 1, 0, 17, 16, 64, 64}, MaskKind::kKeys, DType::kF32);
  check({2, 1, 0, 1, 1, 1, 1}, MaskKind::kFull, DType::kF32);
  check({1, 4, 2, 6, 19, 8, 5}, MaskKind::kNone, DType::kF32);
  check({1, 2, 0, 3, 0, 8, 5}, MaskKind::kNone, DType::kF32);  // no keys
  check({1, 2, 0, 3, 4, 0, 5}, MaskKind::kKeys, DType::kF32);  // no features: the mask decides
}

TEST(Attention, LongSumsAreBlocked) {
  check({1, 1, 0, 2, 1100, 1090, 4}, MaskKind::kKeys, DType::kF32);
  check({1, 1, 0, 3, 530, 16, 18}, MaskKind::kKeys, DType::kF32);
  check({1, 1, 0, 3, 18, 300, 17}, MaskKind::kNone, DType::kF32);
}

TEST(Attention, Causal) {
  check({1, 2, 0, 37, 37, 16, 16, true}, MaskKind::kNone, DType::kF32);
  check({1, 2, 0, 4, 21, 16, 16, true}, MaskKind::kKeys, DType::kF32);
  check({1, 1, 0, 9, 4, 16, 16, true}, MaskKind::kNone, DType::kF32);  // the first queries see nothing
}

// Sums of the largest integers, all of one sign, fill s32; zeros everywhere divide nothing.
TEST(Attention, IntegersAtTheirLimits) {
  constexpr int64_t kT = 512, kD = 512;
  GuardedBuffer<float> x(kT * kD), y(kD);
  for (float value : {0.0f, 3.0f, 1e-38f}) {
    std::ranges::fill(x, value);
    AttentionArgs a;
    a.s = 1;
    a.t = kT;
    a.d = a.dv = kD;
    a.s16 = true;
    a.q = a.k = a.v = x.data();
    a.k_strides = a.v_strides = {0, kD, 0};
    a.y = y.data();
    test::for_each_target([&](int threads) {
      auto scratch = AlignedBuffer::allocate(attention_scratch(a, threads));
      ASSERT_TRUE(scratch.has_value());
      attention(a, scratch->data(), threads);
      for (float got : y) ASSERT_NEAR(got, value, 1e-6 * value + 1e-33);
    });
  }
}

// Closer to f32 than INT8, whose steps of 1/127 would be off by 16 times as much.
TEST(Attention, IntegersAreCloseToF32) {
  test::Random random;
  constexpr int64_t kS = 40, kD = 64;
  GuardedBuffer<float> q = random.floats(kS * kD, -4.0f, 4.0f), k = random.floats(kS * kD, -4.0f, 4.0f);
  GuardedBuffer<float> v = random.floats(kS * kD), exact(kS * kD), y(kS * kD);
  AttentionArgs a;
  a.s = a.t = kS;
  a.d = a.dv = kD;
  a.scale = 0.125f;
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.q_strides = a.k_strides = a.v_strides = a.y_strides = {0, kD, 0};
  a.y = exact.data();
  reference::attention(a);
  a.s16 = true;
  a.y = y.data();
  auto scratch = AlignedBuffer::allocate(attention_scratch(a, 1));
  ASSERT_TRUE(scratch.has_value());
  attention(a, scratch->data(), 1);
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], exact[i], 5e-3) << i;
}

TEST(Attention, QuantizedOutput) {
  check({1, 2, 0, 12, 12, 16, 19}, MaskKind::kKeys, DType::kU8);
  check({1, 2, 0, 12, 12, 16, 19}, MaskKind::kKeys, DType::kI8);
}

// One head on two threads is split by queries.
TEST(Attention, FewHeads) { check({1, 1, 0, 150, 70, 32, 32}, MaskKind::kFull, DType::kF32); }

}  // namespace
}  // namespace lowp::kernels
