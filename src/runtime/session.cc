#include "runtime/session.h"

#include <algorithm>

#include "base/cpu.h"
#include "base/exchange_queue.h"
#include "base/thread_pool.h"
#include "ops/reference.h"
#include "runtime/dynamic.h"

namespace lowp::runtime {
namespace {

// Whether the tensor is of the concrete type. Allocates nothing, unlike a comparison of extents().
bool has_type(const Tensor& tensor, const TensorType& type) {
  return tensor.dtype() == type.dtype &&
         std::equal(tensor.extents().begin(), tensor.extents().end(), type.dims->begin(), type.dims->end(),
                    [](int64_t extent, const ir::Dim& dim) { return dim.value() == extent; });
}

// Null where every element is finite, or no float.
std::unique_ptr<NonfiniteValue> first_nonfinite(const ir::Value& v, const Tensor& tensor) {
  if (!is_floating(tensor.dtype())) return nullptr;
  const std::vector<double> elements = ops::to_doubles(tensor);
  std::unique_ptr<NonfiniteValue> found;
  for (size_t i = 0; i < elements.size(); ++i) {
    if (std::isfinite(elements[i])) continue;
    if (found == nullptr) {
      found = std::make_unique<NonfiniteValue>();
      if (v.producer != nullptr) found->node = v.producer->name, found->op = op_display_name(*v.producer->op);
      found->value = v.name;
      found->type = tensor.type();
      found->index = static_cast<int64_t>(i);
      found->element = elements[i];
    }
    ++found->count;
  }
  return found;
}

}  // namespace

Session::Session(std::shared_ptr<const Engine> engine, SessionOptions options)
    : engine_(std::move(engine)), options_(std::move(options)) {
  input_pointers_.resize(engine_->graph().inputs().size());
  output_pointers_.resize(engine_->graph().outputs().size());
}

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Engine> engine, SessionOptions options) {
  LOWP_CHECK(engine != nullptr);
  if (auto target = selected_target(); !target) return fail(target.error());
  if (options.threads < 0 || options.threads > 1024)
    return fail(Code::kInvalidArgument, "threads is {}, 0 (all) to 1024 is wanted", options.threads);
  if (options.threads == 0) options.threads = available_threads();
  if (options.arena == nullptr) options.arena = std::make_shared<AlignedBuffer>();
  std::unique_ptr<Session> session(new Session(std::move(engine), std::move(options)));
  LOWP_TRY(session->add_states());
  return session;
}

Status Session::add_states() {
  for (const ir::State& s : engine_->graph().states()) {
    auto shared = options_.states.find(s.name);
    if (shared == options_.states.end()) {
      states_.push_back(s.initial.clone());
    } else if (!(shared->second.type() == s.value->type)) {
      return error(Code::kShapeMismatch, "state '{}' is {}, the memory for it {}", s.name, s.value->type.to_string(),
                   shared->second.type().to_string());
    } else {
      states_.push_back(shared->second);
    }
    state_pointers_.push_back(states_.back().mutable_raw());
  }
  return {};
}

Result<Session::CachedPlan*> Session::find_plan(std::span<const Tensor> inputs) {
  const auto& want = engine_->graph().inputs();
  if (inputs.size() != want.size())
    return fail(Code::kInvalidArgument, "{} inputs were given, the model wants {}", inputs.size(), want.size());
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if (!std::equal(inputs.begin(), inputs.end(), it->inputs.begin(), has_type)) continue;
    if (it != plans_.begin()) plans_.splice(plans_.begin(), plans_, it);
    return &plans_.front();
  }
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  return bind_plan(std::move(types));
}

Result<Session::CachedPlan*> Session::bind_plan(std::vector<TensorType> inputs) {
  LOWP_ASSIGN(std::unique_ptr<Plan> plan, Plan::bind(engine_->graph(), inputs, options_.threads, &dynamic_));
  LOWP_TRY(grow_arena(plan->arena_bytes()));
  arena_bytes_ = std::max(arena_bytes_, plan->arena_bytes());
  const size_t steps = plan->steps().size();
  plans_.push_front({std::move(inputs), std::move(plan), std::vector<std::pair<int64_t, int64_t>>(steps)});
  size_t kept = 0;
  for (auto it = std::next(plans_.begin()); it != plans_.end();) {
    kept += it->plan->overhead_bytes();
    it = kept > options_.bind_cache_bytes ? plans_.erase(it) : std::next(it);
  }
  return &plans_.front();
}

