// Gradients with recomputation have the bits of gradients without, in less memory.
#include "autograd/recompute.h"

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

constexpr int kBlocks = 6;

// Blocks of three layers each, named "block0.", ...
struct Deep {
  ir::Graph graph;
  std::vector<Tensor> inputs;
  explicit Deep(const std::vector<std::string>& prefixes) {
    Random random;
    GraphBuilder b(graph);
    inputs.push_back(test::random_floats(random, {64, 32}));
    ir::Value* x = graph.add_input("x", inputs.back().type());
    std::vector<ir::Value*> weights;
    for (int block = 0; block < kBlocks; ++block) {
      const std::string name = "block" + std::to_string(block) + ".";
      for (int layer = 0; layer < 3; ++layer) {
        inputs.push_back(test::random_floats(random, {32, 32}, -0.3, 0.3));
        weights.push_back(graph.add_input(name + std::to_string(layer), inputs.back().type()));
        x = b.op("MatMul", {x, weights.back()}, {}, kOnnxDomain, name + "product" + std::to_string(layer));
        x = b.op("Tanh", {x}, {}, kOnnxDomain, name + "tanh" + std::to_string(layer));
      }
    }
    ir::Value* loss = b.op("ReduceSum", {b.op("Mul", {x, x})}, {{"keepdims", int64_t{0}}});
    const std::vector<ir::Node*> forward = graph.node_list();
    auto gradients = autograd::build_gradients(graph, loss, weights);
    EXPECT_TRUE(gradients);
    status = autograd::recompute(graph, forward, prefixes);
    graph.outputs().push_back({"loss", loss});
    for (ir::Value* w : weights) graph.outputs().push_back({w->name + "_gradient", gradients->at(w)});
  }
  size_t arena_bytes() const { return test::arena_bytes(graph, inputs); }
  Status status;
};

TEST(Recompute, SameBitsInLessMemory) {
  std::vector<std::string> prefixes;
  for (int block = 0; block < kBlocks; ++block) prefixes.push_back("block" + std::to_string(block) + ".");
  const Deep kept({}), again(prefixes);
  ASSERT_TRUE(kept.status.is_ok() && again.status.is_ok()) << again.status.to_string();
  ASSERT_TRUE(ir::verify(again.graph).is_ok());
  const std::vector<Tensor> want = test::run_ok(*test::session_for(kept.graph), kept.inputs);
  const std::vector<Tensor> have = test::run_ok(*test::session_for(again.graph), again.inputs);
  ASSERT_EQ(want.size(), have.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(have[i].same_bits(want[i])) << i;
  // 18 layers are kept without; 6 results of blocks and the 6 values of one block with.
  EXPECT_LT(again.arena_bytes(), kept.arena_bytes() * 3 / 4);
}

TEST(Recompute, AnUnknownPartIsAnError) {
  const Deep deep({"block0.", "blok"});
  EXPECT_EQ(deep.status.code(), Code::kInvalidArgument);
  EXPECT_NE(deep.status.to_string().find("'blok'"), std::string::npos);
}

}  // namespace
}  // namespace lowp
