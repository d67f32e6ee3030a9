// lowp inspect M.lowp|M.onnx: what a model or engine is made of.
#include "commands.h"
#include "common.h"
#include "format/engine_file.h"
#include "onnx/import.h"
#include "ops/text.h"

namespace lowp::tool {
namespace {

struct Options {
  std::string path;
  bool nodes = false;
  bool text = false;
  bool json = false;
};

Status inspect(const Options& o) {
  std::unique_ptr<ir::Graph> graph;
  std::map<std::string, std::string> info;
  if (o.path.ends_with(".onnx")) {
    LOWP_ASSIGN(ir::Graph g, onnx::import_onnx(o.path));
    graph = std::make_unique<ir::Graph>(std::move(g));
  } else {
    LOWP_ASSIGN(format::LoadedEngine e, format::open_engine(o.path));
    graph = std::make_unique<ir::Graph>(std::move(e.graph));
    info = std::move(e.info.entries);
  }
  if (o.text) {
    fmt::print("{}", to_text(*graph));
    return {};
  }
  std::map<std::string, int> ops;
  std::map<std::string, int> precisions;
  uint64_t weights = 0;
  for (const auto& n : graph->nodes()) {
    ++ops[op_display_name(*n->op)];
    if (n->precision.executed != DType::kInvalid) ++precisions[std::string(dtype_name(n->precision.executed))];
  }
  for (const auto& v : graph->values()) weights += v->is_constant() ? v->constant.bytes() : 0;
  nlohmann::json j = to_json(*graph);
  j["ops"] = ops;
  j["precisions"] = precisions;
  j["constant_bytes"] = weights;
  for (const auto& [key, text] : info) j["info"][key] = nlohmann::json::parse(text, nullptr, false);
  for (const auto& n : graph->nodes()) {
    nlohmann::json node = {{"name", n->name}, {"op", op_display_name(*n->op)}};
    if (n->outputs[0] != nullptr) node["output"] = n->outputs[0]->type.to_string();
    if (n->precision.requested != DType::kInvalid) node["requested"] = dtype_name(n->precision.requested);
    if (n->precision.executed != DType::kInvalid) node["executed"] = dtype_name(n->precision.executed);
    if (!n->precision.reason.empty()) node["reason"] = n->precision.reason;
    for (const ir::Tuning& t : n->tuning) {
      nlohmann::json tuning = {{"cpu", t.cpu},     {"target", t.target}, {"threads", t.threads},
                               {"shape", t.shape}, {"kernel", t.kernel}, {"kernel_us", t.kernel_us}};
      if (!t.runner_up.empty()) {
        tuning["runner_up"] = t.runner_up;
        tuning["runner_up_us"] = t.runner_up_us;
      }
      node["tuning"].push_back(std::move(tuning));
    }
    j["nodes"].push_back(std::move(node));
  }
  if (o.json) {
    fmt::print("{}\n", j.dump(2));
    return {};
  }
  fmt::print("{}\n", o.path);
  for (const ir::Value* v : graph->inputs()) fmt::print("  input   {:<24} {}\n", v->name, v->type.to_string());
  for (const auto& out : graph->outputs()) fmt::print("  output  {:<24} {}\n", out.name, out.value->type.to_string());
  fmt::print("  {} nodes, constants {}\n", graph->nodes().size(), file_size_text(weights));
  for (const auto& [name, count] : ops) fmt::print("    {:>5}  {}\n", count, name);
  for (const auto& [name, count] : precisions) fmt::print("  {} layers run in {}\n", count, name);
  for (const auto& n : graph->nodes()) {
    const bool differs = !n->precision.reason.empty();
    if (!o.nodes && !differs) continue;
    fmt::print("  {:<32} {:<20} {:<24}{}\n", n->name, op_display_name(*n->op),
               n->outputs[0] == nullptr ? "" : n->outputs[0]->type.to_string(),
               differs ? "  " + n->precision.reason : "");
    for (const ir::Tuning& t : n->tuning) {
      if (!o.nodes) break;
      fmt::print("    {} {:.1f} us{} ({}, {} thread{}, {})\n", t.kernel, t.kernel_us,
                 t.runner_up.empty() ? "" : fmt::format(", next {} {:.1f} us", t.runner_up, t.runner_up_us), t.target,
                 t.threads, t.threads == 1 ? "" : "s", t.cpu);
    }
  }
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("inspect", "Show what a model or engine is made of");
  sub->add_option("path", o->path, "M.lowp or MODEL.onnx")->required();
  sub->add_flag("--nodes", o->nodes, "list every node");
  sub->add_flag("--text", o->text, "the whole graph as text");
  sub->add_flag("--json", o->json, "machine-readable");
  sub->callback([o, &action] { action = [o] { return inspect(*o); }; });
}

}  // namespace lowp::tool
