#include "onnx/import.h"

#include <climits>
#include <filesystem>

#include "base/mapped_file.h"
#include "onnx/functions.h"
#include "onnx/graph_importer.h"
#include "onnx/tensor_proto.h"
#include "ops/infer.h"

namespace lowp::onnx {
namespace {

Status check_opsets(const Opsets& opsets) {
  for (const auto& [domain, version] : opsets) {
    if (version < 1) return error(Code::kInvalidModel, "domain '{}' is imported in version {}", domain, version);
    if (domain.empty() && version > kNewestOpset) {
      return error(Code::kUnsupported, "the model uses ONNX opset {}, lowp understands up to {}", version, kNewestOpset)
          .with_hint(fmt::format("export it with opset {} or lower", kNewestOpset));
    }
  }
  return {};
}

Result<ir::Graph> import_model(const ::onnx::ModelProto& model, const std::string& folder) {
  if (!model.has_graph()) return fail(Code::kInvalidModel, "the file holds no graph");
  LOWP_ASSIGN(Opsets opsets, read_opsets(model.opset_import()));
  // Before opset_import was required, version 1 was meant.
  if (opsets.empty()) opsets.emplace("", 1);
  LOWP_TRY(check_opsets(opsets));
  LOWP_ASSIGN(Functions functions, Functions::read(model));
  ExternalData external(folder);

  ir::Graph graph;
  graph.name = model.graph().name();
  for (const auto& entry : model.metadata_props()) graph.metadata[entry.key()] = entry.value();
  graph.metadata["onnx.producer"] =
      model.producer_name() + (model.producer_version().empty() ? "" : " ") + model.producer_version();
  graph.metadata["onnx.opset"] = std::to_string(opsets.contains("") ? opsets.at("") : 0);

  ImportContext context{functions, external};
  LOWP_TRY(check_ops(context, model.graph(), opsets));
  LOWP_TRY(GraphImporter(context, graph).import(model.graph(), opsets, {}));
  graph.remove_dead();
  LOWP_TRY(infer_types(graph));
  return graph;
}

}  // namespace

Result<ir::Graph> import_onnx_bytes(std::span<const std::byte> bytes, const std::string& folder) {
  if (bytes.size() > static_cast<size_t>(INT_MAX)) {
    return fail(error(Code::kResource, "the model has {} bytes; protobuf ends at 2 GiB", bytes.size())
                    .with_hint("save its tensors as external data"));
  }
  ::onnx::ModelProto model;
  // Nesting is limited to 100 levels by protobuf, so a hostile file cannot exhaust the stack here or in what follows.
  if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(Code::kCorrupt, "the file is not an ONNX model, or is truncated ({} bytes)", bytes.size());
  }
  return import_model(model, folder);
}

Result<ir::Graph> import_onnx(const std::string& path) {
  LOWP_ASSIGN(MappedFile file, MappedFile::open(path));
  std::string folder = std::filesystem::path(path).parent_path().string();
  auto graph = import_onnx_bytes(file.bytes(), folder.empty() ? "." : folder);
  if (!graph) return fail(std::move(graph.error()).with_context(path));
  return graph;
}

}  // namespace lowp::onnx
