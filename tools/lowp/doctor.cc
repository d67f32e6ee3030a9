// lowp doctor: what this machine can do, and whether lowp computes here what it should.
#include <cstdlib>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "commands.h"
#include "common.h"
#include "ops/op_def.h"
#include "runtime/verify.h"

namespace lowp::tool {
namespace {

// A product and a softmax on one target, as a digest: the same on every target and for any number of threads.
Result<std::string> digest_on(Target target) {
  set_active_target(target);
  ir::Graph graph;
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{33, 300}));
  Tensor w = Tensor::zeros(DType::kF32, {300, 50});
  for (int64_t i = 0; i < w.size(); ++i) w.mutable_data<float>()[i] = static_cast<float>(i % 37 - 18) / 16.0F;
  GraphBuilder b(graph);
  graph.outputs().push_back({"y", b.op("Softmax", {b.op("MatMul", {x, b.constant(std::move(w), "w")})})});
  LOWP_ASSIGN(runtime::Compiled compiled, runtime::compile(graph, {}));
  return runtime::golden_digest(compiled.engine);
}

Status doctor(bool json) {
  LOWP_ASSIGN(Target selected, selected_target());
  nlohmann::json j = {{"version", LOWP_VERSION},
                      {"cpu", cpu_name()},
                      {"target", target_name(selected)},
                      {"threads", available_threads()},
                      {"ops", all_ops().size()}};
  j["bf16"] = target_has_bf16(selected) ? "native" : "storage";
  j["int8"] = target_has_amx(selected) ? "amx" : target_has_vnni(selected) ? "vnni" : "exact without vnni";
  const char* isa = std::getenv("LOWP_ISA");
  if (isa != nullptr) j["LOWP_ISA"] = isa;
  std::string expected;
  bool agree = true;
  for (Target t : supported_targets()) {
    LOWP_ASSIGN(std::string digest, digest_on(t));
    if (expected.empty()) expected = digest;
    agree = agree && digest == expected;
    j["targets"].push_back({{"name", target_name(t)}, {"digest", digest}});
  }
  set_active_target(selected);
  j["targets_agree"] = agree;
  if (json) {
    fmt::print("{}\n", j.dump(2));
  } else {
    fmt::print("lowp {} on {}\n  target   {}{}\n  threads  {}\n", LOWP_VERSION, cpu_name(), target_name(selected),
               isa != nullptr ? " (LOWP_ISA)" : "", available_threads());
    fmt::print("  BF16     {}\n", target_has_amx(selected)    ? "AMX"
                                  : target_has_bf16(selected) ? "native dot product"
                                                              : "storage only: arithmetic in FP32");
    fmt::print("  INT8     {}\n", target_has_amx(selected)    ? "AMX"
                                  : target_has_vnni(selected) ? "VNNI"
                                                              : "exact 16-bit and 7-bit kernels");
    std::string names;
    for (Target t : supported_targets()) names += fmt::format(" {}", target_name(t));
    fmt::print("  runs    {}\n  targets give {}\n", names, agree ? "the same bits" : "DIFFERENT BITS");
  }
  if (!agree)
    return error(Code::kInternal, "targets of this CPU compute different bits")
        .with_hint("run doctor --json and report it");
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* sub = app.add_subcommand("doctor", "Check this machine and this installation");
  sub->add_flag("--json", *json, "machine-readable");
  sub->callback([json, &action] { action = [json] { return doctor(*json); }; });
}

}  // namespace lowp::tool
