// lowp bench M.lowp: latency, and with --profile where it goes.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "base/cpu.h"
#include "commands.h"
#include "common.h"

namespace lowp::tool {
namespace {

struct Options {
  std::string model;
  int64_t batch = 1;
  int threads = 0;
  std::vector<std::string> shapes;
  int runs = 50;
  double seconds = 5;
  bool profile = false;
  bool json = false;
};

double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

Status bench(const Options& o) {
  auto begin = std::chrono::steady_clock::now();
  LOWP_ASSIGN(Opened opened, open_any(o.model, o.threads));
  const double open_ms = since(begin);
  LOWP_ASSIGN(std::vector<Tensor> inputs, random_inputs(opened.engine->graph(), o.shapes, o.batch));
  runtime::SessionOptions options;
  options.threads = o.threads;
  options.profile = o.profile;
  LOWP_ASSIGN(auto session, runtime::Session::create(opened.engine, options));
  begin = std::chrono::steady_clock::now();
  LOWP_ASSIGN(std::vector<Tensor> outputs, session->run(inputs));
  const double first_ms = since(begin);
  std::vector<double> ms;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < o.runs && (i < 3 || since(start) < o.seconds * 1000); ++i) {
    begin = std::chrono::steady_clock::now();
    LOWP_TRY(session->run_into(inputs, outputs));
    ms.push_back(since(begin));
    if (interrupted().load()) break;
  }
  std::sort(ms.begin(), ms.end());
  const double median = ms[ms.size() / 2];
  const double p95 = ms[std::min(ms.size() - 1, ms.size() * 95 / 100)];
  auto profile = session->profile();
  std::stable_sort(profile.begin(), profile.end(),
                   [](const auto& a, const auto& b) { return a.nanoseconds > b.nanoseconds; });
  if (o.json) {
    nlohmann::json j = {{"model", o.model},
                        {"cpu", cpu_name()},
                        {"target", target_name(active_target())},
                        {"threads", session->threads()},
                        {"batch", o.batch},
                        {"runs", ms.size()},
                        {"open_ms", open_ms},
                        {"first_run_ms", first_ms},
                        {"median_ms", median},
                        {"min_ms", ms[0]},
                        {"p95_ms", p95},
                        {"peak_mib", peak_mib()},
                        {"arena_bytes", session->arena_bytes()}};
    for (const auto& e : profile) {
      j["profile"].push_back(
          {{"node", e.node},
           {"op", e.op},
           {"kernel", e.kernel},
           {"us", static_cast<double>(e.nanoseconds) / 1e3 / static_cast<double>(std::max<int64_t>(1, e.runs))},
           {"macs", e.macs},
           {"bytes", e.bytes}});
    }
    fmt::print("{}\n", j.dump(2));
    return {};
  }
  fmt::print("{} on {} ({}), {} threads, batch {}\n", o.model, cpu_name(), target_name(active_target()),
             session->threads(), o.batch);
  fmt::print(
      "  open {:.1f} ms, first run {:.2f} ms\n  {} runs: median {:.3f} ms, min {:.3f} ms, 95% {:.3f} ms\n  peak memory "
      "{:.0f} MiB, arena {}\n",
      open_ms, first_ms, ms.size(), median, ms[0], p95, peak_mib(), file_size_text(session->arena_bytes()));
  if (!profile.empty()) fmt::print("  {:>9}  {:>8}  {:<26} {:<20} {}\n", "us", "GMAC/s", "kernel", "op", "node");
  for (const auto& e : profile) {
    const double ns = static_cast<double>(e.nanoseconds) / static_cast<double>(std::max<int64_t>(1, e.runs));
    fmt::print("  {:>9.1f}  {:>8.1f}  {:<26} {:<20} {}\n", ns / 1e3, ns > 0 ? static_cast<double>(e.macs) / ns : 0.0,
               e.kernel, e.op, e.node);
  }
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure a model's latency and memory");
  sub->add_option("model", o->model, "M.lowp, or MODEL.onnx to run in FP32")->required();
  sub->add_option("--batch", o->batch, "what the first dimension becomes where it is free")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--threads", o->threads, "0: all");
  sub->add_option("--shape", o->shapes, "an input's shape, x=1x3x224x224");
  sub->add_option("--runs", o->runs, "at most")->capture_default_str()->check(CLI::Range(3, 1000000));
  sub->add_option("--seconds", o->seconds, "at most")->capture_default_str();
  sub->add_flag("--profile", o->profile, "time of every step");
  sub->add_flag("--json", o->json, "machine-readable");
  sub->callback([o, &action] { action = [o] { return bench(*o); }; });
}

}  // namespace lowp::tool
