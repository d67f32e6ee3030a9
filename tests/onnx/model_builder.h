// Short ways to write ONNX models in tests.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "onnx_proto/onnx-ml.pb.h"

namespace lowp::onnx {

class ModelBuilder {
 public:
  explicit ModelBuilder(int64_t opset = 17) {
    model.set_ir_version(8);
    model.add_opset_import()->set_version(opset);
    graph = model.mutable_graph();
    graph->set_name("test");
  }

  // Negative dims become the symbol "N".
  ::onnx::ValueInfoProto* input(const std::string& name, std::initializer_list<int64_t> dims, int dtype = 1) {
    return value_info(graph->add_input(), name, dims, dtype);
  }
  ::onnx::ValueInfoProto* output(const std::string& name) {
    auto* info = graph->add_output();
    info->set_name(name);
    return info;
  }
  ::onnx::NodeProto* node(const std::string& op, std::vector<std::string> inputs, std::vector<std::string> outputs,
                          const std::string& name = "") {
    return fill(graph->add_node(), op, std::move(inputs), std::move(outputs), name);
  }
  ::onnx::TensorProto* floats(const std::string& name, std::initializer_list<int64_t> dims, std::vector<float> values) {
    auto* tensor = graph->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(1);
    for (int64_t d : dims) tensor->add_dims(d);
    for (float v : values) tensor->add_float_data(v);
    return tensor;
  }

  static ::onnx::NodeProto* fill(::onnx::NodeProto* node, const std::string& op, std::vector<std::string> inputs,
                                 std::vector<std::string> outputs, const std::string& name = "") {
    node->set_op_type(op);
    node->set_name(name);
    for (auto& i : inputs) node->add_input(i);
    for (auto& o : outputs) node->add_output(o);
    return node;
  }
  static ::onnx::ValueInfoProto* value_info(::onnx::ValueInfoProto* info, const std::string& name,
                                            std::initializer_list<int64_t> dims, int dtype) {
    info->set_name(name);
    auto* type = info->mutable_type()->mutable_tensor_type();
    type->set_elem_type(dtype);
    auto* shape = type->mutable_shape();
    for (int64_t d : dims) {
      auto* dim = shape->add_dim();
      if (d < 0) {
        dim->set_dim_param("N");
      } else {
        dim->set_dim_value(d);
      }
    }
    return info;
  }
  static void attribute(::onnx::NodeProto* node, const std::string& name, int64_t value) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(::onnx::AttributeProto::INT);
    a->set_i(value);
  }
  static void attribute(::onnx::NodeProto* node, const std::string& name, std::vector<int64_t> values) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(::onnx::AttributeProto::INTS);
    for (int64_t v : values) a->add_ints(v);
  }

  std::string bytes() const { return model.SerializeAsString(); }

  ::onnx::ModelProto model;
  ::onnx::GraphProto* graph;
};

}  // namespace lowp::onnx
