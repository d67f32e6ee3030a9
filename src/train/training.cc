#include "train/training.h"

#include <algorithm>

#include "autograd/backward.h"
#include "autograd/keep.h"
#include "autograd/recompute.h"
#include "passes/pass.h"

namespace lowp::train {
namespace {

Status check(const TrainingOptions& o) {
  auto in = [](float v, float low, float high) { return v >= low && v <= high; };
  const OptimizerOptions& a = o.optimizer;
  if (!in(a.momentum, 0, 1) || (a.nesterov && a.momentum == 0.0F))
    return error(Code::kInvalidArgument, "momentum is {}{}, 0 to 1 is wanted", a.momentum,
                 a.nesterov ? " with nesterov" : "");
  if (!(a.beta1 >= 0 && a.beta1 < 1 && a.beta2 >= 0 && a.beta2 < 1) || !(a.epsilon > 0))
    return error(Code::kInvalidArgument, "betas are {} and {}, epsilon {}; below 1 and above 0 is wanted", a.beta1,
                 a.beta2, a.epsilon);
  if (!(a.weight_decay >= 0)) return error(Code::kInvalidArgument, "weight_decay is {}", a.weight_decay);
  if (!(o.clip_norm >= 0))
    return error(Code::kInvalidArgument, "clip_norm is {}, 0 (none) or more is wanted", o.clip_norm);
  if (o.data_parallel.ranks < 1 || o.data_parallel.bucket_bytes < 1)
    return error(Code::kInvalidArgument, "data_parallel has {} ranks and buckets of {} bytes; 1 or more is wanted",
                 o.data_parallel.ranks, o.data_parallel.bucket_bytes);
  const LossScaling& s = o.loss_scaling;
  if (!(s.initial > 0 && std::isfinite(s.initial)) || (s.mode == ScaleMode::kDynamic && s.interval < 1))
    return error(Code::kInvalidArgument, "the loss scale is {}, to be raised every {} steps", s.initial, s.interval);
  return {};
}

// Builds the step in a graph.
class StepBuilder {
 public:
  StepBuilder(ir::Graph& graph, const TrainingOptions& options) : graph_(graph), options_(options), b_(graph) {}

  Result<std::vector<std::string>> build(ir::Value* loss) {
    LOWP_TRY(find_parameters());
    const ScaleMode mode = options_.loss_scaling.mode;
    if (mode != ScaleMode::kNone) scale_ = scalar_state(kLossScale, Tensor::scalar(options_.loss_scaling.initial));
    factor_ = scale_ != nullptr ? scale_ : b_.constant(Tensor::scalar(1.0F), "no_scale");
    ir::Value* scaled = loss;
    if (scale_ != nullptr) {
      scaled = b_.op("Mul", {b_.cast(scaled, DType::kF32), scale_}, {}, kOnnxDomain, "scaled_loss");
    }
    std::vector<ir::Value*> wanted;
    for (size_t i : parameters_) wanted.push_back(graph_.states()[i].value);
    const std::vector<ir::Node*> forward = graph_.node_list();
    LOWP_ASSIGN(auto gradients, autograd::build_gradients(graph_, scaled, wanted));
    LOWP_TRY(autograd::recompute(graph_, forward, options_.recompute));
    autograd::keep_recurrences_in(graph_, options_.recurrences_kept);

    std::vector<size_t> reached;
    for (size_t i : parameters_) {
      auto it = gradients.find(graph_.states()[i].value);
      if (it == gradients.end()) continue;  // the loss does not depend on it
      reached.push_back(i);
      LOWP_ASSIGN(Gradient gradient, gradient_of(graph_.states()[i], it->second));
      gradients_.push_back(gradient);
    }
    if (reached.empty()) return fail(Code::kInvalidArgument, "the loss depends on no parameter");
    if (options_.data_parallel.ranks > 1) average(reached);
    std::vector<ir::Value*> all{factor_};
    for (const Gradient& g : gradients_) all.push_back(g.values);
    const std::vector<ir::Value*> norm =
        b_.op_n(3, "GradientNorm", all, {{"clip_norm", options_.clip_norm}}, kLowpDomain, kGradientNorm);
    nonfinite_ = norm[2];
    gradient_scale_ = norm[1];
    graph_.outputs().push_back({std::string(kGradientNorm), norm[0]});
    graph_.outputs().push_back({std::string(kNonfinite), nonfinite_});

    keep_when_skipped();
    rate_ = graph_.add_input(std::string(kLearningRate), TensorType(DType::kF32, Extents{}));
    steps_ = scalar_state(kStepCount, Tensor::scalar(int64_t{0}));
    std::vector<std::string> names;
    if (options_.optimizer.kind != Optimizer::kSgd)
      this_step_ = b_.op("Add", {steps_, b_.scalar_like(steps_, 1)}, {}, kOnnxDomain, "this_step");
    for (size_t k = 0; k < reached.size(); ++k) {
      names.push_back(graph_.states()[reached[k]].name);
      add_step(reached[k], gradients_[k]);
    }
    count_step();
    LOWP_TRY(ir::verify(graph_));
    return names;
  }

