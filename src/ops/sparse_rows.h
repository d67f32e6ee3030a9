// What lowp.SparseRows gives, as the ops that take it check it: rows of a table, ascending, the first `count` of them
// meant.
#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

// kInvalidArgument where there are more than `most`, or one is outside a table of `limit` or out of order: rows come
// from another node, or another process.
inline Status check_rows(const int64_t* rows, int64_t count, int64_t most, int64_t limit) {
  if (count < 0 || count > most)
    return error(Code::kInvalidArgument, "{} rows have a gradient, 0 to {} is possible", count, most);
  for (int64_t i = 0; i < count; ++i) {
    if (rows[i] < 0 || rows[i] >= limit || (i > 0 && rows[i] <= rows[i - 1]))
      return error(Code::kInvalidArgument, "row {} at position {} of a table of {}, ascending ones are wanted", rows[i],
                   i, limit);
  }
  return {};
}

}  // namespace lowp::ops
