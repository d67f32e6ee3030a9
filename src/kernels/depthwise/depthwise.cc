#include "kernels/depthwise/depthwise.h"

#include <algorithm>
#include <cstring>

#include "base/align.h"
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
    case Target::k_avx512_bf16:
    case Target::k_avx512_amx: return avx512_vnni::depthwise_kernels;
    default: return LOWP_SELECT_TABLE(depthwise_kernels);
  }
}

constexpr int64_t kDepthwiseChunk = 128;  // channels between two epilogues: the sums stay in L1
// Sums that an epilogue is to take at once: its preparation costs about 60 cycles (gemm/driver.cc).
constexpr int64_t kSums = 1024;

struct Plan {
  DepthwiseShape shape;
  DepthwiseKernel kernel;
  int64_t element;            // bytes of an input element
  int width;                  // pixels of a tile
  int64_t line_pixels;        // input pixels under one output line, padding included
  int64_t ring;               // input lines whose pointers are kept
  int64_t group;              // channels that pass over all lines before the next ones
  int64_t part;               // channels of a call
  int64_t sums_ld;            // between the sums of two pixels
  int64_t sums_tiles;         // tiles of a call that leaves sums
  size_t prepared, zero_row;  // bytes shared by all threads
  size_t acc, tables, ring_lines,
      lines;  // bytes of each thread: sums, pointers to pixels, which lines they are of, to lines
  size_t thread;
};

// Channels of a part, at most about `most`, so that parts are equal; their starts are multiples of kBlock, as many as
// kernels take at once.
constexpr int64_t kBlock = 64;
int64_t even_part(int64_t c, int64_t most) {
  const int64_t count = std::max<int64_t>((c + most - 1) / most, 1);
  return ((c + count - 1) / count + kBlock - 1) / kBlock * kBlock;
}
// Calls body(first, last) for the parts of [first, last); the last one takes what would be less than kBlock.
template <typename Body>
void for_parts(int64_t first, int64_t last, int64_t part, Body&& body) {
  while (first < last) {
    const int64_t end = last - first < part + kBlock ? last : first + part;
    body(first, end);
    first = end;
  }
}

Plan plan_of(const DepthwiseArgs& a) {
  LOWP_CHECK(a.in_dtype == DType::kF32 || a.in_dtype == DType::kU8 || a.in_dtype == DType::kI8);
  Plan p{};
  p.shape = {.in_dtype = a.in_dtype,
             .seven_bit = a.in_dtype == DType::kU8 && a.int8_class != Int8Class::kExact8,
             .c = a.c,
             .kernel_h = static_cast<int>(a.kernel_h),
             .kernel_w = static_cast<int>(a.kernel_w),
             .stride = static_cast<int>(a.stride_w),
             .dilation = static_cast<int>(a.dilation_w),
             .out_w = a.out_w,
             .epilogue = &a.epilogue,
             .range = output_range(a.epilogue),
             .columns = (a.c + kPanel - 1) / kPanel * kPanel,
             .finishes = false};
  p.kernel = active_table().choose(p.shape);
  p.shape.finishes = p.kernel.finishes;
  LOWP_CHECK(a.choice.width == 0 || a.choice.width == p.kernel.narrow);
  p.width = a.choice.width != 0 ? a.choice.width : p.kernel.pixels;
  p.element = a.in_dtype == DType::kF32 ? 4 : 1;
  p.line_pixels = (a.out_w - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1;
  p.ring = (a.kernel_h - 1) * a.dilation_h + 1;
  const int64_t all = std::max<int64_t>(a.c, 1), chunk = even_part(a.c, kDepthwiseChunk);
  p.group = a.choice.loop == KernelChoice::Loop::kColumnsOutside ? chunk : all;
  p.part = p.kernel.finishes ? p.group : chunk;
  p.sums_ld = std::min((a.c + 15) / 16 * 16, chunk + kBlock);
  p.sums_tiles = std::max<int64_t>(kSums / std::max<int64_t>(p.sums_ld * p.width, 1), 1);
  p.prepared = align64(p.kernel.prepared);
  p.zero_row = align64(static_cast<size_t>(a.c * p.element));
  // Whether a kernel finishes may depend on pointers that are not there yet when scratch is measured.
  p.acc = align64(sizeof(float) * static_cast<size_t>(p.sums_tiles * p.kernel.pixels * p.sums_ld));
  p.tables = align64(static_cast<size_t>(p.ring * p.line_pixels) * sizeof(void*));
  p.ring_lines = align64(static_cast<size_t>(p.ring) * sizeof(int64_t));
  p.lines = align64(static_cast<size_t>(a.kernel_h) * sizeof(void*));
  p.thread = p.acc + p.tables + p.ring_lines + p.lines;
  return p;
}

// The pointers to the pixels of input lines that the current output line needs. Neighbouring output lines share most of
// them, so they are kept in a ring by line; kernels that seldom need them get those of one tile.
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

  // lines[kh] for output line `line` (over the whole batch) from column `first` on, of which `count` are needed.
  const void* const* const* of(int64_t line, int64_t first, int64_t count) {
    const int64_t b = line / a_.out_h, oh = line % a_.out_h;
    for (int64_t kh = 0; kh < a_.kernel_h; ++kh) {
      const int64_t y = oh * a_.stride_h + kh * a_.dilation_h;
      if (p_.kernel.by_steps) {
        const void** table = tables_ + kh * p_.line_pixels;
        fill(table, b, y - a_.pad_top, first, count);
        lines_[kh] = table;
        continue;
      }
      // Positive, and distinct for the lines of one window and of different images.
      const int64_t id = b * (p_.ring + a_.out_h * a_.stride_h) + y, slot = id % p_.ring;
      const void** table = tables_ + slot * p_.line_pixels;
      if (held_[slot] != id) {
        fill(table, b, y - a_.pad_top, 0, p_.line_pixels);
        held_[slot] = id;
      }
      lines_[kh] = table + first;
    }
    return lines_;
  }

 private:
  // Columns [first, first + count) of input line ih.
  void fill(const void** table, int64_t b, int64_t ih, int64_t first, int64_t count) const {
    const void* zero = zero_;
    if (ih < 0 || ih >= a_.in_h) {
      std::fill_n(table, count, zero);
      return;
    }
    const int64_t pixel = a_.in_ld * p_.element, x = first - a_.pad_left;
    const int64_t begin = std::clamp<int64_t>(-x, 0, count), end = std::clamp(a_.in_w - x, begin, count);
    const char* at = static_cast<const char*>(a_.in) + ((b * a_.in_h + ih) * a_.in_w + x + begin) * pixel;
    std::fill_n(table, begin, zero);
    for (int64_t j = begin; j < end; ++j, at += pixel) table[j] = at;
    std::fill_n(table + end, count - end, zero);
  }

  const DepthwiseArgs& a_;
  const Plan& p_;
  const char* zero_;
  const void** tables_;
  int64_t* held_;
  const void*** lines_;
};

