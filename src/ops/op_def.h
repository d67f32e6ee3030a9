// An op is one file: src/ops/<op>.cc returns its OpDefs, one line in ops.inc lists the file.
//
// An OpDef says everything lowp knows of an op: attributes, type inference, a naive reference, the gradient, how it
// becomes a kernel call, how it behaves under quantization, where it comes from in ONNX, and samples from which one
// harness derives tests and benchmarks.
#pragma once

#include <functional>
#include <initializer_list>
#include <string_view>

#include "ir/graph.h"
#include "kernels/gemm/choice.h"

namespace lowp {

using ir::AttrMap;
using ir::Attrs;
using ir::Extents;
using ir::Tensor;
using ir::TensorType;

inline constexpr std::string_view kOnnxDomain = "";
inline constexpr std::string_view kLowpDomain = "lowp";

// ---- type inference
// ---------------------------------------------------------------------------------------------------

// What an op may ask while it infers its outputs. Types may be symbolic (when a model is loaded or compiled) or
// concrete (when a session binds shapes). known(i) is the content of an input where it is a constant or was computed
// from shapes.
class InferContext {
 public:
  InferContext(const ir::Node& node, std::span<const TensorType* const> types, std::span<const Tensor* const> known)
      : node_(node), types_(types), known_(known), out_types_(node.outputs.size()), out_known_(node.outputs.size()) {}

  const ir::Node& node() const { return node_; }
  template <typename T>
  const T& attrs() const {
    return node_.attrs.get<T>();
  }
  size_t inputs() const { return types_.size(); }
  size_t outputs() const { return out_types_.size(); }
  bool has(size_t i) const { return i < types_.size() && types_[i] != nullptr; }
  const TensorType& type(size_t i) const { return *types_[i]; }
  DType dtype(size_t i) const { return types_[i]->dtype; }
  bool has_rank(size_t i) const { return has(i) && types_[i]->has_rank(); }
  const ir::Dims& dims(size_t i) const { return *types_[i]->dims; }
  const Tensor* known(size_t i) const { return i < known_.size() ? known_[i] : nullptr; }

  void set(size_t i, TensorType type) { out_types_[i] = std::move(type); }
  void set(size_t i, DType dtype, ir::Dims dims) { out_types_[i] = TensorType(dtype, std::move(dims)); }
  // The dtype is known, the rank is not.
  void set_unranked(size_t i, DType dtype) { out_types_[i].dtype = dtype; }
  // The content of an output follows from the types alone (Shape).
  void set_known(size_t i, Tensor value) { out_known_[i] = std::move(value); }

  std::vector<TensorType>& out_types() { return out_types_; }
  std::vector<Tensor>& out_known() { return out_known_; }

 private:
  const ir::Node& node_;
  std::span<const TensorType* const> types_;
  std::span<const Tensor* const> known_;
  std::vector<TensorType> out_types_;
  std::vector<Tensor> out_known_;
};

// ---- reference
// --------------------------------------------------------------------------------------------------------

// Inputs are concrete tensors in plain layout (null where absent). Outputs are allocated where infer() could tell their
// shape; an op whose shape depends on data sets them itself.
class EvalContext {
 public:
  EvalContext(const ir::Node& node, std::span<const Tensor* const> inputs, std::span<Tensor> outputs)
      : node_(node), inputs_(inputs), outputs_(outputs) {}
  const ir::Node& node() const { return node_; }
  template <typename T>
  const T& attrs() const {
    return node_.attrs.get<T>();
  }
  size_t inputs() const { return inputs_.size(); }
  size_t outputs() const { return outputs_.size(); }
  bool has(size_t i) const { return i < inputs_.size() && inputs_[i] != nullptr; }
  const Tensor& in(size_t i) const { return *inputs_[i]; }
  bool wants(size_t i) const { return i < outputs_.size() && node_.outputs[i] != nullptr; }
  Tensor& out(size_t i) { return outputs_[i]; }

