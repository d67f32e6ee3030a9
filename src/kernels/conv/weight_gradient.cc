#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status.h"
#include "kernels/conv/gradient.h"
#include "kernels/conv/table.h"
#include "kernels/conv/taps.h"
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
constexpr int64_t kMaxSlab = 2048;
// A line of x shorter than this is a fraction of a panel: rows of the kernel are read from a padded copy instead.
constexpr int64_t kShortLine = 16;

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }
int64_t bytes_of(DType dtype) { return dtype_bits(dtype) / 8; }

struct Plan {
  const TileSet* tiles;
  int64_t in_c, out_c;  // of a group
  int64_t k, n;         // pixels, (kh, kw, c)
  bool copied;          // x is read from a copy with its padding
  PaddedImage padded;
  int64_t lines, line;  // n = lines * line: contiguous elements of x, at one address for each pixel and line
  int64_t width;        // panels of a tile
  int64_t groups;       // of `width` panels
  int64_t chunk, chunks;
  int64_t slab, turned_ld;  // pixels; elements between rows of dy^T
  bool direct;              // tiles write dw itself
  size_t zero_at, copy_at, turned_at, acc_at, map_at, workers_at, pointers_at, worker_bytes, bytes;
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
  p.tiles = gemm_table(active_target())->f32;
  p.in_c = s.in_c / s.groups;
  p.out_c = s.out_c / s.groups;
  p.k = s.pixels();
  p.n = p.in_c * s.taps();
  p.copied = s.kernel_w > 1 && s.groups == 1 && s.dilation_w == 1 && p.in_c < kShortLine;
  p.lines = p.copied ? s.kernel_h : s.taps();
  p.line = p.copied ? s.kernel_w * p.in_c : p.in_c;
  p.width = tile_width(*p.tiles);
  p.groups = ceil_div(ceil_div(p.n, kPanel), p.width);
  p.chunk = std::min(p.out_c, kChunkRows);
  // Enough tasks for all threads; a chunk of few rows pays more for its panels.
  while (ceil_div(p.out_c, p.chunk) * p.groups < 2 * threads && p.chunk > 2 * p.tiles->max_rows[p.width])
    p.chunk = ceil_div(p.chunk, 2);
  p.chunks = ceil_div(p.out_c, p.chunk);
  const int64_t pixels = kChunkBytes / (std::max(p.chunk, kChunkRows / 4) * static_cast<int64_t>(sizeof(float)));
  p.slab = std::min({round_up(p.k, kBlockK), pixels / kBlockK * kBlockK, kMaxSlab});
  // Rows a power of two apart would fall into the same sets of L1.
  p.turned_ld = p.slab + 16;
  p.direct = p.lines == 1 && p.n % kPanel == 0 && s.taps() == 1;

