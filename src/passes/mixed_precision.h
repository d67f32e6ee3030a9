// Mixed precision for training (Micikevicius et al. 2018): which ops compute on 16-bit tensors, as lists that can be
// printed and changed, and the pass that inserts the casts. Run before gradients are built: the gradient of a cast
// casts back, so weights stay f32 (master weights) and get f32 gradients.
#pragma once

#include <set>
#include <string>

#include "ir/graph.h"

namespace lowp::passes {

// Names as in op_display_name(): "MatMul", "lowp.BatchNormTraining". Ops in no list compute in f32.
struct PrecisionLists {
  // Take 16-bit operands: what multiplies matrices.
  std::set<std::string, std::less<>> allow = {"Conv", "Gemm", "MatMul", "lowp.MatMul"};
  // Take f32 operands: losses, and functions whose results grow or cancel.
  std::set<std::string, std::less<>> deny = {"Exp",        "Log",
                                             "LogSoftmax", "Pow",
                                             "Reciprocal", "SoftmaxCrossEntropyLoss",
                                             "Sqrt",       "lowp.SigmoidCrossEntropyLoss"};
  // Take 16-bit operands where an operand that is neither a weight nor a constant has 16 bits already.
  std::set<std::string, std::less<>> follow = {"Add",
                                               "AveragePool",
                                               "Clip",
                                               "Concat",
                                               "Div",
                                               "Expand",
                                               "Flatten",
                                               "Gelu",
                                               "GlobalAveragePool",
                                               "Identity",
                                               "LayerNormalization",
                                               "LeakyRelu",
                                               "MaxPool",
                                               "Mul",
                                               "Neg",
                                               "Pad",
                                               "ReduceMean",
                                               "ReduceSum",
                                               "Relu",
                                               "Reshape",
                                               "Sigmoid",
                                               "Slice",
                                               "Softmax",
                                               "Split",
                                               "Squeeze",
                                               "Sub",
                                               "Tanh",
                                               "Transpose",
                                               "Unsqueeze",
                                               "Where",
                                               "lowp.BatchNormTraining",
                                               "lowp.Dropout",
                                               "lowp.FakeQuantize",
                                               "lowp.ObserveChannels",
                                               "lowp.ObserveRange"};
};

std::string precision_lists_to_json(const PrecisionLists& lists);
// {"allow": [...], "deny": [...], "follow": [...]}; a list that is missing keeps its default. kInvalidArgument where an
// op is unknown or in two lists.
Result<PrecisionLists> precision_lists_from_json(std::string_view json);

// Inserts casts to `dtype` (kBF16 or kF16; kF32: does nothing). Graph outputs keep their dtype.
Status mixed_precision(ir::Graph& graph, DType dtype, const PrecisionLists& lists);

}  // namespace lowp::passes
