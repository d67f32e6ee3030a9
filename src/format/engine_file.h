// The engine file `.lowp`: a graph with its constants, mapped and not read. docs/file-format.md has the layout.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "ir/graph.h"

namespace lowp::format {

inline constexpr uint32_t kFormatVersion = 1;

// What is known of an engine beside its graph. Values are JSON texts. Keys in use: "request" (who asked for what),
// "measurements" (which CPU measured which choice), "golden" (digest of the golden output).
struct EngineInfo {
  std::map<std::string, std::string> entries;
  bool operator==(const EngineInfo&) const = default;
};

// Writes atomically: an existing file survives any failure. kIo where the system refuses, kUnsupported for what the
// file cannot hold.
Status save_engine(const ir::Graph& graph, const EngineInfo& info, const std::string& path);

struct LoadedEngine {
  ir::Graph graph;  // its constants point into the mapped file, which they keep alive
  EngineInfo info;
};

// Everything is checked before it is used: kCorrupt (not an engine, truncated, checksum, offset or count that does not
// fit), kVersion (written by a newer lowp), kUnsupported (an op or dtype that this lowp does not have), kNotFound/kIo.
Result<LoadedEngine> open_engine(const std::string& path);

// The same over bytes in memory, which `owner` keeps alive. They must start at a multiple of 64.
Result<LoadedEngine> open_engine_bytes(std::span<const std::byte> bytes, std::shared_ptr<void> owner);

}  // namespace lowp::format
