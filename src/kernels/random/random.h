// Random numbers from a counter: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011). Each number follows from the key and its place alone, so neither threads nor targets matter, and a mask
// need not be kept: the backward pass computes it anew.
//
// Element i of a tensor has block 16 (i / 64) + i % 16 and word i / 16 % 4 of it, so that the four words of 16 blocks
// are 64 neighbouring elements. A block's counter is (block low, block high, step low, stream), its key (seed low, seed
// high xor step high), all 32 bits. A uniform number is u = (word >> 8) * 2^-24, in [0, 1).
#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

// The four words of a counter under a key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

struct RandomKey {
  uint64_t seed = 0;
  uint64_t step = 0;    // of training
  uint32_t stream = 0;  // which of a model's consumers
};
// u of element i.
float random_uniform_at(const RandomKey& key, int64_t i);

// y[i] = u < ratio ? 0 : x[i] * (1 / (1 - ratio)), the factor rounded once; 0 <= ratio < 1. f32, bf16 or f16 in memory;
// y may be x.
void dropout(DType dtype, const void* x, void* y, int64_t n, float ratio, const RandomKey& key, int threads);

}  // namespace lowp::kernels
