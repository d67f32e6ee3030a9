#include "kernels/conv/winograd_int8.h"

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/conv/table.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

using Tiles = WinogradTiles<4>;
using Outputs = WinogradOutputs<4, int32_t>;
constexpr int64_t kPositions = Tiles::kPositions;
// Input channels come in such blocks, their even halves (bytes 0 and 2 of each four) before the odd ones.
constexpr int64_t kBlock = 32;
// Tiles that are transformed together, once for each panel of filters: so many that transforming the filters anew for
// each chunk costs a few percent, and no more than L3 gives back quickly.
constexpr int64_t kChunkBytes = 1 << 20, kFewestTiles = 48;
// Of these, what is multiplied before outputs are made, in whole tiles of gemm: the sums of two panels are 110 KB, in
// L2.
constexpr int64_t kStripTiles = 28;
int64_t strip_tiles() {
  const int64_t rows = gemm_table(active_target())->s16->max_rows[1];
  return std::max<int64_t>(kStripTiles / rows, 1) * rows;
}
// Transformed filters of the panels that are multiplied together stay in L2.
constexpr int64_t kFilterBytes = 160 << 10, kMostPanels = 2;
// Between the matrices of two positions, whose rows would all fall into one set of the caches otherwise.
constexpr int64_t kApart = 32;
// What 9 * 2^6 of the largest sum must stay below (winograd_int8.h).
constexpr int64_t kLargestSum = 1 << 25;

// Panels that are multiplied together.
int64_t panels_together(const ConvArgs& a) {
  const int64_t bytes = kPositions * a.in_c * kPanel * 2;
  return std::clamp<int64_t>(kFilterBytes / bytes, 1, std::min(kMostPanels, ceil_div(a.out_c, kPanel)));
}

// Chunks of tiles, and parts of the output channels.
struct Division {
  Tiles tiles;
  int64_t chunks, parts;
  int64_t tasks() const { return chunks * parts; }
};
Division divide(const ConvArgs& a, int threads) {
  Division d{};
  d.tiles = Tiles::of(a);
  d.parts = 1;
  const int64_t most = std::max(kChunkBytes / (kPositions * a.in_c * 2), kFewestTiles), workers = threads;
  d.chunks = ceil_div(d.tiles.count, most);
  if (d.chunks < workers) {
    if (d.tiles.count >= workers * strip_tiles())
      d.chunks = workers;
    else
      d.parts = std::min(ceil_div(workers, std::max<int64_t>(d.chunks, 1)), ceil_div(a.out_c, kPanel));
  } else {
    d.chunks = std::min(round_up(d.chunks, workers), d.tiles.count);  // as many for each
  }
  return d;
}

// One thread's scratch, in bytes from its start, and elements between rows and positions.
struct Layout {
  int64_t strip;    // tiles of M
  int64_t columns;  // of M
  int64_t row, v_step, m_step, u_step;
  size_t m, u, outputs, rows, bytes;
};
Layout layout_of(const ConvArgs& a, const Division& d) {
  Layout l{};
  const int64_t chunk = ceil_div(d.tiles.count, d.chunks), panels = panels_together(a);
  l.strip = std::min(strip_tiles(), chunk);
  l.columns = panels * kPanel;
  l.row = copied_row_bytes(a.in_c * 2) / 2;
  l.v_step = chunk * l.row + kApart;
  l.m_step = l.strip * l.columns + kApart / 2;
  l.u_step = panels * a.in_c * kPanel + kApart;
  l.m = align64(static_cast<size_t>(kPositions * l.v_step) * 2);
  l.u = align64(l.m + static_cast<size_t>(kPositions * l.m_step) * 4);
  l.outputs = align64(l.u + static_cast<size_t>(kPositions * l.u_step) * 2);
  l.rows = align64(l.outputs + Outputs::scratch(l.columns));
  l.bytes = align64(l.rows + static_cast<size_t>(l.strip) * sizeof(void*));
  return l;
}
size_t padding_bytes(const ConvArgs& a) { return align64(static_cast<size_t>(a.in_c)); }

// One thread's tasks.
class Worker {
 public:
  Worker(const ConvArgs& a, const Division& d, const Layout& l, const void* padding, char* scratch)
      : a_(a),
        d_(d),
        l_(l),
        table_(LOWP_SELECT_TABLE(conv_table)),
        gemm_(*gemm_table(active_target())),
        padding_(padding),
        v_(reinterpret_cast<int16_t*>(scratch)),
        m_(reinterpret_cast<int32_t*>(scratch + l.m)),
        u_(reinterpret_cast<int16_t*>(scratch + l.u)),
        rows_(reinterpret_cast<const void**>(scratch + l.rows)),
        outputs_(a, l.columns, gemm_.epilogue_s32, scratch + l.outputs),
        panel_(a.in_c * kPanel) {}

