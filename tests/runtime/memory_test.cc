// Where values lie: the planner, buffers shared by aliases and in-place kernels, states.
#include <gtest/gtest.h>

#include "runtime/memory_planner.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

TEST(MemoryPlanner, BuffersAliveTogetherNeverOverlap) {
  Random random;
  SCOPED_TRACE("LOWP_SEED=" + std::to_string(Random::seed()));
  for (int round = 0; round < 500; ++round) {
    std::vector<runtime::BufferRequest> requests(static_cast<size_t>(random.integer(0, 40)));
    size_t sum = 0;
    for (auto& r : requests) {
      r.bytes = static_cast<size_t>(random.integer(0, 3) == 0 ? 0 : random.integer(1, 1000));
      r.first = static_cast<int>(random.integer(0, 20));
      r.last = r.first + static_cast<int>(random.integer(0, 8));
      sum += (r.bytes + 63) / 64 * 64;
    }
    const runtime::ArenaLayout layout = runtime::plan_memory(requests);
    ASSERT_EQ(layout.offsets.size(), requests.size());
    EXPECT_LE(layout.bytes, sum);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(layout.offsets[i] % runtime::kArenaAlignment, 0U);
      EXPECT_LE(layout.offsets[i] + requests[i].bytes, layout.bytes);
      for (size_t k = 0; k < i; ++k) {
        const auto& a = requests[i];
        const auto& b = requests[k];
        if (a.last < b.first || b.last < a.first || a.bytes == 0 || b.bytes == 0) continue;
        EXPECT_TRUE(layout.offsets[i] + a.bytes <= layout.offsets[k] ||
                    layout.offsets[k] + b.bytes <= layout.offsets[i])
            << "buffers " << i << " and " << k << ", round " << round;
      }
    }
  }
}

TEST(MemoryPlanner, AChainNeedsTwoBuffers) {
  std::vector<runtime::BufferRequest> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({1024, i, i + 1});
  EXPECT_EQ(runtime::plan_memory(chain).bytes, 2048U);
}

// Graphs of views, in-place kernels and reused buffers, with any values as outputs and states: what the plan computes
// is what the references do, run after run.
std::unique_ptr<ir::Graph> random_graph(Random& random) {
  auto graph = std::make_unique<ir::Graph>();
  GraphBuilder b(*graph);
  const Extents shapes[] = {{4, 6}, {6, 4}, {24}, {2, 3, 4}};
  std::vector<ir::Value*> pool;
  for (int i = 0; i < 2; ++i)
    pool.push_back(graph->add_input("x" + std::to_string(i), TensorType(DType::kF32, shapes[0])));
  const auto states = static_cast<int>(random.integer(0, 2));
  for (int i = 0; i < states; ++i)
    pool.push_back(graph->add_state("s" + std::to_string(i), test::random_floats(random, shapes[0])));
  pool.push_back(b.constant(test::random_floats(random, shapes[0])));
  auto any = [&] { return pool[static_cast<size_t>(random.integer(0, static_cast<int64_t>(pool.size()) - 1))]; };
  const int64_t nodes = random.integer(1, 12);
  for (int64_t i = 0; i < nodes; ++i) {
    ir::Value* x = any();
    ir::Value* y = any();
    switch (random.integer(0, 6)) {
      case 0: pool.push_back(b.op("Neg", {x})); break;
      case 1: pool.push_back(b.op("Tanh", {x})); break;
      case 2:
        if (x->type == y->type) pool.push_back(b.op(random.integer(0, 1) ? "Sub" : "Mul", {x, y}));
        break;
      case 3: pool.push_back(b.op("Reshape", {x, b.ints(shapes[random.integer(0, 3)])})); break;
      case 4: pool.push_back(b.op("Identity", {x})); break;
      case 5: pool.push_back(b.op("Softmax", {x})); break;
      default: pool.push_back(b.op("Transpose", {x})); break;
    }
  }
  const int64_t outputs = random.integer(1, 4);
  for (int64_t i = 0; i < outputs; ++i) graph->outputs().push_back({"y" + std::to_string(i), any()});
  for (ir::State& s : graph->states()) {
    ir::Value* v = any();
    if (v->type == s.value->type) s.update = v;
  }
  graph->remove_dead();
  return graph;
}

TEST(Memory, RandomGraphsComputeWhatTheirReferencesDo) {
  Random random;
  int refused = 0;
  int ran = 0;
  for (int round = 0; round < 1500; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + ", LOWP_SEED=" + std::to_string(Random::seed()));
    std::unique_ptr<ir::Graph> graph = random_graph(random);
    auto session = test::session_for(*graph, 1, false);
    for (int run = 0; run < 3; ++run) {
      std::vector<Tensor> in;
      for (const ir::Value* v : graph->inputs()) in.push_back(test::random_floats(random, v->type.extents()));
      std::vector<Tensor> kept;
      for (const Tensor& t : in) kept.push_back(t.clone());
      std::vector<Tensor> states;
      auto want = test::evaluate(*graph, in, &states);
      ASSERT_TRUE(want) << want.error().to_string();
      auto have = session->run(in);
      if (!have && have.error().code() == Code::kUnsupported) {  // one state becomes another
        ++refused;
        break;
      }
      ASSERT_TRUE(have) << have.error().to_string();
      ++ran;
      for (size_t i = 0; i < in.size(); ++i) EXPECT_TRUE(in[i].same_bits(kept[i])) << "input overwritten";
      for (size_t i = 0; i < want->size(); ++i) EXPECT_LE(test::max_difference((*have)[i], (*want)[i]), 1e-5) << i;
      for (size_t i = 0; i < states.size(); ++i) {
        ir::State& s = graph->states()[i];
        EXPECT_LE(test::max_difference(*session->state(s.name), states[i]), 1e-5) << s.name;
        s.initial = session->state(s.name)->clone();
      }
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
  EXPECT_GT(ran, 10 * refused);
}

TEST(Memory, StatesThatSwapAreRefusedWithAReason) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* p = graph.add_state("p", Tensor::scalar(1.0F));
  ir::Value* q = graph.add_state("q", Tensor::scalar(2.0F));
  graph.states()[0].update = q;
  graph.states()[1].update = p;
  graph.outputs().push_back({"y", b.op("Add", {p, q})});
  auto session = test::session_for(graph, 1, false);
  auto bound = session->bind({});
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code(), Code::kUnsupported);
  EXPECT_NE(bound.error().to_string().find("state 'p' becomes the content of state 'q'"), std::string::npos)
      << bound.error().to_string();
}

TEST(Memory, AStateCounts) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{2}));
  ir::Value* s = graph.add_state("sum", Tensor::from<float>({2}, {0, 10}));
  graph.outputs().push_back({"before", s});
  graph.states()[0].update = b.op("Add", {s, x});
  auto session = test::session_for(graph);
  for (int i = 0; i < 5; ++i) {
    const Tensor y = test::run_ok(*session, {Tensor::from<float>({2}, {1, 2})})[0];
    EXPECT_EQ(y, Tensor::from<float>({2}, {1.0F * static_cast<float>(i), 10 + 2.0F * static_cast<float>(i)}));
  }
  EXPECT_EQ(*session->state("sum"), Tensor::from<float>({2}, {5, 20}));
  EXPECT_EQ(session->state("none"), nullptr);
  // A fresh session starts from the beginning.
  EXPECT_EQ(*test::session_for(graph)->state("sum"), Tensor::from<float>({2}, {0, 10}));
}

}  // namespace
}  // namespace lowp
