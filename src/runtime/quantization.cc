#include "runtime/quantization.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "quant/equalize.h"
#include "runtime/session.h"

namespace lowp::runtime {
namespace {

// Samples that decisions are measured on; ranges are measured on all.
constexpr size_t kDecisionSamples = 8;
// Samples that are kept in memory, so that equalization sees them before ranges are measured on all: of token ids,
// which is what transformers read, ten thousand. Few are not enough behind GELU, where a channel may be large for a few
// tokens in a thousand: MiniLM lost 1 dB of its output's signal to noise with 16 sentences against 200.
constexpr size_t kEqualizationBytes = size_t{64} << 20;
// What a layer in FP32 must be worth when observers are compared: MiniLM's question answering has 38.8 dB with one
// observer, which leaves two layers so noisy that they go back to FP32, and 37.0 dB with another and none.
constexpr double kWorthALayerDb = 1.0;
// By how much an observer must be better than the one before it. EfficientNet-lite0's outputs differ by 0.2 dB between
// all three, which says nothing (the first of them is right on two photographs of 500 more); where it matters, in
// transformers with outliers, it is 2 to 7 dB.
constexpr double kClearlyBetterDb = 0.5;
// A layer goes back to FP32 when INT8 is slower by more than this factor: below it the two cannot be told apart by a
// few runs on a machine that does other things too, and INT8 is a quarter of the size.
constexpr double kIndistinguishable = 1.05;
// Runs per layer timing; the fastest counts, as what disturbs a run only makes it slower.
constexpr int kTimingRuns = 15;

quant::RangeMethod range_method(Observer o) {
  switch (o) {
    case Observer::kMinMax: return quant::RangeMethod::kMinMax;
    case Observer::kPercentile: return quant::RangeMethod::kPercentile;
    case Observer::kAuto:
    case Observer::kMse: return quant::RangeMethod::kMse;
  }
  return quant::RangeMethod::kMse;
}

int activation_levels(const CompileOptions& options) {
  if (options.optimize_for == "vnni") return 255;
  if (options.optimize_for == "avx2") return 127;
  return target_has_vnni(active_target()) ? 255 : 127;
}

// A session over a lowered copy of the graph that also gives out `values` (by name), which must have plain layout
// there.
Result<std::unique_ptr<Session>> probe(const ir::Graph& graph, const std::vector<std::string>& values,
                                       const passes::PassOptions& passes, int threads, bool profile) {
  std::unique_ptr<ir::Graph> copy = graph.clone();
  for (const std::string& name : values) {
    ir::Value* v = copy->find_value(name);
    LOWP_CHECK(v != nullptr);
    copy->outputs().push_back({name, v});
  }
  LOWP_TRY(passes::run_stage(*copy, passes::Stage::kLower, passes));
  SessionOptions options;
  options.threads = threads;
  options.profile = profile;
  options.bind_cache_bytes = 0;
  return Session::create(std::make_shared<Engine>(std::move(copy)), options);
}

Status check_sample(const ir::Graph& graph, const std::vector<Tensor>& sample, int64_t index) {
  if (sample.size() != graph.inputs().size()) {
    return error(Code::kCalibration, "calibration sample {} has {} inputs, the model wants {}", index, sample.size(),
                 graph.inputs().size());
  }
  if (!sample.empty() && std::ranges::all_of(sample, [](const Tensor& t) { return t.size() == 0; }))
    return error(Code::kCalibration, "calibration sample {} has no elements", index).with_hint("remove it");
  for (size_t i = 0; i < sample.size(); ++i) {
    if (sample[i].dtype() != DType::kF32) continue;
    for (int64_t k = 0; k < sample[i].size(); ++k) {
      if (!std::isfinite(sample[i].data<float>()[k])) {
        return error(Code::kCalibration, "calibration sample {}: input '{}' has the value {} at position {}", index,
                     graph.inputs()[i]->name, sample[i].data<float>()[k], k)
            .with_hint("remove the sample or repair its preprocessing");
      }
    }
  }
  return {};
}

std::vector<Tensor> copy_of(const std::vector<Tensor>& sample) {
  std::vector<Tensor> copy;
  for (const Tensor& t : sample) copy.push_back(t.clone());
  return copy;
}

struct Noise {
  double signal = 0;
  double noise = 0;
  void add(const Tensor& want, const Tensor& have) {
    if (want.dtype() != DType::kF32 || have.dtype() != DType::kF32 || want.size() != have.size()) return;
    for (int64_t i = 0; i < want.size(); ++i) {
      const double w = want.data<float>()[i];
      const double d = static_cast<double>(have.data<float>()[i]) - w;
      signal += w * w;
      noise += d * d;
    }
  }
  double db() const { return noise == 0 ? 200.0 : signal == 0 ? -200.0 : 10 * std::log10(signal / noise); }
};

class PostTraining {
 public:
  PostTraining(const ir::Graph& graph, const CompileOptions& options, const passes::PassOptions& passes,
               SampleSource& samples, CompileReport& report)
      : graph_(graph), options_(options), passes_(passes), samples_(samples), report_(report) {
    scheme_.levels = activation_levels(options);
    scheme_.keep_float = {options.keep_fp32.begin(), options.keep_fp32.end()};
  }

