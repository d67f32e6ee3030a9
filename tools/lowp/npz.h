// numpy's .npz archives: a zip of .npy arrays (numpy.lib.format, versions 1 to 3).
#pragma once

#include <map>
#include <string>

#include "ir/tensor.h"

namespace lowp::tool {

using ir::Extents;
using NamedTensors = std::map<std::string, ir::Tensor>;

// Arrays by name, as row-major tensors. kCorrupt for what is not such an archive, kUnsupported for dtypes that lowp
// does not have, Fortran order and big-endian arrays.
Result<NamedTensors> read_npz(const std::string& path);
// Atomically: an existing file survives a failure.
Status write_npz(const std::string& path, const NamedTensors& tensors);

}  // namespace lowp::tool
