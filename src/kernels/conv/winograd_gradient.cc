// The gradient of weights by Winograd's algorithm (winograd.h): a GEMM of transformed inputs and transformed gradients
// of the outputs for each of the 16 positions, K being the tiles.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/align.h"
#include "base/thread_pool.h"
#include "kernels/conv/table.h"
#include "kernels/conv/winograd.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/gemm/driver.h"
#include "kernels/gemm/plan.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

// Tiles that are multiplied before the next are transformed: the contract's block of K, so that sums that are added to
// are read and written once a block.
constexpr int64_t kSlab = kBlockK;
// Tiles of a task that transforms, which turns its results in blocks of 16 x 16.
constexpr int64_t kTogether = 16;
// Rows of sums of a task that multiplies: enough for whole tiles, few enough that all threads have some.
constexpr int64_t kRows = 128;
// Between what would lie a power of two apart, and fall into the same sets of L1.
constexpr int64_t kApart = 16;

int64_t bytes_of(DType dtype) { return dtype_bits(dtype) / 8; }

struct Plan {
  WinogradTiles<2> tiles;
  int64_t slab;                 // tiles
  int64_t panels;               // of input channels
  int64_t v_panel, v_step;      // elements between panels and positions of inputs
  int64_t z_row, z_step;        // between output channels and positions of gradients, turned
  int64_t sums_row, sums_step;  // between output channels and positions of sums
  size_t v_at, z_at, sums_at, bytes;
};
Plan plan_of(const ConvWeightGradientArgs& a) {
  const ConvShape& s = a.shape;
  Plan p{};
  p.tiles = WinogradTiles<2>::of(s);
  p.slab = std::min(round_up(p.tiles.count, kTogether), kSlab);
  p.panels = ceil_div(s.in_c, kPanel);
  p.v_panel = p.slab * kPanel;
  p.v_step = p.panels * p.v_panel + kApart;
  p.z_row = p.slab + kApart;
  p.z_step = round_up(s.out_c, kPanel) * p.z_row + kApart;
  p.sums_row = p.panels * kPanel + kApart;
  p.sums_step = s.out_c * p.sums_row + kApart;
  size_t at = 0;
  auto take = [&](size_t bytes) { return std::exchange(at, at + align64(bytes)); };
  auto floats = [](int64_t n) { return static_cast<size_t>(n) * sizeof(float); };
  // A pixel outside the image, of x or dy.
  take(floats(round_up(std::max(s.in_c, s.out_c), kPanel)));
  p.v_at = take(floats(WinogradTiles<2>::kPositions * p.v_step));
  p.z_at = take(floats(WinogradTiles<2>::kPositions * p.z_step));
  p.sums_at = take(floats(WinogradTiles<2>::kPositions * p.sums_step));
  p.bytes = at;
  return p;
}

class WeightGradient {
 public:
  WeightGradient(const ConvWeightGradientArgs& a, char* scratch, int threads)
      : a_(a),
        s_(a.shape),
        p_(plan_of(a)),
        table_(LOWP_SELECT_TABLE(conv_table)),
        gemm_(*gemm_table(active_target())->f32),
        zeros_(scratch),
        v_(reinterpret_cast<float*>(scratch + p_.v_at)),
        z_(reinterpret_cast<float*>(scratch + p_.z_at)),
        sums_(reinterpret_cast<float*>(scratch + p_.sums_at)),
        threads_(threads) {
    std::memset(scratch, 0, p_.v_at);
  }

