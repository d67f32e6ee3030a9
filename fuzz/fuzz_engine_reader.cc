// Any bytes as an engine file. Checksums would stop the fuzzer at the door, so they are made right where the input
// leaves room for it; the reader behind them must hold all the same.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/checksum.h"
#include "format/engine_file.h"
#include "format/header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowp::format;
  auto buffer = std::make_shared<lowp::AlignedBuffer>(*lowp::AlignedBuffer::zeroed(size + 1));
  std::byte* bytes = buffer->data();
  std::memcpy(bytes, data, size);
  if (size >= sizeof(Header)) {
    Header header;
    std::memcpy(&header, bytes, sizeof(header));
    std::memcpy(header.magic, kMagic, sizeof(kMagic));
    header.version = kFormatVersion;
    header.header_size = sizeof(Header);
    header.file_size = size;
    header.reserved = 0;
    header.graph_offset = sizeof(Header);
    header.graph_size = std::min<uint64_t>(header.graph_size, size - sizeof(Header));
    header.graph_checksum = lowp::checksum(bytes + header.graph_offset, header.graph_size);
    header.header_checksum = lowp::checksum(&header, offsetof(Header, header_checksum));
    std::memcpy(bytes, &header, sizeof(header));
  }
  auto engine = open_engine_bytes({bytes, size}, buffer);
  if (engine && !lowp::ir::verify(engine->graph).is_ok()) std::abort();
  return 0;
}
