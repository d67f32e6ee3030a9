// The graph of an engine file -> ir::Graph. The tables have passed the FlatBuffers verifier; their meaning is checked
// here.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine_generated.h"
#include "ir/graph.h"

namespace lowp::format {

// The verifier of FlatBuffers 2.0 checks where a vector lies, but not that its elements are aligned. Without elements
// there is nothing to align.
template <typename T>
bool is_aligned(const flatbuffers::Vector<T>* vector, size_t alignment) {
  return vector == nullptr || vector->size() == 0 || reinterpret_cast<uintptr_t>(vector->Data()) % alignment == 0;
}

class GraphReader {
 public:
  // Tensors point into `blobs`, which `owner` keeps alive. `budget` bounds what strings and lists may add up to: in a
  // file that lowp wrote each is stored once for each use but for op names, so a hostile file cannot multiply itself by
  // sharing.
  GraphReader(std::span<const std::span<const std::byte>> blobs, std::shared_ptr<void> owner, size_t budget)
      : blobs_(blobs), owner_(std::move(owner)), budget_(budget) {}

  Status read(const fb::Graph& table, ir::Graph& graph);
  Status read_entries(const flatbuffers::Vector<flatbuffers::Offset<fb::KeyValue>>* table,
                      std::map<std::string, std::string>& entries);

 private:
  struct Scope;  // one graph being read

  Status spend(size_t bytes);
  Result<std::string> text(const flatbuffers::String* s);
  Result<DType> dtype(uint8_t number, bool may_be_invalid = false);
  Result<ir::Tensor> tensor(const fb::Tensor* table);
  Result<ir::TensorType> type(const fb::Type* table);
  Result<ir::AttrValue> attribute(const fb::Attr& table);
  Result<ir::Tuning> tuning(const fb::Tuning& table);

  Status read_values(Scope& scope);
  Status read_states(Scope& scope);
  Status read_node(Scope& scope, const fb::Node& table);
  Result<ir::Value*> value_at(Scope& scope, int32_t index, const char* what);

  std::span<const std::span<const std::byte>> blobs_;
  std::shared_ptr<void> owner_;
  size_t budget_;
};

}  // namespace lowp::format
