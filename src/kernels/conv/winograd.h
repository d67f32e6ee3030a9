// 3x3 convolutions with 1 / 2.25 of the multiplications: Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray,
// "Fast algorithms for convolutional neural networks", CVPR 2016). Tiles of 4x4 pixels d, two apart, and filters g are
// transformed, multiplied position by position and summed over channels, and transformed back to 2x2 outputs:
//
//   V = B^T d B    U = G g G^T    M[i, j] = sum over c of V[i, j, c] U[i, j, c]    Y = A^T M A
//
//   B^T d: d0 - d2, d1 + d2, d2 - d1, d1 - d3         A^T m: (m0 + m1) + m2, (m1 - m2) - m3
//   G g:   g0, ((g0 + g2) + g1) / 2, ((g0 + g2) - g1) / 2, g2
//
// each along the rows (i) first, then along the columns, all of it in f32; the 16 sums follow gemm.h's rule for f32
// with K = c. Positions outside the image are zeros. Then the epilogue.
//
// Numbers differ from conv()'s in the last places: their error is up to twice as large, and an infinite or NaN input
// makes all outputs of the tiles that read it NaN. So a layer is computed one way or the other by its shape alone.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/conv/gradient.h"

namespace lowp::kernels {

// Below so many input or output channels transforming costs what it saves: with 16 layers of 56 x 56 pixels run 1.08x
// (AVX2) to 1.17x (AVX-512, Zen 4) as fast as conv(), with 8 0.54x to 0.90x.
inline constexpr int64_t kMinWinogradChannels = 16;
// Whether a convolution whose products are f32 is computed this way: 3x3, stride 1, not dilated, one group. `Shape` is
// ConvArgs or ConvShape.
template <typename Shape>
bool winograd_fits(const Shape& s) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.groups == 1 && s.in_c >= kMinWinogradChannels && s.out_c >= kMinWinogradChannels;
}

// Transformed filters: for each of the 16 positions the matrix [in_c, out_c] in panels (gemm/pack.h), kF32, and 16
// zeros.
size_t packed_winograd_bytes(int64_t out_c, int64_t in_c);
// `packed` is what pack_conv and pack_filters make of 3x3 filters, kF32; both are 64-byte aligned.
void transform_filters(const float* packed, int64_t out_c, int64_t in_c, float* dst, int threads);

// args: the shape fits, in is f32, bf16 or f16, and output pixels follow one another. Weights are of any float kind and
// transformed in each call, unless they are already. The choice is not looked at.
size_t winograd_scratch(const ConvArgs& args, int threads);
void winograd(const ConvArgs& args, void* scratch, int threads);

// The gradient of weights: the transposed formula, dw = G^T (sum over tiles of V[i, j, c] Z[i, j, o]) G with
// Z = A dy A^T, outputs outside the image being zeros. Tiles (b, y, x) in order take the place of k in gemm.h's rule.
//
//   A y: y0, y0 + y1, y0 - y1, 0 - y1       G^T u: u0 + (u1 + u2) / 2, (u1 - u2) / 2, u3 + (u1 + u2) / 2
size_t winograd_weight_gradient_scratch(const ConvWeightGradientArgs& args);
void winograd_weight_gradient(const ConvWeightGradientArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