  size_t at = 0;
  auto take = [&](size_t bytes) { return std::exchange(at, at + align64(bytes)); };
  p.zero_at = take(static_cast<size_t>(p.line * bytes_of(a.x_dtype)));
  if (p.copied) {
    p.padded = PaddedImage::of(s);
    p.copy_at = take(static_cast<size_t>(s.batch * p.padded.h * p.padded.w * s.in_c * bytes_of(a.x_dtype)));
  }
  p.turned_at = take(static_cast<size_t>(p.out_c * p.turned_ld) * sizeof(float));
  if (!p.direct) {
    p.acc_at = take(static_cast<size_t>(p.groups * p.out_c * p.width * kPanel) * sizeof(float));
    p.map_at = take(static_cast<size_t>(p.n) * sizeof(int32_t));
  }
  p.workers_at = at;
  p.pointers_at = align64(static_cast<size_t>(p.width * p.slab * kPanel) * sizeof(float));
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
    if (!p_.direct) fill_map();
    for (group_ = 0; group_ < s_.groups; ++group_) {
      for (k0_ = 0; k0_ < p_.k; k0_ += p_.slab) {
        count_ = std::min(p_.slab, p_.k - k0_);
        parallel_for(threads_, ceil_div(p_.out_c, kPanel), [&](int64_t i) { turn(i * kPanel); });
        for (Worker& w : workers_) w.line = -1;
        parallel_shares(threads_, p_.chunks * p_.groups,
                        [&](int64_t worker, int64_t i) { multiply(worker, i / p_.groups, i % p_.groups); });
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

  // Where element n of (kh, kw, c) lies in a filter of dw.
  void fill_map() {
    int32_t* map = reinterpret_cast<int32_t*>(scratch_ + p_.map_at);
    for (int64_t n = 0; n < p_.n; ++n) map[n] = static_cast<int32_t>(n % p_.in_c * s_.taps() + n / p_.in_c);
  }

  float* turned(int64_t row) const { return reinterpret_cast<float*>(scratch_ + p_.turned_at) + row * p_.turned_ld; }

  // Channels [o, o + 16) of the slab of dy.
  void turn(int64_t o) {
    const int channels = static_cast<int>(std::min(kPanel, p_.out_c - o));
    const int64_t channel = group_ * p_.out_c + o;
    const char* dy = static_cast<const char*>(a_.dy) + (k0_ * s_.out_c + channel) * bytes_of(a_.dy_dtype);
    table_.transpose(a_.dy_dtype, dy, s_.out_c, count_, channels, turned(o), p_.turned_ld);
    if (a_.db != nullptr) table_.column_sums(a_.dy_dtype, dy, s_.out_c, count_, channels, k0_ == 0, a_.db + channel);
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

  void pack_panel(int64_t worker, int64_t panel, float* dst) {
    const int64_t first = panel * kPanel, end = std::min(first + kPanel, p_.n);
    if (end - first < kPanel) std::memset(dst, 0, static_cast<size_t>(count_ * kPanel) * sizeof(float));
    for (int64_t n = first; n < end;) {
      const int64_t line = n / p_.line, element = n % p_.line, lanes = std::min(p_.line - element, end - n);
      table_.pack_columns(a_.x_dtype, addresses(worker, line), count_, element, static_cast<int>(lanes),
                          static_cast<int>(n - first), dst);
      n += lanes;
    }
  }

  // Rows of a chunk against a group of panels.
  void multiply(int64_t worker, int64_t chunk, int64_t group) {
    char* mine = scratch_ + p_.workers_at + p_.worker_bytes * static_cast<size_t>(worker);
    float* b = reinterpret_cast<float*>(mine);
    const int64_t first = group * p_.width, np = std::min(p_.width, ceil_div(p_.n, kPanel) - first);
    for (int64_t i = 0; i < np; ++i) pack_panel(worker, first + i, b + i * count_ * kPanel);
    const int64_t r0 = chunk * p_.chunk, rows = std::min(p_.chunk, p_.out_c - r0);
    const int64_t tiles = ceil_div(rows, p_.tiles->max_rows[np]);
    const void* pointers[kMaxTileRows];
    TileArgs t{};
    t.rows = pointers;
    t.taps = 1;
    t.c = count_;
    t.b = b;
    t.b_stride = count_ * kPanel * static_cast<int64_t>(sizeof(float));
    t.prefetch = b;
    t.acc_ld = p_.direct ? p_.n : p_.width * kPanel;
    t.accumulate = k0_ > 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t begin = r0 + rows * i / tiles, end = r0 + rows * (i + 1) / tiles;
      for (int64_t r = begin; r < end; ++r) pointers[r - begin] = turned(r);
      t.acc = p_.direct ? a_.dw + (group_ * p_.out_c + begin) * p_.n + first * kPanel : sums(group, begin);
      p_.tiles->tile[end - begin][np](t);
    }
  }

  float* sums(int64_t group, int64_t row) const {
    return reinterpret_cast<float*>(scratch_ + p_.acc_at) + (group * p_.out_c + row) * p_.width * kPanel;
  }

  void unpack() {
    const int32_t* map = reinterpret_cast<const int32_t*>(scratch_ + p_.map_at);
    const int64_t columns = p_.width * kPanel;
    parallel_ranges(threads_, p_.out_c, kGrainElements / p_.n + 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        float* dw = a_.dw + (group_ * p_.out_c + o) * p_.n;
        for (int64_t n = 0; n < p_.n; n += columns) {
          const float* from = sums(n / columns, o);
          const int64_t count = std::min(columns, p_.n - n);
          for (int64_t i = 0; i < count; ++i) dw[map[n + i]] = from[i];
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

}  // namespace

size_t conv_weight_gradient_scratch(const ConvWeightGradientArgs& a, int threads) {
  threads = std::min(threads, kMaxWorkers);
  return a.shape.depthwise() ? depthwise_plan(a, threads).bytes : plan_of(a, threads).bytes;
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
  WeightGradient(a, scratch, threads).run();
}

}  // namespace lowp::kernels
