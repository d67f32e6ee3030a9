#include "kernels/depthwise/depthwise.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "kernels/depthwise/tiles.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(DepthwiseTable, depthwise_kernels)

namespace lowp::kernels {
namespace {

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

struct Plan {
  int64_t taps, columns;
  bool is_int;
  size_t element;
  size_t pairs, zero_row;        // bytes shared by all threads
  size_t acc, pointers, thread;  // bytes of each thread
};

Plan plan_of(const DepthwiseArgs& a) {
  LOWP_CHECK(a.in_dtype == DType::kF32 || a.in_dtype == DType::kU8 || a.in_dtype == DType::kI8);
  Plan p{};
  p.is_int = a.in_dtype != DType::kF32;
  p.element = p.is_int ? 1 : 4;
  p.taps = a.kernel_h * a.kernel_w;
  p.columns = (a.c + kPanel - 1) / kPanel * kPanel;
  const int64_t even_taps = (p.taps + 1) / 2 * 2;
  if (p.is_int) p.pairs = align64(static_cast<size_t>(even_taps / 2 * p.columns) * sizeof(int32_t));
  p.zero_row = align64(static_cast<size_t>(a.c) * p.element);
  p.acc = sizeof(float) * kDepthwisePixels * static_cast<size_t>(kDepthwiseChunk);
  p.pointers = align64(static_cast<size_t>(even_taps) * kDepthwisePixels * sizeof(void*));
  p.thread = p.acc + p.pointers;
  return p;
}

// Pointers to the taps of output pixels [ow, ow + pixels) of line (b, oh).
void build_pointers(const DepthwiseArgs& a, const Plan& p, const char* zero, int64_t b, int64_t oh, int64_t ow,
                    int pixels, const void** out) {
  const int64_t pixel = a.in_ld * static_cast<int64_t>(p.element);
  for (int64_t kh = 0; kh < a.kernel_h; ++kh) {
    const int64_t ih = oh * a.stride_h - a.pad_top + kh * a.dilation_h;
    const bool inside = ih >= 0 && ih < a.in_h;
    const char* line = static_cast<const char*>(a.in) + (b * a.in_h + ih) * a.in_w * pixel;
    for (int64_t kw = 0; kw < a.kernel_w; ++kw) {
      int64_t iw = ow * a.stride_w - a.pad_left + kw * a.dilation_w;
      for (int i = 0; i < pixels; ++i, iw += a.stride_w)
        *out++ = inside && iw >= 0 && iw < a.in_w ? line + iw * pixel : zero;
    }
  }
  // The tap that completes the last pair has zero weights and may read anything.
  if (p.is_int && p.taps % 2 != 0) std::fill_n(out, pixels, static_cast<const void*>(zero));
}

}  // namespace

size_t depthwise_scratch(const DepthwiseArgs& args, int threads) {
  const Plan p = plan_of(args);
  return p.pairs + p.zero_row + p.thread * static_cast<size_t>(threads);
}

void depthwise(const DepthwiseArgs& a, void* scratch, int threads) {
  const Plan p = plan_of(a);
  const DepthwiseTable& table = LOWP_SELECT_TABLE(depthwise_kernels);
  const GemmTable& shared = *gemm_table(active_target());
  const EpilogueFn epilogue = p.is_int ? shared.epilogue_s32 : shared.epilogue_f32;
  const auto tile_fn = p.is_int ? table.tile_s8 : table.tile_f32;

  char* base = static_cast<char*>(scratch);
  const void* weights = a.weights;
  if (p.is_int) {
    table.expand_pairs(static_cast<const int8_t*>(a.weights), p.taps, p.columns, reinterpret_cast<int32_t*>(base));
    weights = base;
  }
  char* zero = base + p.pairs;
  std::memset(zero, p.is_int ? static_cast<uint8_t>(a.in_zero) : 0, p.zero_row);
  char* thread_scratch = zero + p.zero_row;

  const size_t out_bytes = static_cast<size_t>(dtype_bits(a.epilogue.out)) / 8;
  const size_t residual_bytes = static_cast<size_t>(dtype_bits(a.epilogue.residual_dtype)) / 8;
  const int64_t lines = a.batch * a.out_h;
  const int64_t parts = std::clamp<int64_t>(lines, 1, threads);
  parallel_for(threads, parts, [&](int64_t part) {
    char* mine = thread_scratch + p.thread * static_cast<size_t>(part);
    const void** pointers = reinterpret_cast<const void**>(mine + p.acc);
    for (int64_t line = lines * part / parts; line < lines * (part + 1) / parts; ++line) {
      for (int64_t ow = 0; ow < a.out_w; ow += kDepthwisePixels) {
        const int pixels = static_cast<int>(std::min<int64_t>(kDepthwisePixels, a.out_w - ow));
        build_pointers(a, p, zero, line / a.out_h, line % a.out_h, ow, pixels, pointers);
        const int64_t row = line * a.out_w + ow;
        for (int64_t c0 = 0; c0 < a.c; c0 += kDepthwiseChunk) {
          const int64_t channels = std::min(kDepthwiseChunk, a.c - c0);
          tile_fn({.rows = pointers,
                   .taps = static_cast<int>(p.taps),
                   .pixels = pixels,
                   .c0 = c0,
                   .channels = channels,
                   .weights = weights,
                   .columns = p.columns,
                   .acc = mine,
                   .flip = a.in_dtype == DType::kI8 ? 0x80 : 0});
          EpilogueArgs out{.e = &a.epilogue,
                           .acc = mine,
                           .acc_ld = kDepthwiseChunk,
                           .rows = pixels,
                           .cols = static_cast<int>(channels),
                           .n0 = c0,
                           .out = static_cast<char*>(a.out) + static_cast<size_t>(row * a.out_ld + c0) * out_bytes,
                           .ldc = a.out_ld,
                           .residual = nullptr};
          if (a.epilogue.residual != nullptr) {
            out.residual = static_cast<const char*>(a.epilogue.residual) +
                           static_cast<size_t>(row * a.epilogue.residual_ld + c0) * residual_bytes;
          }
          epilogue(out);
        }
      }
    }
  });
}

}  // namespace lowp::kernels