 private:
  Status find_parameters() {
    std::vector<std::string> unknown;
    for (const auto& [name, ignored] : options_.parameters) unknown.push_back(name);
    const auto& states = graph_.states();
    for (size_t i = 0; i < states.size(); ++i) {
      std::erase(unknown, states[i].name);
      if (states[i].update != nullptr || states[i].value->type.dtype != DType::kF32 || !of(states[i].name).trained)
        continue;
      parameters_.push_back(i);
    }
    if (!unknown.empty())
      return error(Code::kInvalidArgument, "there are options for parameter '{}', which the graph does not have",
                   unknown.front());
    if (parameters_.empty()) return error(Code::kInvalidArgument, "the graph has no f32 states to train");
    return {};
  }
  ParameterOptions of(const std::string& name) const {
    auto it = options_.parameters.find(name);
    return it == options_.parameters.end() ? ParameterOptions{} : it->second;
  }

  ir::Value* scalar_state(std::string_view name, Tensor initial) {
    return graph_.add_state(std::string(name), std::move(initial));
  }
  void update(std::string_view name, ir::Value* value) {
    for (ir::State& s : graph_.states()) {
      if (s.name == name) s.update = value;
    }
  }
  // A state of the parameter's shape, of zeros.
  ir::Value* moment(const ir::Value* w, const std::string& name) {
    return graph_.add_state(name, Tensor::zeros(DType::kF32, w->type.extents()));
  }

  // A skipped step leaves the model's own states (running statistics) as they were: what it saw may not be finite.
  void keep_when_skipped() {
    ir::Value* fine = nullptr;
    for (ir::State& s : graph_.states()) {
      if (s.update == nullptr) continue;
      if (fine == nullptr) fine = b_.op("Less", {nonfinite_, b_.scalar_like(nonfinite_, 0)}, {}, kOnnxDomain, "fine");
      s.update = b_.op("Where", {fine, s.update, s.value}, {}, kOnnxDomain, s.name + ".next");
    }
  }

  using Gradient = SparseGradient;  // without rows: dense
  Result<Gradient> gradient_of(const ir::State& state, ir::Value* dense) {
    if (!of(state.name).sparse) return Gradient{.values = dense};
    ir::Node* scatter = dense->producer;
    if (options_.optimizer.kind == Optimizer::kLamb || scatter == nullptr || scatter->op->name != "ScatterAdd" ||
        state.value->type.rank() != 2)
      return fail(Code::kUnsupported, "parameter '{}' cannot be sparse: {}", state.name,
                  options_.optimizer.kind == Optimizer::kLamb ? "LAMB wants the norm of all its rows"
                                                              : "it is not a table that one Gather alone reads");
    const std::vector<ir::Value*> rows =
        b_.op_n(3, "SparseRows", scatter->inputs, {}, kLowpDomain, state.name + ".rows");
    graph_.erase(scatter);
    return Gradient{.rows = rows[0], .values = rows[1], .count = rows[2]};
  }

  void average(const std::vector<size_t>& reached) {
    std::vector<ir::Value*> weights, values;
    std::vector<size_t> dense;
    std::vector<std::pair<size_t, SparseExchange>> sparse;
    for (size_t k = 0; k < reached.size(); ++k) {
      ir::Value* w = graph_.states()[reached[k]].value;
      Gradient& g = gradients_[k];
      if (g.rows != nullptr) {
        sparse.emplace_back(k, SparseExchange(graph_, w, g, options_.data_parallel));
        continue;
      }
      dense.push_back(k);
      weights.push_back(w);
      values.push_back(g.values);
    }
    const std::vector<ir::Value*> means = average_gradients(graph_, weights, values, options_.data_parallel);
    for (size_t i = 0; i < means.size(); ++i) gradients_[dense[i]].values = means[i];
    for (auto& [k, exchange] : sparse) gradients_[k] = exchange.wait();
  }

  void add_step(size_t state, const Gradient& gradient) {
    const std::string name = graph_.states()[state].name;
    ir::Value* w = graph_.states()[state].value;
    const ParameterOptions own = of(name);
    const OptimizerOptions& o = options_.optimizer;
    AttrMap attrs = {{"rate_factor", own.rate_factor}, {"weight_decay", own.weight_decay.value_or(o.weight_decay)}};
    std::vector<ir::Value*> operands = {w, gradient.values, rate_, gradient_scale_, nonfinite_};
    if (gradient.rows != nullptr) operands.insert(operands.end(), {gradient.rows, gradient.count});
    std::vector<std::string> moments;
    std::string_view op = "SgdStep";
    if (o.kind == Optimizer::kSgd) {
      if (o.momentum != 0.0F) moments = {name + ".velocity"};
      attrs["momentum"] = o.momentum;
      attrs["nesterov"] = int64_t{o.nesterov};
    } else {
      op = "AdamStep";
      operands.push_back(this_step_);
      moments = {name + ".mean", name + ".square"};
      attrs["rule"] = std::string(o.kind == Optimizer::kAdam ? "adam" : o.kind == Optimizer::kAdamW ? "adamw" : "lamb");
      attrs["beta1"] = o.beta1;
      attrs["beta2"] = o.beta2;
      attrs["epsilon"] = o.epsilon;
    }
    for (const std::string& m : moments) operands.push_back(moment(w, m));
    const std::vector<ir::Value*> next =
        b_.op_n(1 + moments.size(), (gradient.rows != nullptr ? "Sparse" : "") + std::string(op), operands,
                std::move(attrs), kLowpDomain, name + ".step");
    graph_.states()[state].update = next[0];
    for (size_t i = 0; i < moments.size(); ++i) update(moments[i], next[i + 1]);
  }