  Result<std::unique_ptr<ir::Graph>> run() {
    list_layers();
    LOWP_TRY(samples_.rewind());
    if (options_.equalize) {
      LOWP_TRY(equalize());
    }
    LOWP_TRY(observe());
    LOWP_TRY(run_fp32());
    LOWP_TRY(choose_observer());
    if (options_.min_output_snr_db > attempt_.output_snr_db) {
      LOWP_TRY(raise_output_snr());
    }
    report_.output_snr_db = attempt_.output_snr_db;
    if (options_.measure) {
      LOWP_TRY(judge_speed(*attempt_.graph));
    }
    std::unique_ptr<ir::Graph> quantized = std::move(attempt_.graph);
    for (auto& [name, layer] : attempt_.layers) {
      if (ir::Node* node = find_node(*quantized, name)) node->precision.reason = layer.reason;
      report_.layers.push_back(layer);
    }
    return quantized;
  }

  const std::vector<Tensor>& first_sample() const { return decision_samples_.front(); }

 private:
  static ir::Node* find_node(const ir::Graph& g, std::string_view name) {
    for (const auto& n : g.nodes()) {
      if (n->name == name) return n.get();
    }
    return nullptr;
  }

  Status progress(std::string_view stage, int64_t done, int64_t total) const {
    if (options_.progress && !options_.progress(stage, done, total))
      return error(Code::kCancelled, "{} was cancelled", stage);
    return {};
  }

  void list_layers() {
    std::unique_ptr<ir::Graph> copy = graph_.clone();
    for (const quant::Layer& l : quant::find_layers(*copy)) {
      LayerReport r;
      r.node = l.node->name;
      r.op = op_display_name(*l.node->op);
      r.requested = DType::kI8;
      if (scheme_.keep_float.contains(l.node->name)) r.reason = "kept in FP32 by request";
      layers_[l.node->name] = r;
    }
  }

  // The next sample of the source, checked. False at the end.
  Result<bool> read_sample(std::vector<Tensor>& sample) {
    LOWP_ASSIGN(bool more, samples_.next(sample));
    if (more) {
      LOWP_TRY(check_sample(graph_, sample, samples_read_));
      ++samples_read_;
    }
    return more;
  }

  // Runs a sample; calls `see` with each of the `values` that the session gives out beside its own outputs.
  template <typename See>
  Status look(Session& session, const std::vector<std::string>& values, const std::vector<Tensor>& sample,
              int64_t number, See see) const {
    auto outputs = session.run(sample);
    if (!outputs) return std::move(outputs.error()).with_context(fmt::format("calibration sample {}", number));
    for (size_t i = 0; i < values.size(); ++i) {
      if (Status s = see(values[i], (*outputs)[graph_.outputs().size() + i]); !s.is_ok())
        return std::move(s).with_context(fmt::format("calibration sample {}, tensor '{}'", number, values[i]));
    }
    return {};
  }

  // Equalizes channels by what the first samples show; these are kept for observe().
  Status equalize() {
    std::unique_ptr<ir::Graph> copy = graph_.clone();
    const std::vector<std::string> values = quant::equalizable_values(*copy, scheme_);
    if (values.empty()) return {};
    LOWP_ASSIGN(std::unique_ptr<Session> session, probe(graph_, values, passes_, options_.threads, false));
    std::map<std::string, quant::ChannelObserver> channels;
    std::vector<Tensor> sample;
    size_t bytes = 0;
    while (bytes < kEqualizationBytes) {
      LOWP_ASSIGN(bool more, read_sample(sample));
      if (!more) break;
      LOWP_TRY(look(*session, values, sample, samples_read_ - 1, [&](const std::string& name, const Tensor& t) {
        channels[name].observe(t.values<float>(), t.extent(t.rank() - 1));
        return Status();
      }));
      for (const Tensor& t : sample) bytes += t.bytes();
      first_samples_.push_back(copy_of(sample));
      LOWP_TRY(progress("look at channels", samples_read_, samples_.size()));
    }
    if (first_samples_.empty()) return {};
    LOWP_ASSIGN(report_.equalized, quant::equalize(*copy, scheme_, channels));
    base_ = std::move(copy);
    return {};
  }

