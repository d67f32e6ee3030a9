#include "kernels/conv/winograd.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/align.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/conv/table.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/convert/convert.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

using Tiles = WinogradTiles<2>;
using Outputs = WinogradOutputs<2, float>;
constexpr int64_t kPositions = Tiles::kPositions, kTaps = 9;
// Tiles that are transformed together: whole tiles of gemm (14 or 6 rows), and enough that 16 matrices of weights,
// which come from L3 once for all of them, are read at less than 10 GB/s.
constexpr int64_t kStrip = 56;
// Output channels whose 16 sums are kept before they are transformed back: 229 KB for a strip.
constexpr int64_t kColumns = 64;
// Between the matrices of two positions, whose rows would all fall into one set of the caches otherwise.
constexpr int64_t kApart = 16;

// Elements between the positions of transformed filters.
int64_t matrix_step(int64_t out_c, int64_t in_c) { return round_up(out_c, kPanel) * in_c + kApart; }

// Rows of a panel that one task transforms: long enough to be worth taking, and layers of few panels still divide.
constexpr int64_t kTransformedRows = 128;

// Panels of filters as they are stored, of any float kind.
class StoredFilters {
 public:
  StoredFilters(WeightKind kind, const void* packed, int64_t in_c)
      : table_(LOWP_SELECT_TABLE(conv_table)),
        gemm_(*gemm_table(active_target())),
        kind_(kind),
        packed_(static_cast<const char*>(packed)),
        in_c_(in_c),
        bytes_(packed_bytes(kind, kTaps * in_c, kPanel)) {}
  static size_t scratch(WeightKind kind, int64_t in_c) {
    return kind == WeightKind::kF32 ? 0 : static_cast<size_t>(round_up(kTaps * in_c, 2) * kPanel) * sizeof(float);
  }
  // Rows [first, last) of panel p of each U[i, j], which lie `step` elements apart; of 16 bits a whole panel at once.
  void transform(int64_t p, int64_t first, int64_t last, float* u, int64_t step, void* scratch) const {
    const void* panel = packed_ + static_cast<size_t>(p) * bytes_;
    if (kind_ != WeightKind::kF32) {
      const ExpandFn expand = kind_ == WeightKind::kBF16 ? gemm_.expand_bf16 : gemm_.expand_f16;
      expand(panel, static_cast<int64_t>(bytes_), round_up(kTaps * in_c_, 2), 1, static_cast<float*>(scratch));
      panel = scratch;
    }
    table_.winograd_filters(static_cast<const float*>(panel), in_c_, first, last, u, step);
  }

 private:
  const ConvTable& table_;
  const GemmTable& gemm_;
  WeightKind kind_;
  const char* packed_;
  int64_t in_c_;
  size_t bytes_;
};

