#include "kernels/attention/attention.inl.h"

namespace lowp::avx512 {

extern const kernels::AttentionTable attention_table;
const kernels::AttentionTable attention_table = {head_as<Exact>, head_as<S16>};

}  // namespace lowp::avx512
