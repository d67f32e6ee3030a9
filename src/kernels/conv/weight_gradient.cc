#include <algorithm>
#include <cstring>
#include <utility>

#include "base/align.h"
#include "base/status.h"
#include "kernels/conv/gradient.h"
#include "kernels/conv/table.h"
#include "kernels/conv/taps.h"
#include "kernels/conv/winograd.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/driver.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

// GEMM of [out channels of a group, pixels] x [pixels, (kh, kw, c)]. Pixels are taken a slab at a time: dy of the slab
// is transposed once for all threads, and each task gathers the panels of x that it multiplies.

// Rows of dy^T that a panel meets before the next: with a slab's pixels 256 KB of them, half of L2 on Zen 3 and later.
// Gathering a panel costs about 4 cycles a pixel, multiplying it one cycle and row.
constexpr int64_t kChunkRows = 128;
constexpr int64_t kChunkBytes = 256 << 10;
// AMX multiplies a panel by 16 rows in half a cycle a pixel, so that more rows are to share what gathering it costs.
// CPUs that have it have 2 MB of L2.
constexpr int64_t kAmxChunkRows = 512;
constexpr int64_t kAmxChunkBytes = 512 << 10;
constexpr int64_t kMaxSlab = 2048;
// Lines of 64 bytes that are read side by side, and pixels for which that is done before the next: pixels of 1024
// channels lie a page apart, and a panel or 16 channels of dy alone would touch each page anew.
constexpr int64_t kSideBySide = 4;
constexpr int64_t kPixelsAtOnce = 64;
// A line of x shorter than this is a fraction of a panel: rows of the kernel are read from a padded copy instead.
constexpr int64_t kShortLine = 16;

int64_t bytes_of(DType dtype) { return dtype_bits(dtype) / 8; }

struct Plan {
  const TileSet* tiles;
  bool pairs;           // products of bf16
  int64_t element;      // bytes of copied operands
  int64_t group;        // pixels that are multiplied together: a slab is filled up with zeros
  int64_t in_c, out_c;  // of a group
  int64_t k, n;         // pixels, (kh, kw, c)
  bool copied;          // x is read from a copy with its padding
  PaddedImage padded;
  int64_t lines, line;  // n = lines * line: contiguous elements of x, at one address for each pixel and line
  int64_t width;        // panels of a tile
  int64_t groups;       // of `width` panels
  int64_t together;     // panels of a task
  int64_t chunk, chunks;
  int64_t slab, turned_ld;  // pixels; elements between rows of dy^T
  bool direct;              // tiles write dw itself
  int64_t acc_ld;           // elements between rows of sums
  size_t zero_at, copy_at, turned_at, acc_at, workers_at, pointers_at, worker_bytes, bytes;
};

// The widest tile by its cost for each row and panel, in half cycles: two products or two loads a cycle.
int64_t tile_width(const TileSet& tiles) {
  int64_t best = 1;
  auto cost = [&](int64_t np) {
    const int64_t rows = tiles.max_rows[np], vectors = np * tiles.vectors;
    return std::max({rows * vectors, rows + vectors, int64_t{tiles.latency}});
  };
  for (int64_t np = 2; np <= kMaxTilePanels; ++np) {
    if (tiles.max_rows[np] == 0) continue;
    if (cost(np) * tiles.max_rows[best] * best < cost(best) * tiles.max_rows[np] * np) best = np;
  }
  return best;
}

