// The first 64 bytes of an engine file. Little-endian. The checksum covers what comes before it, in this and every
// later version, so that a damaged version number is not taken for a newer one.
#pragma once

#include <bit>
#include <cstdint>

namespace lowp::format {

inline constexpr size_t kBlobAlignment = 64;

// The first byte is no text, and the line ends show a transfer that "converted" them.
inline constexpr unsigned char kMagic[8] = {0x89, 'L', 'O', 'W', 'P', '\r', '\n', 0x1a};

struct Header {
  unsigned char magic[8];
  uint32_t version;
  uint32_t header_size;  // 64; a later version may need more
  uint64_t file_size;
  uint64_t graph_offset;
  uint64_t graph_size;
  uint64_t graph_checksum;
  uint64_t reserved;  // 0
  uint64_t header_checksum;
};
static_assert(sizeof(Header) == 64 && std::endian::native == std::endian::little);

}  // namespace lowp::format
