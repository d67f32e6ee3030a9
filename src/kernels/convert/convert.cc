#include "kernels/convert/convert.h"

#include "kernels/convert/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvertTable, convert_table)

namespace lowp::kernels {

void expand_matrix(const ExpandMatrix& matrix) { LOWP_SELECT_TABLE(convert_table).expand(matrix); }

}  // namespace lowp::kernels
