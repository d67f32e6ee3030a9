#include "runtime/plan.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "base/fp_mode.h"
#include "base/thread_pool.h"
#include "kernels/layout/layout.h"

namespace lowp::runtime {
namespace {

// Logical NC... extents to or from the order in memory.
void convert_layout(const Tensor& from, Tensor& to, bool to_channels_last) {
  const Extents& e = from.extents();  // extents as `from` lies in memory
  std::vector<int> perm;
  const int rank = static_cast<int>(e.size());
  perm.push_back(0);
  if (to_channels_last) {
    for (int i = 2; i < rank; ++i) perm.push_back(i);
    perm.push_back(1);
  } else {
    perm.push_back(rank - 1);
    for (int i = 1; i < rank - 1; ++i) perm.push_back(i);
  }
  kernels::transpose(e.data(), perm.data(), rank, dtype_bytes(from.dtype(), 1), from.raw(), to.mutable_raw(), 1);
}

}  // namespace

StepFn reference_step(const ir::Node& node, std::span<const TensorType* const> in, std::span<const TensorType> out) {
  struct Operand {
    Tensor view;       // over the bytes as they lie in memory
    Tensor converted;  // plain copy of a channels-last operand
    bool present = false;
  };
  auto make = [](const TensorType& type, ir::Layout layout) {
    Operand o;
    o.present = true;
    const Extents logical = type.extents();
    if (layout == ir::Layout::kChannelsLast) {
      o.view = Tensor::view(type.dtype, ir::physical_extents(logical, layout), nullptr);
      o.converted = Tensor::zeros(type.dtype, logical);
    } else {
      o.view = Tensor::view(type.dtype, logical, nullptr);
    }
    return o;
  };
  auto inputs = std::make_shared<std::vector<Operand>>();
  auto outputs = std::make_shared<std::vector<Operand>>();
  for (size_t i = 0; i < in.size(); ++i)
    inputs->push_back(in[i] == nullptr ? Operand{} : make(*in[i], node.inputs[i]->layout));
  for (size_t i = 0; i < out.size(); ++i)
    outputs->push_back(node.outputs[i] == nullptr ? Operand{} : make(out[i], node.outputs[i]->layout));
  const ir::Node* n = &node;
  auto operands_in_use = std::make_shared<std::mutex>();  // slices may run on several threads
  return [inputs, outputs, n, operands_in_use](const StepArgs& args) {
    const std::lock_guard lock(*operands_in_use);
    std::vector<const Tensor*> in_tensors(inputs->size(), nullptr);
    std::vector<Tensor> out_tensors(outputs->size());
    for (size_t i = 0; i < inputs->size(); ++i) {
      Operand& o = (*inputs)[i];
      if (!o.present) continue;
      o.view.rebind(const_cast<void*>(args.inputs[i]));
      if (o.converted.valid()) convert_layout(o.view, o.converted, false);
      in_tensors[i] = o.converted.valid() ? &o.converted : &o.view;
    }
    for (size_t i = 0; i < outputs->size(); ++i) {
      Operand& o = (*outputs)[i];
      if (!o.present) continue;
      o.view.rebind(args.outputs[i]);
      out_tensors[i] = o.converted.valid() ? o.converted : o.view;
    }
    EvalContext ctx(*n, in_tensors, out_tensors);
    if (Status s = n->op->reference(ctx); !s.is_ok()) {
      *args.status = std::move(s);
      return;
    }
    for (Operand& o : *outputs) {
      if (o.present && o.converted.valid()) convert_layout(o.converted, o.view, true);
    }
  };
}

void Plan::apply(const std::vector<Patch>& patches, std::span<const void* const> inputs,
                 std::span<void* const> outputs) {
  for (const Patch& p : patches) {
    void* data = nullptr;
    switch (p.place.kind) {
      case Place::Kind::kArena: data = arena_ + p.place.index; break;
      case Place::Kind::kState: data = states_[p.place.index]; break;
      case Place::Kind::kInput: data = const_cast<void*>(inputs[p.place.index]); break;
      default: data = outputs[p.place.index]; break;
    }
    if (p.place.offset != 0) data = static_cast<std::byte*>(data) + p.place.offset;
    if (p.output) {
      steps_[p.step].outputs[p.slot] = data;
    } else {
      steps_[p.step].inputs[p.slot] = data;
    }
  }
}

void Plan::attach(std::byte* arena, std::span<void* const> states) {
  if (arena == arena_ && std::equal(states.begin(), states.end(), states_.begin(), states_.end())) return;
  arena_ = arena;
  states_.assign(states.begin(), states.end());
  for (size_t s = 0; s < steps_.size(); ++s) steps_[s].scratch = arena + scratch_offsets_[s];
  apply(arena_patches_, {}, {});
}

Status Plan::run(std::span<const void* const> inputs, std::span<void* const> outputs, const std::atomic<bool>* stop,
                 const std::function<void(size_t, int64_t)>* observe) {
  apply(call_patches_, inputs, outputs);
  FpMode fp_mode;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (loop_.count > 1 && i == loop_.first) {
      LOWP_TRY(run_loop(stop, observe));
      i = loop_.last;
      continue;
    }
    const Step& step = steps_[i];
    Status status;
    int64_t ns = 0;
    const StepArgs args{step.inputs.data(), step.outputs.data(), step.scratch, &status};
    LOWP_TRY(run_step(i, args, stop, observe == nullptr ? nullptr : &ns));
    if (observe != nullptr) (*observe)(i, ns);
  }
  return {};
}