  void count_step() {
    const LossScaling& o = options_.loss_scaling;
    ir::Value* skipped = scalar_state(kSkippedCount, Tensor::scalar(int64_t{0}));
    ir::Value* good = nullptr;
    if (scale_ != nullptr) good = scalar_state(kGoodSteps, Tensor::scalar(int64_t{0}));
    ir::Value* no_good = good != nullptr ? good : b_.constant(Tensor::scalar(int64_t{0}), "no_good");
    const std::vector<ir::Value*> next = b_.op_n(4, "LossScale", {nonfinite_, steps_, skipped, factor_, no_good},
                                                 {{"growth", o.growth},
                                                  {"backoff", o.backoff},
                                                  {"interval", o.mode == ScaleMode::kDynamic ? o.interval : int64_t{0}},
                                                  {"floor", std::min(o.floor, o.initial)},
                                                  {"ceiling", std::max(o.ceiling, o.initial)}},
                                                 kLowpDomain, "count_step");
    update(kStepCount, next[0]);
    update(kSkippedCount, next[1]);
    if (scale_ != nullptr) {
      update(kLossScale, next[2]);
      update(kGoodSteps, next[3]);
    }
  }

  ir::Graph& graph_;
  const TrainingOptions& options_;
  GraphBuilder b_;
  std::vector<size_t> parameters_;   // numbers of states
  std::vector<Gradient> gradients_;  // of those that the loss depends on
  ir::Value* scale_ = nullptr;       // null: none
  ir::Value* factor_ = nullptr;      // the scale, or 1
  ir::Value* nonfinite_ = nullptr;
  ir::Value* gradient_scale_ = nullptr;
  ir::Value* rate_ = nullptr;
  ir::Value* steps_ = nullptr;
  ir::Value* this_step_ = nullptr;
};

}  // namespace

Status simplify(ir::Graph& graph) {
  return passes::run_passes(
      graph,
      {"remove_identities", "fold_constants", "split_recurrent", "fuse_layer_norm", "fuse_batch_norm", "fuse_gelu"},
      {});
}

Result<std::vector<std::string>> add_training(ir::Graph& graph, std::string_view loss, const TrainingOptions& options) {
  LOWP_TRY(check(options));
  LOWP_TRY(simplify(graph));
  for (const auto& output : graph.outputs()) {
    if (output.name == loss) return StepBuilder(graph, options).build(output.value);
  }
  return fail(Code::kInvalidArgument, "the graph has no output '{}' to minimise", loss);
}

Status lower(ir::Graph& graph) {
  LOWP_TRY(simplify(graph));
  return passes::run_stage(graph, passes::Stage::kLower, {});
}

Status states_to_constants(ir::Graph& graph, const std::function<Result<Tensor>(const ir::State&)>& content) {
  for (const ir::State& s : graph.states()) {
    LOWP_ASSIGN(const Tensor tensor, content(s));
    if (!(tensor.type() == s.value->type))
      return error(Code::kShapeMismatch, "state '{}' is {}, its content {}", s.name, s.value->type.to_string(),
                   tensor.type().to_string());
    graph.replace_uses(s.value, graph.add_constant(s.name + ":trained", tensor.clone()));
  }
  graph.states().clear();
  return {};
}

Result<std::unique_ptr<ir::Graph>> freeze(const ir::Graph& graph, runtime::Session& session,
                                          const std::vector<std::string>& outputs) {
  std::unique_ptr<ir::Graph> frozen = graph.clone();
  std::vector<ir::Graph::Output> kept;
  for (const std::string& name : outputs) {
    auto it =
        std::find_if(frozen->outputs().begin(), frozen->outputs().end(), [&](const auto& o) { return o.name == name; });
    if (it == frozen->outputs().end()) return fail(Code::kInvalidArgument, "the graph has no output '{}'", name);
    kept.push_back(*it);
  }
  frozen->outputs() = kept;
  LOWP_TRY(states_to_constants(*frozen, [&](const ir::State& s) -> Result<Tensor> { return *session.state(s.name); }));
  frozen->remove_dead();
  frozen->drop_unused_inputs();
  return frozen;
}

}  // namespace lowp::train
