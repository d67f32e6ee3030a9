#include "kernels/conv/winograd.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/conv/table.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/driver.h"
#include "kernels/gemm/plan.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

constexpr int64_t kPositions = kWinogradPositions, kTaps = 9;
// Tiles that are transformed together: whole tiles of gemm (14 or 6 rows), and enough that 16 matrices of weights,
// which come from L3 once for all of them, are read at less than 10 GB/s.
constexpr int64_t kStrip = 56;
// Output channels whose 16 sums are kept before they are transformed back: 229 KB for a strip.
constexpr int64_t kColumns = 64;
// Tiles whose outputs one epilogue takes, from L1.
constexpr int64_t kFinished = 8;
// Between the matrices of two positions, whose rows would all fall into one set of L1 otherwise.
constexpr int64_t kApart = 16;

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

// How the tiles of all images are divided: strips of tiles, and parts of the output channels, in panels.
struct Division {
  WinogradTiles tiles;
  int64_t strips, parts;
  int64_t tasks() const { return strips * parts; }
};
Division divide(const ConvArgs& a, int threads) {
  Division d{};
  d.tiles = WinogradTiles::of(a);
  d.strips = ceil_div(d.tiles.count, kStrip);
  d.parts = 1;
  const int64_t workers = threads;
  if (d.strips >= workers) {
    d.strips = std::min(round_up(d.strips, workers), d.tiles.count);  // as many for each
  } else if (d.tiles.count >= workers * kStrip / 2) {
    d.strips = workers;
  } else {
    d.parts = std::min(ceil_div(workers, d.strips), ceil_div(a.out_c, kColumns));
  }
  return d;
}

// One thread's scratch, in bytes from its start.
struct Layout {
  int64_t row;     // elements between tiles of V
  int64_t v_step;  // between positions of V
  int64_t m_step;  // of M, whose tiles lie kColumns apart
  size_t m, acc, rows, bytes;
};
Layout layout_of(const ConvArgs& a, const Division& d) {
  Layout l{};
  const int64_t strip = ceil_div(d.tiles.count, d.strips);
  l.row = copied_row_bytes(round_up(a.in_c, 16) * 4) / 4;
  l.v_step = strip * l.row + kApart;
  l.m_step = strip * kColumns + kApart;
  l.m = static_cast<size_t>(kPositions * l.v_step) * sizeof(float);
  l.acc = l.m + static_cast<size_t>(kPositions * l.m_step) * sizeof(float);
  // One more pixel takes what lies outside the image.
  l.rows = l.acc + static_cast<size_t>((kFinished * 4 + 1) * kColumns) * sizeof(float);
  l.bytes = align64(l.rows + static_cast<size_t>(strip) * sizeof(void*));
  return l;
}
size_t zeros_bytes(const ConvArgs& a) { return align64(static_cast<size_t>(a.in_c) * sizeof(float)); }

// Elements that one task transforms: long enough to be worth taking, and layers of few panels still divide.
constexpr int64_t kTransformedRows = 128;
size_t expanded_panel_bytes(int64_t in_c) {
  return static_cast<size_t>(round_up(kTaps * in_c, 2) * kPanel) * sizeof(float);
}

// One thread's strips.
class Worker {
 public:
  Worker(const ConvArgs& a, const Division& d, const Layout& l, const void* zeros, char* scratch)
      : a_(a),
        d_(d),
        l_(l),
        table_(LOWP_SELECT_TABLE(conv_table)),
        gemm_(*gemm_table(active_target())),
        range_(output_range(a.epilogue)),
        zeros_(zeros),
        v_(reinterpret_cast<float*>(scratch)),
        m_(reinterpret_cast<float*>(scratch + l.m)),
        acc_(reinterpret_cast<float*>(scratch + l.acc)),
        rows_(reinterpret_cast<const void**>(scratch + l.rows)),
        panel_bytes_(a.in_c * kPanel * static_cast<int64_t>(sizeof(float))),
        panels_(ceil_div(a.out_c, kPanel)) {}

