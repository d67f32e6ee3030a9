// lowp compile MODEL.onnx -o M.lowp --precision ...
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "commands.h"
#include "common.h"
#include "format/engine_file.h"
#include "onnx/import.h"
#include "runtime/verify.h"

namespace lowp::tool {
namespace {

struct Options {
  std::string model;
  std::string output;
  std::string precision = "fp32";
  std::string calibrate;
  std::string observer = "auto";
  std::string target;
  std::vector<std::string> keep_fp32;
  std::vector<std::string> disable;
  double min_output_snr = 0;
  int threads = 0;
  bool strict = false;
  bool no_equalize = false;
  bool no_measure = false;
  bool no_tune = false;
  bool no_cache = false;
  std::vector<std::string> shapes;
  bool json = false;
  bool quiet = false;
};

// One .npz is one sample; a folder's .npz files are samples in the order of their names.
class NpzSamples : public runtime::SampleSource {
 public:
  static Result<NpzSamples> open(const std::string& path, const ir::Graph& graph) {
    NpzSamples s(graph);
    std::error_code ec;
    if (std::filesystem::is_directory(path, ec)) {
      for (const auto& entry : std::filesystem::directory_iterator(path, ec)) {
        if (entry.path().extension() == ".npz") s.files_.push_back(entry.path().string());
      }
      std::sort(s.files_.begin(), s.files_.end());
      if (s.files_.empty()) return fail(Code::kCalibration, "the folder '{}' has no .npz files", path);
    } else {
      s.files_.push_back(path);
    }
    return s;
  }
  Status rewind() override {
    at_ = 0;
    return {};
  }
  Result<bool> next(std::vector<Tensor>& inputs) override {
    if (at_ == files_.size()) return false;
    LOWP_ASSIGN(NamedTensors tensors, read_npz(files_[at_]));
    if (tensors.empty()) return fail(Code::kCalibration, "'{}' has no arrays", files_[at_]);
    auto matched = match_inputs(*graph_, tensors);
    if (!matched) return fail(std::move(matched.error()).with_context(files_[at_]));
    inputs = std::move(*matched);
    ++at_;
    return true;
  }
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }

