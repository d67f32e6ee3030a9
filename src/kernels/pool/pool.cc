#include "kernels/pool/pool.h"

#include "kernels/pool/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(PoolTable, pool_table)

namespace lowp::kernels {
namespace {

// The taps k in [first, last) of an axis for which position + k * dilation lies in [0, extent).
struct Taps {
  int64_t first, last;
};
Taps taps_inside(int64_t position, int64_t kernel, int64_t dilation, int64_t extent) {
  int64_t first = position < 0 ? (-position + dilation - 1) / dilation : 0;
  int64_t last = position >= extent ? 0 : std::min(kernel, (extent - position + dilation - 1) / dilation);
  return {std::min(first, kernel), std::max(std::min(first, kernel), last)};
}

// Calls body(window, count, offset) for each output position; offset of its first channel, in elements.
template <typename Body>
void for_windows(const PoolArgs& a, size_t element_bytes, const void* x, int threads, Body&& body) {
  int64_t work = a.out_w * a.channels * a.kernel_h * a.kernel_w;
  if (work == 0) return;
  parallel_ranges(threads, a.batch * a.out_h, kGrainElements / work, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t b = r / a.out_h, h = r % a.out_h * a.stride_h - a.pad_top;
      Taps th = taps_inside(h, a.kernel_h, a.dilation_h, a.in_h);
      Taps ph = taps_inside(h + a.pad_top, a.kernel_h, a.dilation_h, a.in_h + a.pad_top + a.pad_bottom);
      for (int64_t ow = 0; ow < a.out_w; ++ow) {
        int64_t w = ow * a.stride_w - a.pad_left;
        Taps tw = taps_inside(w, a.kernel_w, a.dilation_w, a.in_w);
        Window window;
        window.rows = th.last - th.first;
        window.columns = tw.last - tw.first;
        window.row_step = a.dilation_h * a.in_w * a.channels;
        window.column_step = a.dilation_w * a.channels;
        window.channels = a.channels;
        int64_t count = window.rows * window.columns;
        if (count > 0) {
          int64_t row = h + th.first * a.dilation_h, column = w + tw.first * a.dilation_w;
          int64_t offset = ((b * a.in_h + row) * a.in_w + column) * a.channels;
          window.first = static_cast<const uint8_t*>(x) + static_cast<size_t>(offset) * element_bytes;
        } else {
          window.rows = 0;
        }
        if (a.count_include_pad) {
          Taps pw = taps_inside(w + a.pad_left, a.kernel_w, a.dilation_w, a.in_w + a.pad_left + a.pad_right);
          count = (ph.last - ph.first) * (pw.last - pw.first);
        }
        body(window, static_cast<float>(count), (r * a.out_w + ow) * a.channels);
      }
    }
  });
}

}  // namespace

void max_pool(const PoolArgs& args, DType dtype, const void* x, void* y, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  for_windows(args, dtype == DType::kF32 ? 4 : 1, x, threads, [&](const Window& window, float, int64_t offset) {
    switch (dtype) {
      case DType::kF32: return table.max_f32(window, static_cast<float*>(y) + offset);
      case DType::kI8: return table.max_s8(window, static_cast<int8_t*>(y) + offset);
      default: return table.max_u8(window, static_cast<uint8_t*>(y) + offset);
    }
  });
}

void average_pool_f32(const PoolArgs& args, const float* x, float* y, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  for_windows(args, 4, x, threads,
              [&](const Window& window, float count, int64_t offset) { table.average_f32(window, count, y + offset); });
}

void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  for_windows(args, 1, x, threads, [&](const Window& window, float count, int64_t offset) {
    table.average_q8(window, count, quantization, static_cast<uint8_t*>(y) + offset);
  });
}

PoolArgs global_pool_args(int64_t batch, int64_t h, int64_t w, int64_t channels) {
  PoolArgs args;
  args.batch = batch;
  args.in_h = args.kernel_h = h;
  args.in_w = args.kernel_w = w;
  args.channels = channels;
  return args;
}

}  // namespace lowp::kernels