Plan plan_of(const ConvWeightGradientArgs& a, int threads) {
  const ConvShape& s = a.shape;
  Plan p{};
  p.pairs = product_kind(a.x_dtype, a.dy_dtype) == WeightKind::kBF16;
  p.element = p.pairs ? 2 : 4;
  const GemmTable& table = *gemm_table(active_target());
  p.tiles = p.pairs ? bf16_tiles(table) : table.f32;
  const bool amx = p.tiles->amx();
  p.group = amx ? kAmxRowBytes / 2 : p.pairs ? 2 : 1;
  p.in_c = s.in_c / s.groups;
  p.out_c = s.out_c / s.groups;
  p.k = s.pixels();
  p.n = p.in_c * s.taps();
  p.copied = s.kernel_w > 1 && s.groups == 1 && s.dilation_w == 1 && p.in_c < kShortLine;
  p.lines = p.copied ? s.kernel_h : s.taps();
  p.line = p.copied ? s.kernel_w * p.in_c : p.in_c;
  p.width = tile_width(*p.tiles);
  p.groups = ceil_div(ceil_div(p.n, kPanel), p.width);
  p.chunk = std::min(p.out_c, amx ? kAmxChunkRows : kChunkRows);
  // Where panels that are gathered side by side have addresses of their own, there is nothing to gain.
  p.together = p.width;
  if (p.line % (kSideBySide * kPanel) == 0 && kSideBySide % p.width == 0 &&
      p.n / (kSideBySide * kPanel) * ceil_div(p.out_c, p.chunk) >= 2 * threads)
    p.together = kSideBySide;
  // Enough tasks for all threads; a chunk of few rows pays more for its panels.
  while (ceil_div(p.out_c, p.chunk) * p.groups * p.width < 2 * threads * p.together &&
         p.chunk > 2 * p.tiles->max_rows[p.width])
    p.chunk = ceil_div(p.chunk, 2);
  p.chunks = ceil_div(p.out_c, p.chunk);
  const int64_t pixels = (amx ? kAmxChunkBytes : kChunkBytes) / (std::max(p.chunk, kChunkRows / 4) * p.element);
  p.slab = std::min({round_up(p.k, kBlockK), pixels / kBlockK * kBlockK, kMaxSlab});
  // Rows a power of two apart would fall into the same sets of L1; so would those of the sums.
  p.turned_ld = p.slab + 64 / p.element;
  p.direct = s.taps() == 1 && p.n % kPanel == 0;
  p.acc_ld = p.direct ? p.n : p.groups * p.width * kPanel + kPanel;

  size_t at = 0;
  auto take = [&](size_t bytes) { return std::exchange(at, at + align64(bytes)); };
  p.zero_at = take(static_cast<size_t>(p.line * bytes_of(a.x_dtype)));
  if (p.copied) {  // between other arrays: pack_overlapping reads up to 60 bytes before and behind it
    p.padded = PaddedImage::of(s);
    p.copy_at = take(static_cast<size_t>(s.batch * p.padded.h * p.padded.w * s.in_c * bytes_of(a.x_dtype)));
  }
  p.turned_at = take(static_cast<size_t>(p.out_c * p.turned_ld * p.element));
  if (!p.direct) p.acc_at = take(static_cast<size_t>(p.out_c * p.acc_ld) * sizeof(float));
  p.workers_at = at;
  p.pointers_at = align64(static_cast<size_t>(p.together * p.slab * kPanel * p.element));
  p.worker_bytes = p.pointers_at + align64(static_cast<size_t>(p.slab) * sizeof(void*));
  p.bytes = at + p.worker_bytes * static_cast<size_t>(threads);
  return p;
}

class WeightGradient {
 public:
  WeightGradient(const ConvWeightGradientArgs& a, void* scratch, int threads)
      : a_(a),
        s_(a.shape),
        p_(plan_of(a, threads)),
        scratch_(static_cast<char*>(scratch)),
        threads_(threads),
        table_(LOWP_SELECT_TABLE(conv_table)) {}

  void run() {
    std::memset(scratch_ + p_.zero_at, 0, static_cast<size_t>(p_.line * bytes_of(a_.x_dtype)));
    if (p_.copied) copy();
    for (group_ = 0; group_ < s_.groups; ++group_) {
      for (k0_ = 0; k0_ < p_.k; k0_ += p_.slab) {
        count_ = std::min(p_.slab, p_.k - k0_);
        depth_ = round_up(count_, p_.group);
        parallel_for(threads_, ceil_div(p_.out_c, kSideBySide * kPanel),
                     [&](int64_t i) { turn(i * kSideBySide * kPanel); });
        for (Worker& w : workers_) w.line = -1;
        const int64_t tasks = ceil_div(p_.groups * p_.width, p_.together);
        parallel_shares(threads_, p_.chunks * tasks,
                        [&](int64_t worker, int64_t i) { multiply(worker, i / tasks, i % tasks * p_.together); });
      }
      if (!p_.direct) unpack();
    }
  }

