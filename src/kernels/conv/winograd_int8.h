// 3x3 convolutions in INT8 with a quarter of the multiplications, and the same sums: Winograd's F(4x4, 3x3) (Lavin and
// Gray, CVPR 2016) in integers. Tiles of 6x6 pixels d, four apart, and filters g are transformed, multiplied position
// by position as s16 and summed over channels in s32, and transformed back to 4x4 outputs:
//
//   V = B^T d B    U = G g G^T    M[i, j] = sum over c of V[i, j, c] U[i, j, c]    A^T M A = Y, scaled
//
//   B^T d: 4 d0 - 5 d2 + d4, d4 - 4 d2 + (d3 - 4 d1), d4 - 4 d2 - (d3 - 4 d1), d4 - d2 + 2 (d3 - d1),
//          d4 - d2 - 2 (d3 - d1), 4 d1 - 5 d3 + d5
//   G g:   g0, g0 + g1 + g2, g0 - g1 + g2, g0 + 2 g1 + 4 g2, g0 - 2 g1 + 4 g2, g2
//   A^T m: 6 m0 - 4 (m1 + m2) + m3 + m4, m3 - m4 - 2 (m1 - m2), m3 + m4 - (m1 + m2), 2 (m3 - m4) - (m1 - m2) + 6 m5
//
// These are the usual matrices, the rows of G multiplied by 4, -6, -6, 24, 24 and 1, so that they are integers, and A
// to match: the four outputs in each direction come out 24, 12, 6 and 6 times too large, 3 * 2^p with p = 3, 2, 1, 1.
// |V| is at most 50 * 255 and |U| at most 49 * 128, so that both are s16. All else is modulo 2^32, where 9 has an
// inverse to multiply by, and dividing by 2^(p + p') is exact where |Y| < 2^(31 - 6): the weights say whether that
// holds (ConvArgs::weight_sum). So outputs have the bits of the plain way on every target.
#pragma once

#include "kernels/conv/conv.h"

namespace lowp::kernels {

// Whether conv() may compute the layer this way.
bool winograd_int8_fits(const ConvArgs& args);
// Whether it does where nothing was measured.
bool winograd_int8_pays(const ConvArgs& args);
// Whether it does by the choice in args.
bool takes_winograd_int8(const ConvArgs& args);

size_t winograd_int8_scratch(const ConvArgs& args, int threads);
void winograd_int8(const ConvArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
