#include "runtime/tune.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <unordered_map>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "runtime/plan.h"
#include "runtime/tune_cache.h"
#include "runtime/verify.h"

namespace lowp::runtime {
namespace {

using kernels::KernelChoice;

// Time for trying all candidates, and for the finalists. ResNet-50 needs about half of it; where one round of trials
// takes longer, it may take three times as long.
constexpr double kSeconds = 2.5;
constexpr int kTrialRounds = 3;
// The formula's choice and the best three others.
constexpr size_t kFinalists = 4;
// Bindings in which two, three or four finalists are used equally often by every node.
constexpr int kCycle = 12;
constexpr int kFinalRounds = 4;
// Another choice must be faster than the formula's by more than this: two builds of the same choice differ by 1 or 2%.
constexpr double kMargin = 0.97;
constexpr size_t kFewestSamples = 3;
// A model whose single run takes longer than this is not timed with its candidates.
constexpr double kLongestRun = 1.5;
// Extents of free dimensions, as in `lowp bench`.
constexpr int64_t kFreeBatch = 1;
constexpr int64_t kFreeExtent = 128;

double quantile(std::vector<double> v, double q) {
  const auto at = v.begin() + static_cast<ptrdiff_t>(q * static_cast<double>(v.size() - 1));
  std::nth_element(v.begin(), at, v.end());
  return *at;
}
// What disturbs a run makes it slower, never faster; the quarter of the runs disturbed least tells the layer's time.
double typical(const std::vector<double>& us) { return quantile(us, 0.25); }

// All nodes of one shape.
struct Layer {
  std::string shape;
  int threads = 1;
  std::vector<KernelChoice> candidates;
  std::vector<size_t> entrants;         // candidates that are still timed
  std::vector<std::vector<double>> us;  // of each candidate
  size_t nodes = 0;
  std::optional<ir::Tuning> decision;
};

// Hands candidates out to nodes as plans are bound.
class Race final : public KernelChooser {
 public:
  // Collects layers first; afterwards each binding has its turn.
  KernelChoice choose(const ir::Node& node, const std::string& shape, int threads,
                      std::span<const KernelChoice> candidates) override {
    if (collecting_) {
      auto [it, fresh] = by_shape_.emplace(std::pair(shape, threads), layers_.size());
      if (fresh) {
        Layer& l = layers_.emplace_back();
        l.shape = shape;
        l.threads = threads;
        l.candidates.assign(candidates.begin(), candidates.end());
        for (size_t i = 0; i < candidates.size(); ++i) {
          // Combinations enter later, those of what was fast alone.
          if (!candidates[i].sets_tiles() || !candidates[i].sets_blocks()) l.entrants.push_back(i);
        }
        l.us.resize(candidates.size());
      }
      place_[&node] = {it->second, layers_[it->second].nodes++};
      return candidates.front();
    }
    const auto [index, instance] = place_.at(&node);
    const Layer& l = layers_[index];
    const size_t step = finals_ ? 1 : l.nodes;
    const size_t entrant = l.entrants[(turn_ * step + instance) % l.entrants.size()];
    given_[&node] = entrant;
    return l.candidates[entrant];
  }

  // One binding: which layer and candidate each step times.
  struct Binding {
    std::unique_ptr<Plan> plan;
    std::vector<std::pair<Layer*, size_t>> of_step;
  };
  Result<Binding> bind(const ir::Graph& graph, std::span<const TensorType> inputs, int threads, size_t turn) {
    turn_ = turn;
    given_.clear();
    Binding b;
    LOWP_ASSIGN(b.plan, Plan::bind(graph, inputs, threads, nullptr, this));
    collecting_ = false;
    for (const Step& s : b.plan->steps()) {
      auto it = given_.find(s.node);
      b.of_step.emplace_back(it == given_.end() ? nullptr : &layers_[place_.at(s.node).first],
                             it == given_.end() ? 0 : it->second);
    }
    return b;
  }