 private:
  struct alignas(64) Worker {
    int64_t line = -1;  // whose addresses it holds
  };

  void copy() {
    const int64_t bytes = bytes_of(a_.x_dtype), line = p_.padded.w * s_.in_c * bytes;
    const int64_t image = s_.in_h * s_.in_w * s_.in_c * bytes;
    parallel_for(threads_, s_.batch * p_.padded.h, [&](int64_t i) {
      copy_padded_line(s_, p_.padded, bytes, s_.in_c, 0, static_cast<const char*>(a_.x) + i / p_.padded.h * image,
                       i % p_.padded.h, scratch_ + p_.copy_at + static_cast<size_t>(i * line));
    });
  }

  char* turned(int64_t row) const { return scratch_ + p_.turned_at + row * p_.turned_ld * p_.element; }

  // Channels [first, first + kSideBySide * 16) of the slab of dy.
  void turn(int64_t first) {
    const int64_t end = std::min(first + kSideBySide * kPanel, p_.out_c);
    auto dy = [&](int64_t o) {
      return static_cast<const char*>(a_.dy) + (k0_ * s_.out_c + group_ * p_.out_c + o) * bytes_of(a_.dy_dtype);
    };
    if (p_.pairs) {
      transpose_words({a_.dy_dtype, dy(first), s_.out_c, end - first, count_, turned(first), p_.turned_ld});
      if (depth_ > count_) {
        const auto bytes = static_cast<size_t>((depth_ - count_) * p_.element);
        for (int64_t o = first; o < end; ++o) std::memset(turned(o) + count_ * p_.element, 0, bytes);
      }
    } else {
      expand_matrix({a_.dy_dtype, true, dy(first), s_.out_c, end - first, count_,
                     reinterpret_cast<float*>(turned(first)), p_.turned_ld});
    }
    if (a_.db == nullptr) return;
    for (int64_t o = first; o < end; o += kPanel) {
      table_.column_sums(a_.dy_dtype, dy(o), s_.out_c, count_, static_cast<int>(std::min(kPanel, end - o)), k0_ == 0,
                         a_.db + group_ * p_.out_c + o);
    }
  }