  // Tiles [first, end) and panels [p0, p1).
  void run(int64_t first, int64_t end, int64_t p0, int64_t p1) {
    first_ = first;
    count_ = end - first;
    transform_inputs();
    constexpr int64_t kMost = kColumns / kPanel;
    for (int64_t p = p0; p < p1; p += kMost) {
      const int64_t panels = std::min(kMost, p1 - p);
      for (int64_t position = 0; position < kPositions; ++position) {
        const bool last = position + 1 == kPositions;
        const int64_t next = !last ? p : p + panels < p1 ? p + panels : p0;
        multiply(position, p, panels, weights(last ? 0 : position + 1, next), std::min(kMost, p1 - next));
      }
      finish(p * kPanel, panels);
    }
  }

 private:
  const char* weights(int64_t position, int64_t panel) const {
    return static_cast<const char*>(a_.weights) + (position * panels_ + panel) * panel_bytes_;
  }

  void transform_inputs() {
    const int64_t bytes = a_.in_ld * dtype_bits(a_.in_dtype) / 8;
    WinogradTiles::Place at = d_.tiles.place(first_);
    for (int64_t i = 0; i < count_; ++i, d_.tiles.advance(at)) {
      const void* pixels[kPositions];
      input_pixels(a_, a_.in, bytes, zeros_, at, pixels);
      table_.winograd_input(a_.in_dtype, pixels, a_.in_c, v_ + i * l_.row, l_.v_step, kPanel);
    }
  }

  // M[position] = V[position] U[position] for `panels` panels from p on. Meanwhile the next ones come to L2.
  void multiply(int64_t position, int64_t p, int64_t panels, const char* next, int64_t next_panels_count) {
    const TileSet& tiles = *gemm_.f32;
    const float* v = v_ + position * l_.v_step;
    for (int64_t i = 0; i < count_; ++i) rows_[i] = v + i * l_.row;
    const int64_t fetched = next_panels_count * panel_bytes_;
    int64_t lines = 0;
    auto for_tiles = [&](auto&& body) {
      for (int64_t done = 0; done < panels;) {
        const int np = next_panels(tiles, count_, panels - done);
        const int64_t parts = ceil_div(count_, tiles.max_rows[np]);
        for (int64_t i = 0; i < parts; ++i) body(done, np, count_ * i / parts, count_ * (i + 1) / parts);
        done += np;
      }
    };
    for_tiles([&](int64_t, int, int64_t, int64_t) { lines += a_.in_c; });
    TileArgs t{};
    t.rows_stride = count_;
    t.taps = 1;
    t.c = a_.in_c;
    t.b_stride = panel_bytes_;
    t.acc_ld = kColumns;
    t.prefetch = next;
    t.prefetch_step = ceil_div(fetched, lines);
    float* const m = m_ + position * l_.m_step;
    for_tiles([&](int64_t done, int np, int64_t begin, int64_t end) {
      t.rows = rows_ + begin;
      t.b = weights(position, p + done);
      t.acc = m + begin * kColumns + done * kPanel;
      tiles.tile[end - begin][np](t);
      t.prefetch = static_cast<const char*>(t.prefetch) + t.prefetch_step * a_.in_c;
    });
  }

  // Outputs of output channels from `column` on, a few neighbouring tiles at a time.
  void finish(int64_t column, int64_t panels) {
    const Epilogue& e = a_.epilogue;
    float* const unused = acc_ + kFinished * 4 * kColumns;
    EpilogueArgs args{};
    args.e = &e;
    args.range = range_;
    args.acc = acc_;
    args.acc_ld = kColumns;
    args.cols = static_cast<int>(std::min(panels * kPanel, a_.out_c - column));
    args.n0 = column;
    args.out = static_cast<char*>(a_.out) + column * (dtype_bits(e.out) / 8);
    if (e.residual != nullptr)
      args.residual = static_cast<const char*>(e.residual) + column * (dtype_bits(e.residual_dtype) / 8);
    for (int64_t i = 0; i < count_;) {
      const WinogradTiles::Place at = d_.tiles.place(first_ + i);
      const int64_t tiles = std::min({kFinished, count_ - i, d_.tiles.w - at.x});
      const int64_t oh = at.y * 2, ow = at.x * 2;
      const int64_t width = std::min(tiles * 2, a_.out_w - ow), height = std::min<int64_t>(2, a_.out_h - oh);
      for (int64_t j = 0; j < tiles; ++j) {
        float* pixels[4];
        for (int64_t k = 0; k < 4; ++k) {
          const int64_t y = k / 2, x = j * 2 + k % 2;
          pixels[k] = y < height && x < width ? acc_ + (y * width + x) * kColumns : unused;
        }
        table_.winograd_output(m_ + (i + j) * kColumns, l_.m_step, panels * kPanel, pixels);
      }
      RowRun runs[2];
      for (int64_t y = 0; y < height; ++y) {
        const int64_t pixel = (at.b * a_.out_h + oh + y) * a_.out_w + ow;
        runs[y] = {width, pixel * a_.out_ld, a_.out_ld, pixel * e.residual_ld, e.residual_ld};
      }
      args.runs = runs;
      args.run_count = static_cast<int>(height);
      gemm_.epilogue_f32(args);
      i += tiles;
    }
  }