  std::vector<Layer>& layers() { return layers_; }
  const Layer* layer_of(const ir::Node* node) const {
    auto it = place_.find(node);
    return it == place_.end() ? nullptr : &layers_[it->second.first];
  }
  void begin_finals() { finals_ = true; }

 private:
  std::vector<Layer> layers_;
  std::map<std::pair<std::string, int>, size_t> by_shape_;
  std::unordered_map<const ir::Node*, std::pair<size_t, size_t>> place_;  // layer, and which of its nodes
  std::unordered_map<const ir::Node*, size_t> given_;
  size_t turn_ = 0;
  bool collecting_ = true;
  bool finals_ = false;
};

// Inputs for the graph, made up but for their shapes.
Result<std::vector<Tensor>> made_up_inputs(const ir::Graph& graph, const std::map<std::string, Extents>& shapes) {
  std::map<std::string, int64_t> symbols;
  for (const auto& [name, extents] : shapes) {
    auto it = std::ranges::find(graph.inputs(), name, &ir::Value::name);
    if (it == graph.inputs().end()) return fail(Code::kInvalidArgument, "the model has no input '{}'", name);
    const auto& dims = (*it)->type.dims;
    for (size_t i = 0; dims && i < dims->size() && i < extents.size(); ++i) {
      if (!(*dims)[i].symbol().empty()) symbols.emplace((*dims)[i].symbol(), extents[i]);
    }
  }
  std::vector<Extents> all;
  for (const ir::Value* v : graph.inputs()) {
    if (auto it = shapes.find(v->name); it != shapes.end()) {
      all.push_back(it->second);
      continue;
    }
    if (!v->type.has_rank()) {
      return fail(error(Code::kUnsupported, "the shape of input '{}' is not known", v->name)
                      .with_hint("give one to measure with"));
    }
    Extents e;
    for (const ir::Dim& d : *v->type.dims) {
      const int64_t free = e.empty() ? kFreeBatch : kFreeExtent;
      e.push_back(d.known() ? d.value() : d.symbol().empty() ? free : symbols.emplace(d.symbol(), free).first->second);
    }
    all.push_back(std::move(e));
  }
  for (const Extents& e : all) {
    if (!ir::checked_element_count(e))
      return fail(Code::kInvalidArgument, "impossible shape {}", ir::extents_to_string(e));
  }
  return pseudo_random_inputs(graph, all);
}

class Tuner {
 public:
  Tuner(ir::Graph& graph, const CompileOptions& options, const std::vector<Tensor>& inputs)
      : graph_(graph),
        options_(options),
        inputs_(inputs),
        threads_(options.threads == 0 ? available_threads() : options.threads),
        cache_(options.cache ? tune_cache_folder() : "") {
    for (const Tensor& t : inputs_) types_.push_back(t.type());
  }