  // Runs every sample once and feeds the observers.
  Status observe() {
    std::unique_ptr<ir::Graph> copy = base().clone();
    const std::vector<std::string> values = quant::observed_values(*copy, scheme_);
    for (const std::string& v : values) observers_[v];
    LOWP_ASSIGN(std::unique_ptr<Session> session, probe(base(), values, passes_, options_.threads, false));
    std::vector<Tensor> sample;
    int64_t count = 0;
    for (;; ++count) {
      if (static_cast<size_t>(count) < first_samples_.size()) {
        sample = std::move(first_samples_[static_cast<size_t>(count)]);
      } else {
        LOWP_ASSIGN(bool more, read_sample(sample));
        if (!more) break;
      }
      LOWP_TRY(look(*session, values, sample, count, [&](const std::string& name, const Tensor& t) {
        return observers_[name].observe(t.values<float>());
      }));
      if (decision_samples_.size() < kDecisionSamples) decision_samples_.push_back(copy_of(sample));
      LOWP_TRY(progress("calibrate", count + 1, samples_.size()));
    }
    if (count == 0)
      return error(Code::kCalibration, "the calibration set is empty")
          .with_hint("give at least one sample; 100 are usually enough");
    report_.calibration_samples = count;
    return {};
  }

  // What is quantized: the model, or the equalized one.
  const ir::Graph& base() const { return base_ ? *base_ : graph_; }

  // A quantized graph and what was found out about it.
  struct Attempt {
    quant::Scheme scheme;
    std::map<std::string, LayerReport> layers;
    std::unique_ptr<ir::Graph> graph;
    double output_snr_db = 0;
    // Of two that are level the one with fewer layers in FP32, and else the first.
    bool is_better_than(const Attempt& first) const {
      const size_t kept = scheme.keep_float.size();
      const size_t kept_first = first.scheme.keep_float.size();
      const double better = output_snr_db - first.output_snr_db -
                            kWorthALayerDb * (static_cast<double>(kept) - static_cast<double>(kept_first));
      return better >= kClearlyBetterDb || (kept < kept_first && better > -kClearlyBetterDb);
    }
    void keep_float(const std::string& name, std::string reason) {
      scheme.keep_float.insert(name);
      layers[name].reason = std::move(reason);
    }
  };

  // The observer asked for, or the one that leaves the model's outputs with the most signal to noise after layers that
  // it does not suit went back to FP32.
  Status choose_observer() {
    std::vector<Observer> candidates = {options_.observer};
    if (options_.observer == Observer::kAuto) candidates = {Observer::kMse, Observer::kPercentile, Observer::kMinMax};
    const std::vector<std::string> names = quantized_layers(scheme_);
    std::vector<std::string> values;
    for (const std::string& n : names) values.push_back(find_node(graph_, n)->outputs[0]->name);
    LOWP_ASSIGN(std::unique_ptr<Session> fp32, probe(base(), values, passes_, options_.threads, false));
    int64_t done = 0;
    for (Observer observer : candidates) {
      Attempt attempt{scheme_, layers_, nullptr};
      attempt.scheme.method = range_method(observer);
      LOWP_TRY(build(attempt));
      LOWP_TRY(judge_accuracy(attempt, names, values, *fp32));
      LOWP_TRY(progress("choose ranges", ++done, std::ssize(candidates)));
      if (attempt_.graph && !attempt.is_better_than(attempt_)) continue;
      report_.observer = observer;
      attempt_ = std::move(attempt);
    }
    return {};
  }

  Status build(Attempt& attempt) const {
    attempt.graph = base().clone();
    return quant::quantize(*attempt.graph, attempt.scheme, observers_);
  }

  std::vector<std::string> quantized_layers(const quant::Scheme& scheme) const {
    std::vector<std::string> names;
    for (const auto& n : graph_.nodes()) {
      if (layers_.contains(n->name) && !scheme.keep_float.contains(n->name)) names.push_back(n->name);
    }
    return names;
  }

