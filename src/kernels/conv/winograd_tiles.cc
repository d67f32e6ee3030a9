#include "kernels/conv/winograd_tiles.h"

#include "kernels/gemm/plan.h"

namespace lowp::kernels {

void multiply_position(const PositionArgs& a) {
  for (int64_t i = 0; i < a.count; ++i) a.rows[i] = static_cast<const char*>(a.v) + i * a.row_bytes;
  auto for_tiles = [&](auto&& body) {
    for (int64_t done = 0; done < a.panels;) {
      const int np = next_panels(*a.tiles, a.count, a.panels - done);
      const int64_t parts = ceil_div(a.count, a.tiles->max_rows[np]);
      for (int64_t i = 0; i < parts; ++i) body(done, np, a.count * i / parts, a.count * (i + 1) / parts);
      done += np;
    }
  };
  const int64_t lines_of_panel = a.panel_bytes / 64;
  int64_t lines = 0;
  for_tiles([&](int64_t, int, int64_t, int64_t) { lines += lines_of_panel; });
  TileArgs t{};
  t.rows_stride = a.count;
  t.taps = 1;
  t.c = a.channels;
  t.b_stride = a.panel_bytes;
  t.acc_ld = a.m_ld;
  t.prefetch = a.next.data();
  t.prefetch_step = ceil_div(static_cast<int64_t>(a.next.size()), lines);
  for_tiles([&](int64_t done, int np, int64_t begin, int64_t end) {
    t.rows = a.rows + begin;
    t.b = static_cast<const char*>(a.u) + done * a.panel_bytes;
    t.acc = static_cast<int32_t*>(a.m) + begin * a.m_ld + done * kPanel;
    a.tiles->tile[end - begin][np](t);
    t.prefetch = static_cast<const char*>(t.prefetch) + t.prefetch_step * lines_of_panel;
  });
}

}  // namespace lowp::kernels
