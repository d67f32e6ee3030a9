#include "onnx/tensor_proto.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/checked.h"
#include "ir/attributes.h"

namespace lowp::onnx {
namespace {

// ONNX stores tensors little-endian.
static_assert(std::endian::native == std::endian::little, "a big-endian target must swap bytes here");

Result<uint64_t> parse_number(std::string_view key, std::string_view text) {
  uint64_t value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) {
    return fail(Code::kInvalidModel, "external data has {} '{}', which is not a number", key, text);
  }
  return value;
}

// Copies a repeated field into the tensor, each entry converted to Stored.
template <typename Stored, typename Field>
Status copy_field(const Field& field, const char* name, ir::Tensor& tensor, size_t count) {
  if (static_cast<size_t>(field.size()) != count) {
    return error(Code::kCorrupt, "{} has {} entries, shape {} wants {}", name, field.size(),
                 ir::extents_to_string(tensor.extents()), count);
  }
  auto* out = static_cast<std::byte*>(tensor.mutable_raw());
  for (int i = 0; i < field.size(); ++i) {
    auto stored = static_cast<Stored>(field.Get(i));
    std::memcpy(out + static_cast<size_t>(i) * sizeof(Stored), &stored, sizeof(Stored));
  }
  return {};
}

// Which typed field holds a dtype: onnx.proto, TensorProto.
Status read_fields(const ::onnx::TensorProto& proto, ir::Tensor& tensor) {
  auto count = static_cast<size_t>(tensor.size());
  switch (tensor.dtype()) {
    case DType::kF32: return copy_field<float>(proto.float_data(), "float_data", tensor, count);
    case DType::kF64: return copy_field<double>(proto.double_data(), "double_data", tensor, count);
    case DType::kI64: return copy_field<int64_t>(proto.int64_data(), "int64_data", tensor, count);
    case DType::kU64: return copy_field<uint64_t>(proto.uint64_data(), "uint64_data", tensor, count);
    case DType::kU32: return copy_field<uint32_t>(proto.uint64_data(), "uint64_data", tensor, count);
    case DType::kI32: return copy_field<int32_t>(proto.int32_data(), "int32_data", tensor, count);
    case DType::kI16:
    case DType::kU16:
    case DType::kF16:
    case DType::kBF16: return copy_field<uint16_t>(proto.int32_data(), "int32_data", tensor, count);
    // 8-bit types; packed ones have one byte an entry.
    default: return copy_field<uint8_t>(proto.int32_data(), "int32_data", tensor, tensor.bytes());
  }
}

Result<ir::Tensor> read_content(const ::onnx::TensorProto& proto, ExternalData& external) {
  DType dtype = ir::dtype_from_onnx(proto.data_type());
  if (dtype == DType::kInvalid || dtype == DType::kString) {
    return fail(Code::kUnsupported, "ONNX data type {} ({}) is not one lowp computes with", proto.data_type(),
                dtype == DType::kString ? "string" : "unknown or complex");
  }
  if (proto.has_segment()) return fail(Code::kUnsupported, "tensors in segments are not supported");
  ir::Extents extents(proto.dims().begin(), proto.dims().end());
  auto count = ir::checked_element_count(extents);
  if (!count) {
    return fail(Code::kCorrupt, "shape {} is negative or too large", ir::extents_to_string(extents));
  }
  // Before the allocation: a few bytes of hostile file must not ask for terabytes.
  size_t bytes = dtype_bytes(dtype, static_cast<size_t>(*count));
  std::span<const std::byte> source;
  bool in_fields = false;
  if (proto.data_location() == ::onnx::TensorProto::EXTERNAL) {
    LOWP_ASSIGN(source, external.read(proto, bytes));
  } else if (proto.has_raw_data()) {
    source = std::as_bytes(std::span(proto.raw_data()));
    if (source.size() != bytes) {
      return fail(Code::kCorrupt, "raw_data has {} bytes, {} {} wants {}", source.size(), dtype_name(dtype),
                  ir::extents_to_string(extents), bytes);
    }
  } else {
    in_fields = true;
    // Every entry is at least a byte of what was parsed, so this bounds the allocation by 8 times the file.
    auto entries = static_cast<size_t>(proto.float_data_size()) + static_cast<size_t>(proto.int32_data_size()) +
                   static_cast<size_t>(proto.int64_data_size()) + static_cast<size_t>(proto.double_data_size()) +
                   static_cast<size_t>(proto.uint64_data_size());
    size_t wanted = dtype_bits(dtype) < 8 ? bytes : static_cast<size_t>(*count);
    if (entries != wanted) {
      return fail(Code::kCorrupt, "the tensor holds {} values, shape {} of {} wants {}", entries,
                  ir::extents_to_string(extents), dtype_name(dtype), wanted);
    }
  }
  LOWP_ASSIGN(ir::Tensor tensor, ir::Tensor::allocate(dtype, std::move(extents)));
  if (in_fields) {
    LOWP_TRY(read_fields(proto, tensor));
  } else if (!source.empty()) {
    std::memcpy(tensor.mutable_raw(), source.data(), source.size());
  }
  // A bool is 0 or 1 inside lowp, whatever the file says: reading another value as C++ bool is undefined.
  if (dtype == DType::kBool) {
    auto* values = static_cast<uint8_t*>(tensor.mutable_raw());
    for (int64_t i = 0; i < tensor.size(); ++i) values[i] = values[i] != 0 ? 1 : 0;
  }
  return tensor;
}

}  // namespace

