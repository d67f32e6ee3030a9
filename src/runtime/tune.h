// Selection by measurement. Kernels can compute a layer in several ways that give the same bits
// (kernels/gemm/choice.h); which is fastest depends on the CPU, the shape and the number of threads. The tuner runs the
// lowered model on example inputs, each time with other ways, so that every layer is timed where it will run: its input
// where its producer left it, its weights as cold as the rest of the model makes them.
//
// Each distinct layer (shape, types, epilogue, threads) is decided once: first every candidate is tried a few times,
// then the formula's choice and the best others run in turn until they can be told apart. The formula's choice stays
// unless another wins by more than what noise explains. Decisions are recorded in the nodes and kept in the cache.
#pragma once

#include "runtime/compiler.h"

namespace lowp::runtime {

// Records choices in the lowered graph's nodes. `example` is a tensor for each input (whose free first dimension
// becomes 1 where a run takes too long), or empty: then inputs are made up, with the extents of options.shapes, else 1
// for a free first dimension and 128 for other free ones. A model that cannot be run on them stays as it is, and
// report.tuning says why.
//
// Errors: kCancelled by options.progress; those of options.shapes that do not fit the model.
Status tune(ir::Graph& graph, const CompileOptions& options, std::vector<Tensor> example, CompileReport& report);

}  // namespace lowp::runtime