  // Addresses of a line for the slab's pixels.
  const void* const* addresses(int64_t worker, int64_t line) {
    const void** out = reinterpret_cast<const void**>(scratch_ + p_.workers_at +
                                                      p_.worker_bytes * static_cast<size_t>(worker) + p_.pointers_at);
    Worker& w = workers_[worker];
    if (w.line == line) return out;
    w.line = line;
    const int64_t bytes = bytes_of(a_.x_dtype), pixel = s_.in_c * bytes;
    if (!p_.copied) {
      tap_pointers(s_, static_cast<const char*>(a_.x) + group_ * p_.in_c * bytes, pixel, scratch_ + p_.zero_at,
                   line / s_.kernel_w, line % s_.kernel_w, k0_, count_, out);
      return out;
    }
    const char* copy = scratch_ + p_.copy_at;
    int64_t ow = k0_ % s_.out_w, oh = k0_ / s_.out_w % s_.out_h, b = k0_ / s_.out_w / s_.out_h;
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t y = b * p_.padded.h + oh * s_.stride_h + line * s_.dilation_h;
      out[i] = copy + (y * p_.padded.w + ow * s_.stride_w) * pixel;
      if (++ow == s_.out_w) ow = 0, ++oh;
      if (oh == s_.out_h) oh = 0, ++b;
    }
    return out;
  }

  // Of so many pixels from rows[0] on: elements [first, first + lanes) of each as columns from `at` on.
  void pack_columns(const void* const* rows, int64_t pixels, int64_t first, int lanes, int at, char* dst) const {
    if (p_.pairs)
      table_.pair_columns(rows, pixels, first, lanes, at, dst);
    else
      table_.pack_columns(a_.x_dtype, rows, pixels, first, lanes, at, reinterpret_cast<float*>(dst));
  }

  void pack_panel(int64_t worker, int64_t panel, char* dst) {
    const int64_t first = panel * kPanel, end = std::min(first + kPanel, p_.n);
    if (end - first < kPanel && !p_.copied) std::memset(dst, 0, static_cast<size_t>(panel_bytes()));
    for (int64_t n = first; n < end;) {
      const int64_t line = n / p_.line, element = n % p_.line, lanes = std::min(p_.line - element, end - n);
      const auto at = static_cast<int>(n - first);
      const void* const* rows = addresses(worker, line);
      if (!p_.copied)
        pack_columns(rows, count_, element, static_cast<int>(lanes), at, dst);
      else if (p_.pairs)
        table_.pair_overlapping(rows, count_, element, at, dst);
      else
        table_.pack_overlapping(a_.x_dtype, rows, count_, element, at, reinterpret_cast<float*>(dst));
      n += lanes;
    }
  }

  // Panels [first, first + panels) of x.
  void pack_panels(int64_t worker, int64_t first, int64_t panels, char* dst) {
    if (p_.together < kSideBySide) {
      for (int64_t i = 0; i < panels; ++i) pack_panel(worker, first + i, dst + i * panel_bytes());
      return;
    }
    const int64_t n = first * kPanel;
    const void* const* rows = addresses(worker, n / p_.line);
    for (int64_t k = 0; k < count_; k += kPixelsAtOnce) {
      for (int64_t i = 0; i < panels; ++i) {
        pack_columns(rows + k, std::min(kPixelsAtOnce, count_ - k), n % p_.line + i * kPanel, static_cast<int>(kPanel),
                     0, dst + i * panel_bytes() + k * kPanel * p_.element);
      }
    }
  }

  // Rows of a chunk against the panels of a task, of which `first` is the first.
  void multiply(int64_t worker, int64_t chunk, int64_t first) {
    char* mine = scratch_ + p_.workers_at + p_.worker_bytes * static_cast<size_t>(worker);
    const int64_t panels = std::min(p_.together, ceil_div(p_.n, kPanel) - first);
    pack_panels(worker, first, panels, mine);
    const int64_t packed = round_up(count_, 2) * kPanel * p_.element;
    for (int64_t i = 0; packed < panel_bytes() && i < panels; ++i)
      std::memset(mine + i * panel_bytes() + packed, 0, static_cast<size_t>(panel_bytes() - packed));
    for (int64_t i = 0; i < panels; i += p_.width)
      multiply_group(mine + i * panel_bytes(), chunk, first + i, std::min(p_.width, panels - i));
  }
  int64_t panel_bytes() const { return depth_ * kPanel * p_.element; }
  void multiply_group(const char* b, int64_t chunk, int64_t first, int64_t np) {
    const int64_t r0 = chunk * p_.chunk, rows = std::min(p_.chunk, p_.out_c - r0);
    const int64_t tiles = ceil_div(rows, p_.tiles->max_rows[np]);
    const void* pointers[kMaxTileRows];
    TileArgs t{};
    t.rows = pointers;
    t.taps = 1;
    t.c = depth_;
    t.b = b;
    t.b_stride = panel_bytes();
    t.acc_ld = p_.acc_ld;
    t.accumulate = k0_ > 0;
    float* acc = (p_.direct ? a_.dw + group_ * p_.out_c * p_.n : sums()) + first * kPanel;
    auto row_of = [&](int64_t tile) { return r0 + rows * tile / tiles; };
    const bool amx = p_.tiles->amx();
    int64_t configured = 0;  // rows of the registers; tiles that share rows would add to them twice
    t.row_step = p_.turned_ld * p_.element;
    t.second = 1;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t begin = row_of(i), end = row_of(i + 1);
      if (amx) {
        pointers[0] = turned(begin);
        pointers[1] = turned(begin + kAmxRows);
        t.first = static_cast<int>(std::min<int64_t>(end - begin, kAmxRows));
        t.rest = static_cast<int>(end - begin) - t.first;
        if (std::exchange(configured, end - begin) != end - begin) p_.tiles->configure(t.first, t.rest);
      } else {
        for (int64_t r = begin; r < end; ++r) pointers[r - begin] = turned(r);
      }
      // Sums that the next tile adds to lie pages apart.
      for (int64_t r = end; r < row_of(std::min(i + 2, tiles)); ++r) {
        for (int64_t l = 0; l < np; ++l) __builtin_prefetch(acc + r * p_.acc_ld + l * kPanel, 1, 3);
      }
      t.acc = acc + begin * p_.acc_ld;
      fetch_next(t, first * p_.out_c + begin * np, (end - begin) * np);
      p_.tiles->tile[end - begin][np](t);
    }
    if (amx) p_.tiles->release();
  }

  // The next slab's dy and x come from memory to L2 while this one's tiles compute, evenly: a tile that does `work` of
  // the slab's rows x panels, `done` of which lie before it, asks for as large a part of them.
  void fetch_next(TileArgs& t, int64_t done, int64_t work) const {
    const int64_t all = p_.out_c * ceil_div(p_.n, kPanel), next = k0_ + p_.slab;
    t.prefetch = t.b;
    t.prefetch_step = 0;
    if (next >= p_.k || p_.copied || s_.groups > 1) return;
    const int64_t end = std::min(next + p_.slab, p_.k), dy_pixel = s_.out_c * bytes_of(a_.dy_dtype);
    auto x_at = [&](int64_t m) {
      const int64_t row = m / s_.out_w, b = row / s_.out_h, h = row % s_.out_h * s_.stride_h;
      return (b * s_.in_h + std::min(h, s_.in_h)) * s_.in_w * s_.in_c * bytes_of(a_.x_dtype);
    };
    const int64_t dy_bytes = (end - next) * dy_pixel, bytes = dy_bytes + x_at(end) - x_at(next);
    const int64_t at = bytes / all * done;
    t.prefetch = at < dy_bytes ? static_cast<const char*>(a_.dy) + next * dy_pixel + at
                               : static_cast<const char*>(a_.x) + x_at(next) + (at - dy_bytes);
    t.prefetch_step = ceil_div(bytes / all * work, std::max<int64_t>(panel_bytes() / 64 * t.groups, 1));
  }

  float* sums() const { return reinterpret_cast<float*>(scratch_ + p_.acc_at); }

  // Filters from (kh, kw, c) to (c, kh, kw).
  void unpack() {
    const int64_t taps = s_.taps();
    parallel_ranges(threads_, p_.out_c, kGrainElements / p_.n + 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const float* from = sums() + o * p_.acc_ld;
        float* to = a_.dw + (group_ * p_.out_c + o) * p_.n;
        for (int64_t c = 0; c < p_.in_c; ++c) {
          for (int64_t t = 0; t < taps; ++t) *to++ = from[t * p_.in_c + c];
        }
      }
    });
  }

  const ConvWeightGradientArgs& a_;
  const ConvShape& s_;
  const Plan p_;
  char* scratch_;
  int threads_;
  const ConvTable& table_;
  int64_t group_ = 0, k0_ = 0, count_ = 0;
  int64_t depth_ = 0;  // count_, in whole groups
  Worker workers_[kMaxWorkers];
};