  const ConvArgs& a_;
  const Division& d_;
  const Layout& l_;
  const ConvTable& table_;
  const GemmTable& gemm_;
  OutputRange range_;
  const void* zeros_;  // a pixel of padding
  float *v_, *m_, *acc_;
  const void** rows_;
  int64_t panel_bytes_, panels_;
  int64_t first_ = 0, count_ = 0;  // tiles of the strip
};

}  // namespace

size_t packed_winograd_bytes(int64_t out_c, int64_t in_c) {
  return static_cast<size_t>(kPositions) * packed_bytes(WeightKind::kF32, in_c, out_c);
}

size_t transform_filters_scratch(WeightKind kind, int64_t out_c, int64_t in_c, int threads) {
  if (kind == WeightKind::kF32) return 0;
  const int64_t workers = std::min<int64_t>(threads, ceil_div(out_c, kPanel));
  return static_cast<size_t>(workers) * expanded_panel_bytes(in_c);
}

void transform_filters(WeightKind kind, const void* packed, int64_t out_c, int64_t in_c, float* dst, void* scratch,
                       int threads) {
  const ConvTable& table = LOWP_SELECT_TABLE(conv_table);
  const GemmTable& gemm = *gemm_table(active_target());
  const bool expands = kind != WeightKind::kF32;
  const ExpandFn expand = kind == WeightKind::kBF16 ? gemm.expand_bf16 : gemm.expand_f16;
  const size_t stored = packed_bytes(kind, kTaps * in_c, kPanel), expanded = expanded_panel_bytes(in_c);
  const int64_t panels = ceil_div(out_c, kPanel), matrix = panels * in_c * kPanel;
  const int64_t piece = expands ? in_c : kTransformedRows, pieces = ceil_div(in_c, piece);
  parallel_shares(threads, panels * pieces, [&](int64_t worker, int64_t i) {
    const int64_t p = i / pieces, first = i % pieces * piece;
    const void* panel = static_cast<const char*>(packed) + static_cast<size_t>(p) * stored;
    if (expands) {
      char* const copy = static_cast<char*>(scratch) + static_cast<size_t>(worker) * expanded;
      expand(panel, static_cast<int64_t>(stored), round_up(kTaps * in_c, 2), 1, reinterpret_cast<float*>(copy));
      panel = copy;
    }
    table.winograd_filters(static_cast<const float*>(panel), in_c, first, std::min(in_c, first + piece),
                           dst + p * in_c * kPanel, matrix);
  });
}

size_t winograd_scratch(const ConvArgs& a, int threads) {
  const Division d = divide(a, threads);
  const int64_t workers = std::min<int64_t>(threads, d.tasks());
  return zeros_bytes(a) + layout_of(a, d).bytes * static_cast<size_t>(workers);
}

void winograd(const ConvArgs& a, void* scratch, int threads) {
  LOWP_CHECK(winograd_fits(a) && is_stored_float(a.in_dtype) && a.out_line == 0);
  const Division d = divide(a, threads);
  if (d.tiles.count == 0) return;
  const Layout l = layout_of(a, d);
  std::memset(scratch, 0, zeros_bytes(a));
  char* const rest = static_cast<char*>(scratch) + zeros_bytes(a);
  const int64_t panels = ceil_div(a.out_c, kPanel);
  parallel_shares(static_cast<int>(std::min<int64_t>(threads, d.tasks())), d.tasks(), [&](int64_t worker, int64_t i) {
    const int64_t strip = i / d.parts, part = i % d.parts;
    Worker(a, d, l, scratch, rest + l.bytes * static_cast<size_t>(worker))
        .run(d.tiles.count * strip / d.strips, d.tiles.count * (strip + 1) / d.strips, panels * part / d.parts,
             panels * (part + 1) / d.parts);
  });
}

}  // namespace lowp::kernels
