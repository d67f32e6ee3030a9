// TensorProto -> Tensor, from raw bytes, typed fields or files beside the model.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/mapped_file.h"
#include "ir/tensor.h"
#include "onnx_proto/onnx-ml.pb.h"

namespace lowp::onnx {

// The files beside a model that hold its large tensors. Each is mapped once.
class ExternalData {
 public:
  // Empty folder: there are no files to be had.
  explicit ExternalData(std::string folder) : folder_(std::move(folder)) {}

  // `size` bytes of the file that the proto's entries name. The location must be relative, without "..", and lie in the
  // folder after symbolic links are followed.
  Result<std::span<const std::byte>> read(const ::onnx::TensorProto& proto, size_t size);

 private:
  Result<const MappedFile*> open(const std::string& location);

  std::string folder_;
  std::map<std::string, std::unique_ptr<MappedFile>, std::less<>> files_;
};

// The tensor's bytes are copied. Messages name the tensor.
Result<ir::Tensor> read_tensor(const ::onnx::TensorProto& proto, ExternalData& external);

}  // namespace lowp::onnx