  // What INT8 is compared with: the model's outputs for the decision samples.
  Status run_fp32() {
    LOWP_ASSIGN(std::unique_ptr<Session> fp32, probe(graph_, {}, passes_, options_.threads, false));
    for (const std::vector<Tensor>& sample : decision_samples_) {
      LOWP_ASSIGN(std::vector<Tensor> outputs, fp32->run(sample));
      wanted_.push_back(std::move(outputs));
    }
    return {};
  }

  Status measure_output_snr(Attempt& attempt) const {
    LOWP_ASSIGN(std::unique_ptr<Session> int8, probe(*attempt.graph, {}, passes_, options_.threads, false));
    Noise noise;
    for (size_t s = 0; s < wanted_.size(); ++s) {
      LOWP_ASSIGN(std::vector<Tensor> outputs, int8->run(decision_samples_[s]));
      for (size_t i = 0; i < outputs.size(); ++i) noise.add(wanted_[s][i], outputs[i]);
    }
    attempt.output_snr_db = noise.db();
    return {};
  }

  // Signal to noise of the output of every layer in `names`, which is in `values`, and of the model's. A layer whose
  // output is mostly noise although its input is not stays FP32. `want` gives out the values of FP32.
  Status judge_accuracy(Attempt& attempt, const std::vector<std::string>& names, const std::vector<std::string>& values,
                        Session& want) const {
    LOWP_ASSIGN(std::unique_ptr<Session> have, probe(*attempt.graph, values, passes_, options_.threads, false));
    std::vector<Noise> noise(values.size());
    const size_t own = graph_.outputs().size();
    for (size_t s = 0; s < decision_samples_.size(); ++s) {
      LOWP_ASSIGN(std::vector<Tensor> a, want.run(decision_samples_[s]));
      LOWP_ASSIGN(std::vector<Tensor> b, have->run(decision_samples_[s]));
      for (size_t i = 0; i < values.size(); ++i) noise[i].add(a[own + i], b[own + i]);
      LOWP_TRY(progress("compare layers", static_cast<int64_t>(s) + 1, std::ssize(decision_samples_)));
    }
    const size_t kept = attempt.scheme.keep_float.size();
    double before = 200;
    for (size_t i = 0; i < names.size(); ++i) {
      const double db = noise[i].db();
      attempt.layers[names[i]].snr_db = db;
      // Noise that came in with the input is another layer's fault: only a fall of several dB at this layer counts.
      if (db < options_.min_layer_snr_db && before - db > 6) {
        attempt.keep_float(names[i],
                           fmt::format("INT8 hurts: signal to noise falls to {:.1f} dB, at least {:.1f} is wanted", db,
                                       options_.min_layer_snr_db));
      }
      before = db;
    }
    if (attempt.scheme.keep_float.size() > kept) {
      LOWP_TRY(build(attempt));
    }
    return measure_output_snr(attempt);
  }

  // Layers that cost the model's outputs most go back to FP32, one after another, until those have the signal to noise
  // asked for. What a layer costs is measured with this layer alone in FP32.
  Status raise_output_snr() {
    std::vector<std::pair<double, std::string>> costs;
    const std::vector<std::string> names = quantized_layers(attempt_.scheme);
    for (const std::string& name : names) {
      Attempt without{attempt_.scheme, {}, nullptr};
      without.scheme.keep_float.insert(name);
      LOWP_TRY(build(without));
      LOWP_TRY(measure_output_snr(without));
      costs.emplace_back(without.output_snr_db - attempt_.output_snr_db, name);
      LOWP_TRY(progress("find costly layers", std::ssize(costs), std::ssize(names)));
    }
    std::ranges::stable_sort(costs, std::greater{}, [](const auto& c) { return c.first; });
    for (const auto& [cost, name] : costs) {
      if (cost <= 0 || attempt_.output_snr_db >= options_.min_output_snr_db) break;
      attempt_.keep_float(name, fmt::format("INT8 costs the outputs {:.1f} dB of signal to noise, of which {:.1f} are "
                                            "wanted",
                                            cost, options_.min_output_snr_db));
      LOWP_TRY(build(attempt_));
      LOWP_TRY(measure_output_snr(attempt_));
    }
    return {};
  }

