#include "npz.h"

#include <zip.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace lowp::tool {
namespace {

// One array may not be larger than this when unpacked: a small archive can claim anything.
constexpr uint64_t kMaxArrayBytes = uint64_t{1} << 34;

struct DTypeName {
  const char* descr;  // numpy's, without byte order
  DType dtype;
};
constexpr DTypeName kNames[] = {{"f4", DType::kF32}, {"f2", DType::kF16}, {"f8", DType::kF64}, {"i1", DType::kI8},
                                {"u1", DType::kU8},  {"i2", DType::kI16}, {"u2", DType::kU16}, {"i4", DType::kI32},
                                {"u4", DType::kU32}, {"i8", DType::kI64}, {"u8", DType::kU64}, {"b1", DType::kBool}};

// The text of a dictionary entry: what follows "'key':".
std::string_view entry(std::string_view header, std::string_view key) {
  const size_t at = header.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos) return {};
  const size_t colon = header.find(':', at);
  if (colon == std::string_view::npos) return {};
  std::string_view rest = header.substr(colon + 1);
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  return rest;
}

Result<ir::Tensor> parse_npy(std::string_view bytes, const std::string& name) {
  auto corrupt = [&](const char* what) { return fail(Code::kCorrupt, "array '{}': {}", name, what); };
  if (bytes.size() < 12 || bytes.substr(0, 6) != std::string_view("\x93NUMPY", 6)) return corrupt("not a numpy array");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t major = byte(6);
  const size_t start = major == 1 ? 10 : 12;
  const size_t length = major == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (major < 1 || major > 3 || length > bytes.size() - start) return corrupt("its header does not fit");
  const std::string_view header = bytes.substr(start, length);
  const std::string_view descr = entry(header, "descr");
  if (descr.size() < 5 || descr[0] != '\'') return corrupt("its header has no dtype");
  if (descr[1] == '>') return fail(Code::kUnsupported, "array '{}' is big-endian", name);
  DType dtype = DType::kInvalid;
  for (const DTypeName& n : kNames) {
    if (descr.substr(2, 2) == n.descr && descr[4] == '\'') dtype = n.dtype;
  }
  if (dtype == DType::kInvalid)
    return fail(Code::kUnsupported, "array '{}' has numpy dtype {}", name, descr.substr(0, descr.find('\'', 1) + 1));
  if (entry(header, "fortran_order").substr(0, 4) == "True")
    return fail(Code::kUnsupported, "array '{}' is in Fortran order; save numpy.ascontiguousarray of it", name);
  std::string_view shape = entry(header, "shape");
  if (shape.empty() || shape[0] != '(') return corrupt("its header has no shape");
  Extents extents;
  for (size_t i = 1; i < shape.size() && shape[i] != ')';) {
    if (shape[i] == ' ' || shape[i] == ',') {
      ++i;
      continue;
    }
    int64_t extent = 0;
    const size_t begin = i;
    while (i < shape.size() && shape[i] >= '0' && shape[i] <= '9' && i - begin < 18)
      extent = extent * 10 + (shape[i++] - '0');
    if (i == begin) return corrupt("its shape is not one");
    extents.push_back(extent);
  }
  auto count = ir::checked_element_count(extents);
  if (!count || static_cast<uint64_t>(*count) > kMaxArrayBytes) return corrupt("its shape is too large");
  const size_t want = dtype_bytes(dtype, static_cast<size_t>(*count));
  if (bytes.size() - start - length < want) return corrupt("it is truncated");
  LOWP_ASSIGN(ir::Tensor t, ir::Tensor::allocate(dtype, extents));
  if (want > 0) std::memcpy(t.mutable_raw(), bytes.data() + start + length, want);
  return t;
}

std::string npy_bytes(const ir::Tensor& t) {
  const char* descr = "f4";
  for (const DTypeName& n : kNames) {
    if (n.dtype == t.dtype()) descr = n.descr;
  }
  std::string shape;
  for (int64_t e : t.extents()) shape += std::to_string(e) + ",";
  const char order = dtype_bits(t.dtype()) == 8 ? '|' : '<';
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}", order, descr, shape);
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8);
  out += header;
  if (t.bytes() > 0) out.append(static_cast<const char*>(t.raw()), t.bytes());
  return out;
}

}  // namespace

Result<NamedTensors> read_npz(const std::string& path) {
  int code = 0;
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code), zip_discard);
  if (archive == nullptr) {
    if (code == ZIP_ER_NOENT) return fail(Code::kNotFound, "there is no file '{}'", path);
    return fail(error(Code::kCorrupt, "'{}' is not an .npz archive", path).with_hint("write it with numpy.savez"));
  }
  NamedTensors result;
  const zip_int64_t entries = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < entries; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), 0, &stat) != 0 || stat.name == nullptr ||
        stat.size > kMaxArrayBytes) {
      return fail(Code::kCorrupt, "'{}': entry {} is damaged or too large", path, i);
    }
    std::string name = stat.name;
    if (name.size() > 4 && name.ends_with(".npy")) name.resize(name.size() - 4);
    std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
        zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(i), 0), zip_fclose);
    std::string bytes(stat.size, '\0');
    if (file == nullptr ||
        zip_fread(file.get(), bytes.data(), bytes.size()) != static_cast<zip_int64_t>(bytes.size())) {
      return fail(Code::kCorrupt, "'{}': array '{}' cannot be unpacked", path, name);
    }
    auto tensor = parse_npy(bytes, name);
    if (!tensor) return fail(std::move(tensor.error()).with_context(path));
    result[name] = std::move(*tensor);
  }
  return result;
}

Status write_npz(const std::string& path, const NamedTensors& tensors) {
  const std::string temporary = path + ".partial";
  int code = 0;
  zip_t* archive = zip_open(temporary.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  if (archive == nullptr) return error(Code::kIo, "cannot write '{}'", path);
  std::vector<std::string> contents;  // libzip reads them when it closes
  contents.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    contents.push_back(npy_bytes(tensor));
    zip_source_t* source = zip_source_buffer(archive, contents.back().data(), contents.back().size(), 0);
    const zip_int64_t index = zip_file_add(archive, (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      zip_discard(archive);
      return error(Code::kIo, "cannot add '{}' to '{}'", name, path);
    }
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
  }
  if (zip_close(archive) != 0) {
    const std::string reason = zip_strerror(archive);
    zip_discard(archive);
    std::remove(temporary.c_str());
    return error(Code::kIo, "cannot write '{}': {}", path, reason);
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    return error(Code::kIo, "cannot write '{}': {}", path, std::strerror(errno));
  }
  return {};
}

}  // namespace lowp::tool