// ---- depthwise ----

// Channels of a task: four vectors hide the latency of their sums.
constexpr int64_t kDepthwiseChannels = 64;

struct DepthwisePlan {
  int64_t channels, tasks, padded;
  size_t zero_at, totals_at, workers_at, worker_bytes, bytes;
};
DepthwisePlan depthwise_plan(const ConvWeightGradientArgs& a, int threads) {
  const ConvShape& s = a.shape;
  DepthwisePlan p{};
  p.channels = s.in_c >= kDepthwiseChannels * threads ? kDepthwiseChannels : kPanel;
  p.tasks = ceil_div(s.in_c, p.channels);
  p.padded = round_up(s.in_c, kPanel);
  p.totals_at = align64(static_cast<size_t>(s.in_c * bytes_of(a.x_dtype)));
  p.workers_at = p.totals_at + align64(static_cast<size_t>(s.taps() * p.padded) * sizeof(float));
  p.worker_bytes = 2 * static_cast<size_t>(kBlockK) * sizeof(void*);
  p.bytes = p.workers_at + p.worker_bytes * static_cast<size_t>(threads);
  return p;
}

void depthwise(const ConvWeightGradientArgs& a, char* scratch, int threads) {
  const ConvShape& s = a.shape;
  const ConvTable& table = LOWP_SELECT_TABLE(conv_table);
  const DepthwisePlan p = depthwise_plan(a, threads);
  std::memset(scratch, 0, p.totals_at);
  float* totals = reinterpret_cast<float*>(scratch + p.totals_at);
  const int64_t x_pixel = s.in_c * bytes_of(a.x_dtype), dy_pixel = s.in_c * bytes_of(a.dy_dtype);
  parallel_shares(threads, p.tasks, [&](int64_t worker, int64_t i) {
    const int64_t c = i * p.channels, channels = std::min(p.channels, s.in_c - c);
    const void** x =
        reinterpret_cast<const void**>(scratch + p.workers_at + p.worker_bytes * static_cast<size_t>(worker));
    const void** dy = x + kBlockK;
    for (int64_t k = 0; k < s.pixels(); k += kBlockK) {
      const int64_t count = std::min(kBlockK, s.pixels() - k);
      for (int64_t j = 0; j < count; ++j) dy[j] = static_cast<const char*>(a.dy) + (k + j) * dy_pixel;
      if (a.db != nullptr) {
        for (int64_t l = 0; l < channels; l += kPanel) {
          table.column_sums(a.dy_dtype, static_cast<const char*>(dy[0]) + (c + l) * bytes_of(a.dy_dtype), s.in_c, count,
                            static_cast<int>(std::min(kPanel, channels - l)), k == 0, a.db + c + l);
        }
      }
      for (int64_t t = 0; t < s.taps(); ++t) {
        tap_pointers(s, static_cast<const char*>(a.x), x_pixel, scratch, t / s.kernel_w, t % s.kernel_w, k, count, x);
        table.depthwise_weight(a.x_dtype, a.dy_dtype, x, dy, count, c, channels, k == 0, totals + t * p.padded + c);
      }
    }
    for (int64_t l = c; l < c + channels; ++l) {
      for (int64_t t = 0; t < s.taps(); ++t) a.dw[l * s.taps() + t] = totals[t * p.padded + l];
    }
  });
}

