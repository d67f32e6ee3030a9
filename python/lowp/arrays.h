// numpy arrays in and out. Python has already checked dtypes and made arrays contiguous (lowp/_arrays.py); here they
// are bytes with a shape. Types that numpy lacks travel as unsigned integers of the same width.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <vector>

#include "ir/graph.h"
#include "runtime/session.h"

namespace lowp::python {

namespace nb = nanobind;

// Tensors over the bytes of Python buffers, which stay locked as long as this lives. Make and destroy with the GIL.
class BufferViews {
 public:
  BufferViews() = default;
  BufferViews(const BufferViews&) = delete;
  BufferViews& operator=(const BufferViews&) = delete;
  ~BufferViews() { release(); }

  // `items` holds for each input of the graph a pair: a contiguous buffer and the shape of the tensor.
  void assign(const ir::Graph& graph, nb::handle items);
  // One more: a contiguous buffer and the shape, writable where the tensor will be written to.
  void add(DType dtype, nb::handle buffer, nb::handle shape, bool writable);
  const std::vector<ir::Tensor>& tensors() const { return tensors_; }

 private:
  void release();
  std::vector<Py_buffer> buffers_;
  std::vector<ir::Tensor> tensors_;
};

// (name, dtype name, extents: int, symbol or None; None where the rank is not known).
nb::tuple describe(const std::string& name, const ir::TensorType& type);

// That of each input or output.
nb::list describe_inputs(const ir::Graph& graph);
nb::list describe_outputs(const ir::Graph& graph);
// (node, op, kernel, runs, nanoseconds, macs, bytes) of each entry.
nb::list describe_profile(const std::vector<runtime::ProfileEntry>& entries);

// A numpy array that owns the tensor. 4 and 2 bit types: packed bytes. With the shape, as arrays of them need it.
nb::tuple to_numpy(ir::Tensor tensor);
nb::list to_numpy(std::vector<ir::Tensor> tensors);

}  // namespace lowp::python
