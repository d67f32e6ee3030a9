#include "runtime/compiler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "passes/pass.h"
#include "quant/quantize.h"
#include "runtime/quantization.h"
#include "runtime/tune.h"

namespace lowp::runtime {
namespace {

constexpr std::pair<std::string_view, PrecisionMode> kPrecisions[] = {{"fp32", PrecisionMode::kFp32},
                                                                      {"bf16", PrecisionMode::kBf16},
                                                                      {"fp16", PrecisionMode::kFp16},
                                                                      {"int8", PrecisionMode::kInt8},
                                                                      {"auto", PrecisionMode::kAuto}};

constexpr std::pair<std::string_view, Observer> kObservers[] = {
    {"auto", Observer::kAuto},
    {"minmax", Observer::kMinMax},
    {"percentile", Observer::kPercentile},
    {"mse", Observer::kMse},
};

bool is_compute(const ir::Node& node) {
  return node.op->quantize == QuantRule::kCompute || node.op->quantize == QuantRule::kRecurrent;
}

bool has_quantization(const ir::Graph& graph) {
  for (const auto& n : graph.nodes()) {
    if (n->op->name == "QuantizeLinear" || n->op->name == "DequantizeLinear") return true;
  }
  return false;
}

DType requested_dtype(PrecisionMode mode) {
  switch (mode) {
    case PrecisionMode::kBf16: return DType::kBF16;
    case PrecisionMode::kFp16: return DType::kF16;
    case PrecisionMode::kInt8: return DType::kI8;
    default: return DType::kF32;
  }
}

// Fills in what ran for nodes that no pass bound to a kernel of the requested precision.
void finish_precision(ir::Graph& graph) {
  for (const auto& n : graph.nodes()) {
    if (n->precision.requested == DType::kInvalid || n->precision.executed != DType::kInvalid) continue;
    const auto out = std::ranges::find_if(n->outputs, [](const ir::Value* v) { return v != nullptr; });
    if (out == n->outputs.end()) continue;
    n->precision.executed = (*out)->type.dtype;
    if (n->precision.executed != n->precision.requested && n->precision.reason.empty()) {
      n->precision.reason = fmt::format("{} has no {} kernel for these operands", op_display_name(*n->op),
                                        dtype_name(n->precision.requested));
    }
  }
}

Status check_strict(const ir::Graph& graph) {
  std::string differing;
  int count = 0;
  for (const auto& n : graph.nodes()) {
    const ir::Precision& p = n->precision;
    if (p.requested == DType::kInvalid || p.requested == p.executed) continue;
    if (count++ < 5)
      differing += fmt::format("\n  '{}': {} instead of {}: {}", n->name, dtype_name(p.executed),
                               dtype_name(p.requested), p.reason);
  }
  if (count == 0) return {};
  return error(Code::kUnsupported, "strict: {} layers do not run in the precision asked for:{}", count, differing)
      .with_hint("compile without strict to keep these layers as they are");
}

}  // namespace

std::optional<PrecisionMode> precision_from_name(std::string_view name) {
  for (const auto& [n, mode] : kPrecisions) {
    if (n == name) return mode;
  }
  return std::nullopt;
}
std::string_view precision_name(PrecisionMode mode) {
  for (const auto& [n, m] : kPrecisions) {
    if (m == mode) return n;
  }
  return "";
}
std::optional<Observer> observer_from_name(std::string_view name) {
  for (const auto& [n, o] : kObservers) {
    if (n == name) return o;
  }
  return std::nullopt;
}
std::string_view observer_name(Observer observer) {
  for (const auto& [n, o] : kObservers) {
    if (o == observer) return n;
  }
  return "";
}

std::string CompileReport::to_json() const {
  nlohmann::json j;
  j["cpu"] = cpu;
  j["target"] = target;
  j["calibration_samples"] = calibration_samples;
  j["equalized"] = equalized;
  if (calibration_samples > 0) j["observer"] = observer_name(observer);
  j["output_snr_db"] = output_snr_db;
  for (const LayerReport& l : layers) {
    nlohmann::json layer = {
        {"node", l.node}, {"op", l.op}, {"requested", dtype_name(l.requested)}, {"executed", dtype_name(l.executed)}};
    if (!l.reason.empty()) layer["reason"] = l.reason;
    if (l.snr_db != 0) layer["snr_db"] = l.snr_db;
    if (l.fp32_us != 0) layer["fp32_us"] = l.fp32_us;
    if (l.int8_us != 0) layer["int8_us"] = l.int8_us;
    if (!l.kernel.empty()) {
      layer["kernel"] = l.kernel;
      layer["kernel_us"] = l.kernel_us;
    }
    if (!l.runner_up.empty()) {
      layer["runner_up"] = l.runner_up;
      layer["runner_up_us"] = l.runner_up_us;
    }
    j["layers"].push_back(std::move(layer));
  }
  if (!tuning.skipped.empty()) {
    j["tuning"] = {{"skipped", tuning.skipped}};
  } else if (tuning.threads != 0) {
    j["tuning"] = {{"threads", tuning.threads},
                   {"inputs", tuning.inputs},
                   {"measured", tuning.measured},
                   {"cached", tuning.cached}};
  }
  return j.dump();
}

Result<Compiled> compile(const ir::Graph& model, const CompileOptions& options, SampleSource* calibration) {
  LOWP_ASSIGN(Target target, selected_target());
  Compiled result;
  result.report.cpu = cpu_name();
  result.report.target = target_name(target);
  if (!options.optimize_for.empty() && options.optimize_for != "vnni" && options.optimize_for != "avx2") {
    return fail(Code::kInvalidArgument, "target '{}' is not known; vnni and avx2 are", options.optimize_for);
  }
  if (!(options.min_output_snr_db >= 0))
    return fail(Code::kInvalidArgument, "{} dB of signal to noise are asked for, 0 or more is wanted",
                options.min_output_snr_db);
  if (options.threads < 0 || options.threads > 1024)
    return fail(Code::kInvalidArgument, "threads is {}, 0 (all) to 1024 is wanted", options.threads);
  passes::PassOptions pass_options;
  pass_options.disabled = {options.disabled_passes.begin(), options.disabled_passes.end()};

  std::unique_ptr<ir::Graph> graph = model.clone();
  LOWP_TRY(passes::run_stage(*graph, passes::Stage::kSimplify, pass_options));
  for (const std::string& name : options.keep_fp32) {
    if (std::ranges::none_of(graph->nodes(), [&](const auto& n) { return n->name == name; }))
      return fail(Code::kInvalidArgument, "there is no layer '{}' to keep in FP32", name);
  }

  PrecisionMode mode = options.precision;
  const bool quantized_model = has_quantization(*graph);
  if (mode == PrecisionMode::kAuto) {
    // INT8 where there are samples to calibrate with; else the fastest float format of this CPU.
    mode = quantized_model || calibration != nullptr ? PrecisionMode::kInt8
           : target_has_bf16(target)                 ? PrecisionMode::kBf16
                                                     : PrecisionMode::kFp32;
  }
  for (const auto& n : graph->nodes()) {
    if (is_compute(*n)) n->precision.requested = requested_dtype(mode);
  }
  if (mode == PrecisionMode::kBf16) pass_options.weight_dtype = DType::kBF16;
  if (mode == PrecisionMode::kFp16) pass_options.weight_dtype = DType::kF16;
  pass_options.narrow_attention = mode == PrecisionMode::kInt8;
  // Where bf16 is storage, layers would have to expand what they are handed.
  pass_options.narrow_activations = mode == PrecisionMode::kBf16 && target_has_bf16(target);
  std::vector<Tensor> example;
  if (mode == PrecisionMode::kInt8 && !quantized_model) {
    if (calibration == nullptr) {
      return fail(error(Code::kCalibration, "INT8 wants calibration samples, none were given")
                      .with_hint("pass calibration=... or --calibrate FILE.npz|DIR"));
    }
    LOWP_ASSIGN(graph, quantize_graph(std::move(graph), options, pass_options, *calibration, result.report, example));
  }
  LOWP_TRY(passes::run_stage(*graph, passes::Stage::kLower, pass_options));
  finish_precision(*graph);
  if (options.strict) LOWP_TRY(check_strict(*graph));
  if (options.measure && options.tune) LOWP_TRY(tune(*graph, options, std::move(example), result.report));
  merge_layer_reports(*graph, result.report);
  graph->metadata["precision"] = precision_name(mode);
  graph->metadata["report"] = result.report.to_json();
  result.engine = std::make_shared<Engine>(std::move(graph));
  return result;
}

}  // namespace lowp::runtime