Result<const MappedFile*> ExternalData::open(const std::string& location) {
  if (auto it = files_.find(location); it != files_.end()) return it->second.get();
  namespace fs = std::filesystem;
  if (folder_.empty()) {
    return fail(Code::kNotFound, "the model keeps tensors in the file '{}', but was not read from a file", location);
  }
  fs::path relative(location);
  bool confined = !location.empty() && relative.is_relative() && location.find('\0') == std::string::npos;
  for (const fs::path& part : relative) confined = confined && part != "..";
  if (!confined) {
    return fail(Code::kInvalidModel, "external data location '{}' is not inside the model's folder", location);
  }
  std::error_code problem;
  fs::path root = fs::canonical(folder_, problem);
  if (problem) return fail(Code::kIo, "cannot resolve the model's folder '{}': {}", folder_, problem.message());
  fs::path file = fs::canonical(root / relative, problem);
  if (problem) return fail(Code::kNotFound, "external data file '{}': {}", location, problem.message());
  auto [rest, unused] = std::mismatch(root.begin(), root.end(), file.begin(), file.end());
  if (rest != root.end()) {
    return fail(Code::kInvalidModel, "external data location '{}' leads out of the model's folder by a symbolic link",
                location);
  }
  LOWP_ASSIGN(MappedFile mapped, MappedFile::open(file.string()));
  auto& slot = files_[location];
  slot = std::make_unique<MappedFile>(std::move(mapped));
  return slot.get();
}

Result<std::span<const std::byte>> ExternalData::read(const ::onnx::TensorProto& proto, size_t size) {
  std::string location;
  uint64_t offset = 0;
  uint64_t length = size;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") {
      LOWP_ASSIGN(offset, parse_number("offset", entry.value()));
    }
    if (entry.key() == "length") {
      LOWP_ASSIGN(length, parse_number("length", entry.value()));
    }
  }
  if (length != size) {
    return fail(Code::kCorrupt, "external data has length {}, the shape wants {} bytes", length, size);
  }
  LOWP_ASSIGN(const MappedFile* file, open(location));
  auto end = checked_add<uint64_t>(offset, length);
  if (!end || *end > file->size()) {
    return fail(Code::kCorrupt, "external data file '{}' has {} bytes, the tensor lies at {} to {}", location,
                file->size(), offset, end ? fmt::format("{}", *end) : "beyond 2^64");
  }
  return file->bytes().subspan(offset, length);
}

Result<ir::Tensor> read_tensor(const ::onnx::TensorProto& proto, ExternalData& external) {
  auto tensor = read_content(proto, external);
  if (!tensor) return fail(std::move(tensor.error()).with_context(fmt::format("tensor '{}'", proto.name())));
  return tensor;
}

}  // namespace lowp::onnx