  void run() {
    const int64_t chunks = ceil_div(s_.out_c, kRows);
    for (first_ = 0; first_ < p_.tiles.count; first_ += p_.slab) {
      count_ = std::min(p_.slab, p_.tiles.count - first_);
      parallel_for(threads_, ceil_div(count_, kTogether), [&](int64_t i) { transform(i * kTogether); });
      parallel_for(threads_, WinogradTiles<2>::kPositions * chunks, [&](int64_t i) {
        const int64_t row = i % chunks * kRows;
        multiply(i / chunks, row, std::min(s_.out_c, row + kRows));
      });
    }
    parallel_ranges(threads_, s_.out_c, kGrainElements / (s_.in_c * 9) + 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        table_.winograd_filter_gradient(sums_ + o * p_.sums_row, p_.sums_step, s_.in_c, a_.dw + o * s_.in_c * 9);
    });
    if (a_.db == nullptr) return;
    parallel_for(threads_, ceil_div(s_.out_c, kPanel), [&](int64_t i) {
      const int64_t o = i * kPanel;
      table_.column_sums(a_.dy_dtype, static_cast<const char*>(a_.dy) + o * bytes_of(a_.dy_dtype), s_.out_c,
                         s_.pixels(), static_cast<int>(std::min(kPanel, s_.out_c - o)), true, a_.db + o);
    });
  }

 private:
  // Tiles [tile, tile + kTogether) of the slab.
  void transform(int64_t tile) {
    WinogradTiles<2>::Place at = p_.tiles.place(first_ + tile);
    const void* outputs[kTogether * 4];
    std::fill_n(outputs, kTogether * 4, zeros_);
    const int64_t tiles = std::min(kTogether, count_ - tile), pixel = s_.out_c * bytes_of(a_.dy_dtype);
    for (int64_t i = 0; i < tiles; ++i, p_.tiles.advance(at)) {
      const void* pixels[WinogradTiles<2>::kPositions];
      input_pixels<2>(s_, a_.x, s_.in_c * bytes_of(a_.x_dtype), zeros_, at, pixels);
      table_.winograd_input(a_.x_dtype, pixels, s_.in_c, v_ + (tile + i) * kPanel, p_.v_step, p_.v_panel);
      for (int64_t k = 0; k < 4; ++k) {
        const int64_t h = at.y * 2 + k / 2, w = at.x * 2 + k % 2;
        if (h < s_.out_h && w < s_.out_w)
          outputs[i * 4 + k] = static_cast<const char*>(a_.dy) + ((at.b * s_.out_h + h) * s_.out_w + w) * pixel;
      }
    }
    for (int64_t o = 0; o < s_.out_c; o += kPanel) {
      table_.winograd_output_gradient(a_.dy_dtype, outputs, o, static_cast<int>(std::min(kPanel, s_.out_c - o)),
                                      z_ + o * p_.z_row + tile, p_.z_step, p_.z_row);
    }
  }

  // Output channels [begin, end) of one position.
  void multiply(int64_t position, int64_t begin, int64_t end) {
    const float* z = z_ + position * p_.z_step;
    float* sums = sums_ + position * p_.sums_step;
    const void* rows[kRows];
    for (int64_t o = begin; o < end; ++o) rows[o - begin] = z + o * p_.z_row;
    TileArgs t{};
    t.taps = 1;
    t.c = count_;
    t.b_stride = p_.v_panel * static_cast<int64_t>(sizeof(float));
    t.acc_ld = p_.sums_row;
    t.accumulate = first_ > 0;
    t.prefetch = z;
    for (int64_t panel = 0; panel < p_.panels;) {
      const int np = next_panels(gemm_, end - begin, p_.panels - panel);
      const int64_t tiles = ceil_div(end - begin, gemm_.max_rows[np]);
      auto row_of = [&](int64_t tile) { return begin + (end - begin) * tile / tiles; };
      t.b = v_ + position * p_.v_step + panel * p_.v_panel;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t o = row_of(i), next = row_of(i + 1);
        // Sums that the next tile adds to lie a row apart.
        for (int64_t r = next; r < row_of(std::min(i + 2, tiles)); ++r) {
          for (int l = 0; l < np; ++l) __builtin_prefetch(sums + r * p_.sums_row + (panel + l) * kPanel, 1, 3);
        }
        t.rows = rows + (o - begin);
        t.acc = sums + o * p_.sums_row + panel * kPanel;
        gemm_.tile[next - o][np](t);
      }
      panel += np;
    }
  }

  const ConvWeightGradientArgs& a_;
  const ConvShape& s_;
  const Plan p_;
  const ConvTable& table_;
  const TileSet& gemm_;
  const void* zeros_;
  float *v_, *z_, *sums_;
  int threads_;
  int64_t first_ = 0, count_ = 0;  // tiles of the slab
};

}  // namespace

size_t winograd_weight_gradient_scratch(const ConvWeightGradientArgs& a) { return plan_of(a).bytes; }

void winograd_weight_gradient(const ConvWeightGradientArgs& a, void* scratch, int threads) {
  WeightGradient(a, static_cast<char*>(scratch), threads).run();
}

}  // namespace lowp::kernels
