#include "runtime/plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <unordered_map>

#include "base/fp_mode.h"
#include "kernels/layout/layout.h"
#include "runtime/memory_planner.h"

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
  return [inputs, outputs, n](const StepArgs& args) {
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

// Builds a Plan in passes over the graph: lower every node, find buffers that share bytes, plan the arena, list
// pointers.
class PlanBuilder {
 public:
  PlanBuilder(const ir::Graph& graph, int threads, KernelChooser* chooser)
      : graph_(graph), threads_(threads), chooser_(chooser), plan_(std::make_unique<Plan>()) {}

  Result<std::unique_ptr<Plan>> build(std::span<const TensorType> inputs) {
    LOWP_ASSIGN(bound_, bind_types(graph_, inputs));
    for (const auto& o : graph_.outputs()) {
      if (!bound_.types.contains(o.value) && !o.value->is_constant())
        return fail(Code::kInternal, "output '{}' was not inferred", o.name);
      const TensorType& t = type(o.value);
      if (!t.concrete()) return fail(data_dependent(o.name));
      plan_->output_types_.push_back(t);
    }
    mark_sources();
    for (const auto& node : graph_.nodes()) LOWP_TRY(lower(*node));
    copy_shared_outputs();
    LOWP_TRY(update_states());
    place();
    link();
    return std::move(plan_);
  }

  bool is_data_dependent() const { return data_dependent_; }

 private:
  using ValuePtr = const ir::Value*;

  Status data_dependent(std::string_view what) {
    data_dependent_ = true;
    return error(Code::kUnsupported, "the shape of '{}' depends on data", what);
  }

  const TensorType& type(ValuePtr v) const { return v->is_constant() ? v->type : bound_.types.at(v); }
  const Tensor* content(ValuePtr v) const {
    if (v->is_constant()) return &v->constant;
    auto it = bound_.known.find(v);
    return it == bound_.known.end() ? nullptr : &it->second;
  }
  size_t bytes(ValuePtr v) const {
    const TensorType& t = type(v);
    return dtype_bytes(t.dtype, static_cast<size_t>(ir::element_count(t.extents())));
  }
  // The value whose bytes `v` uses.
  ValuePtr root(ValuePtr v) const {
    auto it = alias_.find(v);
    return it == alias_.end() ? v : root(it->second);
  }
  int step_count() const { return static_cast<int>(plan_->steps_.size()); }
  void read_at(ValuePtr v, int step) {
    int& last = last_read_[root(v)];
    last = std::max(last, step);
  }

  void mark_sources() {
    for (const auto& v : graph_.values()) {
      if (const Tensor* t = content(v.get())) places_[v.get()] = {Place::Kind::kConstant, 0, t->raw()};
    }
    for (auto& [value, tensor] : bound_.known) {
      plan_->owned_.push_back(tensor);
      plan_->overhead_bytes_ += tensor.bytes();
    }
    for (size_t i = 0; i < graph_.inputs().size(); ++i) places_[graph_.inputs()[i]] = {Place::Kind::kInput, i, nullptr};
    for (size_t i = 0; i < graph_.states().size(); ++i)
      places_[graph_.states()[i].value] = {Place::Kind::kState, i, nullptr};
    // The last node that reads each value decides what may be overwritten.
    int position = 0;
    for (const auto& node : graph_.nodes()) {
      for (ValuePtr v : node->inputs) {
        if (v != nullptr) last_reader_[v] = position;
      }
      node_position_[node.get()] = position++;
    }
  }

  Status lower(const ir::Node& node) {
    bool needed = false;
    for (ValuePtr out : node.outputs) {
      if (out == nullptr) continue;
      if (!type(out).concrete()) return data_dependent(out->name);
      needed = needed || content(out) == nullptr;
    }
    if (!needed) return {};
    std::vector<const TensorType*> in_types;
    std::vector<const Tensor*> known;
    std::vector<TensorType> out_types;
    for (ValuePtr v : node.inputs) {
      in_types.push_back(v == nullptr ? nullptr : &type(v));
      known.push_back(v == nullptr ? nullptr : content(v));
    }
    for (ValuePtr v : node.outputs) out_types.push_back(v == nullptr ? TensorType{} : type(v));
    LowerContext ctx(node, in_types, out_types, known, threads_, chooser_);
    if (node.op->lower != nullptr) {
      if (Status s = node.op->lower(ctx); !s.is_ok()) return std::move(s).with_node(node.name);
    }
    if (ctx.alias_.first >= 0) {
      ValuePtr out = node.outputs[static_cast<size_t>(ctx.alias_.first)];
      ValuePtr in = node.inputs[static_cast<size_t>(ctx.alias_.second)];
      LOWP_CHECK(bytes(out) == bytes(in));
      alias_[out] = in;
      return {};
    }
    if (!ctx.emitted()) {
      ctx.emit("reference." + node.op->name, reference_step(node, in_types, out_types));
    }
    Step step;
    step.node = &node;
    step.kernel = std::move(ctx.kernel_);
    step.fn = std::move(ctx.fn_);
    step.macs = ctx.macs_;
    const int index = step_count();
    for (ValuePtr v : node.inputs) {
      operands_.push_back(v);
      if (v == nullptr) continue;
      step.bytes += bytes(v);
      read_at(v, index);
    }
    step.inputs.resize(node.inputs.size());
    step.outputs.resize(node.outputs.size());
    for (ValuePtr v : node.outputs) {
      results_.push_back(v);
      if (v == nullptr) continue;
      step.bytes += bytes(v);
      defined_[v] = index;
    }
    for (auto [out, in] : ctx.in_place_)
      try_in_place(node, node.outputs[static_cast<size_t>(out)], node.inputs[static_cast<size_t>(in)]);
    scratch_.push_back(ctx.scratch_);
    plan_->steps_.push_back(std::move(step));
    return {};
  }

  // Lets `out` take over `in`'s bytes where nobody reads `in` (or what shares its bytes) afterwards.
  void try_in_place(const ir::Node& node, ValuePtr out, ValuePtr in) {
    if (out == nullptr || in == nullptr || alias_.contains(out) || bytes(out) != bytes(in)) return;
    ValuePtr base = root(in);
    // Constants and inputs are not ours to overwrite. A state may be overwritten by its own update.
    if (auto it = places_.find(base); it != places_.end()) {
      if (it->second.kind != Place::Kind::kState || graph_.states()[it->second.index].update != out) return;
    }
    const int now = node_position_.at(&node);
    // Every value over the same bytes must be dead after this node.
    for (const auto& v : graph_.values()) {
      if (root(v.get()) != base) continue;
      auto last = last_reader_.find(v.get());
      if (last != last_reader_.end() && last->second > now) return;
      if (graph_.is_graph_output(v.get())) return;
    }
    // Another operand over the same bytes would be overwritten while it is read.
    int readers = 0;
    for (ValuePtr v : node.inputs) readers += v != nullptr && root(v) == base;
    if (readers != 1) return;
    alias_[out] = in;
  }

  void add_copy(ValuePtr from, Place to) {
    Step step;
    const size_t n = bytes(from);
    step.kernel = "copy";
    step.fn = [n](const StepArgs& args) {
      if (n > 0 && args.outputs[0] != args.inputs[0]) std::memcpy(args.outputs[0], args.inputs[0], n);
    };
    step.inputs.resize(1);
    step.outputs.resize(1);
    step.bytes = 2 * n;
    read_at(from, step_count());
    copies_.push_back({plan_->steps_.size(), from, to});
    scratch_.push_back(0);
    plan_->steps_.push_back(std::move(step));
  }

  // A node's output that is one graph output goes straight to the caller's buffer; everything else is copied there.
  void copy_shared_outputs() {
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      ValuePtr v = graph_.outputs()[i].value;
      ValuePtr base = root(v);
      const Place place{Place::Kind::kOutput, i, nullptr};
      bool is_update = false;
      for (const ir::State& s : graph_.states())
        is_update = is_update || (s.update != nullptr && root(s.update) == base);
      if (!places_.contains(base) && !is_update && bytes(base) == bytes(v)) {
        places_[base] = place;
      } else {
        add_copy(v, place);
      }
    }
  }

  // A state's new content is copied at the end of the run, when nobody reads the old content any more.
  Status update_states() {
    for (size_t i = 0; i < graph_.states().size(); ++i) {
      const ir::State& s = graph_.states()[i];
      if (s.update == nullptr || root(s.update) == s.value) continue;
      for (const ir::State& other : graph_.states()) {
        if (root(s.update) == other.value)
          return error(Code::kUnsupported, "state '{}' becomes the content of state '{}'", s.name, other.name)
              .with_hint("copy it through an operation");
      }
      add_copy(s.update, {Place::Kind::kState, i, nullptr});
    }
    // Once the first state is written a run is not cancelled any more: states change together or not at all.
    plan_->first_state_write_ = plan_->steps_.size();
    for (size_t i = 0; i < plan_->steps_.size(); ++i) {
      const ir::Node* node = plan_->steps_[i].node;
      bool writes = false;
      for (const Copy& c : copies_) writes = writes || (c.step == i && c.to.kind == Place::Kind::kState);
      if (node != nullptr) {
        for (ValuePtr v : node->outputs) {
          if (v == nullptr) continue;
          auto it = places_.find(root(v));
          writes = writes || (it != places_.end() && it->second.kind == Place::Kind::kState);
        }
      }
      if (writes) {
        plan_->first_state_write_ = i;
        break;
      }
    }
    return {};
  }

  void place() {
    std::vector<BufferRequest> requests;
    std::vector<ValuePtr> owners;
    std::unordered_map<ValuePtr, size_t> request_of;
    for (auto& [v, step] : defined_) {
      ValuePtr base = root(v);
      if (places_.contains(base)) continue;
      auto [it, fresh] = request_of.emplace(base, requests.size());
      if (fresh) {
        requests.push_back({bytes(base), step, step});
        owners.push_back(base);
      }
      BufferRequest& r = requests[it->second];
      r.first = std::min(r.first, step);
      r.last = std::max(r.last, step);
      if (auto last = last_read_.find(base); last != last_read_.end()) r.last = std::max(r.last, last->second);
    }
    // unordered_map's order is not stable between runs of the program; offsets should be.
    std::vector<size_t> order(requests.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return owners[a]->id < owners[b]->id; });
    std::vector<BufferRequest> sorted;
    for (size_t i : order) sorted.push_back(requests[i]);
    for (size_t s = 0; s < scratch_.size(); ++s)
      sorted.push_back({scratch_[s], static_cast<int>(s), static_cast<int>(s)});
    ArenaLayout layout = plan_memory(sorted);
    for (size_t i = 0; i < order.size(); ++i)
      places_[owners[order[i]]] = {Place::Kind::kArena, layout.offsets[i], nullptr};
    plan_->scratch_offsets_.assign(layout.offsets.begin() + static_cast<ptrdiff_t>(order.size()), layout.offsets.end());
    plan_->arena_bytes_ = layout.bytes;
  }

  void add_patch(size_t step, bool output, size_t slot, const Place& place) {
    Plan::Patch patch{step, output, slot, place};
    switch (place.kind) {
      case Place::Kind::kConstant:
        LOWP_CHECK(!output);
        plan_->steps_[step].inputs[slot] = place.data;
        break;
      case Place::Kind::kArena:
      case Place::Kind::kState: plan_->arena_patches_.push_back(patch); break;
      case Place::Kind::kInput:
      case Place::Kind::kOutput: plan_->call_patches_.push_back(patch); break;
      case Place::Kind::kNone: LOWP_CHECK(false);
    }
  }

  void link() {
    size_t in = 0;
    size_t out = 0;
    for (size_t s = 0; s < plan_->steps_.size(); ++s) {
      Step& step = plan_->steps_[s];
      if (step.node == nullptr) continue;
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        ValuePtr v = operands_[in++];
        if (v != nullptr) add_patch(s, false, i, places_.at(root(v)));
      }
      for (size_t i = 0; i < step.outputs.size(); ++i) {
        ValuePtr v = results_[out++];
        if (v != nullptr) add_patch(s, true, i, places_.at(root(v)));
      }
    }
    for (const Copy& c : copies_) {
      add_patch(c.step, false, 0, places_.at(root(c.from)));
      add_patch(c.step, true, 0, c.to);
    }
    plan_->overhead_bytes_ += plan_->steps_.size() * (sizeof(Step) + 256);
  }

  struct Copy {
    size_t step;
    ValuePtr from;
    Place to;
  };

  const ir::Graph& graph_;
  int threads_;
  KernelChooser* chooser_;
  bool data_dependent_ = false;
  std::unique_ptr<Plan> plan_;
  BoundTypes bound_;
  std::unordered_map<ValuePtr, ValuePtr> alias_;
  std::unordered_map<ValuePtr, Place> places_;  // of roots
  std::unordered_map<ValuePtr, int> defined_;
  std::unordered_map<ValuePtr, int> last_read_;    // of roots, step numbers
  std::unordered_map<ValuePtr, int> last_reader_;  // node positions
  std::unordered_map<const ir::Node*, int> node_position_;
  std::vector<ValuePtr> operands_;  // of all node steps, in order
  std::vector<ValuePtr> results_;
  std::vector<size_t> scratch_;
  std::vector<Copy> copies_;
};

Result<std::unique_ptr<Plan>> Plan::bind(const ir::Graph& graph, std::span<const TensorType> inputs, int threads,
                                         bool* data_dependent, KernelChooser* chooser) {
  PlanBuilder builder(graph, threads, chooser);
  auto plan = builder.build(inputs);
  if (data_dependent != nullptr) *data_dependent = builder.is_data_dependent();
  return plan;
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
  Status status;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (i < first_state_write_ && stop != nullptr && stop->load(std::memory_order_relaxed))
      return error(Code::kCancelled, "the run was cancelled");
    const StepArgs args{step.inputs.data(), step.outputs.data(), step.scratch, &status};
    if (observe == nullptr) {
      step.fn(args);
    } else {
      const auto begin = std::chrono::steady_clock::now();
      step.fn(args);
      (*observe)(
          i, std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count());
    }
    if (!status.is_ok()) return std::move(status).with_node(step.node == nullptr ? "" : step.node->name);
  }
  return {};
}

}  // namespace lowp::runtime