// How the tiles of all images are divided: strips of tiles, and parts of the output channels, in panels.
struct Division {
  Tiles tiles;
  int64_t strips, parts;
  int64_t tasks() const { return strips * parts; }
};
Division divide(const ConvArgs& a, int threads) {
  Division d{};
  d.tiles = Tiles::of(a);
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

// Whether each thread transforms the filters that it is about to multiply: with one strip they are needed once, and do
// not go through memory (ResNet-50 in BF16 at batch 1, AVX2: 1.03x).
bool transforms_as_it_goes(const ConvArgs& a, const Division& d) { return !a.transformed && d.strips == 1; }

// One thread's scratch, in bytes from its start.
struct Layout {
  int64_t row;     // elements between tiles of V
  int64_t v_step;  // between positions of V
  int64_t m_step;  // of M, whose tiles lie kColumns apart
  size_t m, acc, rows, filters, copy, bytes;
};
Layout layout_of(const ConvArgs& a, const Division& d) {
  Layout l{};
  const int64_t strip = ceil_div(d.tiles.count, d.strips);
  l.row = copied_row_bytes(round_up(a.in_c, 16) * 4) / 4;
  l.v_step = strip * l.row + kApart;
  l.m_step = strip * kColumns + kApart;
  l.m = static_cast<size_t>(kPositions * l.v_step) * sizeof(float);
  l.acc = l.m + static_cast<size_t>(kPositions * l.m_step) * sizeof(float);
  l.rows = l.acc + Outputs::scratch(kColumns);
  l.filters = align64(l.rows + static_cast<size_t>(strip) * sizeof(void*));
  l.copy = l.bytes = l.filters;
  if (transforms_as_it_goes(a, d)) {
    l.copy += static_cast<size_t>(kPositions * matrix_step(kColumns, a.in_c)) * sizeof(float);
    l.bytes = align64(l.copy + StoredFilters::scratch(a.weight_kind, a.in_c));
  }
  return l;
}
size_t zeros_bytes(const ConvArgs& a) { return align64(static_cast<size_t>(a.in_c) * sizeof(float)); }

// One thread's strips.
class Worker {
 public:
  // filters: as winograd.h has them, or null where they are transformed here.
  Worker(const ConvArgs& a, const Division& d, const Layout& l, const float* filters, const void* zeros, char* scratch)
      : a_(a),
        d_(d),
        l_(l),
        table_(LOWP_SELECT_TABLE(conv_table)),
        gemm_(*gemm_table(active_target())),
        zeros_(zeros),
        v_(reinterpret_cast<float*>(scratch)),
        m_(reinterpret_cast<float*>(scratch + l.m)),
        outputs_(a, kColumns, gemm_.epilogue_f32, scratch + l.acc),
        rows_(reinterpret_cast<const void**>(scratch + l.rows)),
        filters_(filters),
        block_(reinterpret_cast<float*>(scratch + l.filters)),
        copy_(scratch + l.copy),
        panel_(a.in_c * kPanel),
        step_(matrix_step(a.out_c, a.in_c)) {}

  // Tiles [first, end) and panels [p0, p1).
  void run(int64_t first, int64_t end, int64_t p0, int64_t p1) {
    first_ = first;
    count_ = end - first;
    transform_inputs();
    for (int64_t p = p0; p < p1; p += kMost) {
      const int64_t panels = std::min(kMost, p1 - p);
      if (filters_ == nullptr) transform_filters(p, panels);
      for (int64_t position = 0; position < kPositions; ++position) {
        const bool last = position + 1 == kPositions;
        const int64_t next = !last || filters_ == nullptr ? p : p + panels < p1 ? p + panels : p0;
        const auto ahead = static_cast<size_t>(std::min(kMost, p1 - next) * panel_);
        multiply(position, p, panels, {weights(last ? 0 : position + 1, next, p), ahead});
      }
      outputs_.finish(first, count_, p * kPanel, panels * kPanel, [&](int64_t i, float* const* pixels) {
        table_.winograd_output(m_ + i * kColumns, l_.m_step, panels * kPanel, pixels);
      });
    }
  }

 private:
  static constexpr int64_t kMost = kColumns / kPanel;  // panels

  // `first`: of the panels that have been transformed, where they are here.
  const float* weights(int64_t position, int64_t panel, int64_t first) const {
    return filters_ != nullptr ? filters_ + position * step_ + panel * panel_
                               : block_ + position * block_step() + (panel - first) * panel_;
  }

  int64_t block_step() const { return matrix_step(kColumns, a_.in_c); }
  void transform_filters(int64_t first, int64_t panels) {
    const StoredFilters stored(a_.weight_kind, a_.weights, a_.in_c);
    for (int64_t i = 0; i < panels; ++i)
      stored.transform(first + i, 0, a_.in_c, block_ + i * panel_, block_step(), copy_);
  }

  void transform_inputs() {
    const int64_t bytes = a_.in_ld * dtype_bits(a_.in_dtype) / 8;
    Tiles::Place at = d_.tiles.place(first_);
    for (int64_t i = 0; i < count_; ++i, d_.tiles.advance(at)) {
      const void* pixels[kPositions];
      input_pixels<2>(a_, a_.in, bytes, zeros_, at, pixels);
      table_.winograd_input(a_.in_dtype, pixels, a_.in_c, v_ + i * l_.row, l_.v_step, kPanel);
    }
  }

  // M[position] = V[position] U[position] for `panels` panels from p on. Meanwhile `next` comes to L2.
  void multiply(int64_t position, int64_t p, int64_t panels, std::span<const float> next) {
    constexpr auto kBytes = static_cast<int64_t>(sizeof(float));
    multiply_position({.tiles = gemm_.f32,
                       .v = v_ + position * l_.v_step,
                       .count = count_,
                       .row_bytes = l_.row * kBytes,
                       .channels = a_.in_c,
                       .u = weights(position, p, p),
                       .panels = panels,
                       .panel_bytes = panel_ * kBytes,
                       .m = m_ + position * l_.m_step,
                       .m_ld = kColumns,
                       .rows = rows_,
                       .next = {reinterpret_cast<const char*>(next.data()), next.size_bytes()}});
  }

  const ConvArgs& a_;
  const Division& d_;
  const Layout& l_;
  const ConvTable& table_;
  const GemmTable& gemm_;
  const void* zeros_;  // a pixel of padding
  float *v_, *m_;
  Outputs outputs_;
  const void** rows_;
  const float* filters_;
  float* block_;                   // transformed filters of kMost panels
  void* copy_;                     // of a panel, expanded
  int64_t panel_, step_;           // elements of a panel, and between the positions of filters_
  int64_t first_ = 0, count_ = 0;  // tiles of the strip
};

}  // namespace

