// Runs an engine. A session has its own arena and state and belongs to one thread at a time; several sessions share one
// engine. Bound plans are cached by input shapes.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>

#include "base/aligned_buffer.h"
#include "runtime/engine.h"
#include "runtime/plan.h"

namespace lowp::runtime {

struct SessionOptions {
  int threads = 0;                              // 0: available_threads()
  size_t bind_cache_bytes = size_t{256} << 20;  // plans kept for other shapes, beyond the newest one
  bool profile = false;
  // Memory for states by name, which the caller shares: a training session and one that evaluates have the same weights
  // this way. It must outlive the session, have the state's type and not be read or written while the session runs.
  // Other states begin with their initial content.
  std::map<std::string, Tensor> states{};
  // Memory for intermediate values, which grows as plans want it. Sessions that never run at the same time may share
  // one: a trainer has a session for each combination of shapes. Null: a session's own.
  std::shared_ptr<AlignedBuffer> arena{};
};

// One line of a profile: a step, summed over runs.
struct ProfileEntry {
  std::string node;
  std::string op;
  std::string kernel;
  int64_t runs = 0;
  int64_t nanoseconds = 0;  // total
  int64_t macs = 0;         // of one run
  size_t bytes = 0;         // of one run, read and written
};

// Where a run first met an infinity or NaN.
struct NonfiniteValue {
  std::string node;   // empty: an input or a state
  std::string op;     // likewise
  std::string value;  // the tensor's name
  TensorType type;
  int64_t index = 0;  // of the first such element
  int64_t count = 0;
  double element = 0;
};

class Session {
 public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Engine> engine, SessionOptions options = {});

  const Engine& engine() const { return *engine_; }
  int threads() const { return options_.threads; }

  // Binds (or finds) the plan for these input types, in the order of graph().inputs(), and gives the outputs' types.
  // kUnsupported where they depend on data.
  Result<std::vector<TensorType>> bind(std::span<const TensorType> inputs);

  // Runs with inputs in the order of graph().inputs(). Outputs are new tensors, which the caller owns.
  Result<std::vector<Tensor>> run(std::span<const Tensor> inputs);
  // Into the caller's tensors, whose types must be what bind() gave. Allocates nothing when the shapes were bound
  // before.
  Status run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs);

  // Runs once, node by node and without changing a state, and gives the first value in the order of nodes that is not
  // finite; null where all are. Slow: for the step that went wrong.
  Result<std::unique_ptr<NonfiniteValue>> find_nonfinite(std::span<const Tensor> inputs);

  // Ends a run in another thread at the next step, with kCancelled. Holds for one run.
  void cancel() { stop_.store(true, std::memory_order_relaxed); }

  // A state's content; null where there is no such state. Writing to it between runs is allowed.
  Tensor* state(std::string_view name);

  // Profile of the runs since the session was made, of the plan used last. Empty unless options.profile.
  std::vector<ProfileEntry> profile() const;
  // What the largest of its plans needs.
  size_t arena_bytes() const { return arena_bytes_; }
  size_t cached_plans() const { return plans_.size(); }

 private:
  struct CachedPlan {
    std::vector<TensorType> inputs;
    std::unique_ptr<Plan> plan;
    std::vector<std::pair<int64_t, int64_t>> timing;  // runs and nanoseconds of each step
  };
  Session(std::shared_ptr<const Engine> engine, SessionOptions options);
  Status add_states();
  Result<CachedPlan*> find_plan(std::span<const Tensor> inputs);
  Result<CachedPlan*> bind_plan(std::vector<TensorType> inputs);
  Status grow_arena(size_t bytes);
  Status execute(CachedPlan& cached, std::span<const Tensor> inputs, std::span<Tensor> outputs);

  std::shared_ptr<const Engine> engine_;
  SessionOptions options_;
  std::vector<Tensor> states_;
  std::vector<void*> state_pointers_;
  std::list<CachedPlan> plans_;  // newest first
  size_t arena_bytes_ = 0;
  std::vector<const void*> input_pointers_;
  std::vector<void*> output_pointers_;
  std::atomic<bool> stop_{false};
  bool dynamic_ = false;  // some shape depends on data: every run goes node by node
};

}  // namespace lowp::runtime
