// ONNX model -> IR graph.
//
// Ops keep their names and meanings; older opsets are upgraded op by op (OpDef::upgrade), model-local functions are
// expanded, Constant nodes and initializers become constants. An initializer that is also an input is a constant. Nodes
// may come in any order; types of all values are inferred.
//
// Subgraphs (attributes of kind graph): outer constants that they read are shared; other outer values that they read
// become further inputs of the subgraph, after its own, and further operands of the node, in the same order for all
// subgraphs of the node. Node operands beyond the op's own are such captures; the subgraph's metadata "captures" counts
// them.
//
// Errors: kNotFound/kIo (files), kCorrupt (not a protobuf, sizes that do not fit), kInvalidModel (breaks ONNX's rules),
// kUnsupported (all unsupported ops at once, with their nodes), kResource (too large). A hostile file is an error,
// never a crash; external data is only read from the model's own folder.
#pragma once

#include <span>
#include <string>

#include "ir/graph.h"

namespace lowp::onnx {

// The newest version of ONNX's operator set that the importer understands.
inline constexpr int64_t kNewestOpset = 28;

Result<ir::Graph> import_onnx(const std::string& path);

// `folder` is where external data lies; empty: a model with external data is refused.
Result<ir::Graph> import_onnx_bytes(std::span<const std::byte> bytes, const std::string& folder = {});

}  // namespace lowp::onnx
