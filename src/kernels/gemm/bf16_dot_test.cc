// vdpbf16ps and tdpbf16ps against their emulation (docs/numerics.md): tiles of the native kernels against the emulated
// ones, on random, cancelling and subnormal products. LOWP_BF16_TRIPLES sets how many (default 10^6).
#include <bit>
#include <cstdlib>

#include "kernels/gemm/test_util.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {
namespace {

using testing::Random;

// Two pairs of bf16, low element first: one side of K = 4. The first pair's sum is the accumulator of the second.
struct Four {
  uint32_t pair[2];
};

uint32_t random_bf16(Random& random, int mode) {
  switch (mode) {
    case 0: return random.next() & 0xffffu;          // any bits
    case 1: return BFloat16(random.uniform()).bits;  // around one
    case 2:
      return (random.next() & 0x80ffu) | static_cast<uint32_t>(random.range(30, 70)) << 7;  // products around 2^-126
    case 3: return random.next() & 0x80ffu;  // subnormal, smallest normal
    default: return (random.next() & 0x803fu) | static_cast<uint32_t>(random.range(120, 134)) << 7;
  }
}

uint32_t pair(uint32_t low, uint32_t high) { return low | high << 16; }

Four random_four(Random& random, int mode) {
  Four f;
  for (uint32_t& p : f.pair) p = pair(random_bf16(random, mode), random_bf16(random, mode));
  return f;
}
// The second pair is the first with its sign changed, so that equal or nearly equal weights cancel.
Four opposite(Four f) {
  f.pair[1] = f.pair[0] ^ 0x80008000u;
  return f;
}
// The second pair is within an ulp of the first.
Four nearly_equal(Random& random, Four f) {
  f.pair[1] =
      f.pair[0] + static_cast<uint32_t>(random.range(-1, 1)) + (static_cast<uint32_t>(random.range(-1, 1)) << 16);
  return f;
}

// Sixteen triples through K = 4 of one row and one panel of a target's tile.
void run_tile(Target target, const Four& row, const Four (&lanes)[16], float (&out)[16]) {
  alignas(64) uint32_t b[2][16];
  for (int i = 0; i < 16; ++i) {
    b[0][i] = lanes[i].pair[0];
    b[1][i] = lanes[i].pair[1];
  }
  const void* rows[1] = {row.pair};
  alignas(64) float acc[16];
  gemm_table(target)->bf16_dot->tile[1][1](
      {.rows = rows, .rows_stride = 1, .taps = 1, .c = 4, .b = b, .b_stride = 128, .acc = acc});
  std::memcpy(out, acc, sizeof(acc));
}

TEST(Bf16Dot, HardwareEqualsEmulation) {
  if (!target_supported(Target::k_avx512_bf16)) GTEST_SKIP() << "no avx512_bf16 on this CPU";
  const char* wanted = std::getenv("LOWP_BF16_TRIPLES");
  const int64_t triples = wanted != nullptr ? std::atoll(wanted) : 1000000;
  Random random(20);
  int64_t different = 0;
  for (int64_t done = 0; done < triples; done += 16) {
    const int mode = random.range(0, 4);
    const bool cancelling = random.range(0, 2) == 0;
    Four row = random_four(random, mode), lanes[16];
    if (cancelling) row = opposite(row);
    for (Four& lane : lanes) {
      lane = random_four(random, mode);
      if (cancelling) lane = nearly_equal(random, lane);
    }
    float hardware[16], emulated[16];
    run_tile(Target::k_avx512_bf16, row, lanes, hardware);
    run_tile(Target::k_emu512, row, lanes, emulated);
    for (int i = 0; i < 16; ++i) {
      if (std::isnan(hardware[i]) && std::isnan(emulated[i])) continue;
      if (std::bit_cast<uint32_t>(hardware[i]) == std::bit_cast<uint32_t>(emulated[i])) continue;
      if (++different <= 10) {
        ADD_FAILURE() << std::hex << "a " << row.pair[0] << " " << row.pair[1] << " b " << lanes[i].pair[0] << " "
                      << lanes[i].pair[1] << std::hexfloat << " hardware " << hardware[i] << " emulation "
                      << emulated[i];
      }
    }
  }
  EXPECT_EQ(different, 0) << "of " << triples << " triples";
}

// A row of 64 bf16, K being two products of a tile, against one panel; sums start at 0.
void run_amx_tile(Target target, const uint16_t (&row)[64], const uint16_t (&panel)[32][32], float (&out)[16]) {
  const TileSet& set = *gemm_table(target)->bf16_amx;
  const void* rows[1] = {row};
  alignas(64) float acc[16];
  set.configure(1, 0);
  set.tile[1][1]({.rows = rows,
                  .rows_stride = 1,
                  .taps = 1,
                  .c = 64,
                  .b = panel,
                  .b_stride = sizeof(panel),
                  .acc = acc,
                  .acc_ld = 16,
                  .row_step = sizeof(row),
                  .first = 1});
  set.release();
  std::memcpy(out, acc, sizeof(acc));
}

TEST(Bf16Dot, TilesEqualTheirEmulation) {
  if (!target_supported(Target::k_avx512_amx)) GTEST_SKIP() << "no AMX on this CPU";
  const char* wanted = std::getenv("LOWP_BF16_TRIPLES");
  const int64_t products = wanted != nullptr ? std::atoll(wanted) : 1000000;
  Random random(21);
  int64_t different = 0;
  alignas(64) uint16_t row[64], panel[32][32];
  for (int64_t done = 0; done < products; done += 64 * 16) {
    const int mode = random.range(0, 4);
    const bool cancelling = random.range(0, 2) == 0;
    for (uint16_t& a : row) a = static_cast<uint16_t>(random_bf16(random, mode));
    for (auto& pairs : panel) {
      for (uint16_t& b : pairs) b = static_cast<uint16_t>(random_bf16(random, mode));
    }
    if (cancelling) {
      // The second half of K is the first with its sign changed, and weights that are an ulp off.
      for (int k = 0; k < 32; ++k) row[32 + k] = row[k] ^ 0x8000u;
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 32; ++n) panel[16 + k][n] = static_cast<uint16_t>(panel[k][n] + random.range(-1, 1));
      }
    }
    float hardware[16], emulated[16];
    run_amx_tile(Target::k_avx512_amx, row, panel, hardware);
    run_amx_tile(Target::k_emu_amx, row, panel, emulated);
    for (int i = 0; i < 16; ++i) {
      if (std::isnan(hardware[i]) && std::isnan(emulated[i])) continue;
      if (std::bit_cast<uint32_t>(hardware[i]) == std::bit_cast<uint32_t>(emulated[i])) continue;
      if (++different <= 10) {
        ADD_FAILURE() << "mode " << mode << (cancelling ? " cancelling" : "") << std::hexfloat << " hardware "
                      << hardware[i] << " emulation " << emulated[i];
      }
    }
  }
  EXPECT_EQ(different, 0) << "of " << products << " products";
}

}  // namespace
}  // namespace lowp::kernels
