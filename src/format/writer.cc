// Saves an engine: header, graph, blobs.
#include <cstring>
#include <unordered_map>

#include "base/atomic_file.h"
#include "base/checksum.h"
#include "engine_generated.h"
#include "format/engine_file.h"
#include "format/header.h"
#include "ops/op_def.h"

namespace lowp::format {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

uint64_t align(uint64_t offset) { return (offset + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment; }

// The distinct byte ranges that tensors refer to, in the order of their first use.
class BlobTable {
 public:
  uint32_t add(const ir::Tensor& tensor) {
    std::span<const std::byte> bytes(static_cast<const std::byte*>(tensor.raw()), tensor.bytes());
    auto [it, fresh] = index_.try_emplace({bytes.data(), bytes.size()}, static_cast<uint32_t>(blobs_.size()));
    if (fresh) blobs_.push_back(bytes);
    return it->second;
  }
  const std::vector<std::span<const std::byte>>& blobs() const { return blobs_; }

 private:
  std::map<std::pair<const std::byte*, size_t>, uint32_t> index_;
  std::vector<std::span<const std::byte>> blobs_;
};

class GraphWriter {
 public:
  GraphWriter(FlatBufferBuilder& builder, BlobTable& blobs) : builder_(builder), blobs_(blobs) {}

  Result<Offset<fb::Graph>> write(const ir::Graph& graph);

 private:
  using Indices = std::unordered_map<const ir::Value*, int32_t>;

  Offset<fb::Tensor> tensor(const ir::Tensor& tensor) {
    return fb::CreateTensor(builder_, static_cast<uint8_t>(tensor.dtype()), builder_.CreateVector(tensor.extents()),
                            blobs_.add(tensor));
  }
  Offset<fb::Type> type(const TensorType& type);
  Result<Offset<fb::Value>> value(const ir::Value& value);
  Result<Offset<fb::Attr>> attribute(const std::string& name, const ir::AttrValue& value);
  Result<Offset<fb::Node>> node(const ir::Node& node, const Indices& indices);

  FlatBufferBuilder& builder_;
  BlobTable& blobs_;
};

std::vector<int32_t> index_list(const std::vector<ir::Value*>& values,
                                const std::unordered_map<const ir::Value*, int32_t>& indices) {
  std::vector<int32_t> list;
  list.reserve(values.size());
  for (const ir::Value* value : values) list.push_back(value == nullptr ? -1 : indices.at(value));
  return list;
}

template <typename Map>
std::vector<Offset<fb::KeyValue>> key_values(FlatBufferBuilder& builder, const Map& map) {
  std::vector<Offset<fb::KeyValue>> list;
  for (const auto& [key, value] : map) {
    auto k = builder.CreateString(key);
    list.push_back(fb::CreateKeyValue(builder, k, builder.CreateString(value)));
  }
  return list;
}

Offset<fb::Type> GraphWriter::type(const TensorType& type) {
  std::vector<Offset<fb::Dim>> dims;
  if (type.dims) {
    for (const ir::Dim& dim : *type.dims) {
      auto symbol = dim.symbol().empty() ? Offset<flatbuffers::String>() : builder_.CreateString(dim.symbol());
      dims.push_back(fb::CreateDim(builder_, dim.value(), symbol));
    }
  }
  return fb::CreateType(builder_, static_cast<uint8_t>(type.dtype), type.has_rank(), builder_.CreateVector(dims));
}

Result<Offset<fb::Value>> GraphWriter::value(const ir::Value& value) {
  Offset<fb::Tensor> constant;
  if (value.is_constant()) {
    // The reader refuses a constant that does not fill its type, so writing one would be a bug.
    LOWP_CHECK(value.type.concrete() && value.type.dtype == value.constant.dtype());
    LOWP_CHECK(ir::checked_element_count(value.type.extents()) == value.constant.size());
    constant = tensor(value.constant);
  }
  auto name = builder_.CreateString(value.name);
  return fb::CreateValue(builder_, name, type(value.type), static_cast<uint8_t>(value.layout), constant);
}

Result<Offset<fb::Attr>> GraphWriter::attribute(const std::string& name, const ir::AttrValue& value) {
  auto n = builder_.CreateString(name);
  if (const auto* i = std::get_if<int64_t>(&value)) {
    fb::AttrBuilder attr(builder_);
    attr.add_name(n);
    attr.add_kind(fb::AttrKind::Int);
    attr.add_i(*i);
    return attr.Finish();
  }
  if (const auto* f = std::get_if<float>(&value)) {
    fb::AttrBuilder attr(builder_);
    attr.add_name(n);
    attr.add_kind(fb::AttrKind::Float);
    attr.add_f(*f);
    return attr.Finish();
  }
  auto finish = [&](fb::AttrKind kind, auto offset, auto add) {
    fb::AttrBuilder attr(builder_);
    attr.add_name(n);
    attr.add_kind(kind);
    (attr.*add)(offset);
    return attr.Finish();
  };
  if (const auto* s = std::get_if<std::string>(&value)) {
    return finish(fb::AttrKind::String, builder_.CreateString(*s), &fb::AttrBuilder::add_s);
  }
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    return finish(fb::AttrKind::Ints, builder_.CreateVector(*ints), &fb::AttrBuilder::add_ints);
  }
  if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
    return finish(fb::AttrKind::Floats, builder_.CreateVector(*floats), &fb::AttrBuilder::add_floats);
  }
  if (const auto* strings = std::get_if<std::vector<std::string>>(&value)) {
    return finish(fb::AttrKind::Strings, builder_.CreateVectorOfStrings(*strings), &fb::AttrBuilder::add_strings);
  }
  if (const auto* t = std::get_if<ir::Tensor>(&value)) {
    return finish(fb::AttrKind::Tensor, tensor(*t), &fb::AttrBuilder::add_tensor);
  }
  LOWP_ASSIGN(auto graph, write(*std::get<ir::GraphPtr>(value)));
  return finish(fb::AttrKind::Graph, graph, &fb::AttrBuilder::add_graph);
}

