// Post-training quantization of a simplified graph: runs the calibration samples, chooses ranges, inserts Q/DQ, and
// keeps in FP32 what INT8 would not serve.
#pragma once

#include "passes/pass.h"
#include "runtime/compiler.h"

namespace lowp::runtime {

// Consumes the float graph and gives it back with Q/DQ nodes; layer decisions go to the report, and the first
// sample to `example`.
Result<std::unique_ptr<ir::Graph>> quantize_graph(std::unique_ptr<ir::Graph> graph, const CompileOptions& options,
                                                  const passes::PassOptions& passes, SampleSource& samples,
                                                  CompileReport& report, std::vector<Tensor>& example);

// Adds the nodes' final precisions to the layers of the report, and layers that quantization did not look at.
void merge_layer_reports(const ir::Graph& graph, CompileReport& report);

}  // namespace lowp::runtime
