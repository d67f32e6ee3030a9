// Any bytes as an ONNX model: a graph that verifies, or an error; never a crash.
#include <cstdlib>

#include "onnx/import.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto graph = lowp::onnx::import_onnx_bytes(std::as_bytes(std::span(data, size)));
  if (graph && !lowp::ir::verify(*graph).is_ok()) std::abort();
  return 0;
}
