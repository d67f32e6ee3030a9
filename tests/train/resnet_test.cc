// Training of a residual network: layouts, threads and the fall of the loss.
#include "support/resnet.h"

#include "train/training.h"

namespace lowp {
namespace {

using test::Random;
using test::ResNet;

struct Batch {
  Tensor x, labels;
};
Batch batch_of(const ResNet& net) {
  Random random;
  Batch b{test::random_floats(random, {net.batch, 3, net.image, net.image}), Tensor::zeros(DType::kI64, {net.batch})};
  for (int64_t i = 0; i < net.batch; ++i) b.labels.mutable_data<int64_t>()[i] = random.integer(0, net.classes - 1);
  return b;
}

void add_training(ir::Graph& graph, ir::Value* loss, float momentum) {
  if (graph.outputs().empty() || graph.outputs()[0].value != loss) graph.outputs().push_back({"loss", loss});
  train::TrainingOptions options;
  options.optimizer.momentum = momentum;
  auto trained = train::add_training(graph, graph.outputs()[0].name, options);
  ASSERT_TRUE(trained) << trained.error().to_string();
}

bool moves_data(const ir::Node& node) {
  const Extents e = node.outputs[0]->type.extents();
  int64_t image = 1;
  for (size_t i = 2; i < e.size(); ++i) image *= e[i];
  return image > 1 && e[1] > 1;
}

TEST(ResNet, TrainsChannelsLastThroughout) {
  ResNet net;
  net.depths = {3, 4, 6, 3};
  net.image = 64;
  ir::Graph graph;
  ir::Value* loss = net.build(graph);
  add_training(graph, loss, 0.9F);
  ASSERT_TRUE(passes::run_stage(graph, passes::Stage::kLower, {}).is_ok());
  std::vector<std::string> moving;
  for (const auto& node : graph.nodes()) {
    if (node->op->name == "Reorder" && moves_data(*node)) moving.push_back(node->name);
  }
  EXPECT_EQ(moving, std::vector<std::string>{"x:reorder"});
}

TEST(ResNet, LearnsABatchWithTheSameBitsOnThreads) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    ResNet net;
    net.dtype = dtype;
    ir::Graph graph;
    ir::Value* loss = net.build(graph);
    add_training(graph, loss, 0.9F);
    const Batch batch = batch_of(net);
    std::vector<std::vector<float>> curves;
    for (const int threads : {1, 2}) {
      auto session = test::session_for(graph, threads);
      std::vector<float> curve;
      for (int step = 0; step < 12; ++step) {
        const auto out = test::run_ok(*session, {batch.x, batch.labels, Tensor::scalar(0.05F)});
        curve.push_back(out[0].data<float>()[0]);
      }
      curves.push_back(curve);
    }
    EXPECT_EQ(curves[0], curves[1]);
    EXPECT_LT(curves[0].back(), 0.2F * curves[0].front());
  }
}

// The first loss and the weights after a step against the references of all ops.
TEST(ResNet, AStepMatchesTheReference) {
  ResNet net;
  net.width = 4;
  net.depths = {1, 1};
  net.image = 16;
  ir::Graph graph;
  ir::Value* loss = net.build(graph);
  add_training(graph, loss, 0);
  const Batch batch = batch_of(net);
  const std::vector<Tensor> inputs = {batch.x, batch.labels, Tensor::scalar(0.1F)};
  std::vector<Tensor> states;
  auto want = test::evaluate(graph, inputs, &states);
  ASSERT_TRUE(want) << want.error().to_string();
  auto session = test::session_for(graph, 2);
  const std::vector<Tensor> have = test::run_ok(*session, inputs);
  EXPECT_LE(test::max_difference(have[0], (*want)[0]), 1e-5);
  for (size_t i = 0; i < states.size(); ++i) {
    const Tensor* state = session->state(graph.states()[i].name);
    EXPECT_LE(test::max_difference(*state, states[i]), 2e-4) << graph.states()[i].name;
  }
}

}  // namespace
}  // namespace lowp
