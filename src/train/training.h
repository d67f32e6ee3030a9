// Training as a change of the graph: gradients, loss scaling, clipping and the optimizer's step become nodes, so that
// one run of the graph is one step.
#pragma once

#include <functional>
#include <map>

#include "ops/op_def.h"
#include "runtime/session.h"
#include "train/data_parallel.h"

namespace lowp::train {

// The formulas are those of kernels/optimizer/optimizer.h.
enum class Optimizer : uint8_t { kSgd, kAdam, kAdamW, kLamb };

struct OptimizerOptions {
  Optimizer kind = Optimizer::kSgd;
  float momentum = 0.0F;  // SGD
  bool nesterov = false;  // SGD
  float beta1 = 0.9F, beta2 = 0.999F, epsilon = 1e-8F;
  float weight_decay = 0.0F;
};

// What differs for one parameter.
struct ParameterOptions {
  float rate_factor = 1.0F;           // of the learning rate
  std::optional<float> weight_decay;  // instead of the optimizer's
  bool trained = true;
  // Of a table that is only gathered from: rows that a batch does not have stay as they are, their moments included
  // (ops/sparse_optimizer.cc). Not for LAMB.
  bool sparse = false;
};

// The loss is multiplied by a scale before gradients are taken, so that small ones do not vanish in FP16, and the
// gradients are divided by it. Dynamic: a step with a gradient that is not finite is skipped and lowers the scale by
// `backoff`, not below `floor`; `interval` good steps in a row raise it by `growth`, not above `ceiling`.
enum class ScaleMode : uint8_t { kNone, kStatic, kDynamic };
struct LossScaling {
  ScaleMode mode = ScaleMode::kNone;
  float initial = 65536.0F;
  float growth = 2.0F, backoff = 0.5F;
  int64_t interval = 2000;
  float floor = 1.0F, ceiling = 0x1p24F;
};

struct TrainingOptions {
  OptimizerOptions optimizer;
  std::map<std::string, ParameterOptions> parameters;  // by name
  float clip_norm = 0.0F;                              // of all gradients together; 0: none
  LossScaling loss_scaling;
  // Parts of the graph, as prefixes of node names, whose inner values are computed anew for the gradients instead of
  // being kept: less memory, more time (autograd/recompute.h).
  std::vector<std::string> recompute;
  // What recurrences keep for their gradients is stored in this dtype (autograd/keep.h): f32, bf16 or f16.
  DType recurrences_kept = DType::kF32;
  // More than one rank: gradients become their means over all ranks before they are clipped and used.
  DataParallel data_parallel;
};

// From JSON: {"optimizer": {"name": "sgd" | "adam" | "adamw" | "lamb", "momentum": ..., ...}, "parameters": {name:
// {"rate_factor": ..., "weight_decay": ..., "trained": ...}}, "clip_norm": ..., "loss_scaling": {"mode": "none" |
// "static" | "dynamic", "initial": ..., ...}, "recompute": [...], "recurrences_kept": "f32" | "bf16" | "f16",
// "data_parallel": {"ranks": ..., "bucket_bytes": ..., "compress": "none" | "bf16"}}. kInvalidArgument names an unknown
// key or a value of the wrong kind.
Result<TrainingOptions> options_from_json(std::string_view json);

// What add_training() adds to a graph.
inline constexpr std::string_view kLearningRate = "learning_rate";  // input: f32 scalar
inline constexpr std::string_view kStepCount = "step";              // state: i64, steps taken
inline constexpr std::string_view kSkippedCount = "skipped_steps";  // state: i64
inline constexpr std::string_view kLossScale = "loss_scale";        // state: f32; not with ScaleMode::kNone
inline constexpr std::string_view kGoodSteps = "good_steps";        // state: i64, since the scale changed; likewise
inline constexpr std::string_view kGradientNorm = "gradient_norm";  // output: f32, before clipping
// Output: i64, the number (in `trained`) of the first parameter whose gradient is not finite, -1 where there is none.
// Such a step changes no state but the counts and the scale.
inline constexpr std::string_view kNonfinite = "nonfinite";

// Passes that change neither a value nor what is trained, and that gradients and casts want to come before them
// (split_recurrent and the like). Batch normalization is not folded: its statistics are still moving.
Status simplify(ir::Graph& graph);

// Makes the graph, whose output `loss` is a float scalar, a step of training. Trained is every f32 state w that nothing
// updates yet, unless options say otherwise. An optimizer's states are named after it: "<w>.velocity" (SGD with
// momentum), "<w>.mean" and "<w>.square" (Adam and its kin). Returns the names of the trained parameters, in order; one
// that the loss does not depend on is not among them. The graph is simplified first, and
// kernels are bound by lower(). Errors: no such output, no parameters, an unknown name in options, an op without a
// gradient.
Result<std::vector<std::string>> add_training(ir::Graph& graph, std::string_view loss, const TrainingOptions& options);

// Prepares a graph with or without a training step for a session: passes that choose layouts and kernels.
Status lower(ir::Graph& graph);

// The graph's states become constants with copies of the contents given. kShapeMismatch where one has another type.
Status states_to_constants(ir::Graph& graph, const std::function<Result<Tensor>(const ir::State&)>& content);

// The trained model: the part of the graph that computes `outputs` (by name), states replaced by their content in the
// session. Inputs that no output needs are dropped.
Result<std::unique_ptr<ir::Graph>> freeze(const ir::Graph& graph, runtime::Session& session,
                                          const std::vector<std::string>& outputs);

}  // namespace lowp::train