// Output lines on one thread.
class Lines {
 public:
  Lines(const DepthwiseArgs& a, const Plan& p, const void* weights, const char* zero, char* scratch)
      : a_(a), p_(p), pointers_(a, p, zero, scratch + p.acc) {
    const GemmTable& shared = *gemm_table(active_target());
    const Epilogue& e = a.epilogue;
    epilogue_ = a.in_dtype != DType::kF32 ? shared.epilogue_s32 : shared.epilogue_f32;
    out_bytes_ = dtype_bits(e.out) / 8;
    residual_bytes_ = dtype_bits(e.residual_dtype) / 8;
    t_.shape = &p.shape;
    t_.weights = weights;
    t_.step = a.in_ld * p.element;
    t_.pitch = a.dilation_h * a.in_w * t_.step;
    t_.out_ld = a.out_ld;
    if (!p.kernel.finishes) t_.acc = scratch, t_.acc_ld = p.sums_ld;
    sums_.e = &e;
    sums_.range = p.shape.range;
    sums_.acc_ld = t_.acc_ld;
    sums_.runs = &run_;
    sums_.run_count = 1;
    run_.out_step = a.out_ld;
    run_.residual_step = e.residual_ld;
  }

  // Channels [begin, end) of a line (over the whole batch).
  void run(int64_t line, int64_t begin, int64_t end) {
    const int64_t y = line % a_.out_h * a_.stride_h - a_.pad_top;
    const bool by_steps = p_.kernel.by_steps && y >= 0 && y + p_.ring <= a_.in_h;
    for (int64_t ow = 0; ow < a_.out_w;) {
      const Span span = span_at(ow);
      const int64_t inside = by_steps ? inside_tiles(span) : 0;
      if (inside != 0) {
        const int64_t x = span.first * a_.stride_w - a_.pad_left;
        t_.first = static_cast<const char*>(a_.in) + ((line / a_.out_h * a_.in_h + y) * a_.in_w + x) * t_.step;
        t_.lines = nullptr;
        t_.count = inside;
      } else {
        t_.lines = pointers_.of(line, span.first * a_.stride_w, columns(span.pixels));
        t_.count = p_.kernel.by_steps ? 1 : std::max<int64_t>((a_.out_w - ow) / span.pixels, 1);
      }
      if (!p_.kernel.finishes) t_.count = std::min(t_.count, p_.sums_tiles);
      for_parts(begin, end, p_.part, [&](int64_t c0, int64_t c1) { tiles(span, line, c0, c1); });
      ow = span.first + span.pixels * t_.count;
    }
  }

