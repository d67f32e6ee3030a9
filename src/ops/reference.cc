#include "ops/reference.h"

namespace lowp::ops {

std::vector<double> to_doubles(const Tensor& t) {
  std::vector<double> out(static_cast<size_t>(t.size()));
  Status s = dispatch_any(t.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const T* p = t.data<T>();
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(static_cast<compute_t<T>>(p[i]));
    return {};
  });
  if (!s.is_ok()) throw InternalError(s.to_string());
  return out;
}

}  // namespace lowp::ops
