// AVX-512 with VNNI: the integers, whose product and sum are one instruction here; floats are avx512's. Zen 4 hides the
// second, Intel's CPUs have as many ports for both as for f32's products.
#include "kernels/attention/attention.inl.h"

namespace lowp::avx512_vnni {

extern const kernels::AttentionTable attention_table;
const kernels::AttentionTable attention_table = {nullptr, head_as<S16>};

}  // namespace lowp::avx512_vnni
