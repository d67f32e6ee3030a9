#include "kernels/conv/pack.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "kernels/conv/table.h"
#include "kernels/gemm/driver.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

int64_t element_bytes(DType dtype) { return dtype_bits(dtype) / 8; }
const char* at(const void* p, int64_t element, DType dtype) {
  return static_cast<const char*>(p) + element * element_bytes(dtype);
}

// Elements that one task packs: long enough to be worth taking, and layers of few panels still divide.
constexpr int64_t kPackedPiece = 32768;

}  // namespace

void pack_filters(WeightKind kind, DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps,
                  int64_t groups, void* dst, int threads) {
  const ConvTable& table = LOWP_SELECT_TABLE(conv_table);
  const int64_t n = out_c / groups, k = in_c_per_group * taps, panels = ceil_div(n, kPanel);
  if (n == 0 || k == 0) return;
  LOWP_CHECK(kind == WeightKind::kF32 || (kind == WeightKind::kBF16 && dtype == DType::kBF16));
  const size_t panel_bytes = packed_bytes(kind, k, kPanel);
  const bool pairs = kind == WeightKind::kBF16, pairs_meet = pairs && in_c_per_group % 2 != 0;
  // Both rows of a pair are of one piece.
  const int64_t unit = pairs ? kPanel * taps : kPanel;
  const int64_t piece = pairs_meet ? k : round_up(std::min(k, kPackedPiece / kPanel), unit);
  const int64_t pieces = ceil_div(k, piece);
  parallel_for(threads, groups * panels * pieces, [&](int64_t i) {
    const int64_t panel = i / pieces, g = panel / panels, first = i % pieces * piece;
    const int64_t o = panel % panels * kPanel;
    const char* from = at(w, (g * n + o) * k, dtype);
    const int filters = static_cast<int>(std::min(kPanel, n - o));
    const int64_t last = std::min(k, first + piece);
    char* to = static_cast<char*>(dst) + static_cast<size_t>(panel) * panel_bytes;
    if (pairs_meet) std::memset(to, 0, panel_bytes);
    if (pairs)
      table.pair_filters(from, filters, in_c_per_group, taps, first, last, to);
    else
      table.pack_filters(dtype, from, filters, in_c_per_group, taps, first, last, reinterpret_cast<float*>(to));
  });
}

size_t packed_flipped_bytes(WeightKind kind, int64_t out_c, int64_t in_c_per_group, int64_t chosen_count,
                            int64_t groups) {
  return packed_bytes(kind, out_c / groups * chosen_count, in_c_per_group) * static_cast<size_t>(groups);
}

void pack_flipped(WeightKind kind, DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps,
                  int64_t groups, const int32_t* chosen, int64_t chosen_count, void* dst, int threads) {
  const ConvTable& table = LOWP_SELECT_TABLE(conv_table);
  const int64_t filters = out_c / groups, panels = ceil_div(in_c_per_group, kPanel), k = filters * chosen_count;
  if (k == 0 || panels == 0) return;
  LOWP_CHECK(kind == WeightKind::kF32 || (kind == WeightKind::kBF16 && dtype == DType::kBF16));
  const size_t panel_bytes = packed_bytes(kind, k, kPanel);
  const bool pairs = kind == WeightKind::kBF16, pairs_meet = pairs && filters % 2 != 0;
  const int64_t usual = std::max<int64_t>(kPackedPiece / (kPanel * taps), 1);
  const int64_t piece = pairs_meet ? filters : pairs ? round_up(usual, 2) : usual, pieces = ceil_div(filters, piece);
  parallel_for(threads, groups * panels * pieces, [&](int64_t i) {
    const int64_t panel = i / pieces, g = panel / panels, first = i % pieces * piece;
    const int64_t c = panel % panels * kPanel, count = std::min(piece, filters - first);
    const char* from = at(w, (g * filters * in_c_per_group + c) * taps, dtype);
    const int64_t ld = in_c_per_group * taps;
    const int channels = static_cast<int>(std::min(kPanel, in_c_per_group - c));
    char* to = static_cast<char*>(dst) + static_cast<size_t>(panel) * panel_bytes;
    if (pairs_meet) std::memset(to, 0, panel_bytes);
    if (pairs)
      table.pair_flipped(from, ld, first, count, filters, channels, taps, chosen, chosen_count, to);
    else
      table.pack_flipped(dtype, from, ld, first, count, filters, channels, taps, chosen, chosen_count,
                         reinterpret_cast<float*>(to));
  });
}

void pack_depthwise_f32(DType dtype, const void* w, int64_t c, int64_t taps, float* dst) {
  const int64_t columns = round_up(c, kPanel);
  auto value = [&](int64_t i) {
    switch (dtype) {
      case DType::kBF16: return static_cast<float>(static_cast<const BFloat16*>(w)[i]);
      case DType::kF16: return static_cast<float>(static_cast<const Float16*>(w)[i]);
      default: return static_cast<const float*>(w)[i];
    }
  };
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t i = 0; i < columns; ++i) dst[t * columns + i] = i < c ? value(i * taps + t) : 0.0f;
  }
}

}  // namespace lowp::kernels
