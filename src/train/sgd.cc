#include "train/sgd.h"

#include <algorithm>

#include "autograd/backward.h"

namespace lowp::train {

Status add_sgd(ir::Graph& graph, ir::Value* loss, const SgdOptions& options) {
  std::vector<ir::Value*> parameters;
  for (const ir::State& s : graph.states()) {
    if (s.update != nullptr) return error(Code::kInvalidArgument, "state '{}' is updated already", s.name);
    if (s.value->type.dtype != DType::kF32)
      return error(Code::kTypeMismatch, "parameter '{}' is {}, f32 is wanted", s.name, s.value->type.to_string());
    parameters.push_back(s.value);
  }
  if (parameters.empty()) return error(Code::kInvalidArgument, "the graph has no states to train");
  LOWP_ASSIGN(auto gradients, autograd::build_gradients(graph, loss, parameters));
  ir::Value* rate = graph.add_input("learning_rate", TensorType(DType::kF32, Extents{}));
  GraphBuilder b(graph);
  const size_t trained = parameters.size();
  for (size_t i = 0; i < trained; ++i) {
    ir::Value* w = parameters[i];
    auto it = gradients.find(w);
    if (it == gradients.end()) continue;  // the loss does not depend on it
    ir::Value* direction = it->second;
    if (options.momentum != 0.0F) {
      ir::Value* velocity = graph.add_state(w->name + ".velocity", Tensor::zeros(DType::kF32, w->type.extents()));
      direction =
          b.op("Add", {b.op("Mul", {velocity, b.scalar_like(w, static_cast<double>(options.momentum))}), direction}, {},
               kOnnxDomain, w->name + ".velocity");
      graph.states().back().update = direction;
    }
    graph.states()[i].update = b.op("Sub", {w, b.op("Mul", {direction, rate})}, {}, kOnnxDomain, w->name + ".step");
  }
  return ir::verify(graph);
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
  for (const ir::State& s : frozen->states()) {
    const Tensor* content = session.state(s.name);
    LOWP_CHECK(content != nullptr);
    frozen->replace_uses(s.value, frozen->add_constant(s.name + ":trained", content->clone()));
  }
  frozen->states().clear();
  frozen->remove_dead();
  frozen->drop_unused_inputs();
  return frozen;
}

}  // namespace lowp::train
