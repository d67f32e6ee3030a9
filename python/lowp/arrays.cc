#include "arrays.h"

#include <nanobind/stl/string.h>

#include "errors.h"

namespace lowp::python {

void BufferViews::release() {
  for (Py_buffer& b : buffers_) PyBuffer_Release(&b);
  buffers_.clear();
  tensors_.clear();
}

void BufferViews::assign(const ir::Graph& graph, nb::handle items) {
  release();
  const auto& inputs = graph.inputs();
  buffers_.reserve(inputs.size());
  size_t i = 0;
  for (nb::handle item : items) {
    LOWP_CHECK(i < inputs.size());
    add(inputs[i++]->type.dtype, nb::object(item[0]), nb::object(item[1]), false);
  }
  LOWP_CHECK(i == inputs.size());
}

void BufferViews::add(DType dtype, nb::handle object, nb::handle shape, bool writable) {
  ir::Extents extents;
  for (nb::handle n : nb::borrow<nb::object>(shape)) extents.push_back(nb::cast<int64_t>(n));
  Py_buffer buffer;
  const int flags = PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(object.ptr(), &buffer, flags) != 0) throw nb::python_error();
  buffers_.push_back(buffer);
  auto tensor = ir::Tensor::view(dtype, std::move(extents), buffer.buf);
  LOWP_CHECK(tensor.bytes() == static_cast<size_t>(buffer.len));
  tensors_.push_back(std::move(tensor));
}

nb::tuple describe(const std::string& name, const ir::TensorType& type) {
  nb::object shape = nb::none();
  if (type.dims) {
    nb::list extents;
    for (const ir::Dim& d : *type.dims) {
      if (d.known()) {
        extents.append(d.value());
      } else if (d.symbol().empty()) {
        extents.append(nb::none());
      } else {
        extents.append(d.symbol());
      }
    }
    shape = nb::tuple(extents);
  }
  return nb::make_tuple(name, std::string(dtype_name(type.dtype)), shape);
}

nb::list describe_inputs(const ir::Graph& graph) {
  nb::list list;
  for (const ir::Value* v : graph.inputs()) list.append(describe(v->name, v->type));
  return list;
}

nb::list describe_outputs(const ir::Graph& graph) {
  nb::list list;
  for (const auto& o : graph.outputs()) list.append(describe(o.name, o.value->type));
  return list;
}

nb::list describe_profile(const std::vector<runtime::ProfileEntry>& entries) {
  nb::list list;
  for (const auto& e : entries)
    list.append(nb::make_tuple(e.node, e.op, e.kernel, e.runs, e.nanoseconds, e.macs, e.bytes));
  return list;
}

nb::list to_numpy(std::vector<ir::Tensor> tensors) {
  nb::list list;
  for (ir::Tensor& t : tensors) list.append(to_numpy(std::move(t)));
  return list;
}

nb::tuple to_numpy(ir::Tensor tensor) {
  // Shared with the engine's constants or with an input: the caller may write to what it gets.
  if (tensor.storage().use_count() > 1) tensor = tensor.clone();
  const DType dtype = tensor.dtype();
  nb::list extents;
  for (int64_t n : tensor.extents()) extents.append(n);
  nb::dlpack::dtype dl{static_cast<uint8_t>(nb::dlpack::dtype_code::UInt), static_cast<uint8_t>(dtype_bits(dtype)), 1};
  if (dtype == DType::kBool) dl.code = static_cast<uint8_t>(nb::dlpack::dtype_code::Bool);
  if (is_signed_integer(dtype)) dl.code = static_cast<uint8_t>(nb::dlpack::dtype_code::Int);
  if (dtype == DType::kF16 || dtype == DType::kF32 || dtype == DType::kF64)
    dl.code = static_cast<uint8_t>(nb::dlpack::dtype_code::Float);
  std::vector<size_t> shape(tensor.extents().begin(), tensor.extents().end());
  if (dl.bits < 8) {
    dl = {static_cast<uint8_t>(nb::dlpack::dtype_code::UInt), 8, 1};
    shape = {tensor.bytes()};
  }
  auto* owner = new ir::Tensor(std::move(tensor));
  const nb::capsule capsule(owner, [](void* p) noexcept { delete static_cast<ir::Tensor*>(p); });
  nb::ndarray<nb::numpy> array(owner->mutable_raw(), shape.size(), shape.data(), capsule, nullptr, dl);
  return nb::make_tuple(nb::cast(array), nb::tuple(extents));
}

}  // namespace lowp::python