Status Session::grow_arena(size_t bytes) {
  AlignedBuffer& arena = *options_.arena;
  if (bytes <= arena.size()) return {};
  arena = AlignedBuffer();  // its content is of no further use: never both at a time
  LOWP_ASSIGN(arena, AlignedBuffer::allocate(bytes));
  return {};
}

Result<std::vector<TensorType>> Session::bind(std::span<const TensorType> inputs) {
  if (inputs.size() != engine_->graph().inputs().size()) {
    return fail(Code::kInvalidArgument, "{} inputs were given, the model wants {}", inputs.size(),
                engine_->graph().inputs().size());
  }
  for (const CachedPlan& c : plans_) {
    if (std::equal(inputs.begin(), inputs.end(), c.inputs.begin(), c.inputs.end())) return c.plan->output_types();
  }
  LOWP_ASSIGN(CachedPlan * cached, bind_plan({inputs.begin(), inputs.end()}));
  return cached->plan->output_types();
}

Status Session::execute(CachedPlan& cached, std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  for (size_t i = 0; i < inputs.size(); ++i) input_pointers_[i] = inputs[i].raw();
  for (size_t i = 0; i < outputs.size(); ++i) output_pointers_[i] = outputs[i].mutable_raw();
  LOWP_TRY(grow_arena(cached.plan->arena_bytes()));  // another session may have failed to
  cached.plan->attach(options_.arena->data(), state_pointers_);
  stop_.store(false, std::memory_order_relaxed);
  if (!options_.profile) return cached.plan->run(input_pointers_, output_pointers_, &stop_, nullptr);
  const std::function<void(size_t, int64_t)> observe = [&](size_t step, int64_t ns) {
    ++cached.timing[step].first;
    cached.timing[step].second += ns;
  };
  return cached.plan->run(input_pointers_, output_pointers_, &stop_, &observe);
}

Result<std::vector<Tensor>> Session::run(std::span<const Tensor> inputs) {
  if (!dynamic_) {
    auto cached = find_plan(inputs);
    if (cached) {
      std::vector<Tensor> outputs;
      for (const TensorType& t : (*cached)->plan->output_types()) {
        LOWP_ASSIGN(Tensor out, Tensor::allocate(t.dtype, t.extents()));
        outputs.push_back(std::move(out));
      }
      LOWP_TRY(execute(**cached, inputs, outputs));
      return outputs;
    }
    if (!dynamic_) return fail(cached.error());
  }
  return run_node_by_node(engine_->graph(), inputs, states_, options_.threads);
}

Status Session::run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  LOWP_ASSIGN(CachedPlan * cached, find_plan(inputs));
  const auto& types = cached->plan->output_types();
  if (outputs.size() != types.size())
    return error(Code::kInvalidArgument, "{} outputs were given, the model has {}", outputs.size(), types.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!has_type(outputs[i], types[i])) {
      return error(Code::kShapeMismatch, "output '{}' is {}, the buffer is {}", engine_->graph().outputs()[i].name,
                   types[i].to_string(), outputs[i].type().to_string());
    }
  }
  return execute(*cached, inputs, outputs);
}

Tensor* Session::state(std::string_view name) {
  const auto& states = engine_->graph().states();
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i].name == name) return &states_[i];
  }
  return nullptr;
}

Result<std::unique_ptr<NonfiniteValue>> Session::find_nonfinite(std::span<const Tensor> inputs) {
  std::unique_ptr<NonfiniteValue> found;
  const ValueObserver look = [&](const ir::Value& v, const Tensor& tensor) {
    if (found == nullptr) found = first_nonfinite(v, tensor);
    return found == nullptr;
  };
  std::vector<Tensor> states;
  for (const Tensor& s : states_) states.push_back(s.clone());
  const WithoutExchanges alone;
  auto outputs = run_node_by_node(engine_->graph(), inputs, states, options_.threads, look);
  if (!outputs && outputs.error().code() != Code::kCancelled) return fail(outputs.error());
  return found;
}

std::vector<ProfileEntry> Session::profile() const {
  std::vector<ProfileEntry> entries;
  if (!options_.profile || plans_.empty()) return entries;
  const CachedPlan& cached = plans_.front();
  for (size_t i = 0; i < cached.timing.size(); ++i) {
    const Step& step = cached.plan->steps()[i];
    entries.push_back({step.node == nullptr ? "" : step.node->name,
                       step.node == nullptr ? "copy" : op_display_name(*step.node->op), step.kernel,
                       cached.timing[i].first, cached.timing[i].second, step.macs, step.bytes});
  }
  return entries;
}

}  // namespace lowp::runtime