  // Tiles [first, end) and panels [p0, p1).
  void run(int64_t first, int64_t end, int64_t p0, int64_t p1) {
    transform_inputs(first, end);
    for (int64_t p = p0; p < p1;) {
      const int64_t panels = std::min(l_.columns / kPanel, p1 - p);
      for (int64_t i = 0; i < panels; ++i)
        table_.winograd_s8_filters(static_cast<const int8_t*>(a_.weights) + (p + i) * 9 * panel_, a_.in_c,
                                   u_ + i * panel_, l_.u_step);
      const int64_t count = end - first, strips = ceil_div(count, l_.strip);
      for (int64_t s = 0; s < strips; ++s) {
        const int64_t from = count * s / strips, to = count * (s + 1) / strips;
        for (int64_t position = 0; position < kPositions; ++position) multiply(position, from, to - from, panels);
        outputs_.finish(first + from, to - from, p * kPanel, panels * kPanel, [&](int64_t i, int32_t* const* pixels) {
          table_.winograd_s32_output(m_ + i * l_.columns, l_.m_step, panels * kPanel, pixels);
        });
      }
      p += panels;
    }
  }

 private:
  void transform_inputs(int64_t first, int64_t end) {
    Tiles::Place at = d_.tiles.place(first);
    int16_t* v = v_;
    for (int64_t i = first; i < end; ++i, v += l_.row, d_.tiles.advance(at)) {
      const void* pixels[kPositions];
      input_pixels<4>(a_, a_.in, a_.in_ld, padding_, at, pixels);
      table_.winograd_u8_input(pixels, a_.in_c, v, l_.v_step);
    }
  }

  // The tiles of V from `first` on against the panels in U; meanwhile those of the next position come to L2.
  void multiply(int64_t position, int64_t first, int64_t count, int64_t panels) {
    const int16_t* v = v_ + position * l_.v_step + first * l_.row;
    multiply_position(
        {.tiles = gemm_.s16,
         .v = v,
         .count = count,
         .row_bytes = l_.row * 2,
         .channels = a_.in_c,
         .u = u_ + position * l_.u_step,
         .panels = panels,
         .panel_bytes = panel_ * 2,
         .m = m_ + position * l_.m_step,
         .m_ld = l_.columns,
         .rows = rows_,
         .next = {reinterpret_cast<const char*>(v + l_.v_step), static_cast<size_t>(count * l_.row * 2)}});
  }

  const ConvArgs& a_;
  const Division& d_;
  const Layout& l_;
  const ConvTable& table_;
  const GemmTable& gemm_;
  const void* padding_;  // a pixel
  int16_t* v_;
  int32_t* m_;
  int16_t* u_;
  const void** rows_;
  Outputs outputs_;
  int64_t panel_;  // elements
};

}  // namespace

bool winograd_int8_fits(const ConvArgs& a) {
  const int64_t largest = a.int8_class == Int8Class::kExact8 ? 255 : 127;
  return a.weight_kind == WeightKind::kS8 && a.in_dtype == DType::kU8 && a.kernel_h == 3 && a.kernel_w == 3 &&
         a.stride_h == 1 && a.stride_w == 1 && a.dilation_h == 1 && a.dilation_w == 1 && a.groups == 1 &&
         a.out_line == 0 && a.in_c % kBlock == 0 && a.weight_sum > 0 && a.weight_sum < kLargestSum / largest;
}

// Fewer tiles do not pay for transforming the filters (512 channels, 7 x 7 pixels: 0.6 of conv()'s rate); 16 tiles of
// 256 channels do, 1.3x. With VNNI 16 bits have half the rate of 8, and what is gained depends on the CPU: measured
// only.
bool winograd_int8_pays(const ConvArgs& a) {
  constexpr int64_t kTilesThatPay = 12;
  return winograd_int8_fits(a) && Tiles::of(a).count >= kTilesThatPay &&
         gemm_table(active_target())->s8_exact->form == RowForm::kWide;
}

bool takes_winograd_int8(const ConvArgs& a) {
  using Algorithm = KernelChoice::Algorithm;
  if (a.choice.algorithm == Algorithm::kFormula) return winograd_int8_pays(a);
  return a.choice.algorithm == Algorithm::kWinograd && winograd_int8_fits(a);
}

size_t winograd_int8_scratch(const ConvArgs& a, int threads) {
  const Division d = divide(a, threads);
  if (d.tiles.count == 0) return 0;
  return padding_bytes(a) + layout_of(a, d).bytes * static_cast<size_t>(std::min<int64_t>(threads, d.tasks()));
}

void winograd_int8(const ConvArgs& a, void* scratch, int threads) {
  LOWP_CHECK(winograd_int8_fits(a));
  const Division d = divide(a, threads);
  if (d.tiles.count == 0) return;
  const Layout l = layout_of(a, d);
  std::memset(scratch, static_cast<uint8_t>(a.in_zero), padding_bytes(a));
  char* const rest = static_cast<char*>(scratch) + padding_bytes(a);
  const int64_t panels = ceil_div(a.out_c, kPanel);
  parallel_shares(threads, d.tasks(), [&](int64_t worker, int64_t i) {
    const int64_t chunk = i / d.parts, part = i % d.parts;
    Worker(a, d, l, scratch, rest + l.bytes * static_cast<size_t>(worker))
        .run(d.tiles.count * chunk / d.chunks, d.tiles.count * (chunk + 1) / d.chunks, panels * part / d.parts,
             panels * (part + 1) / d.parts);
  });
}

}  // namespace lowp::kernels
