#include "kernels/random/random.h"

#include "kernels/random/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(RandomTable, random_table)

namespace lowp::kernels {
namespace {

PhiloxGroup group_of(const RandomKey& k) {
  return {static_cast<uint32_t>(k.step),
          k.stream,
          {static_cast<uint32_t>(k.seed), static_cast<uint32_t>(k.seed >> 32) ^ static_cast<uint32_t>(k.step >> 32)}};
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xd2511f53u} * c[0], p1 = uint64_t{0xcd9e8d57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9e3779b9u;
    k[1] += 0xbb67ae85u;
  }
  return c;
}

float random_uniform_at(const RandomKey& key, int64_t i) {
  const PhiloxGroup g = group_of(key);
  const auto block = static_cast<uint64_t>(i / 64 * 16 + i % 16);
  const auto words = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), g.step, g.stream},
                                {g.key[0], g.key[1]});
  return static_cast<float>(words[static_cast<size_t>(i / 16 % 4)] >> 8) * 0x1p-24f;
}

void dropout(DType dtype, const void* x, void* y, int64_t n, float ratio, const RandomKey& key, int threads) {
  const RandomTable& t = LOWP_SELECT_TABLE(random_table);
  const PhiloxGroup philox = group_of(key);
  const float factor = 1.0f / (1.0f - ratio);
  const int64_t size = dtype_bits(dtype) / 8;
  // Ten rounds cost about as much as copying eight times.
  parallel_ranges(threads, n, kGrainElements / 8, 64, [&](int64_t begin, int64_t end) {
    t.dropout(dtype, philox, static_cast<uint64_t>(begin / 64), static_cast<const char*>(x) + begin * size,
              static_cast<char*>(y) + begin * size, end - begin, ratio, factor);
  });
}

}  // namespace lowp::kernels
