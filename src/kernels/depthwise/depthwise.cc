#include "kernels/depthwise/depthwise.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "kernels/depthwise/tiles.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(DepthwiseTable, depthwise_kernels)
namespace lowp::avx2_vnni {
extern const kernels::DepthwiseTable depthwise_kernels;
}
namespace lowp::avx512_vnni {
extern const kernels::DepthwiseTable depthwise_kernels;
}

namespace lowp::kernels {
namespace {

const DepthwiseTable& active_table() {
  switch (active_target()) {
    case Target::k_avx2_vnni: return avx2_vnni::depthwise_kernels;
    case Target::k_avx512_vnni:
    case Target::k_avx512_bf16: return avx512_vnni::depthwise_kernels;
    default: return LOWP_SELECT_TABLE(depthwise_kernels);
  }
}

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

struct Plan {
  const DepthwiseTable* table;
  bool is_int;
  int64_t element;         // bytes of an input element
  int64_t columns;         // padded channels
  int64_t line_pixels;     // input pixels under one output line, padding included
  int64_t ring;            // input lines whose pointers are kept
  int pixels;              // of a tile
  int64_t channels;        // handled for a whole line before the next ones
  size_t words, zero_row;  // bytes shared by all threads
  size_t acc, tables, ring_lines,
      lines;  // bytes of each thread: sums, pointers to pixels, which lines they are of, to lines
  size_t thread;
};

Plan plan_of(const DepthwiseArgs& a) {
  LOWP_CHECK(a.in_dtype == DType::kF32 || a.in_dtype == DType::kU8 || a.in_dtype == DType::kI8);
  Plan p{};
  p.table = &active_table();
  p.is_int = a.in_dtype != DType::kF32;
  p.element = p.is_int ? 1 : 4;
  p.columns = (a.c + kPanel - 1) / kPanel * kPanel;
  p.line_pixels = (a.out_w - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1;
  p.ring = (a.kernel_h - 1) * a.dilation_h + 1;
  if (p.is_int) {
    const int64_t groups = (a.kernel_h + p.table->rows_per_word - 1) / p.table->rows_per_word;
    p.words = align64(static_cast<size_t>(groups * a.kernel_w * p.columns) * sizeof(int32_t));
  }
  p.pixels = a.choice.width != 0 ? a.choice.width : p.table->pixels;
  LOWP_CHECK(p.pixels == 1 || p.pixels == 2 || p.pixels == p.table->pixels);
  p.channels = a.choice.loop == KernelChoice::Loop::kColumnsOutside ? kDepthwiseChunk : std::max<int64_t>(a.c, 1);
  p.zero_row = align64(static_cast<size_t>(a.c * p.element));
  p.acc = sizeof(float) * kMaxDepthwisePixels * static_cast<size_t>(kDepthwiseChunk);
  p.tables = align64(static_cast<size_t>(p.ring * p.line_pixels) * sizeof(void*));
  p.ring_lines = align64(static_cast<size_t>(p.ring) * sizeof(int64_t));
  p.lines = align64(static_cast<size_t>(a.kernel_h) * sizeof(void*));
  p.thread = p.acc + p.tables + p.ring_lines + p.lines;
  return p;
}

// The pointers to the pixels of input lines that the current output line needs. Neighbouring output lines share most of
// them, so they are kept in a ring by line.
class LinePointers {
 public:
  LinePointers(const DepthwiseArgs& a, const Plan& p, const char* zero, char* scratch)
      : a_(a),
        p_(p),
        zero_(zero),
        tables_(reinterpret_cast<const void**>(scratch)),
        held_(reinterpret_cast<int64_t*>(scratch + p.tables)),
        lines_(reinterpret_cast<const void***>(scratch + p.tables + p.ring_lines)) {
    std::fill_n(held_, p.ring, int64_t{-1});
  }

  // lines[kh] for output line `line` (over the whole batch).
  const void*** of(int64_t line) {
    const int64_t b = line / a_.out_h, oh = line % a_.out_h;
    for (int64_t kh = 0; kh < a_.kernel_h; ++kh) {
      // Positive, and distinct for the lines of one window and of different images.
      const int64_t y = oh * a_.stride_h + kh * a_.dilation_h, id = b * (p_.ring + a_.out_h * a_.stride_h) + y;
      const int64_t slot = id % p_.ring;
      const void** table = tables_ + slot * p_.line_pixels;
      if (held_[slot] != id) {
        fill(table, b, y - a_.pad_top);
        held_[slot] = id;
      }
      lines_[kh] = table;
    }
    return lines_;
  }

 private:
  void fill(const void** table, int64_t b, int64_t ih) const {
    if (ih < 0 || ih >= a_.in_h) {
      std::fill_n(table, p_.line_pixels, static_cast<const void*>(zero_));
      return;
    }
    const int64_t pixel = a_.in_ld * p_.element;
    const char* line = static_cast<const char*>(a_.in) + (b * a_.in_h + ih) * a_.in_w * pixel;
    const int64_t first = std::min(a_.pad_left, p_.line_pixels),
                  last = std::clamp(a_.pad_left + a_.in_w, first, p_.line_pixels);
    std::fill_n(table, first, static_cast<const void*>(zero_));
    for (int64_t j = first; j < last; ++j) table[j] = line + (j - a_.pad_left) * pixel;
    std::fill_n(table + last, p_.line_pixels - last, static_cast<const void*>(zero_));
  }

  const DepthwiseArgs& a_;
  const Plan& p_;
  const char* zero_;
  const void** tables_;
  int64_t* held_;
  const void*** lines_;
};

// Output lines [first, last) on one thread.
void run_lines(const DepthwiseArgs& a, const Plan& p, const void* weights, const char* zero, char* scratch,
               int64_t first, int64_t last) {
  const GemmTable& shared = *gemm_table(active_target());
  const EpilogueFn epilogue = p.is_int ? shared.epilogue_s32 : shared.epilogue_f32;
  const auto tile_fn = p.is_int ? p.table->tile_s8 : p.table->tile_f32;
  const int64_t out_bytes = dtype_bits(a.epilogue.out) / 8, residual_bytes = dtype_bits(a.epilogue.residual_dtype) / 8;
  LinePointers pointers(a, p, zero, scratch + p.acc);
  DepthwiseTile t{.lines = nullptr,
                  .kernel_h = static_cast<int>(a.kernel_h),
                  .kernel_w = static_cast<int>(a.kernel_w),
                  .stride = static_cast<int>(a.stride_w),
                  .dilation = static_cast<int>(a.dilation_w),
                  .pixels = 0,
                  .c0 = 0,
                  .channels = 0,
                  .weights = weights,
                  .columns = p.columns,
                  .acc = scratch,
                  .is_signed = a.in_dtype == DType::kI8};
  EpilogueArgs out{};
  out.e = &a.epilogue;
  out.acc = scratch;
  out.acc_ld = kDepthwiseChunk;
  out.ldc = a.out_ld;
  for (int64_t line = first; line < last; ++line) {
    for (int64_t begin = 0; begin < a.c; begin += p.channels) {
      const int64_t end = std::min(a.c, begin + p.channels);
      const void*** lines = pointers.of(line);
      t.lines = lines;
      for (int64_t ow = 0; ow < a.out_w; ow += t.pixels) {
        const int64_t left = a.out_w - ow, row = line * a.out_w + ow;
        t.pixels = left >= p.pixels ? p.pixels : left >= 2 ? 2 : 1;
        for (int64_t c0 = begin; c0 < end; c0 += kDepthwiseChunk) {
          t.c0 = c0;
          t.channels = std::min(kDepthwiseChunk, end - c0);
          tile_fn(t);
          out.rows = t.pixels;
          out.cols = static_cast<int>(t.channels);
          out.n0 = c0;
          out.out = static_cast<char*>(a.out) + (row * a.out_ld + c0) * out_bytes;
          if (a.epilogue.residual != nullptr) {
            out.residual =
                static_cast<const char*>(a.epilogue.residual) + (row * a.epilogue.residual_ld + c0) * residual_bytes;
          }
          epilogue(out);
        }
        for (int64_t kh = 0; kh < a.kernel_h; ++kh) lines[kh] += t.pixels * a.stride_w;
      }
    }
  }
}

}  // namespace

std::vector<KernelChoice> depthwise_candidates(const DepthwiseArgs& args, int threads) {
  std::vector<KernelChoice> list(1);
  const int64_t lines = args.batch * args.out_h;
  if (lines * args.out_w * args.c == 0) return list;
  for (int width : {0, 2}) {
    if (width >= active_table().pixels || (width != 0 && args.out_w <= width)) continue;
    for (KernelChoice::Loop loop : {KernelChoice::Loop::kFormula, KernelChoice::Loop::kColumnsOutside}) {
      if (loop != KernelChoice::Loop::kFormula && args.c <= kDepthwiseChunk) continue;
      KernelChoice c;
      c.width = static_cast<uint8_t>(width);
      c.loop = loop;
      if (c != KernelChoice{}) list.push_back(c);
    }
  }
  if (threads > 1 && lines > 1) {  // waking other threads can take longer than a small layer
    KernelChoice c;
    c.split_m = c.split_n = 1;
    list.push_back(c);
  }
  return list;
}

size_t depthwise_scratch(const DepthwiseArgs& args, int threads) {
  const Plan p = plan_of(args);
  return p.words + p.zero_row + p.thread * static_cast<size_t>(threads);
}

void depthwise(const DepthwiseArgs& a, void* scratch, int threads) {
  if (a.batch * a.out_h * a.out_w * a.c == 0) return;
  const Plan p = plan_of(a);
  char* base = static_cast<char*>(scratch);
  const void* weights = a.weights;
  if (p.is_int) {
    p.table->expand(static_cast<const int8_t*>(a.weights), a.kernel_h, a.kernel_w, p.columns,
                    reinterpret_cast<int32_t*>(base));
    weights = base;
  }
  char* zero = base + p.words;
  std::memset(zero, p.is_int ? static_cast<uint8_t>(a.in_zero) : 0, p.zero_row);
  char* thread_scratch = zero + p.zero_row;
  const int64_t lines = a.batch * a.out_h, parts = std::clamp<int64_t>(lines, 1, a.choice.split_m != 0 ? 1 : threads);
  parallel_for(threads, parts, [&](int64_t i) {
    run_lines(a, p, weights, zero, thread_scratch + p.thread * static_cast<size_t>(i), lines * i / parts,
              lines * (i + 1) / parts);
  });
}

}  // namespace lowp::kernels