  // Time of every layer, FP32 and INT8 run in turn so that the machine's moods hit both alike.
  Status judge_speed(const ir::Graph& quantized) {
    LOWP_ASSIGN(std::unique_ptr<Session> fp32, probe(graph_, {}, passes_, options_.threads, true));
    LOWP_ASSIGN(std::unique_ptr<Session> int8, probe(quantized, {}, passes_, options_.threads, true));
    std::map<std::string, std::vector<double>> fp32_us;
    std::map<std::string, std::vector<double>> int8_us;
    const std::vector<Tensor>& sample = decision_samples_[0];
    auto once = [&](Session& session, std::map<std::string, std::vector<double>>* times) -> Status {
      std::map<std::string, int64_t> before;
      for (const ProfileEntry& e : session.profile()) before[e.node] += e.nanoseconds;
      LOWP_ASSIGN(std::vector<Tensor> outputs, session.run(sample));
      std::map<std::string, int64_t> after;
      for (const ProfileEntry& e : session.profile()) after[e.node] += e.nanoseconds;
      if (times != nullptr) {
        for (const auto& [name, ns] : after) (*times)[name].push_back(static_cast<double>(ns - before[name]) / 1e3);
      }
      return {};
    };
    for (int run = 0; run <= kTimingRuns; ++run) {  // the first run binds and warms up
      LOWP_TRY(once(*fp32, run == 0 ? nullptr : &fp32_us));
      LOWP_TRY(once(*int8, run == 0 ? nullptr : &int8_us));
      LOWP_TRY(progress("time layers", run, kTimingRuns));
    }
    auto fastest = [](const std::vector<double>& v) { return v.empty() ? 0.0 : *std::min_element(v.begin(), v.end()); };
    const size_t kept = attempt_.scheme.keep_float.size();
    for (const std::string& name : quantized_layers(attempt_.scheme)) {
      LayerReport& layer = attempt_.layers[name];
      layer.fp32_us = fastest(fp32_us[name]);
      layer.int8_us = fastest(int8_us[name]);
      // A table of INT8 rows is for size; it costs no time worth measuring.
      if (layer.op == "Gather" || layer.fp32_us == 0 || layer.int8_us == 0) continue;
      if (layer.int8_us > layer.fp32_us * kIndistinguishable) {
        attempt_.keep_float(
            name, fmt::format("INT8 is not faster: {:.0f} us against {:.0f} us in FP32", layer.int8_us, layer.fp32_us));
      }
    }
    return attempt_.scheme.keep_float.size() > kept ? build(attempt_) : Status();
  }

  const ir::Graph& graph_;
  const CompileOptions& options_;
  const passes::PassOptions& passes_;
  SampleSource& samples_;
  CompileReport& report_;
  quant::Scheme scheme_;
  std::unique_ptr<ir::Graph> base_;  // null: graph_
  std::map<std::string, quant::HistogramObserver> observers_;
  int64_t samples_read_ = 0;
  std::vector<std::vector<Tensor>> first_samples_;
  std::vector<std::vector<Tensor>> decision_samples_;
  std::vector<std::vector<Tensor>> wanted_;  // outputs of each decision sample in FP32
  std::map<std::string, LayerReport> layers_;
  Attempt attempt_;
};

}  // namespace

Result<std::unique_ptr<ir::Graph>> quantize_graph(std::unique_ptr<ir::Graph> graph, const CompileOptions& options,
                                                  const passes::PassOptions& passes, SampleSource& samples,
                                                  CompileReport& report, std::vector<Tensor>& example) {
  PostTraining work(*graph, options, passes, samples, report);
  LOWP_ASSIGN(std::unique_ptr<ir::Graph> quantized, work.run());
  example = work.first_sample();
  return quantized;
}

void merge_layer_reports(const ir::Graph& graph, CompileReport& report) {
  std::unordered_map<std::string, LayerReport> measured;
  for (LayerReport& l : report.layers) measured[l.node] = std::move(l);
  report.layers.clear();
  for (const auto& n : graph.nodes()) {
    const ir::Precision& p = n->precision;
    auto it = measured.find(n->name);
    if (p.requested == DType::kInvalid && it == measured.end() && n->tuning.empty()) continue;
    LayerReport layer;
    if (it != measured.end()) layer = it->second;
    layer.node = n->name;
    if (layer.op.empty()) layer.op = op_display_name(*n->op);
    if (p.requested != DType::kInvalid) layer.requested = p.requested;
    layer.executed = p.executed;
    if (layer.reason.empty()) layer.reason = p.reason;
    if (layer.requested == layer.executed) layer.reason.clear();
    if (!n->tuning.empty()) {
      const ir::Tuning& t = n->tuning.front();
      layer.kernel = t.kernel;
      layer.kernel_us = t.kernel_us;
      layer.runner_up = t.runner_up;
      layer.runner_up_us = t.runner_up_us;
    }
    report.layers.push_back(std::move(layer));
  }
}

}  // namespace lowp::runtime
