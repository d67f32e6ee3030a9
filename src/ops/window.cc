#include "ops/window.h"

namespace lowp::ops {

Result<Window> resolve_window(const WindowAttrs& attrs, const Extents& kernel, const ir::Dims& spatial,
                              bool ceil_mode) {
  const size_t rank = spatial.size();
  if (kernel.size() != rank)
    return fail(Code::kShapeMismatch, "a kernel of rank {} on {} spatial dimensions", kernel.size(), rank);
  auto per_axis = [&](const std::vector<int64_t>& values, const char* what) -> Result<Extents> {
    if (values.empty()) return Extents(rank, 1);
    if (values.size() != rank)
      return fail(Code::kInvalidModel, "{} has {} entries for {} spatial dimensions", what, values.size(), rank);
    for (int64_t v : values) {
      if (v < 1 || v > (int64_t{1} << 31)) return fail(Code::kInvalidModel, "{} has an entry of {}", what, v);
    }
    return values;
  };
  Window w;
  LOWP_ASSIGN(w.kernel, per_axis(kernel, "kernel_shape"));
  LOWP_ASSIGN(w.strides, per_axis(attrs.strides, "strides"));
  LOWP_ASSIGN(w.dilations, per_axis(attrs.dilations, "dilations"));
  w.pads_begin = Extents(rank, 0);
  w.pads_end = Extents(rank, 0);
  const bool same = attrs.auto_pad == "SAME_UPPER" || attrs.auto_pad == "SAME_LOWER";
  if (!same && attrs.auto_pad != "NOTSET" && attrs.auto_pad != "VALID" && !attrs.auto_pad.empty())
    return fail(Code::kInvalidModel, "unknown auto_pad '{}'", attrs.auto_pad);
  if (!same && attrs.auto_pad != "VALID" && !attrs.pads.empty()) {
    if (attrs.pads.size() != 2 * rank)
      return fail(Code::kInvalidModel, "pads has {} entries for {} spatial dimensions", attrs.pads.size(), rank);
    for (size_t i = 0; i < rank; ++i) {
      w.pads_begin[i] = attrs.pads[i];
      w.pads_end[i] = attrs.pads[i + rank];
      if (w.pads_begin[i] < 0 || w.pads_end[i] < 0 || w.pads_begin[i] > (int64_t{1} << 31) ||
          w.pads_end[i] > (int64_t{1} << 31)) {
        return fail(Code::kUnsupported, "pads {} and {} of spatial dimension {} are out of range", w.pads_begin[i],
                    w.pads_end[i], i);
      }
    }
  }
  for (size_t i = 0; i < rank; ++i) {
    const int64_t reach = (w.kernel[i] - 1) * w.dilations[i] + 1;
    if (!spatial[i].known()) {
      const bool keeps = w.strides[i] == 1 && (same || w.pads_begin[i] + w.pads_end[i] == reach - 1);
      w.out.push_back(keeps ? spatial[i] : ir::Dim());
      continue;
    }
    const int64_t n = spatial[i].value();
    if (same) {
      const int64_t out = (n + w.strides[i] - 1) / w.strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * w.strides[i] + reach - n);
      w.pads_begin[i] = attrs.auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.pads_end[i] = total - w.pads_begin[i];
      w.out.push_back(ir::Dim(out));
      continue;
    }
    const int64_t padded = n + w.pads_begin[i] + w.pads_end[i];
    if (padded < reach) {
      return fail(Code::kShapeMismatch, "a window of {} does not fit spatial dimension {} of extent {} padded to {}",
                  reach, i, n, padded);
    }
    int64_t out = (padded - reach) / w.strides[i] + 1;
    if (ceil_mode && (padded - reach) % w.strides[i] != 0 && out * w.strides[i] < n + w.pads_begin[i])
      ++out;  // no window starts in the end padding
    w.out.push_back(ir::Dim(out));
  }
  return w;
}

}  // namespace lowp::ops
