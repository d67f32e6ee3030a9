#include "kernels/conv/conv.h"

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/conv/order.h"
#include "kernels/conv/taps.h"
#include "kernels/conv/winograd_int8.h"
#include "kernels/gemm/driver.h"

namespace lowp::kernels {
namespace {

struct Geometry {
  int64_t in_c, out_c;     // of a group
  size_t stored;           // bytes of an input element
  size_t bytes;            // where it is multiplied: a copy of few channels is rounded to bf16 where its product does
  bool pointwise;          // 1x1, stride 1, unpadded: output pixels are input pixels
  bool padded_copy;        // the image is copied with its padding; rows of taps are then contiguous
  bool lines;              // AMX: each line of output pixels reads pixels that lie evenly
  PaddedImage padded;      // the copy; of no lines where there is none
  int64_t images;          // of a job
  size_t zero_row, image;  // bytes of scratch
  bool copied() const { return padded.h != 0; }
};

// Below this a tap's channels are too short a run to be worth a pointer of their own. Few-channel layers are first
// layers, where copying the image costs a fraction of a percent of the layer.
constexpr size_t kShortRunBytes = 16;

// Lines of fewer pixels leave too much of AMX's tiles empty: their taps are copied end to end.
constexpr int64_t kShortestLine = 12;
// Pixels of a job whose images are copied with their padding: the copy is in L2 when it is multiplied.
constexpr int64_t kCopiedPixels = 1024;

// Whether AMX's tiles can read the taps of a line of pixels in place, or in a copy with its padding.
bool reads_lines(const ConvArgs& a, const Geometry& g) {
  const bool same_type = a.weight_kind == WeightKind::kS8     ? a.in_dtype == DType::kU8
                         : a.weight_kind == WeightKind::kBF16 ? a.in_dtype == DType::kBF16
                                                              : false;
  return same_type && uses_amx(a.weight_kind, a.batch * a.out_h * a.out_w) && !g.pointwise && !g.padded_copy &&
         !a.choice.gather && g.in_c * static_cast<int64_t>(g.bytes) % kAmxRowBytes == 0 && a.out_w >= kShortestLine &&
         a.pad_top >= 0 && a.pad_left >= 0;
}
// f32 images that are multiplied in bf16.
bool rounds_operands(const ConvArgs& a) {
  return a.in_dtype == DType::kF32 && a.weight_kind == WeightKind::kBF16 && !expands_weights(a.weight_kind);
}
bool reads_padding(const ConvArgs& a) {
  return a.pad_top > 0 || a.pad_left > 0 || (a.out_h - 1) * a.stride_h + (a.kernel_h - 1) * a.dilation_h >= a.in_h ||
         (a.out_w - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w >= a.in_w;
}

Geometry geometry_of(const ConvArgs& a) {
  Geometry g{};
  g.in_c = a.in_c / a.groups;
  g.out_c = a.out_c / a.groups;
  g.stored = g.bytes = static_cast<size_t>(dtype_bits(a.in_dtype)) / 8;
  const bool unpadded = a.pad_top == 0 && a.pad_left == 0 && a.out_h == a.in_h && a.out_w == a.in_w;
  g.pointwise = a.kernel_h == 1 && a.kernel_w == 1 && a.stride_h == 1 && a.stride_w == 1 && unpadded;
  g.padded_copy = a.kernel_w > 1 && a.groups == 1 && a.dilation_w == 1 && a.pad_top >= 0 && a.pad_left >= 0 &&
                  static_cast<size_t>(g.in_c) * g.bytes < kShortRunBytes;
  if (g.padded_copy && rounds_operands(a)) g.bytes = 2;
  g.lines = reads_lines(a, g);
  const bool copied = g.padded_copy || (g.lines && reads_padding(a));
  // One where there is nothing to compute.
  const int64_t pixels = std::max<int64_t>(a.out_h * a.out_w, 1), batch = std::max<int64_t>(a.batch, 1);
  g.images = g.padded_copy ? 1 : copied ? std::clamp<int64_t>(kCopiedPixels / pixels, 1, batch) : batch;
  if (copied) {
    g.padded = PaddedImage::of(a);
    g.image = align64(static_cast<size_t>(g.images * g.padded.h * g.padded.w * a.in_c) * g.bytes + kGatherSlack);
  } else if (!g.pointwise) {
    g.zero_row = align64(static_cast<size_t>(g.in_c) * g.bytes);
  }
  return g;
}

struct Source {
  const ConvArgs* args;
  Geometry geometry;
  const char* in;    // of the group; or the padded copy
  const char* zero;  // a pixel of padding
  PixelOrder order;
};

void pointwise_rows(const void* context, int64_t m0, int64_t count, int64_t, const void** out) {
  const Source& s = *static_cast<const Source*>(context);
  const int64_t row = s.args->in_ld * static_cast<int64_t>(s.geometry.bytes);
  for (int64_t i = 0; i < count; ++i) out[i] = s.in + (m0 + i) * row;
}

// Of a copy with its padding, or of images that need none. Where few channels are copied, a tap is a row of the kernel:
// kernel_w * in_c contiguous elements.
void line_rows(const void* context, int64_t m0, int64_t count, int64_t stride, const void** out) {
  const Source& s = *static_cast<const Source*>(context);
  const ConvArgs& a = *s.args;
  const PaddedImage& copy = s.geometry.padded;
  const bool copied = s.geometry.copied();
  const int64_t pixel = (copied ? a.in_c : a.in_ld) * static_cast<int64_t>(s.geometry.bytes);
  const int64_t line = (copied ? copy.w : a.in_w) * pixel, image = (copied ? copy.h : a.in_h) * line;
  const int64_t step = a.stride_w * pixel, taps_w = s.geometry.padded_copy ? 1 : a.kernel_w;
  int64_t ow = m0 % a.out_w, oh = m0 / a.out_w % a.out_h, b = m0 / a.out_w / a.out_h;
  for (int64_t i = 0; i < count; ow = 0) {
    const char* first = s.in + b * image + oh * a.stride_h * line + ow * step;
    const int64_t run = std::min(count - i, a.out_w - ow);
    for (int64_t t = 0; t < a.kernel_h * taps_w; ++t) {
      const char* at = first + t / taps_w * a.dilation_h * line + t % taps_w * a.dilation_w * pixel;
      for (int64_t j = 0; j < run; ++j) out[t * stride + i + j] = at + j * step;
    }
    i += run;
    if (++oh == a.out_h) oh = 0, ++b;
  }
}

void tap_rows(const void* context, int64_t m0, int64_t count, int64_t stride, const void** out) {
  const Source& s = *static_cast<const Source*>(context);
  const ConvArgs& a = *s.args;
  const int64_t pixel = a.in_ld * static_cast<int64_t>(s.geometry.bytes);
  for (int64_t kh = 0; kh < a.kernel_h; ++kh) {
    for (int64_t kw = 0; kw < a.kernel_w; ++kw, out += stride)
      tap_pointers(a, s.in, pixel, s.zero, kh, kw, m0, count, out);
  }
}

// As tap_rows, in the order's order: whether a tap is inside is the same for all pixels of a run.
void ordered_rows(const void* context, int64_t m0, int64_t count, int64_t stride, const void** out) {
  const Source& s = *static_cast<const Source*>(context);
  const ConvArgs& a = *s.args;
  const int64_t pixel = a.in_ld * static_cast<int64_t>(s.geometry.bytes), line = a.in_w * pixel;
  for (int64_t i = 0; i < count;) {
    const PixelOrder::Run run = s.order.run_at(m0 + i, count - i, a.batch);
    const int64_t step = run.down ? a.stride_h * line : a.stride_w * pixel;
    const int64_t ih = run.oh * a.stride_h - a.pad_top, iw = run.ow * a.stride_w - a.pad_left;
    const char* first = s.in + (run.b * a.in_h + ih) * line + iw * pixel;
    for (int64_t kh = 0, tap = 0; kh < a.kernel_h; ++kh) {
      for (int64_t kw = 0; kw < a.kernel_w; ++kw, ++tap) {
        const void** to = out + tap * stride + i;
        if (((run.outside >> tap) & 1) != 0) {
          std::fill_n(to, run.count, s.zero);
          continue;
        }
        const char* at = first + kh * a.dilation_h * line + kw * a.dilation_w * pixel;
        for (int64_t j = 0; j < run.count; ++j) to[j] = at + j * step;
      }
    }
    i += run.count;
  }
}

// Where output pixel `row` lies, and those after it in its line or rectangle.
RowRun output_run(const void* context, int64_t row) {
  const Source& s = *static_cast<const Source*>(context);
  const ConvArgs& a = *s.args;
  const int64_t line = a.out_line != 0 ? a.out_line : a.out_w * a.out_ld;
  const int64_t image = a.out_line != 0 ? a.out_image : a.out_h * line;
  PixelOrder::Run run{row / a.out_w / a.out_h, row / a.out_w % a.out_h, row % a.out_w, 0, false, 0};
  if (s.order.count != 0)
    run = s.order.run_at(row, INT64_MAX, a.batch);
  else
    run.count = a.out_w - run.ow;
  const int64_t pixel = (run.b * a.out_h + run.oh) * a.out_w + run.ow, residual_ld = a.epilogue.residual_ld;
  return {run.count, run.b * image + run.oh * line + run.ow * a.out_ld, run.down ? line : a.out_ld, pixel * residual_ld,
          (run.down ? a.out_w : 1) * residual_ld};
}

GemmJob job_of(const ConvArgs& a, const Geometry& g, int64_t images) {
  LOWP_CHECK(gemm_supported(a.in_dtype, a.weight_kind));
  LOWP_CHECK(a.in_c % a.groups == 0 && a.out_c % a.groups == 0);
  LOWP_CHECK(a.weight_kind != WeightKind::kS8 || g.in_c * a.kernel_h * a.kernel_w <= kMaxInt8K);
  GemmJob job;
  job.m = a.out_h * a.out_w * images;
  job.n = g.out_c;
  job.taps = g.padded_copy ? a.kernel_h : a.kernel_h * a.kernel_w;
  job.c = g.padded_copy ? a.kernel_w * a.in_c : g.in_c;
  job.a_dtype = g.bytes == g.stored ? a.in_dtype : DType::kBF16;
  job.b_kind = a.weight_kind;
  job.int8_class = a.int8_class;
  job.rows = g.padded_copy || g.lines ? line_rows : g.pointwise ? pointwise_rows : tap_rows;
  const int64_t in_ld = g.copied() ? a.in_c : a.in_ld;
  if (job.taps == 1 || g.lines) job.row_bytes = a.stride_w * in_ld * static_cast<int64_t>(g.bytes);  // within a line
  job.even = g.pointwise ? job.m : g.lines ? a.out_w : 0;
  job.slack = g.padded_copy;
  job.ldc = a.out_ld;
  if (a.out_line != 0) job.run = output_run;
  job.epilogue = &a.epilogue;
  job.choice = a.choice;
  return job;
}

// Bytes that mean zero in the input's type.
uint8_t padding_byte(const ConvArgs& a) {
  return is_floating(a.in_dtype) ? uint8_t{0} : static_cast<uint8_t>(a.in_zero);
}

void round_to_bf16(char* to, const char* from, int64_t elements) {
  const void* row = from;
  gemm_table(active_target())
      ->gather[static_cast<int>(Gather::kF32ToBF16)](
          {.rows = &row, .stride = 1, .count = 1, .taps = 1, .c = elements, .group = 1, .dst = to, .dst_step = 0});
}

void copy_padded(const ConvArgs& a, const Geometry& g, const char* in, int64_t images, char* image, int threads) {
  const auto bytes = static_cast<int64_t>(g.bytes);
  const int padding = padding_byte(a);
  parallel_for(threads, images * g.padded.h, [&](int64_t y) {
    const char* from = in + y / g.padded.h * a.in_h * a.in_w * a.in_ld * static_cast<int64_t>(g.stored);
    char* const line = image + y * g.padded.w * a.in_c * bytes;
    if (g.bytes == g.stored)
      copy_padded_line(a, g.padded, bytes, a.in_ld, padding, from, y % g.padded.h, line);
    else
      copy_padded_line(a, g.padded, 4, bytes, a.in_ld, padding, from, y % g.padded.h, line, round_to_bf16);
  });
}

}  // namespace

std::vector<KernelChoice> conv_candidates(const ConvArgs& args, int threads) {
  const Geometry g = geometry_of(args);
  using Algorithm = KernelChoice::Algorithm;
  std::vector<KernelChoice> list = job_candidates(job_of(args, g, g.images), threads);
  if (!winograd_int8_fits(args)) return list;
  if (!winograd_int8_pays(args)) {
    list.insert(list.begin() + 1, {.algorithm = Algorithm::kWinograd});
    return list;
  }
  for (KernelChoice& c : list) c.algorithm = Algorithm::kDirect;
  list.insert(list.begin(), KernelChoice{});
  return list;
}

size_t conv_scratch(const ConvArgs& args, int threads) {
  if (takes_winograd_int8(args)) return winograd_int8_scratch(args, threads);
  const Geometry g = geometry_of(args);
  // The last images of a batch may be fewer and divided otherwise.
  const int64_t last = args.batch % g.images;
  const size_t rest = last == 0 ? 0 : job_scratch(job_of(args, g, last), threads);
  return g.zero_row + g.image + std::max(job_scratch(job_of(args, g, g.images), threads), rest);
}

void conv(const ConvArgs& a, void* scratch, int threads) {
  if (takes_winograd_int8(a)) return winograd_int8(a, scratch, threads);
  const Geometry g = geometry_of(a);
  GemmJob job = job_of(a, g, g.images);
  char* zero = static_cast<char*>(scratch);
  char* image = zero + g.zero_row;
  char* rest = image + g.image;
  if (g.zero_row != 0) std::memset(zero, padding_byte(a), g.zero_row);

  const size_t group_bytes = packed_bytes(a.weight_kind, g.in_c * a.kernel_h * a.kernel_w, g.out_c);
  const size_t out_bytes = static_cast<size_t>(dtype_bits(a.epilogue.out)) / 8;
  Epilogue epilogue = a.epilogue;
  job.epilogue = &epilogue;
  Source source{&a, g, nullptr, zero, {}};
  job.context = &source;
  if (job.rows == tap_rows && !uses_amx(a.weight_kind, job.m)) source.order = PixelOrder::of(a);
  if (source.order.count != 0) {
    job.rows = ordered_rows;
    job.run = output_run;
    job.pieces = source.order.pieces;
    job.piece_count = source.order.piece_count;
  }
  const size_t residual_bytes = static_cast<size_t>(dtype_bits(epilogue.residual_dtype)) / 8;
  const int64_t pixels = a.out_h * a.out_w;
  for (int64_t b = 0; b < a.batch; b += g.images) {
    const int64_t images = std::min(g.images, a.batch - b);
    job.m = pixels * images;
    const char* in = static_cast<const char*>(a.in) + static_cast<size_t>(b * a.in_h * a.in_w * a.in_ld) * g.stored;
    const int64_t out_image = a.out_line != 0 ? a.out_image : pixels * a.out_ld;
    char* out = static_cast<char*>(a.out) + static_cast<size_t>(b * out_image) * out_bytes;
    if (epilogue.residual != nullptr) {
      epilogue.residual = static_cast<const char*>(a.epilogue.residual) +
                          static_cast<size_t>(b * pixels * epilogue.residual_ld) * residual_bytes;
    }
    if (g.copied()) copy_padded(a, g, in, images, image, threads);
    for (int64_t group = 0; group < a.groups; ++group) {
      source.in = (g.copied() ? image : in) + static_cast<size_t>(group * g.in_c) * g.bytes;
      job.b = static_cast<const char*>(a.weights) + static_cast<size_t>(group) * group_bytes;
      job.c_out = out + static_cast<size_t>(group * g.out_c) * out_bytes;
      job.n0 = group * g.out_c;
      run_job(job, rest, threads);
    }
  }
}

}  // namespace lowp::kernels