 private:
  const ir::Node& node_;
  std::span<const Tensor* const> inputs_;
  std::span<Tensor> outputs_;
};

// ---- lowering
// ---------------------------------------------------------------------------------------------------------

// Pointers of one step, fixed when the plan was bound except for callers' buffers.
struct StepArgs {
  const void* const* inputs;
  void* const* outputs;
  void* scratch;
  Status* status;     // set by a step that fails on its data (an index out of range); the run ends with it
  int64_t slice = 0;  // where a step runs for a few items of the batch at a time (runtime/slices.h): which of them
  template <typename T>
  const T* in(size_t i) const {
    return static_cast<const T*>(inputs[i]);
  }
  template <typename T>
  T* out(size_t i) const {
    return static_cast<T*>(outputs[i]);
  }
};
using StepFn = std::function<void(const StepArgs&)>;

// Who decides how a node is computed where its kernel can do it in several ways with the same bits: the tuner. Without
// one, what was recorded for the node (ir::Tuning) decides.
class KernelChooser {
 public:
  virtual ~KernelChooser() = default;
  // One of the candidates for so many threads, the first of which leaves it to the kernel's formula.
  virtual kernels::KernelChoice choose(const ir::Node& node, const std::string& shape, int threads,
                                       std::span<const kernels::KernelChoice> candidates) = 0;
};

// One kernel call, made once when shapes are bound. All types are concrete. Everything a step needs is captured by
// value in its function; running it allocates nothing.
class LowerContext {
 public:
  LowerContext(const ir::Node& node, std::span<const TensorType* const> in, std::span<const TensorType> out,
               std::span<const Tensor* const> known, int threads, KernelChooser* chooser = nullptr);

  const ir::Node& node() const { return node_; }
  template <typename T>
  const T& attrs() const {
    return node_.attrs.get<T>();
  }
  bool has(size_t i) const { return i < in_.size() && in_[i] != nullptr; }
  DType dtype(size_t i) const { return in_[i]->dtype; }
  const Extents& in(size_t i) const { return in_extents_[i]; }
  const Extents& out(size_t i) const { return out_extents_[i]; }
  DType out_dtype(size_t i) const { return out_[i].dtype; }
  ir::Layout in_layout(size_t i) const { return node_.inputs[i]->layout; }
  ir::Layout out_layout(size_t i) const { return node_.outputs[i]->layout; }
  bool wants(size_t i) const { return i < node_.outputs.size() && node_.outputs[i] != nullptr; }
  // Content of a constant or shape-derived input, in the value's layout; null where it varies from run to run.
  const Tensor* known(size_t i) const { return i < known_.size() ? known_[i] : nullptr; }
  int threads() const { return threads_; }

  // Extents in the order in which they lie in memory.
  Extents in_physical(size_t i) const { return ir::physical_extents(in(i), in_layout(i)); }
  Extents out_physical(size_t i) const { return ir::physical_extents(out(i), out_layout(i)); }
  int64_t in_size(size_t i) const { return ir::element_count(in(i)); }

  // Elements from a row of output 0 to the next, a row being its last extent in memory. More than that extent where the
  // output is part of a Concat's, which then has nothing to copy; a kernel that does not ask writes rows end to end.
  int64_t row_pitch() {
    asked_for_pitch_ = true;
    return row_pitch_ != 0 ? row_pitch_ : out_physical(0).back();
  }
  // Whether input i lies in output 0 already, where Concat would copy it.
  bool is_placed(size_t i) const { return i < placed_.size() && placed_[i]; }

  // Whether anybody has a say in how the node is computed. If not, there is no need to list candidates.
  bool has_choice() const { return chooser_ != nullptr || !node_.tuning.empty(); }
  // The candidate to use. A recorded choice counts where CPU, target, threads and shape are those it was measured for
  // and it is still a candidate; else the first candidate, the kernel's formula.
  kernels::KernelChoice choose(const std::string& shape, std::span<const kernels::KernelChoice> candidates) const;

  // Output i is input j's bytes under another type; no step is needed.
  void alias(size_t output, size_t input) { alias_ = {static_cast<int>(output), static_cast<int>(input)}; }
  // The kernel may write output i over input j when nobody else needs the input.
  void allow_in_place(size_t output, size_t input) {
    in_place_.emplace_back(static_cast<int>(output), static_cast<int>(input));
  }
  void set_scratch(size_t bytes) { scratch_ = bytes; }
  void set_macs(int64_t macs) { macs_ = macs; }
  // `kernel` is what the profiler shows: "gemm.u8s8 avx512_vnni".
  void emit(std::string kernel, StepFn fn) {
    kernel_ = std::move(kernel);
    fn_ = std::move(fn);
  }
  bool emitted() const { return static_cast<bool>(fn_) || alias_.first >= 0; }