// Adds the step's duration to *nanoseconds, if given.
Status Plan::run_step(size_t i, const StepArgs& args, const std::atomic<bool>* stop, int64_t* nanoseconds) const {
  const Step& step = steps_[i];
  if (i < first_state_write_ && stop != nullptr && stop->load(std::memory_order_relaxed))
    return error(Code::kCancelled, "the run was cancelled");
  if (nanoseconds == nullptr) {
    step.fn(args);
  } else {
    const auto begin = std::chrono::steady_clock::now();
    step.fn(args);
    *nanoseconds +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count();
  }
  if (!args.status->is_ok()) return std::move(*args.status).with_node(step.node == nullptr ? "" : step.node->name);
  return {};
}

Status Plan::run_slice(int64_t slice, size_t worker, const std::atomic<bool>* stop, bool timed) {
  Loop::Worker& w = loop_.workers[worker];
  const auto number = static_cast<int64_t>(worker);
  const void** input = w.inputs.data();
  void** output = w.outputs.data();
  for (const Loop::Operand& o : loop_.operands) {
    const int64_t at = slice * o.slice_bytes + number * o.worker_bytes;
    // Absent operands stay null.
    if (o.output) {
      void* p = steps_[o.step].outputs[o.slot];
      *output++ = p == nullptr ? p : static_cast<std::byte*>(p) + at;
    } else {
      const void* p = steps_[o.step].inputs[o.slot];
      *input++ = p == nullptr ? p : static_cast<const std::byte*>(p) + at;
    }
  }
  input = w.inputs.data();
  output = w.outputs.data();
  for (size_t i = loop_.first; i <= loop_.last; ++i) {
    const size_t k = i - loop_.first;
    Status status;
    const StepArgs args{input, output, static_cast<std::byte*>(steps_[i].scratch) + worker * loop_.worker_bytes,
                        &status, slice};
    LOWP_TRY(run_step(i, args, stop, timed ? &w.nanoseconds[k] : nullptr));
    input += steps_[i].inputs.size();
    output += steps_[i].outputs.size();
  }
  return {};
}

Status Plan::run_loop(const std::atomic<bool>* stop, const std::function<void(size_t, int64_t)>* observe) {
  const int workers = static_cast<int>(loop_.workers.size());
  for (Loop::Worker& w : loop_.workers) {
    std::ranges::fill(w.nanoseconds, 0);
    w.status = {};
  }
  std::atomic<bool> failed{false};
  parallel_shares(workers, loop_.count, [&](int64_t worker, int64_t slice) {
    if (failed.load(std::memory_order_relaxed)) return;
    Loop::Worker& w = loop_.workers[static_cast<size_t>(worker)];
    w.status = run_slice(slice, static_cast<size_t>(worker), stop, observe != nullptr);
    if (!w.status.is_ok()) failed.store(true, std::memory_order_relaxed);
  });
  for (Loop::Worker& w : loop_.workers) {
    if (!w.status.is_ok()) return std::move(w.status);
  }
  for (size_t i = loop_.first; i <= loop_.last && observe != nullptr; ++i) {
    int64_t sum = 0;
    for (const Loop::Worker& w : loop_.workers) sum += w.nanoseconds[i - loop_.first];
    (*observe)(i, sum / workers);
  }
  return {};
}

}  // namespace lowp::runtime
