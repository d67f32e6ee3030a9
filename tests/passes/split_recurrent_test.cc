// LSTM and GRU whose weights vary: the split graph gives the same values, and gradients that finite differences
// confirm.
#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

constexpr int64_t kSteps = 3;
constexpr int64_t kBatch = 2;
constexpr int64_t kInputs = 4;
constexpr int64_t kHidden = 5;

struct Case {
  bool lstm = true;
  std::string direction = "forward";
  int64_t layout = 0;
  bool linear_before_reset = false;
  bool extras = false;  // bias, initial states, peepholes
};

struct Model {
  Random random;
  ir::Graph graph;
  GraphBuilder b{graph};
  std::vector<Tensor> inputs;

  ir::Value* add(std::string name, Extents e) {
    inputs.push_back(test::random_tensor(random, DType::kF64, e, -0.7, 0.7));
    return graph.add_input(std::move(name), inputs.back().type());
  }
  explicit Model(const Case& c) {
    const int64_t d = c.direction == "bidirectional" ? 2 : 1, rows = (c.lstm ? 4 : 3) * kHidden;
    const Extents x = c.layout == 0 ? Extents{kSteps, kBatch, kInputs} : Extents{kBatch, kSteps, kInputs};
    const Extents state = c.layout == 0 ? Extents{d, kBatch, kHidden} : Extents{kBatch, d, kHidden};
    std::vector<ir::Value*> operands = {add("x", x), add("w", {d, rows, kInputs}), add("r", {d, rows, kHidden})};
    if (c.extras) {
      operands.push_back(add("bias", {d, 2 * rows}));
      operands.push_back(nullptr);
      operands.push_back(add("h0", state));
      if (c.lstm) {
        operands.push_back(add("c0", state));
        operands.push_back(add("peephole", {d, 3 * kHidden}));
      }
    }
    AttrMap attrs = {{"hidden_size", kHidden}, {"direction", c.direction}, {"layout", c.layout}};
    if (!c.lstm) attrs["linear_before_reset"] = static_cast<int64_t>(c.linear_before_reset);
    const std::vector<ir::Value*> out =
        b.op_n(c.lstm ? 3 : 2, c.lstm ? "LSTM" : "GRU", operands, attrs, kOnnxDomain, "layer");
    for (size_t i = 0; i < out.size(); ++i) graph.outputs().push_back({"y" + std::to_string(i), out[i]});
  }
};

void check(const Case& c) {
  SCOPED_TRACE(std::string(c.lstm ? "LSTM " : "GRU ") + c.direction + ", LOWP_SEED=" + std::to_string(Random::seed()));
  Model m(c);
  const std::vector<Tensor> want = test::evaluate_ok(m.graph, m.inputs);
  passes::PassOptions options;
  const Status s = passes::run_stage(m.graph, passes::Stage::kSimplify, options);
  ASSERT_TRUE(s.is_ok()) << s.to_string();
  EXPECT_EQ(test::count_ops(m.graph, c.lstm ? "LSTM" : "GRU"), 0);
  EXPECT_EQ(test::count_ops(m.graph, c.lstm ? "LSTM" : "GRU", kLowpDomain), c.direction == "bidirectional" ? 2 : 1);
  const std::vector<Tensor> have = test::evaluate_ok(m.graph, m.inputs);
  ASSERT_EQ(have.size(), want.size());
  for (size_t i = 0; i < have.size(); ++i) EXPECT_LE(test::max_difference(have[i], want[i]), 1e-12);

  ir::Value* loss = nullptr;
  for (const auto& o : m.graph.outputs()) {
    const Tensor weights = test::random_tensor(m.random, DType::kF64, o.value->type.extents(), -1, 1);
    ir::Value* term =
        m.b.op("ReduceSum", {m.b.op("Mul", {o.value, m.b.constant(weights)})}, {{"keepdims", int64_t{0}}});
    loss = loss == nullptr ? term : m.b.op("Add", {loss, term});
  }
  auto gradients = autograd::build_gradients(m.graph, loss, m.graph.inputs());
  ASSERT_TRUE(gradients) << gradients.error().to_string();
  ASSERT_TRUE(ir::verify(m.graph).is_ok());
  m.graph.outputs() = {{"loss", loss}};
  for (ir::Value* v : m.graph.inputs()) {
    ASSERT_TRUE(gradients->contains(v)) << v->name;
    m.graph.outputs().push_back({v->name + "_gradient", gradients->at(v)});
  }
  const std::vector<Tensor> out = test::evaluate_ok(m.graph, m.inputs);
  for (size_t i = 0; i < m.inputs.size(); ++i) {
    ASSERT_EQ(out[i + 1].extents(), m.inputs[i].extents());
    for (int probe = 0; probe < 6; ++probe) {
      const int64_t e = m.random.integer(0, m.inputs[i].size() - 1);
      auto loss_at = [&](double delta) {
        std::vector<Tensor> moved = m.inputs;
        moved[i] = moved[i].clone();
        moved[i].mutable_data<double>()[e] += delta;
        return test::evaluate_ok(m.graph, moved)[0].data<double>()[0];
      };
      EXPECT_NEAR(out[i + 1].data<double>()[e], (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-8)
          << m.graph.inputs()[i]->name << " " << e;
    }
  }
}

TEST(SplitRecurrent, WeightsThatVaryAreTrained) {
  check({});
  check({.direction = "reverse", .layout = 1, .extras = true});
  check({.direction = "bidirectional", .extras = true});
  check({.lstm = false});
  check({.lstm = false, .direction = "bidirectional", .linear_before_reset = true, .extras = true});
  check({.lstm = false, .direction = "reverse", .layout = 1, .extras = true});
}

}  // namespace
}  // namespace lowp
