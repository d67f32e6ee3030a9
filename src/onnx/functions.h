// Expands calls of a model's own functions.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/status.h"
#include "onnx_proto/onnx-ml.pb.h"

namespace lowp::onnx {

// Opset version by domain ("" is ONNX's own).
using Opsets = std::map<std::string, int64_t, std::less<>>;
Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& imports);

// A node that calls no function, with the opsets it was written against.
struct FlatNode {
  ::onnx::NodeProto proto;
  const Opsets* opsets;
};

class Functions {
 public:
  // `model` must outlive this object.
  static Result<Functions> read(const ::onnx::ModelProto& model);

  // The nodes with calls replaced by bodies, transitively. Values inside a body get names that begin with the call's
  // name. Bounded in depth, nodes and bytes: recursion and exponential growth are errors.
  Result<std::vector<FlatNode>> expand(const google::protobuf::RepeatedPtrField<::onnx::NodeProto>& nodes,
                                       const Opsets& opsets);

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // domain, name, overload
  struct Function {
    const ::onnx::FunctionProto* proto;
    Opsets opsets;
  };

  const Function* find(const ::onnx::NodeProto& node) const;
  Status expand_into(std::vector<FlatNode>& out, ::onnx::NodeProto node, const Opsets& opsets, int depth);
  Status call(std::vector<FlatNode>& out, const ::onnx::NodeProto& call, const Function& function, int depth);

  std::map<Key, Function> functions_;
  size_t nodes_ = 0;
  size_t bytes_ = 0;
  int calls_ = 0;
};

}  // namespace lowp::onnx