  // Set by the planner.
  int64_t row_pitch_ = 0;
  std::vector<bool> placed_;

  // Results, read by the planner.
  bool asked_for_pitch_ = false;
  std::pair<int, int> alias_{-1, -1};
  std::vector<std::pair<int, int>> in_place_;
  size_t scratch_ = 0;
  int64_t macs_ = 0;
  std::string kernel_;
  StepFn fn_;

 private:
  const ir::Node& node_;
  std::span<const TensorType* const> in_;
  std::span<const TensorType> out_;
  std::span<const Tensor* const> known_;
  std::vector<Extents> in_extents_;
  std::vector<Extents> out_extents_;
  int threads_;
  KernelChooser* chooser_;
};

// ---- gradients
// --------------------------------------------------------------------------------------------------------

// Builds nodes in a graph and infers their types as it goes.
class GraphBuilder {
 public:
  explicit GraphBuilder(ir::Graph& graph, ir::Node* before = nullptr) : graph_(graph), before_(before) {}
  ir::Graph& graph() { return graph_; }
  // Stands before the names of nodes added from now on.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  // A node with one output. The op must exist; InternalError where the types do not fit.
  ir::Value* op(std::string_view name, std::vector<ir::Value*> inputs, AttrMap attrs = {},
                std::string_view domain = kOnnxDomain, std::string_view node_name = {});
  std::vector<ir::Value*> op_n(size_t outputs, std::string_view name, std::vector<ir::Value*> inputs,
                               AttrMap attrs = {}, std::string_view domain = kOnnxDomain,
                               std::string_view node_name = {});
  ir::Value* cast(ir::Value* v, DType to, std::string_view node_name = {});  // v itself where it has the dtype
  ir::Value* constant(Tensor tensor, std::string_view name = "const");
  ir::Value* ints(std::vector<int64_t> values);                 // 1-d i64 constant
  ir::Value* scalar_like(const ir::Value* like, double value);  // rank-0 constant of like's dtype
  // As op_n() for what a user asks for: kInvalidModel, kShapeMismatch and the like where attributes or types do not
  // fit, and no node is added.
  Result<std::vector<ir::Value*>> try_op(size_t outputs, std::string_view name, std::vector<ir::Value*> inputs,
                                         const AttrMap& attrs, std::string_view domain, std::string_view node_name);

 private:
  ir::Graph& graph_;
  ir::Node* before_;
  std::string prefix_;
};

// The gradient of one node: from the gradients of its outputs, values for the gradients of its inputs.
class GradContext {
 public:
  GradContext(ir::Node& node, GraphBuilder& builder, std::vector<ir::Value*> output_gradients, std::vector<bool> wanted)
      : node_(node),
        builder_(builder),
        out_grads_(std::move(output_gradients)),
        wanted_(std::move(wanted)),
        in_grads_(node.inputs.size()) {}
  ir::Node& node() { return node_; }
  template <typename T>
  const T& attrs() const {
    return node_.attrs.get<T>();
  }
  GraphBuilder& builder() { return builder_; }
  ir::Value* in(size_t i) { return node_.inputs[i]; }
  ir::Value* out(size_t i = 0) { return node_.outputs[i]; }
  ir::Value* grad_out(size_t i = 0) { return i < out_grads_.size() ? out_grads_[i] : nullptr; }  // null: zero
  // Optional output i of the node, which it gives from now on: what its forward pass has computed anyhow.
  ir::Value* keep(size_t i);
  bool wants(size_t i) const { return i < wanted_.size() && wanted_[i]; }
  void set_grad_in(size_t i, ir::Value* gradient) { in_grads_[i] = gradient; }
  const std::vector<ir::Value*>& grads_in() const { return in_grads_; }

 private:
  ir::Node& node_;
  GraphBuilder& builder_;
  std::vector<ir::Value*> out_grads_;
  std::vector<bool> wanted_;
  std::vector<ir::Value*> in_grads_;
};

// ---- import
// -----------------------------------------------------------------------------------------------------------

// A node of an older opset on its way to the canonical one; upgrade() changes attributes and operands in place.
struct ImportedNode {
  ir::Graph& graph;
  std::string& name;
  AttrMap& attrs;
  std::vector<ir::Value*>& inputs;
  size_t outputs;
  int64_t version;  // opset version the model declares for the op's domain

