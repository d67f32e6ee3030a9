// XXH3, 64 bit: guards files against damage, not against forgery. More than 10 GB/s, so whole engines are checked at
// open.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>

namespace lowp {

inline uint64_t checksum(const void* data, size_t size, uint64_t seed = 0) {
  return XXH3_64bits_withSeed(data, size, seed);
}

}  // namespace lowp
