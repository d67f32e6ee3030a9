// Opens an engine: checks the file, then builds the graph over it.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/checksum.h"
#include "base/mapped_file.h"
#include "engine_generated.h"
#include "format/engine_file.h"
#include "format/graph_reader.h"
#include "format/header.h"

namespace lowp::format {
namespace {

Result<Header> read_header(std::span<const std::byte> bytes) {
  Header header{};
  if (bytes.size() < sizeof(kMagic) || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) {
    return fail(Code::kCorrupt, "not a lowp engine: the file does not begin with its signature");
  }
  if (bytes.size() < sizeof(Header)) {
    return fail(Code::kCorrupt, "truncated: {} bytes, the header alone has {}", bytes.size(), sizeof(Header));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.header_checksum != checksum(&header, offsetof(Header, header_checksum))) {
    return fail(Code::kCorrupt, "damaged: the header's checksum is wrong");
  }
  if (header.version > kFormatVersion) {
    return fail(error(Code::kVersion, "the file has format version {}, this lowp reads up to {}", header.version,
                      kFormatVersion)
                    .with_hint("update lowp, or compile the model again with this one"));
  }
  if (header.version == 0 || header.header_size != sizeof(Header) || header.reserved != 0) {
    return fail(Code::kCorrupt, "the header has version {} and size {}, which no lowp writes", header.version,
                header.header_size);
  }
  if (header.file_size != bytes.size()) {
    return fail(Code::kCorrupt, "{}: {} bytes, the header says {}",
                bytes.size() < header.file_size ? "truncated" : "has bytes after its end", bytes.size(),
                header.file_size);
  }
  return header;
}

Status check_padding(std::span<const std::byte> bytes, uint64_t begin, uint64_t end) {
  auto padding = bytes.subspan(begin, end - begin);
  if (std::any_of(padding.begin(), padding.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return error(Code::kCorrupt, "damaged: the padding at {} is not zero", begin);
  }
  return {};
}

// Blobs follow each other without gaps but alignment, which leaves nothing of the file unchecked and nothing checked
// twice.
Result<std::vector<std::span<const std::byte>>> read_blobs(std::span<const std::byte> bytes, uint64_t position,
                                                           const flatbuffers::Vector<const fb::Blob*>* table) {
  std::vector<std::span<const std::byte>> blobs;
  size_t count = table == nullptr ? 0 : table->size();
  blobs.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const fb::Blob* blob = table->Get(static_cast<flatbuffers::uoffset_t>(i));
    auto end = checked_add<uint64_t>(blob->offset(), blob->size());
    auto padded = end ? checked_align<uint64_t>(*end, kBlobAlignment) : std::nullopt;
    if (blob->offset() != position || !padded || *padded > bytes.size()) {
      return fail(Code::kCorrupt, "blob {} lies at {} with {} bytes; {} and at most {} are wanted", i, blob->offset(),
                  blob->size(), position, bytes.size() - std::min<uint64_t>(position, bytes.size()));
    }
    auto content = bytes.subspan(blob->offset(), blob->size());
    if (checksum(content.data(), content.size()) != blob->checksum()) {
      return fail(Code::kCorrupt, "damaged: the checksum of blob {} ({} bytes at {}) is wrong", i, blob->size(),
                  blob->offset());
    }
    LOWP_TRY(check_padding(bytes, *end, *padded));
    position = *padded;
    blobs.push_back(content);
  }
  if (position != bytes.size()) {
    return fail(Code::kCorrupt, "the file has {} bytes, its blobs end at {}", bytes.size(), position);
  }
  return blobs;
}

}  // namespace

Result<LoadedEngine> open_engine_bytes(std::span<const std::byte> bytes, std::shared_ptr<void> owner) {
  LOWP_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % kBlobAlignment == 0);
  LOWP_ASSIGN(Header header, read_header(bytes));
  auto graph_end = checked_add(header.graph_offset, header.graph_size);
  auto blobs_begin = graph_end ? checked_align<uint64_t>(*graph_end, kBlobAlignment) : std::nullopt;
  if (header.graph_offset != sizeof(Header) || !blobs_begin || *blobs_begin > bytes.size()) {
    return fail(Code::kCorrupt, "the graph lies at {} with {} bytes, the file has {}", header.graph_offset,
                header.graph_size, bytes.size());
  }
  auto graph_bytes = bytes.subspan(header.graph_offset, header.graph_size);
  if (checksum(graph_bytes.data(), graph_bytes.size()) != header.graph_checksum) {
    return fail(Code::kCorrupt, "damaged: the graph's checksum is wrong");
  }
  LOWP_TRY(check_padding(bytes, *graph_end, *blobs_begin));

  // Tables are counted as often as they are reached, so that a small file cannot stand for a huge one.
  constexpr flatbuffers::uoffset_t kMaxDepth = 64;
  auto max_tables = static_cast<flatbuffers::uoffset_t>(std::min<size_t>(graph_bytes.size() / 4 + 1, UINT32_MAX));
  const auto* data = reinterpret_cast<const uint8_t*>(graph_bytes.data());
  flatbuffers::Verifier verifier(data, graph_bytes.size(), kMaxDepth, max_tables);
  if (!fb::VerifyEngineBuffer(verifier)) return fail(Code::kCorrupt, "the graph's tables are malformed");
  const fb::Engine* engine = fb::GetEngine(data);
  if (!is_aligned(engine->blobs(), alignof(fb::Blob))) return fail(Code::kCorrupt, "the table of blobs is not aligned");
  if (engine->graph() == nullptr) return fail(Code::kCorrupt, "the file holds no graph");

  LOWP_ASSIGN(auto blobs, read_blobs(bytes, *blobs_begin, engine->blobs()));
  LoadedEngine loaded;
  GraphReader reader(blobs, std::move(owner), graph_bytes.size());
  LOWP_TRY(reader.read_entries(engine->info(), loaded.info.entries));
  LOWP_TRY(reader.read(*engine->graph(), loaded.graph));
  return loaded;
}

Result<LoadedEngine> open_engine(const std::string& path) {
  LOWP_ASSIGN(MappedFile opened, MappedFile::open(path));
  auto file = std::make_shared<MappedFile>(std::move(opened));
  auto engine = open_engine_bytes(file->bytes(), file);
  if (!engine) return fail(std::move(engine.error()).with_context(path));
  return engine;
}

}  // namespace lowp::format