  // Moves an "axes"-like attribute to a constant i64 operand.
  void attr_to_input(std::string_view attr, size_t input);
  // Moves a float attribute to a scalar operand of the dtype of operand 0 (f32 where unknown).
  void float_attr_to_input(std::string_view attr, size_t input);
};

// ---- quantization
// -----------------------------------------------------------------------------------------------------

enum class QuantRule : uint8_t {
  kFloat,        // stays floating point
  kCompute,      // multiplies by constant weights: Conv, Gemm, MatMul; INT8 kernels exist
  kPassThrough,  // moves elements without changing them: Reshape, Transpose, MaxPool; works on INT8 as it is
  kElementwise,  // Add and the like: INT8 kernel with requantization
  kEmbedding,    // Gather from constant rows
  kRecurrent,    // multiplies its own last state by constant weights: lowp.LSTM, lowp.GRU
};

// ---- layout
// -----------------------------------------------------------------------------------------------------------

enum class LayoutRule : uint8_t {
  kPlain,         // wants its operands row-major
  kAny,           // element-wise: works in any layout that its operands share
  kChannelsLast,  // operands and outputs of OpDef::channels_last_* are channels-last, the others plain
};

// ---- samples
// ----------------------------------------------------------------------------------------------------------

struct SampleInput {
  DType dtype = DType::kF32;
  Extents extents{};
  double low = -2.0;  // random content, uniform in [low, high]; integers inclusive
  double high = 2.0;
  bool constant = false;  // known when types are inferred
  Tensor value{};         // given content instead of random
  bool absent = false;    // an optional input left out
  bool differentiable = true;
};
struct Sample {
  AttrMap attrs;
  std::vector<SampleInput> inputs;
  size_t outputs = 1;
  // Largest difference between kernel and reference in units of the output's epsilon times its magnitude scale; 0:
  // equal bits.
  double tolerance_ulps = 4;
};

// ---- the definition
// ---------------------------------------------------------------------------------------------------

struct OpDef {
  std::string name;
  std::string domain{kOnnxDomain};
  int min_inputs = 1;
  int max_inputs = 1;
  int min_outputs = 1;
  int max_outputs = 1;
  ir::AttrCodec attrs = ir::AttrCodec::of<ir::NoAttrs>();

  Status (*infer)(InferContext& ctx) = nullptr;
  Status (*reference)(EvalContext& ctx) = nullptr;
  Status (*gradient)(GradContext& ctx) = nullptr;  // null: not differentiable
  // Whether results count as constants where gradients flow, whatever they were made of.
  bool stops_gradients = false;
  // Emits a kernel call, or nothing: then the reference runs as the kernel of last resort.
  Status (*lower)(LowerContext& ctx) = nullptr;
  QuantRule quantize = QuantRule::kFloat;
  LayoutRule layout = LayoutRule::kPlain;
  // LayoutRule::kChannelsLast: bit i stands for operand or output i.
  uint32_t channels_last_inputs = 1;
  uint32_t channels_last_outputs = 1;
  // Whether item i of every output along the first axis follows from item i of the inputs that are not constant, so
  // that items may be computed a few at a time (runtime/slices.h); null: no.
  bool (*per_item)(const ir::Node& node) = nullptr;
  // Whether it reads only the rows of its constants that indices name.
  bool reads_rows = false;
  // Whether the same inputs give the same outputs (no random state), so that constants may be folded.
  bool pure = true;

  // ONNX opset versions understood: since `since_version`. Older forms go through upgrade (null: none needed).
  int since_version = 1;
  Status (*upgrade)(ImportedNode& node) = nullptr;

  std::vector<Sample> (*samples)() = nullptr;
};

// per_item of an op that works on items alone.
inline bool always_per_item(const ir::Node&) { return true; }
// per_item of an op whose output has the leading axes of its operands: constants have fewer axes, so that every item
// meets all of them, and what is not constant has as many as the output.
bool per_item_by_rank(const ir::Node& node);

// A rank-0 tensor of the dtype.
Tensor scalar_tensor(DType dtype, double value);

// Null where there is no such op.
const OpDef* find_op(std::string_view name, std::string_view domain = kOnnxDomain);
// find_op, throwing InternalError: for names that lowp itself writes.
const OpDef& op(std::string_view name, std::string_view domain = kOnnxDomain);
const std::vector<const OpDef*>& all_ops();

// "Conv" or "lowp.Conv"
std::string op_display_name(const OpDef& op);

}  // namespace lowp
