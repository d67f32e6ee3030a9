// One GraphProto -> one Graph; used for the model's graph and, recursively, for subgraphs of nodes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "onnx/functions.h"
#include "onnx/tensor_proto.h"
#include "ops/op_def.h"

namespace lowp::onnx {

struct ImportContext {
  Functions& functions;
  ExternalData& external;
};

// kUnsupported with every op of the graph and its subgraphs that lowp does not have, how often it occurs and where; ok
// where there is none.
Status check_ops(ImportContext& context, const ::onnx::GraphProto& proto, const Opsets& opsets);

// Values of the graph around that a subgraph reads, by their names.
using Captures = std::vector<std::pair<std::string, ir::Value*>>;

class GraphImporter {
 public:
  GraphImporter(ImportContext& context, ir::Graph& graph) : context_(context), graph_(graph) {}

  // Captured constants are shared, other captured values become inputs after the graph's own. Every op must be known.
  Status import(const ::onnx::GraphProto& proto, const Opsets& opsets, const Captures& captures);

 private:
  Status add_inputs(const ::onnx::GraphProto& proto);
  Status add_initializers(const ::onnx::GraphProto& proto);
  Status add_captures(const Captures& captures);
  Status add_node(const FlatNode& flat, const std::string& name);
  Status add_constant(const ::onnx::NodeProto& proto);
  Status add_outputs(const ::onnx::GraphProto& proto);
  // Subgraphs are imported too; what they capture is appended to the operands.
  Result<AttrMap> read_attributes(const FlatNode& flat, std::vector<ir::Value*>& operands);

  ir::Value* find(const std::string& name) const;
  Status define(const std::string& name, ir::Value* value);

  ImportContext& context_;
  ir::Graph& graph_;
  std::unordered_map<std::string, ir::Value*> values_;
};

}  // namespace lowp::onnx
