#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "runtime/memory_planner.h"
#include "runtime/plan.h"
#include "runtime/slices.h"

namespace lowp::runtime {

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
    mark_slices();
    mark_parts();
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
  // Bytes that the arena holds of it: of one slice, where nobody outside the slices needs more.
  size_t held(ValuePtr v) const {
    return of_slice_.contains(v) ? bytes(v) / static_cast<size_t>(slices_->count) : bytes(v);
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

  void mark_slices() {
    // A step of training needs most values again for the gradients, and writes states in place.
    if (std::ranges::any_of(graph_.states(), [](const ir::State& s) { return s.update != nullptr; })) return;
    slices_ = find_slices(
        graph_, [&](ValuePtr v) -> const TensorType* { return bound_.types.contains(v) ? &type(v) : nullptr; },
        [&](ValuePtr v) { return content(v) != nullptr; });
    if (!slices_) return;
    // A thread for each slice needs no meetings within layers: 1.1x on two threads.
    if (slices_->count % threads_ == 0 || slices_->count >= 4 * threads_) workers_ = threads_;
    for (const auto& node : graph_.nodes()) {
      if (!sliced(*node)) continue;
      for (ValuePtr v : node->outputs) {
        if (v == nullptr || graph_.is_graph_output(v)) continue;
        auto last = last_reader_.find(v);
        if (last == last_reader_.end() || last->second <= slices_->last) of_slice_.insert(v);
      }
    }
  }
  bool sliced(const ir::Node& node) const {
    if (!slices_) return false;
    const int position = node_position_.at(&node);
    return slices_->first <= position && position <= slices_->last;
  }
  // Values that a Concat along the last axis alone reads may be written where it would copy them. Whether they are is
  // known when their own node is lowered: its kernel has to leave room between rows.
  void mark_parts() {
    for (const auto& node : graph_.nodes()) {
      if (node->op->name != "Concat" || node->op->domain != kOnnxDomain) continue;
      ValuePtr whole = node->outputs[0];
      if (!bound_.types.contains(whole) || !type(whole).concrete() || content(whole) != nullptr ||
          type(whole).rank() == 0 || whole->layout != ir::Layout::kPlain || dtype_bits(type(whole).dtype) % 8 != 0)
        continue;
      const Extents out = type(whole).extents();
      const auto axis = std::get<int64_t>(node->op->attrs.write(node->attrs).at("axis"));
      if (axis != -1 && axis != std::ssize(out) - 1) continue;
      size_t at = 0;
      for (ValuePtr v : node->inputs) {
        const TensorType& t = type(v);
        if (can_be_part(*node, v, whole)) {
          alias_[v] = whole;
          parts_[v] = {at, out.back()};
        }
        at += dtype_bytes(t.dtype, static_cast<size_t>(t.extents().back()));
      }
    }
  }
  bool can_be_part(const ir::Node& concat, ValuePtr v, ValuePtr whole) const {
    if (v->producer == nullptr || v->producer->outputs[0] != v || content(v) != nullptr || v->uses.size() != 1 ||
        graph_.is_graph_output(v) || v->layout != ir::Layout::kPlain)
      return false;
    // Within a slice both live, or outside of all.
    const bool in_slices = sliced(concat) || sliced(*v->producer);
    return of_slice_.contains(v) == of_slice_.contains(whole) && (!in_slices || of_slice_.contains(v));
  }
  // The node's kernel writes its output end to end after all.
  void forget_part(ValuePtr v) {
    parts_.erase(v);
    alias_.erase(v);
  }

  // What a call of the node sees of it.
  TensorType type_at(const ir::Node& node, ValuePtr v) const {
    TensorType t = type(v);
    if (sliced(node) && content(v) == nullptr) (*t.dims)[0] = slices_->items;
    return t;
  }

  Status lower(const ir::Node& node) {
    bool needed = false;
    for (ValuePtr out : node.outputs) {
      if (out == nullptr) continue;
      if (!type(out).concrete()) return data_dependent(out->name);
      needed = needed || content(out) == nullptr;
    }
    if (!needed) return {};
    std::vector<TensorType> own_types(node.inputs.size());
    std::vector<const TensorType*> in_types;
    std::vector<const Tensor*> known;
    std::vector<TensorType> out_types;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      ValuePtr v = node.inputs[i];
      if (v != nullptr) own_types[i] = type_at(node, v);
      in_types.push_back(v == nullptr ? nullptr : &own_types[i]);
      known.push_back(v == nullptr ? nullptr : content(v));
    }
    for (ValuePtr v : node.outputs) out_types.push_back(v == nullptr ? TensorType{} : type_at(node, v));
    const int threads = sliced(node) && workers_ > 1 ? 1 : threads_;
    LowerContext ctx(node, in_types, out_types, known, threads, chooser_);
    for (ValuePtr v : node.inputs) ctx.placed_.push_back(v != nullptr && parts_.contains(v));
    const auto part = parts_.find(node.outputs[0]);
    if (part != parts_.end()) ctx.row_pitch_ = part->second.pitch;
    if (node.op->lower != nullptr) {
      if (Status s = node.op->lower(ctx); !s.is_ok()) return std::move(s).with_node(node.name);
    }
    if (part != parts_.end() && !(ctx.emitted() && ctx.asked_for_pitch_)) forget_part(node.outputs[0]);
    if (ctx.alias_.first >= 0) {
      ValuePtr out = node.outputs[static_cast<size_t>(ctx.alias_.first)];
      ValuePtr in = node.inputs[static_cast<size_t>(ctx.alias_.second)];
      LOWP_CHECK(bytes(out) == bytes(in));
      if (!of_slice_.contains(in)) of_slice_.erase(out);
      if (of_slice_.contains(out) == of_slice_.contains(in)) {
        alias_[out] = in;
        return {};
      }
      ctx.emit("copy", copy_of(held(in)));  // a slice that becomes part of a whole batch
    }
    if (!ctx.emitted()) ctx.emit("reference." + node.op->name, reference_step(node, in_types, out_types));
    Step step;
    step.node = &node;
    step.kernel = std::move(ctx.kernel_);
    step.fn = std::move(ctx.fn_);
    step.macs = ctx.macs_;
    const int index = step_count();
    if (sliced(node)) {
      Plan::Loop& loop = plan_->loop_;
      if (loop.count == 1) loop.first = static_cast<size_t>(index);
      loop.last = static_cast<size_t>(index);
      loop.count = slices_->count;
      step.macs *= loop.count;
      step.kernel += fmt::format(" slices={}", loop.count);
    }
    for (ValuePtr v : node.inputs) {
      operands_.push_back(v);
      if (v == nullptr) continue;
      if (parts_.contains(v))
        step.bytes -= bytes(v);  // neither read nor, below, written
      else
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
    if (of_slice_.contains(out) != of_slice_.contains(in)) return;
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

  static StepFn copy_of(size_t n) {
    return [n](const StepArgs& args) {
      if (n > 0 && args.outputs[0] != args.inputs[0]) std::memcpy(args.outputs[0], args.inputs[0], n);
    };
  }

  void add_copy(ValuePtr from, Place to) {
    Step step;
    const size_t n = bytes(from);
    step.kernel = "copy";
    step.fn = copy_of(n);
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

  Place place_of(ValuePtr v) const {
    Place place = places_.at(root(v));
    if (auto it = parts_.find(v); it != parts_.end()) place.offset = it->second.offset;
    return place;
  }

  // Whether a step runs for each slice.
  bool in_loop(size_t step) const {
    const Plan::Loop& loop = plan_->loop_;
    return loop.count > 1 && loop.first <= step && step <= loop.last;
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
        requests.push_back({held(base), step, step});
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

    // What lives within a slice has an arena of its own, one for each worker, as workers are not at the same step.
    Plan::Loop& loop = plan_->loop_;
    const int begin = static_cast<int>(loop.first), end = static_cast<int>(loop.last);
    std::vector<BufferRequest> whole, of_slice;
    for (size_t i : order) {
      BufferRequest& r = requests[i];
      if (of_slice_.contains(owners[i])) {
        of_slice.push_back(r);
        continue;
      }
      // A whole batch lives as long as there are slices that read or write it.
      if (loop.count > 1 && r.first <= end && r.last >= begin) {
        r.first = std::min(r.first, begin);
        r.last = std::max(r.last, end);
      }
      whole.push_back(r);
    }
    for (size_t s = 0; s < scratch_.size(); ++s) {
      const int step = static_cast<int>(s);
      (in_loop(s) ? of_slice : whole).push_back({scratch_[s], step, step});
    }
    const ArenaLayout slice_layout = plan_memory(of_slice);
    loop.worker_bytes = (slice_layout.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    if (loop.count > 1) whole.push_back({loop.worker_bytes * static_cast<size_t>(workers_), begin, end});
    const ArenaLayout layout = plan_memory(whole);

    const size_t slices_at = loop.count > 1 ? layout.offsets.back() : 0;
    size_t next = 0, next_of_slice = 0;
    auto offset = [&](bool is_of_slice) {
      return is_of_slice ? slices_at + slice_layout.offsets[next_of_slice++] : layout.offsets[next++];
    };
    for (size_t i : order) places_[owners[i]] = {Place::Kind::kArena, offset(of_slice_.contains(owners[i])), nullptr};
    for (size_t s = 0; s < scratch_.size(); ++s) plan_->scratch_offsets_.push_back(offset(in_loop(s)));
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

  // An operand of a step that runs for each slice.
  void add_loop_operand(size_t step, bool output, size_t slot, ValuePtr v) {
    if (!in_loop(step)) return;
    Plan::Loop& loop = plan_->loop_;
    Plan::Loop::Operand o{step, output, slot, 0, 0};
    if (v != nullptr && (output || content(v) == nullptr)) {
      if (of_slice_.contains(root(v)))
        o.worker_bytes = static_cast<int64_t>(loop.worker_bytes);
      else
        o.slice_bytes = static_cast<int64_t>(bytes(v)) / loop.count;
    }
    loop.operands.push_back(o);
  }

  void add_workers() {
    Plan::Loop& loop = plan_->loop_;
    if (loop.count == 1) return;
    Plan::Loop::Worker worker;
    for (size_t s = loop.first; s <= loop.last; ++s) {
      worker.inputs.resize(worker.inputs.size() + plan_->steps_[s].inputs.size());
      worker.outputs.resize(worker.outputs.size() + plan_->steps_[s].outputs.size());
    }
    worker.nanoseconds.resize(loop.last - loop.first + 1);
    loop.workers.assign(static_cast<size_t>(workers_), worker);
  }

  void link() {
    size_t in = 0;
    size_t out = 0;
    for (size_t s = 0; s < plan_->steps_.size(); ++s) {
      Step& step = plan_->steps_[s];
      if (step.node == nullptr) continue;
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        ValuePtr v = operands_[in++];
        add_loop_operand(s, false, i, v);
        if (v != nullptr) add_patch(s, false, i, place_of(v));
      }
      for (size_t i = 0; i < step.outputs.size(); ++i) {
        ValuePtr v = results_[out++];
        add_loop_operand(s, true, i, v);
        if (v != nullptr) add_patch(s, true, i, place_of(v));
      }
    }
    add_workers();
    for (const Copy& c : copies_) {
      add_patch(c.step, false, 0, place_of(c.from));
      add_patch(c.step, true, 0, c.to);
    }
    plan_->overhead_bytes_ += plan_->steps_.size() * (sizeof(Step) + 256);
  }

  // Where a value lies in the output of the Concat that reads it.
  struct Part {
    size_t offset;  // bytes
    int64_t pitch;  // elements from row to row
  };
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
  std::optional<Slices> slices_;
  int workers_ = 1;                        // that run slices at the same time
  std::unordered_set<ValuePtr> of_slice_;  // values that exist for one slice at a time
  std::unordered_map<ValuePtr, ValuePtr> alias_;
  std::unordered_map<ValuePtr, Part> parts_;    // aliases of a Concat's output
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

}  // namespace lowp::runtime
