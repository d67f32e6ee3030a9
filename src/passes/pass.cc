#include "passes/pass.h"

#include <algorithm>

#include "ops/infer.h"

namespace lowp::passes {

#define LOWP_PASS(name, stage, summary) Result<int> name(ir::Graph& graph, const PassOptions& options);
#include "passes/passes.inc"
#undef LOWP_PASS

const std::vector<Pass>& all_passes() {
  static const std::vector<Pass> passes = {
#define LOWP_PASS(name, stage, summary) {#name, Stage::stage, summary, name},
#include "passes/passes.inc"
#undef LOWP_PASS
  };
  return passes;
}

namespace {

Status run_pass(const Pass& pass, ir::Graph& graph, const PassOptions& options) {
  auto changed = pass.run(graph, options);
  if (!changed) return std::move(changed.error()).with_context(fmt::format("pass {}", pass.name));
  graph.remove_dead();
  LOWP_TRY(graph.sort());
  if (Status s = ir::verify(graph); !s.is_ok())
    throw InternalError(fmt::format("after pass {}: {}", pass.name, s.to_string()));
  if (*changed > 0) {
    if (Status s = infer_types(graph); !s.is_ok())
      return std::move(s).with_context(fmt::format("after pass {}", pass.name));
  }
  return {};
}

}  // namespace

Status run_passes(ir::Graph& graph, std::initializer_list<std::string_view> names, const PassOptions& options) {
  for (std::string_view name : names) {
    const auto pass = std::ranges::find_if(all_passes(), [&](const Pass& p) { return name == p.name; });
    if (pass == all_passes().end()) throw InternalError(fmt::format("there is no pass '{}'", name));
    LOWP_TRY(run_pass(*pass, graph, options));
  }
  return {};
}

Status run_stage(ir::Graph& graph, Stage stage, const PassOptions& options) {
  for (const std::string& name : options.disabled) {
    bool known = false;
    for (const Pass& p : all_passes()) known = known || name == p.name;
    if (!known) return error(Code::kInvalidArgument, "there is no pass '{}'", name);
  }
  for (const Pass& pass : all_passes()) {
    if (pass.stage != stage || options.disabled.contains(pass.name)) continue;
    LOWP_TRY(run_pass(pass, graph, options));
  }
  return {};
}

}  // namespace lowp::passes