size_t packed_winograd_bytes(int64_t out_c, int64_t in_c) {
  return static_cast<size_t>(kPositions * matrix_step(out_c, in_c)) * sizeof(float);
}

namespace {

void transform_stored(WeightKind kind, const void* packed, int64_t out_c, int64_t in_c, float* dst, void* scratch,
                      int threads) {
  const StoredFilters stored(kind, packed, in_c);
  const int64_t panels = ceil_div(out_c, kPanel), panel = in_c * kPanel;
  const int64_t piece = kind == WeightKind::kF32 ? kTransformedRows : in_c, pieces = ceil_div(in_c, piece);
  parallel_shares(threads, panels * pieces, [&](int64_t worker, int64_t i) {
    const int64_t p = i / pieces, first = i % pieces * piece;
    stored.transform(p, first, std::min(in_c, first + piece), dst + p * panel, matrix_step(out_c, in_c),
                     static_cast<char*>(scratch) + static_cast<size_t>(worker) * StoredFilters::scratch(kind, in_c));
  });
}

// Bytes of scratch behind the pixel of zeros: transformed filters, where all are, and what threads want.
struct Scratch {
  size_t filters = 0, copies = 0, workers = 0;
};
Scratch scratch_of(const ConvArgs& a, const Division& d, int threads) {
  Scratch s;
  const auto workers = static_cast<size_t>(std::min<int64_t>(threads, d.tasks()));
  s.workers = layout_of(a, d).bytes * workers;
  if (a.transformed || transforms_as_it_goes(a, d)) return s;
  s.filters = align64(packed_winograd_bytes(a.out_c, a.in_c));
  s.copies = StoredFilters::scratch(a.weight_kind, a.in_c) * static_cast<size_t>(threads);
  return s;
}

}  // namespace

void transform_filters(const float* packed, int64_t out_c, int64_t in_c, float* dst, int threads) {
  transform_stored(WeightKind::kF32, packed, out_c, in_c, dst, nullptr, threads);
}

size_t winograd_scratch(const ConvArgs& a, int threads) {
  const Scratch s = scratch_of(a, divide(a, threads), threads);
  return zeros_bytes(a) + s.filters + std::max(s.copies, s.workers);
}

void winograd(const ConvArgs& a, void* scratch, int threads) {
  LOWP_CHECK(winograd_fits(a) && is_stored_float(a.in_dtype) && a.out_line == 0);
  const Division d = divide(a, threads);
  if (d.tiles.count == 0) return;
  const Layout l = layout_of(a, d);
  const Scratch s = scratch_of(a, d, threads);
  char* rest = static_cast<char*>(scratch);
  std::memset(rest, 0, zeros_bytes(a));
  rest += zeros_bytes(a);
  const auto* filters = a.transformed ? static_cast<const float*>(a.weights) : nullptr;
  if (s.filters != 0) {
    auto* const transformed = reinterpret_cast<float*>(rest);
    rest += s.filters;
    transform_stored(a.weight_kind, a.weights, a.out_c, a.in_c, transformed, rest, threads);
    filters = transformed;
  }
  const int64_t panels = ceil_div(a.out_c, kPanel);
  parallel_shares(static_cast<int>(std::min<int64_t>(threads, d.tasks())), d.tasks(), [&](int64_t worker, int64_t i) {
    const int64_t strip = i / d.parts, part = i % d.parts;
    Worker(a, d, l, filters, scratch, rest + l.bytes * static_cast<size_t>(worker))
        .run(d.tiles.count * strip / d.strips, d.tiles.count * (strip + 1) / d.strips, panels * part / d.parts,
             panels * (part + 1) / d.parts);
  });
}

}  // namespace lowp::kernels
