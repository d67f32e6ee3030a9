// Sliding windows: what convolution and pooling share. Kernel, strides, dilations and pads per spatial axis.
#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

// ONNX's attributes of Conv and of the pools that are about the window.
struct WindowAttrs {
  std::string auto_pad = "NOTSET";
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;  // begins, then ends
  bool operator==(const WindowAttrs&) const = default;
};

// Everything resolved for given spatial extents.
struct Window {
  Extents kernel, strides, dilations, pads_begin, pads_end;
  ir::Dims out;  // spatial extents of the output

  size_t rank() const { return kernel.size(); }
};

// `spatial`: the input's spatial dims (symbols give symbols). kInvalidModel / kShapeMismatch where something does not
// fit.
Result<Window> resolve_window(const WindowAttrs& attrs, const Extents& kernel, const ir::Dims& spatial, bool ceil_mode);

struct ConvAttrs : WindowAttrs {
  int64_t group = 1;
  bool operator==(const ConvAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(
        ir::field("auto_pad", static_cast<std::string ConvAttrs::*>(&ConvAttrs::auto_pad)),
        ir::field("kernel_shape", static_cast<std::vector<int64_t> ConvAttrs::*>(&ConvAttrs::kernel_shape)),
        ir::field("strides", static_cast<std::vector<int64_t> ConvAttrs::*>(&ConvAttrs::strides)),
        ir::field("dilations", static_cast<std::vector<int64_t> ConvAttrs::*>(&ConvAttrs::dilations)),
        ir::field("pads", static_cast<std::vector<int64_t> ConvAttrs::*>(&ConvAttrs::pads)),
        ir::field("group", &ConvAttrs::group));
  }
};

struct PoolAttrs : WindowAttrs {
  bool ceil_mode = false;
  bool count_include_pad = false;  // average
  int64_t storage_order = 0;       // max: order of the index output
  bool operator==(const PoolAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(
        ir::field("auto_pad", static_cast<std::string PoolAttrs::*>(&PoolAttrs::auto_pad)),
        ir::field("kernel_shape", static_cast<std::vector<int64_t> PoolAttrs::*>(&PoolAttrs::kernel_shape)),
        ir::field("strides", static_cast<std::vector<int64_t> PoolAttrs::*>(&PoolAttrs::strides)),
        ir::field("dilations", static_cast<std::vector<int64_t> PoolAttrs::*>(&PoolAttrs::dilations)),
        ir::field("pads", static_cast<std::vector<int64_t> PoolAttrs::*>(&PoolAttrs::pads)),
        ir::field("ceil_mode", &PoolAttrs::ceil_mode), ir::field("count_include_pad", &PoolAttrs::count_include_pad),
        ir::field("storage_order", &PoolAttrs::storage_order));
  }
};

}  // namespace lowp::ops
