// The arithmetic limit of this CPU now: multiply-accumulates a second of register-only loops, on 1 to N threads.
//
//   build/bench/peak [threads]
//
// Prints one JSON object: for each format the best instruction that the CPU has (f32: fma; bf16: tdpbf16ps of AMX, or
// vdpbf16ps; int8: tdpbusd of AMX, vpdpbusd, or pmaddubsw + pmaddwd where there is no VNNI) and its GMAC/s on each
// number of threads, the best of several tries, since other work on a shared machine only makes it slower.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/cpu.h"

namespace {

constexpr int kChains = 24;  // independent sums: more than latency times throughput of any of the instructions
constexpr long kRounds = 400'000;
constexpr int kTries = 25;

// An empty statement that makes a register's value unknown, so that nothing is computed beforehand or left out.
#define LOWP_OPAQUE(x) __asm__ volatile("" : "+v"(x))

// Each runs kRounds rounds of kChains instructions; both inner loops unrolled, so that the sums stay in registers.
#define LOWP_LOOP(Vector, start, step)                                        \
  Vector sums[kChains];                                                       \
  _Pragma("GCC unroll 24") for (int k = 0; k < kChains; ++k) sums[k] = start; \
  for (long i = 0; i < kRounds; ++i) {                                        \
    _Pragma("GCC unroll 24") for (int k = 0; k < kChains; ++k) {              \
      Vector& s = sums[k];                                                    \
      step;                                                                   \
      LOWP_OPAQUE(s);                                                         \
    }                                                                         \
  }

__attribute__((target("avx2,fma"))) void fma256() {
  const __m256 a = _mm256_set1_ps(1e-9F), b = _mm256_set1_ps(1.5F);
  constexpr int kChains = 12;
  LOWP_LOOP(__m256, _mm256_setzero_ps(), s = _mm256_fmadd_ps(a, b, s))
}
__attribute__((target("avx512f"))) void fma512() {
  const __m512 a = _mm512_set1_ps(1e-9F), b = _mm512_set1_ps(1.5F);
  LOWP_LOOP(__m512, _mm512_setzero_ps(), s = _mm512_fmadd_ps(a, b, s))
}
__attribute__((target("avx512f,avx512vnni"))) void vnni512() {
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
  LOWP_LOOP(__m512i, _mm512_setzero_si512(), s = _mm512_dpbusd_epi32(s, a, b))
}
__attribute__((target("avx2,avxvnni"))) void vnni256() {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2);
  constexpr int kChains = 12;
  LOWP_LOOP(__m256i, _mm256_setzero_si256(), s = _mm256_dpbusd_avx_epi32(s, a, b))
}
// Four products added in 16 bit before they are widened: 128 multiply-accumulates in nine instructions.
__attribute__((target("avx2"))) void maddubs256() {
  __m256i a = _mm256_set1_epi8(1);
  const __m256i b = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
  constexpr int kChains = 8;
  LOWP_LOOP(
      __m256i, _mm256_setzero_si256(), [&]() __attribute__((target("avx2"), always_inline)) {
        LOWP_OPAQUE(a);
        __m256i sum = _mm256_maddubs_epi16(a, b);
        _Pragma("GCC unroll 3") for (int i = 0; i < 3; ++i) {
          LOWP_OPAQUE(a);
          sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b));
        }
        s = _mm256_add_epi32(s, _mm256_madd_epi16(sum, ones));
      }())
}
__attribute__((target("avx512f,avx512bf16"))) void bf16_512() {
  const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = (__m512bh)_mm512_set1_epi16(0x3000);
  LOWP_LOOP(__m512, _mm512_setzero_ps(), s = _mm512_dpbf16_ps(s, a, b))
}

// AMX: sums of 16 x 16 in four tiles, which hide each other's latency; 64 bytes of K a product.
#define LOWP_TILES(product)                                                                          \
  alignas(64) unsigned char config[64] = {1}; /* palette; bytes a row from 16 on, rows from 48 on */ \
  for (int r = 0; r < 8; ++r) config[16 + 2 * r] = 64, config[48 + r] = 16;                          \
  __asm__ volatile("ldtilecfg %0" ::"m"(config));                                                    \
  for (long i = 0; i < kRounds; ++i) {                                                               \
    _Pragma("GCC unroll 6") for (int k = 0; k < kChains; k += 4) {                                   \
      __asm__ volatile(product " %tmm6, %tmm4, %tmm0");                                              \
      __asm__ volatile(product " %tmm7, %tmm4, %tmm1");                                              \
      __asm__ volatile(product " %tmm6, %tmm5, %tmm2");                                              \
      __asm__ volatile(product " %tmm7, %tmm5, %tmm3");                                              \
    }                                                                                                \
  }                                                                                                  \
  __asm__ volatile("tilerelease");

void tiles_int8() { LOWP_TILES("tdpbusd") }
void tiles_bf16() { LOWP_TILES("tdpbf16ps") }

struct Loop {
  const char* instruction;
  void (*run)();
  double macs;  // a round
};

double giga_macs(const Loop& loop, int threads) {
  double best = 0;
  for (int t = 0; t < kTries; ++t) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(loop.run);
    loop.run();
    for (std::thread& o : others) o.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, loop.macs * static_cast<double>(kRounds) * threads / seconds * 1e-9);
  }
  return best;
}

void print(const char* format, const Loop& loop, int threads, bool last) {
  std::printf("  \"%s\": {\"instruction\": \"%s\", \"gmacs\": {", format, loop.instruction);
  for (int t = 1; t <= threads; ++t) std::printf("%s\"%d\": %.1f", t == 1 ? "" : ", ", t, giga_macs(loop, t));
  std::printf("}}%s\n", last ? "" : ",");
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::clamp(std::atoi(argv[1]), 1, 256) : 1;
  const bool has_vnni512 = __builtin_cpu_supports("avx512vnni") != 0, has_512 = __builtin_cpu_supports("avx512f") != 0;
  const bool has_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
  const bool has_vnni256 = lowp::active_target() == lowp::Target::k_avx2_vnni;
  const Loop f32 = has_512 ? Loop{"vfmadd 512", fma512, 16 * 24} : Loop{"vfmadd 256", fma256, 8 * 12};
  const bool has_amx = lowp::target_supported(lowp::Target::k_avx512_amx);  // also asks for the registers
  const Loop int8 = has_amx       ? Loop{"tdpbusd", tiles_int8, 16 * 16 * 64 * 24}
                    : has_vnni512 ? Loop{"vpdpbusd 512", vnni512, 64 * 24}
                    : has_vnni256 ? Loop{"vpdpbusd 256", vnni256, 32 * 12}
                                  : Loop{"vpmaddubsw four times, vpmaddwd 256", maddubs256, 128 * 8};
  std::printf("{\n  \"cpu\": \"%s\",\n", lowp::cpu_name().c_str());
  print("fp32", f32, threads, false);
  if (has_amx)
    print("bf16", {"tdpbf16ps", tiles_bf16, 16 * 16 * 32 * 24}, threads, false);
  else if (has_bf16)
    print("bf16", {"vdpbf16ps 512", bf16_512, 32 * 24}, threads, false);
  print("int8", int8, threads, true);
  std::printf("}\n");
  return 0;
}