  Status run(TuningReport& report) {
    report.threads = threads_;
    for (size_t i = 0; i < inputs_.size(); ++i) report.inputs[graph_.inputs()[i]->name] = inputs_[i].type().to_string();
    LOWP_ASSIGN(Race::Binding first, race_.bind(graph_, types_, threads_, 0));
    for (Layer& l : race_.layers()) {
      if (l.candidates.size() < 2) l.entrants.resize(1);
      if (const ir::Tuning* known = cached(l)) {
        l.decision = *known;
        l.entrants = {candidate(l, known->kernel).value()};
        ++report.cached;
      }
    }
    if (std::ranges::any_of(race_.layers(), undecided)) {
      LOWP_TRY(prepare(*first.plan));
      LOWP_TRY(trials());
      LOWP_TRY(finals());
      for (Layer& l : race_.layers()) {
        if (!undecided(l)) continue;
        decide(l);
        if (!l.decision) continue;
        cache_.put(*l.decision);
        ++report.measured;
      }
      cache_.save();
    }
    for (const auto& node : graph_.nodes()) {
      const Layer* l = race_.layer_of(node.get());
      if (l != nullptr && l->decision) node->tuning = {*l->decision};
    }
    return {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  static bool undecided(const Layer& l) { return !l.decision && l.candidates.size() > 1; }
  static std::optional<size_t> candidate(const Layer& l, const std::string& text) {
    for (size_t i = 0; i < l.candidates.size(); ++i) {
      if (kernels::choice_text(l.candidates[i]) == text) return i;
    }
    return std::nullopt;
  }
  const ir::Tuning* cached(const Layer& l) const {
    const ir::Tuning* known = cache_.find(l.threads, l.shape);
    return known != nullptr && l.candidates.size() > 1 && candidate(l, known->kernel) ? known : nullptr;
  }

  Status prepare(const Plan& plan) {
    for (const TensorType& t : plan.output_types()) {
      LOWP_ASSIGN(Tensor out, Tensor::allocate(t.dtype, t.extents()));
      outputs_.push_back(std::move(out));
    }
    for (const ir::State& s : graph_.states()) states_.push_back(s.initial.clone());
    for (Tensor& t : outputs_) output_pointers_.push_back(t.mutable_raw());
    for (Tensor& t : states_) state_pointers_.push_back(t.mutable_raw());
    for (const Tensor& t : inputs_) input_pointers_.push_back(t.raw());
    return {};
  }

  Status trials() {
    size_t turns = 1;
    for (const Layer& l : race_.layers()) turns = std::max(turns, (l.entrants.size() + l.nodes - 1) / l.nodes);
    LOWP_TRY(time("try kernels", turns, kTrialRounds));
    for (Layer& l : race_.layers()) {
      if (!undecided(l)) continue;
      std::vector<size_t> tried;
      for (size_t i = 1; i < l.candidates.size(); ++i) {
        if (!l.us[i].empty()) tried.push_back(i);
      }
      std::ranges::sort(tried, {}, [&](size_t i) { return *std::ranges::min_element(l.us[i]); });
      l.entrants = {0};
      if (auto both = best_combination(l, tried)) l.entrants.push_back(*both);
      for (size_t i : tried) {
        if (l.entrants.size() < kFinalists) l.entrants.push_back(i);
      }
      for (auto& us : l.us) us.clear();
    }
    return {};
  }

  // The candidate that combines the best tiles with the best blocks, where each alone was faster than the formula's.
  // `tried` has the fastest first.
  static std::optional<size_t> best_combination(const Layer& l, const std::vector<size_t>& tried) {
    if (l.us[0].empty()) return std::nullopt;
    const double formula = *std::ranges::min_element(l.us[0]);
    const KernelChoice *tiles = nullptr, *blocks = nullptr;
    for (size_t i : tried) {
      const KernelChoice& c = l.candidates[i];
      if (*std::ranges::min_element(l.us[i]) >= formula) break;
      if (tiles == nullptr && c.sets_tiles()) tiles = &c;
      if (blocks == nullptr && c.sets_blocks()) blocks = &c;
    }
    if (tiles == nullptr || blocks == nullptr) return std::nullopt;
    const auto it = std::ranges::find(l.candidates, KernelChoice::combined(*tiles, *blocks));
    return it == l.candidates.end() ? std::nullopt : std::optional<size_t>(it - l.candidates.begin());
  }

  Status finals() {
    race_.begin_finals();
    return time("compare kernels", kCycle, kFinalRounds);
  }

  // Runs `turns` bindings in turn, `rounds` times or until time is up.
  Status time(std::string_view stage, size_t turns, int rounds) {
    std::vector<Race::Binding> bindings;
    size_t arena_bytes = 0;
    for (size_t t = 0; t < turns; ++t) {
      LOWP_ASSIGN(Race::Binding b, race_.bind(graph_, types_, threads_, t));
      arena_bytes = std::max(arena_bytes, b.plan->arena_bytes());
      bindings.push_back(std::move(b));
    }
    LOWP_ASSIGN(AlignedBuffer arena, AlignedBuffer::allocate(arena_bytes));
    const auto total = static_cast<int64_t>(turns) * rounds;
    Clock::time_point begin = Clock::now();
    int64_t done = 0;
    for (int round = -1; round < rounds; ++round) {
      for (Race::Binding& b : bindings) {
        if (options_.progress && !options_.progress(stage, done, total))
          return error(Code::kCancelled, "{} was cancelled", stage);
        const std::function<void(size_t, int64_t)> observe = [&](size_t step, int64_t ns) {
          auto [layer, entrant] = b.of_step[step];
          if (layer != nullptr) layer->us[entrant].push_back(static_cast<double>(ns) / 1e3);
        };
        b.plan->attach(arena.data(), state_pointers_);
        LOWP_TRY(b.plan->run(input_pointers_, output_pointers_, nullptr, round < 0 ? nullptr : &observe));
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        if (round < 0) {  // one run warms up
          if (seconds > kLongestRun) {
            return error(Code::kResource, "one run takes {:.1f} s, too long to time kernels in", seconds)
                .with_hint("give a smaller shape to measure with");
          }
          begin = Clock::now();
          break;
        }
        ++done;
        if (seconds > (round == 0 ? 3 * kSeconds : kSeconds)) return {};
      }
    }
    return {};
  }

  void decide(Layer& l) const {
    // Without times of the formula's choice there is nothing to hold others against.
    if (l.us[0].size() < kFewestSamples) return;
    std::vector<size_t> order;
    for (size_t i : l.entrants) {
      if (l.us[i].size() >= kFewestSamples) order.push_back(i);
    }
    std::ranges::sort(order, {}, [&](size_t i) { return typical(l.us[i]); });
    size_t best = order.front();
    if (typical(l.us[best]) > kMargin * typical(l.us[0]) || quantile(l.us[best], 0.5) > quantile(l.us[0], 0.5))
      best = 0;
    auto us = [&](size_t i) { return std::round(typical(l.us[i]) * 100) / 100; };
    ir::Tuning t;
    t.cpu = cache_.cpu();
    t.target = cache_.target();
    t.threads = l.threads;
    t.shape = l.shape;
    t.kernel = kernels::choice_text(l.candidates[best]);
    t.kernel_us = us(best);
    for (size_t i : order) {
      if (i == best) continue;
      t.runner_up = kernels::choice_text(l.candidates[i]);
      t.runner_up_us = us(i);
      break;
    }
    l.decision = std::move(t);
  }

  ir::Graph& graph_;
  const CompileOptions& options_;
  const std::vector<Tensor>& inputs_;
  int threads_;
  TuneCache cache_;
  Race race_;
  std::vector<TensorType> types_;
  std::vector<Tensor> outputs_, states_;
  std::vector<const void*> input_pointers_;
  std::vector<void*> output_pointers_, state_pointers_;
};

}  // namespace

Status tune(ir::Graph& graph, const CompileOptions& options, std::vector<Tensor> example, CompileReport& report) {
  const bool given = !options.shapes.empty();
  const bool sampled = !example.empty() && !given;
  if (!sampled) {
    auto made = made_up_inputs(graph, options.shapes);
    if (!made && given) return made.error();
    if (!made) {
      report.tuning.skipped = made.error().message();
      return {};
    }
    example = std::move(*made);
  }
  std::vector<TensorType> types;
  for (const Tensor& t : example) types.push_back(t.type());
  if (given) {
    if (auto bound = bind_types(graph, types); !bound) return bound.error();
  }
  Status status = Tuner(graph, options, example).run(report.tuning);
  if (status.code() == Code::kResource && sampled) {
    // The sample may be a large batch; then one of it will do.
    std::map<std::string, Extents> shapes;
    bool smaller = false;
    for (size_t i = 0; i < example.size(); ++i) {
      const ir::Value* v = graph.inputs()[i];
      Extents& e = shapes[v->name] = example[i].extents();
      if (e.empty() || !v->type.has_rank() || (*v->type.dims)[0].known()) continue;
      smaller = smaller || e[0] > kFreeBatch;
      e[0] = kFreeBatch;
    }
    if (auto single = made_up_inputs(graph, shapes); smaller && single)
      status = Tuner(graph, options, *single).run(report.tuning);
  }
  if (status.is_ok() || status.code() == Code::kCancelled) return status;
  report.tuning.skipped = status.message();
  return {};
}

}  // namespace lowp::runtime