Result<Offset<fb::Node>> GraphWriter::node(const ir::Node& node, const Indices& indices) {
  std::vector<Offset<fb::Attr>> attributes;
  for (const auto& [name, value] : node.op->attrs.write(node.attrs)) {
    LOWP_ASSIGN(auto offset, attribute(name, value));
    attributes.push_back(offset);
  }
  auto op = builder_.CreateSharedString(node.op->name);
  auto domain = builder_.CreateSharedString(node.op->domain);
  auto name = builder_.CreateString(node.name);
  auto attrs = builder_.CreateVector(attributes);
  auto inputs = builder_.CreateVector(index_list(node.inputs, indices));
  auto outputs = builder_.CreateVector(index_list(node.outputs, indices));
  auto reason = builder_.CreateString(node.precision.reason);
  std::vector<Offset<fb::Tuning>> measured;
  for (const ir::Tuning& t : node.tuning) {
    auto cpu = builder_.CreateString(t.cpu);
    auto target = builder_.CreateString(t.target);
    auto shape = builder_.CreateString(t.shape);
    auto kernel = builder_.CreateString(t.kernel);
    auto runner_up = builder_.CreateString(t.runner_up);
    measured.push_back(
        fb::CreateTuning(builder_, cpu, target, t.threads, shape, kernel, runner_up, t.kernel_us, t.runner_up_us));
  }
  auto tuning = measured.empty() ? Offset<flatbuffers::Vector<Offset<fb::Tuning>>>() : builder_.CreateVector(measured);
  return fb::CreateNode(builder_, op, domain, name, attrs, inputs, outputs,
                        static_cast<uint8_t>(node.precision.requested), static_cast<uint8_t>(node.precision.executed),
                        reason, tuning);
}