bool is_winograds(const ConvWeightGradientArgs& a) {
  return product_kind(a.x_dtype, a.dy_dtype) == WeightKind::kF32 && winograd_fits(a.shape);
}

}  // namespace

size_t conv_weight_gradient_scratch(const ConvWeightGradientArgs& a, int threads) {
  threads = std::min(threads, kMaxWorkers);
  if (a.shape.depthwise()) return depthwise_plan(a, threads).bytes;
  return is_winograds(a) ? winograd_weight_gradient_scratch(a) : plan_of(a, threads).bytes;
}

void conv_weight_gradient(const ConvWeightGradientArgs& a, void* scratch, int threads) {
  const ConvShape& s = a.shape;
  threads = std::min(threads, kMaxWorkers);
  LOWP_CHECK(s.in_c % s.groups == 0 && s.out_c % s.groups == 0);
  if (s.pixels() == 0 || s.out_c == 0 || s.in_c == 0) {
    if (a.dw != nullptr) std::fill_n(a.dw, s.out_c * (s.in_c / s.groups) * s.taps(), 0.0f);
    if (a.db != nullptr) std::fill_n(a.db, s.out_c, 0.0f);
    return;
  }
  if (s.depthwise()) return depthwise(a, static_cast<char*>(scratch), threads);
  if (is_winograds(a)) return winograd_weight_gradient(a, scratch, threads);
  WeightGradient(a, scratch, threads).run();
}

}  // namespace lowp::kernels
