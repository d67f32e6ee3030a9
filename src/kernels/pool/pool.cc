#include "kernels/pool/pool.h"

#include "base/status.h"
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
  const int64_t bytes = dtype_bits(dtype) / 8;
  for_windows(args, static_cast<size_t>(bytes), x, threads, [&](const Window& window, float, int64_t offset) {
    switch (dtype) {
      case DType::kI8: return table.max_s8(window, static_cast<int8_t*>(y) + offset);
      case DType::kU8: return table.max_u8(window, static_cast<uint8_t*>(y) + offset);
      default: return table.max_float(dtype, window, static_cast<char*>(y) + offset * bytes);
    }
  });
}

void average_pool(const PoolArgs& args, DType dtype, const void* x, void* y, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  const int64_t bytes = dtype_bits(dtype) / 8;
  for_windows(args, static_cast<size_t>(bytes), x, threads, [&](const Window& window, float count, int64_t offset) {
    table.average_float(dtype, window, count, static_cast<char*>(y) + offset * bytes);
  });
}

void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  for_windows(args, 1, x, threads, [&](const Window& window, float count, int64_t offset) {
    table.average_q8(window, count, quantization, static_cast<uint8_t*>(y) + offset);
  });
}

namespace {

// Channels of a task of max_pool_gradient: windows overlap, so a task has an image's channels to itself.
constexpr int64_t kGradientChannels = 64;

// Output positions that read one input position.
constexpr int64_t kMostReaders = 1024;

size_t gradient_sums_bytes(const PoolArgs& a) {
  return static_cast<size_t>(a.in_h * a.in_w * std::min(a.channels, kGradientChannels)) * sizeof(float);
}

}  // namespace

size_t max_pool_gradient_scratch(const PoolArgs& a, DType dtype, int threads) {
  return dtype == DType::kF32 ? 0 : gradient_sums_bytes(a) * static_cast<size_t>(threads);
}

void max_pool_gradient(const PoolArgs& a, DType dtype, const void* dy, const void* x, void* dx, void* scratch,
                       int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  const int64_t bytes = dtype_bits(dtype) / 8, pieces = (a.channels + kGradientChannels - 1) / kGradientChannels;
  parallel_shares(threads, a.batch * pieces, [&](int64_t worker, int64_t task) {
    const int64_t b = task / pieces, c = task % pieces * kGradientChannels;
    PoolArgs image = a;
    image.batch = 1;
    const int64_t channels = std::min(a.channels - c, kGradientChannels), pixels = a.in_h * a.in_w;
    // f32 is summed where it belongs.
    const bool in_place = dtype == DType::kF32;
    const int64_t ld = in_place ? a.channels : channels, in = b * pixels * a.channels + c;
    float* sums = in_place ? static_cast<float*>(dx) + in
                           : reinterpret_cast<float*>(static_cast<char*>(scratch) +
                                                      gradient_sums_bytes(a) * static_cast<size_t>(worker));
    for (int64_t i = 0; i < pixels; ++i) std::fill_n(sums + i * ld, channels, 0.0f);
    const char* from = static_cast<const char*>(x) + in * bytes;
    const char* gradient = static_cast<const char*>(dy) + (b * a.out_h * a.out_w * a.channels + c) * bytes;
    for_windows(image, static_cast<size_t>(bytes), from, 1, [&](Window window, float, int64_t offset) {
      if (window.rows * window.columns == 0) return;
      const int64_t first = (static_cast<const char*>(window.first) - from) / bytes / a.channels;  // pixel
      window.channels = channels;
      table.max_gradient(dtype, window, gradient + offset * bytes, sums + first * ld, a.dilation_h * a.in_w * ld,
                         a.dilation_w * ld);
    });
    if (in_place) return;
    for (int64_t i = 0; i < pixels; ++i)
      table.round(dtype, sums + i * ld, channels, static_cast<char*>(dx) + (in + i * a.channels) * bytes);
  });
}

void average_pool_gradient(const PoolArgs& a, DType dtype, const void* dy, void* dx, int threads) {
  const PoolTable& table = LOWP_SELECT_TABLE(pool_table);
  const int64_t bytes = dtype_bits(dtype) / 8, work = std::max<int64_t>(a.in_w * a.channels, 1);
  // Taps of a position that count, along one axis.
  auto counted = [&](int64_t position, int64_t kernel, int64_t dilation, int64_t extent, int64_t begin, int64_t end) {
    const Taps t = a.count_include_pad ? taps_inside(position + begin, kernel, dilation, extent + begin + end)
                                       : taps_inside(position, kernel, dilation, extent);
    return t.last - t.first;
  };
  // Calls body(output position) for those that read input position i of an axis.
  auto readers = [](int64_t i, int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad,
                    auto&& body) {
    const int64_t reach = (kernel - 1) * dilation, first = i + pad - reach;
    for (int64_t o = first <= 0 ? 0 : (first + stride - 1) / stride; o < out && o * stride <= i + pad; ++o) {
      if ((i + pad - o * stride) % dilation == 0) body(o);
    }
  };
  parallel_ranges(threads, a.batch * a.in_h, kGrainElements / work + 1, 1, [&](int64_t begin, int64_t end) {
    const void* rows[kMostReaders];
    float counts[kMostReaders];
    for (int64_t r = begin; r < end; ++r) {
      const int64_t b = r / a.in_h, ih = r % a.in_h;
      for (int64_t iw = 0; iw < a.in_w; ++iw) {
        int64_t n = 0;
        readers(ih, a.out_h, a.kernel_h, a.stride_h, a.dilation_h, a.pad_top, [&](int64_t oh) {
          const int64_t h = oh * a.stride_h - a.pad_top;
          const int64_t count_h = counted(h, a.kernel_h, a.dilation_h, a.in_h, a.pad_top, a.pad_bottom);
          readers(iw, a.out_w, a.kernel_w, a.stride_w, a.dilation_w, a.pad_left, [&](int64_t ow) {
            const int64_t w = ow * a.stride_w - a.pad_left;
            const int64_t count_w = counted(w, a.kernel_w, a.dilation_w, a.in_w, a.pad_left, a.pad_right);
            LOWP_CHECK(n < kMostReaders);
            rows[n] = static_cast<const char*>(dy) + ((b * a.out_h + oh) * a.out_w + ow) * a.channels * bytes;
            counts[n++] = static_cast<float>(count_h * count_w);
          });
        });
        table.average_gradient(dtype, rows, counts, n, a.channels,
                               static_cast<char*>(dx) + (r * a.in_w + iw) * a.channels * bytes);
      }
    }
  });
}

bool average_pool_gradient_supported(const PoolArgs& a) {
  auto most = [](int64_t out, int64_t kernel, int64_t stride, int64_t dilation) {
    return std::min(out, (kernel - 1) * dilation / stride + 1);
  };
  return most(a.out_h, a.kernel_h, a.stride_h, a.dilation_h) * most(a.out_w, a.kernel_w, a.stride_w, a.dilation_w) <=
         kMostReaders;
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