 private:
  // Output pixels of a tile, of which those before `fresh` are another's as well: a tile that would reach beyond the
  // line ends with it.
  struct Span {
    int64_t first;
    int pixels;
    int64_t fresh;
  };
  Span span_at(int64_t ow) const {
    const int narrow = p_.kernel.narrow;
    const bool wide = a_.out_w >= p_.width && a_.out_w - ow > narrow;
    const int pixels = wide ? p_.width : a_.out_w >= narrow ? narrow : 1;
    const int64_t first = std::min(ow, a_.out_w - pixels);
    return {first, pixels, ow - first};
  }

  // Input columns under so many output pixels.
  int64_t columns(int64_t pixels) const { return (pixels - 1) * a_.stride_w + (a_.kernel_w - 1) * a_.dilation_w + 1; }

  // How many tiles of a line with no padding above and below, from this one on, have none at the sides either.
  int64_t inside_tiles(const Span& s) const {
    if (s.pixels != p_.kernel.pixels) return 0;
    const int64_t x = s.first * a_.stride_w - a_.pad_left, width = columns(s.pixels);
    if (x < 0 || x + width > a_.in_w) return 0;
    return std::min((a_.in_w - width - x) / (a_.stride_w * s.pixels) + 1, (a_.out_w - s.first) / s.pixels);
  }

  void tiles(const Span& s, int64_t line, int64_t c0, int64_t c1) {
    const int64_t row = line * a_.out_w + s.first;
    t_.pixels = s.pixels;
    t_.c0 = c0;
    t_.channels = c1 - c0;
    t_.out = static_cast<char*>(a_.out) + (row * a_.out_ld + c0) * out_bytes_;
    p_.kernel.tiles(t_);
    if (p_.kernel.finishes) return;
    sums_.acc = static_cast<const char*>(t_.acc) + s.fresh * t_.acc_ld * static_cast<int64_t>(sizeof(float));
    run_.count = s.pixels * t_.count - s.fresh;
    sums_.cols = static_cast<int>(t_.channels);
    sums_.n0 = c0;
    sums_.out = t_.out + s.fresh * a_.out_ld * out_bytes_;
    if (const Epilogue& e = a_.epilogue; e.residual != nullptr) {
      sums_.residual = static_cast<const char*>(e.residual) + ((row + s.fresh) * e.residual_ld + c0) * residual_bytes_;
    }
    epilogue_(sums_);
  }

  const DepthwiseArgs& a_;
  const Plan& p_;
  LinePointers pointers_;
  DepthwiseTiles t_{};
  EpilogueArgs sums_{};
  RowRun run_{};
  EpilogueFn epilogue_;
  int64_t out_bytes_, residual_bytes_;
};

}  // namespace

std::vector<KernelChoice> depthwise_candidates(const DepthwiseArgs& args, int threads) {
  std::vector<KernelChoice> list(1);
  const int64_t lines = args.batch * args.out_h;
  if (lines * args.out_w * args.c == 0) return list;
  DepthwiseArgs by_formula = args;
  by_formula.choice = {};
  const Plan p = plan_of(by_formula);
  for (int width : {0, p.kernel.narrow}) {
    // By steps, narrow tiles can only pay at the end of a line.
    if (width != 0 && (args.out_w <= width || (p.kernel.by_steps && args.out_w % p.kernel.pixels == 0))) continue;
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
  return p.prepared + p.zero_row + p.thread * static_cast<size_t>(threads);
}

void depthwise(const DepthwiseArgs& a, void* scratch, int threads) {
  if (a.batch * a.out_h * a.out_w * a.c == 0) return;
  const Plan p = plan_of(a);
  char* base = static_cast<char*>(scratch);
  const void* weights = a.weights;
  if (p.kernel.prepare != nullptr) {
    p.kernel.prepare(p.shape, a.weights, base);
    weights = base;
  }
  char* zero = base + p.prepared;
  std::memset(zero, a.in_dtype == DType::kF32 ? 0 : static_cast<uint8_t>(a.in_zero), p.zero_row);
  char* thread_scratch = zero + p.zero_row;
  const int64_t lines = a.batch * a.out_h;
  const int workers = a.choice.split_m != 0 ? 1 : threads;
  // A multiply-add costs about four of a GEMM's.
  const int64_t work = 4 * lines * a.out_w * a.c * a.kernel_h * a.kernel_w;
  const int64_t pieces = workers == 1 ? 1 : std::min(lines, workers * pieces_of_share(work / workers, lines / workers));
  parallel_shares(workers, pieces, [&](int64_t worker, int64_t i) {
    Lines on_thread(a, p, weights, zero, thread_scratch + p.thread * static_cast<size_t>(worker));
    for_parts(0, a.c, p.group, [&](int64_t begin, int64_t end) {
      for (int64_t line = lines * i / pieces; line < lines * (i + 1) / pieces; ++line) on_thread.run(line, begin, end);
    });
  });
}

}  // namespace lowp::kernels
