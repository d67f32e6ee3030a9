// A graph bound to input shapes: kernels chosen, memory planned, pointers fixed. Made once for each combination of
// shapes.
#pragma once

#include <memory>
#include <optional>

#include "ops/infer.h"
#include "ops/op_def.h"

namespace lowp::runtime {

// One kernel call.
struct Step {
  const ir::Node* node = nullptr;
  std::string kernel;
  StepFn fn;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  void* scratch = nullptr;
  int64_t macs = 0;
  size_t bytes = 0;  // read and written
};

// Where a value's bytes are.
struct Place {
  enum class Kind : uint8_t { kNone, kConstant, kInput, kOutput, kArena, kState };
  Kind kind = Kind::kNone;
  size_t index = 0;            // input, output or state number; arena offset
  const void* data = nullptr;  // kConstant
  size_t offset = 0;           // bytes from there
};

class Plan {
 public:
  // kUnsupported where some shape depends on data, and *data_dependent tells so: such graphs run node by node
  // (dynamic.h).
  static Result<std::unique_ptr<Plan>> bind(const ir::Graph& graph, std::span<const TensorType> inputs, int threads,
                                            bool* data_dependent = nullptr, KernelChooser* chooser = nullptr);

  size_t arena_bytes() const { return arena_bytes_; }
  // Bytes this plan keeps beside the arena (for the bind cache's limit).
  size_t overhead_bytes() const { return overhead_bytes_; }
  const std::vector<TensorType>& output_types() const { return output_types_; }
  const std::vector<Step>& steps() const { return steps_; }

  // Points the steps at an arena and at the states' buffers. Cheap when nothing moved.
  void attach(std::byte* arena, std::span<void* const> states);
  // Runs all steps. No allocation. `inputs` and `outputs` are the caller's buffers, which need not be aligned. stop is
  // checked between steps. observe, if given, is called after each step with its number and duration in nanoseconds.
  Status run(std::span<const void* const> inputs, std::span<void* const> outputs, const std::atomic<bool>* stop,
             const std::function<void(size_t, int64_t)>* observe);

 private:
  friend class PlanBuilder;
  struct Patch {
    size_t step;
    bool output;  // which of the step's pointer arrays
    size_t slot;
    Place place;
  };
  void apply(const std::vector<Patch>& patches, std::span<const void* const> inputs, std::span<void* const> outputs);

  // Steps that run once for each slice of the batch (slices.h), by several workers at a time where there are enough
  // slices, each with buffers of its own for what lives within a slice.
  struct Loop {
    struct Operand {
      size_t step;
      bool output;
      size_t slot;
      int64_t slice_bytes, worker_bytes;  // from a slice, or a worker, to the next
    };
    struct Worker {
      std::vector<const void*> inputs;  // of all steps, in order
      std::vector<void*> outputs;
      std::vector<int64_t> nanoseconds;  // of each step
      Status status;                     // of its last slice
    };
    size_t first = 0, last = 0;
    int64_t count = 1;
    std::vector<Operand> operands;
    size_t worker_bytes = 0;  // of what one worker has in the arena
    std::vector<Worker> workers;
  };
  Status run_step(size_t step, const StepArgs& args, const std::atomic<bool>* stop, int64_t* nanoseconds) const;
  Status run_slice(int64_t slice, size_t worker, const std::atomic<bool>* stop, bool timed);
  Status run_loop(const std::atomic<bool>* stop, const std::function<void(size_t, int64_t)>* observe);

  std::vector<Step> steps_;
  Loop loop_;
  std::vector<size_t> scratch_offsets_;  // of each step, in the arena
  std::vector<Patch> arena_patches_;     // arena and states: fixed until attach()
  std::vector<Patch> call_patches_;      // callers' buffers
  std::vector<TensorType> output_types_;
  std::vector<Tensor> owned_;  // contents computed while binding
  size_t first_state_write_ = 0;
  size_t arena_bytes_ = 0;
  size_t overhead_bytes_ = 0;
  std::byte* arena_ = nullptr;
  std::vector<void*> states_;
};

// The reference of a node as a step: the kernel of last resort. Values in channels-last layout are converted for it.
StepFn reference_step(const ir::Node& node, std::span<const TensorType* const> in, std::span<const TensorType> out);

}  // namespace lowp::runtime