Result<Offset<fb::Graph>> GraphWriter::write(const ir::Graph& graph) {
  // In the order in which a reader defines them, so that a file saved again is the same file.
  Indices indices;
  std::vector<Offset<fb::Value>> values;
  auto add = [&](const ir::Value* v) -> Status {
    if (v == nullptr) return {};
    indices.emplace(v, static_cast<int32_t>(values.size()));
    LOWP_ASSIGN(auto offset, value(*v));
    values.push_back(offset);
    return {};
  };
  for (const ir::Value* input : graph.inputs()) LOWP_TRY(add(input));
  for (const auto& v : graph.values()) {
    if (v->is_constant()) LOWP_TRY(add(v.get()));
  }
  for (const auto& state : graph.states()) LOWP_TRY(add(state.value));
  for (const auto& n : graph.nodes()) {
    for (const ir::Value* output : n->outputs) LOWP_TRY(add(output));
  }
  std::vector<Offset<fb::Output>> outputs;
  for (const auto& output : graph.outputs()) {
    outputs.push_back(fb::CreateOutput(builder_, builder_.CreateString(output.name), indices.at(output.value)));
  }
  std::vector<Offset<fb::State>> states;
  for (const auto& state : graph.states()) {
    auto name = builder_.CreateString(state.name);
    int32_t update = state.update == nullptr ? -1 : indices.at(state.update);
    states.push_back(fb::CreateState(builder_, name, indices.at(state.value), update, tensor(state.initial)));
  }
  std::vector<Offset<fb::Node>> nodes;
  for (const auto& n : graph.nodes()) {
    LOWP_ASSIGN(auto offset, node(*n, indices));
    nodes.push_back(offset);
  }
  auto name = builder_.CreateString(graph.name);
  auto metadata = builder_.CreateVector(key_values(builder_, graph.metadata));
  auto value_list = builder_.CreateVector(values);
  auto inputs = builder_.CreateVector(index_list(graph.inputs(), indices));
  auto output_list = builder_.CreateVector(outputs);
  auto state_list = builder_.CreateVector(states);
  return fb::CreateGraph(builder_, name, metadata, value_list, inputs, output_list, state_list,
                         builder_.CreateVector(nodes));
}

// Blob offsets depend on the graph's size and the graph holds the offsets; as they are scalars in a vector of fixed
// length, a first pass with zeros has the final size.
Result<flatbuffers::DetachedBuffer> build(const ir::Graph& graph, const EngineInfo& info, BlobTable& blobs,
                                          uint64_t graph_size) {
  FlatBufferBuilder builder(1 << 16);
  LOWP_ASSIGN(auto graph_offset, GraphWriter(builder, blobs).write(graph));
  auto entries = builder.CreateVector(key_values(builder, info.entries));
  std::vector<fb::Blob> table;
  uint64_t offset = align(sizeof(Header) + graph_size);
  for (auto bytes : blobs.blobs()) {
    uint64_t sum = graph_size == 0 ? 0 : checksum(bytes.data(), bytes.size());
    table.emplace_back(offset, bytes.size(), sum);
    offset = align(offset + bytes.size());
  }
  auto blob_list = builder.CreateVectorOfStructs(table);
  builder.Finish(fb::CreateEngine(builder, graph_offset, blob_list, entries), fb::EngineIdentifier());
  return builder.Release();
}

}  // namespace

Status save_engine(const ir::Graph& graph, const EngineInfo& info, const std::string& path) {
  BlobTable blobs;
  LOWP_ASSIGN(auto draft, build(graph, info, blobs, 0));
  LOWP_ASSIGN(auto buffer, build(graph, info, blobs, draft.size()));
  LOWP_CHECK(buffer.size() == draft.size());

  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kFormatVersion;
  header.header_size = sizeof(Header);
  header.graph_offset = sizeof(Header);
  header.graph_size = buffer.size();
  header.graph_checksum = checksum(buffer.data(), buffer.size());
  header.file_size = align(sizeof(Header) + buffer.size());
  for (auto bytes : blobs.blobs()) header.file_size = align(header.file_size + bytes.size());
  header.header_checksum = checksum(&header, offsetof(Header, header_checksum));

  LOWP_ASSIGN(AtomicFile file, AtomicFile::create(path));
  LOWP_TRY(file.write(&header, sizeof(header)));
  LOWP_TRY(file.write(buffer.data(), buffer.size()));
  LOWP_TRY(file.align(kBlobAlignment));
  for (auto bytes : blobs.blobs()) {
    LOWP_TRY(file.write(bytes));
    LOWP_TRY(file.align(kBlobAlignment));
  }
  LOWP_CHECK(file.size() == header.file_size);
  return file.commit();
}

}  // namespace lowp::format