 private:
  explicit NpzSamples(const ir::Graph& graph) : graph_(&graph) {}
  const ir::Graph* graph_;
  std::vector<std::string> files_;
  size_t at_ = 0;
};

void print_report(const runtime::Compiled& compiled, const Options& o, uint64_t model_bytes, uint64_t engine_bytes) {
  const runtime::CompileReport& r = compiled.report;
  if (o.json) {
    nlohmann::json j = nlohmann::json::parse(r.to_json());
    j["output"] = o.output;
    j["model_bytes"] = model_bytes;
    j["engine_bytes"] = engine_bytes;
    j["ratio"] = static_cast<double>(engine_bytes) / static_cast<double>(model_bytes);
    fmt::print("{}\n", j.dump(2));
    return;
  }
  if (o.quiet) return;
  std::map<std::string, int> counts;
  for (const auto& l : r.layers) ++counts[std::string(dtype_name(l.executed))];
  std::string text;
  for (const auto& [name, n] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, name);
  fmt::print("{}: {} -> {} ({:.3f} of the model), layers: {}\n", o.output, file_size_text(model_bytes),
             file_size_text(engine_bytes), static_cast<double>(engine_bytes) / static_cast<double>(model_bytes),
             text.empty() ? "none" : text);
  if (r.calibration_samples > 0)
    fmt::print("calibrated on {} samples ({}{}); outputs against FP32: {:.1f} dB signal to noise\n",
               r.calibration_samples, runtime::observer_name(r.observer),
               r.equalized > 0 ? fmt::format(", {} activations equalized", r.equalized) : "", r.output_snr_db);
  if (!r.tuning.skipped.empty()) {
    fmt::print("kernels were not timed: {}\n", r.tuning.skipped);
  } else if (r.tuning.threads != 0) {
    const auto other =
        std::ranges::count_if(r.layers, [](const auto& l) { return !l.kernel.empty() && l.kernel != "formula"; });
    fmt::print(
        "kernels timed with {} thread{}: {} distinct layers measured, {} known; {} run otherwise than by formula\n",
        r.tuning.threads, r.tuning.threads == 1 ? "" : "s", r.tuning.measured, r.tuning.cached, other);
  }
  for (const auto& l : r.layers) {
    if (!l.reason.empty())
      fmt::print("  '{}' runs in {} instead of {}: {}\n", l.node, dtype_name(l.executed), dtype_name(l.requested),
                 l.reason);
  }
}

// Removes a file at the end of its scope, if it is still there.
struct Removal {
  std::string path;
  ~Removal() {
    std::error_code ec;
    std::filesystem::remove(path, ec);
  }
};

Status compile(const Options& o) {
  auto precision = runtime::precision_from_name(o.precision);
  if (!precision)
    return error(Code::kInvalidArgument, "precision '{}' is not known; fp32, bf16, fp16, int8 and auto are",
                 o.precision);
  auto observer = runtime::observer_from_name(o.observer);
  if (!observer)
    return error(Code::kInvalidArgument, "observer '{}' is not known; auto, minmax, percentile and mse are",
                 o.observer);
  std::error_code ec;
  if (std::filesystem::equivalent(o.model, o.output, ec))
    return error(Code::kInvalidArgument, "the output '{}' is the model itself", o.output);
  const std::atomic<bool>& stop = interrupted();
  LOWP_ASSIGN(ir::Graph graph, onnx::import_onnx(o.model));
  runtime::CompileOptions options;
  options.precision = *precision;
  options.observer = *observer;
  options.strict = o.strict;
  options.threads = o.threads;
  options.optimize_for = o.target;
  options.equalize = !o.no_equalize;
  options.measure = !o.no_measure;
  options.tune = !o.no_tune;
  options.cache = !o.no_cache;
  for (const std::string& s : o.shapes) {
    LOWP_ASSIGN(auto shape, parse_shape(s));
    options.shapes.insert(std::move(shape));
  }
  options.keep_fp32 = o.keep_fp32;
  options.min_output_snr_db = o.min_output_snr;
  options.disabled_passes = o.disable;
  const bool show = !o.quiet && !o.json && isatty(STDERR_FILENO) != 0;
  options.progress = [&](std::string_view stage, int64_t done, int64_t total) {
    if (show) fmt::print(stderr, "\r{} {}{}\x1b[K", stage, done, total > 0 ? fmt::format("/{}", total) : "");
    return !stop.load(std::memory_order_relaxed);
  };
  std::optional<NpzSamples> samples;
  if (!o.calibrate.empty()) {
    LOWP_ASSIGN(samples, NpzSamples::open(o.calibrate, graph));
  }
  auto compiled = runtime::compile(graph, options, samples ? &*samples : nullptr);
  if (show) fmt::print(stderr, "\r\x1b[K");
  if (!compiled) return compiled.error();

  format::EngineInfo info;
  info.entries["request"] =
      nlohmann::json({{"precision", o.precision}, {"target", o.target}, {"observer", o.observer}, {"strict", o.strict}})
          .dump();
  info.entries["measurements"] = compiled->report.to_json();
  // Models whose inputs golden_inputs() does not fit have no digest; that is no error.
  if (auto digest = runtime::golden_digest(compiled->engine)) info.entries["golden"] = nlohmann::json(*digest).dump();

  // The file is opened and run before it takes the place of an older one.
  const std::string candidate = o.output + ".candidate";
  const Removal removal{candidate};
  LOWP_TRY(format::save_engine(compiled->engine->graph(), info, candidate));
  auto verify = [&]() -> Status {
    LOWP_ASSIGN(Opened opened, open_any(candidate, o.threads));
    auto golden = info.entries.find("golden");
    if (golden == info.entries.end()) return {};
    LOWP_ASSIGN(std::string digest, runtime::golden_digest(opened.engine));
    if (nlohmann::json(digest).dump() != golden->second)
      return error(Code::kInternal, "the engine read back computes other outputs than the one compiled");
    return {};
  };
  LOWP_TRY(verify());
  if (stop.load(std::memory_order_relaxed)) return error(Code::kCancelled, "compiling was cancelled");
  const uint64_t engine_bytes = std::filesystem::file_size(candidate, ec);
  std::filesystem::rename(candidate, o.output, ec);
  if (ec) return error(Code::kIo, "cannot write '{}': {}", o.output, ec.message());
  print_report(*compiled, o, std::filesystem::file_size(o.model, ec), engine_bytes);
  return {};
}

}  // namespace

void add_compile(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("compile", "Turn an ONNX model into an engine file");
  sub->add_option("model", o->model, "MODEL.onnx")->required();
  sub->add_option("-o,--output", o->output, "engine file to write, M.lowp")->required();
  sub->add_option("--precision", o->precision, "fp32, bf16, fp16, int8 or auto")->capture_default_str();
  sub->add_option("--calibrate", o->calibrate, "samples for int8: FILE.npz (one sample) or a folder of them");
  sub->add_option("--observer", o->observer, "how ranges are chosen: minmax, percentile, mse, or the best of them")
      ->capture_default_str();
  sub->add_option("--target", o->target, "optimise INT8 for vnni or avx2 (default: this CPU)");
  sub->add_option("--keep-fp32", o->keep_fp32, "layers to leave in FP32, by node name");
  sub->add_option(
      "--min-output-snr", o->min_output_snr,
      "leave layers in FP32, those that cost most first, until the outputs have so many dB of signal to noise");
  sub->add_option("--disable-pass", o->disable, "passes not to run");
  sub->add_option("--threads", o->threads, "0: all");
  sub->add_flag("--strict", o->strict, "fail where a layer cannot have the precision asked for");
  sub->add_flag("--no-equalize", o->no_equalize, "do not scale channels of activations before quantization");
  sub->add_flag("--no-measure", o->no_measure, "do not time anything; INT8 everywhere it is possible");
  sub->add_flag("--no-tune", o->no_tune, "do not time the ways in which kernels can compute each layer");
  sub->add_flag("--no-cache", o->no_cache, "measure anew, and do not keep what was measured");
  sub->add_option("--shape", o->shapes,
                  "shape to measure with, x=1x3x224x224 (default: the first calibration sample's, else 1 for a free "
                  "first dimension and 128 for others)");
  sub->add_flag("--json", o->json, "print the report as JSON");
  sub->add_flag("-q,--quiet", o->quiet, "print nothing");
  sub->callback([o, &action] { action = [o] { return compile(*o); }; });
}

}  // namespace lowp::tool
