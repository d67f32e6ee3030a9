// Where things begin in scratch: at cache lines, which are also the longest vectors.
#pragma once

#include <cstddef>

namespace lowp {

constexpr size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

}  // namespace lowp
