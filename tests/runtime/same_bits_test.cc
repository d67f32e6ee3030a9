// The rule that nothing may break: one engine gives the same bits on every target and with any number of threads.
#include <gtest/gtest.h>

#include "support/models.h"

namespace lowp {
namespace {

using runtime::PrecisionMode;
using test::Random;

struct Model {
  const char* name;
  std::unique_ptr<ir::Graph> (*graph)();
  std::vector<std::vector<Tensor>> inputs;  // several shapes
  test::Samples samples;
};
std::vector<Model> models() {
  Random r;
  std::vector<Model> m;
  m.push_back({"conv net",
               test::conv_net,
               {test::conv_net_inputs(r, 1), test::conv_net_inputs(r, 3)},
               test::conv_net_samples()});
  m.push_back({"transformer",
               test::transformer,
               {test::transformer_inputs(r, 2, 9), test::transformer_inputs(r, 1, 33)},
               test::transformer_samples()});
  return m;
}

void expect_same_everywhere(const std::shared_ptr<const runtime::Engine>& engine,
                            const std::vector<std::vector<Tensor>>& inputs) {
  ASSERT_NE(engine, nullptr);
  std::vector<std::vector<Tensor>> first;
  test::for_each_target([&](int threads) {
    auto session = test::open_session(engine, threads);
    std::vector<std::vector<Tensor>> have;
    for (const auto& in : inputs) have.push_back(test::run_ok(*session, in));
    if (first.empty()) first = have;
    for (size_t i = 0; i < have.size(); ++i) {
      ASSERT_EQ(have[i].size(), first[i].size());
      for (size_t o = 0; o < have[i].size(); ++o) EXPECT_TRUE(have[i][o].same_bits(first[i][o])) << "input " << i;
    }
  });
}

int count_int8(const ir::Graph& g) {
  int n = 0;
  for (const auto& node : g.nodes()) n += node->precision.executed == DType::kI8;
  return n;
}

TEST(SameBits, Fp32) {
  for (Model& m : models()) {
    SCOPED_TRACE(m.name);
    auto graph = m.graph();
    auto engine = test::compile_ok(*graph, test::options_for(PrecisionMode::kFp32));
    expect_same_everywhere(engine, m.inputs);
    // And the right numbers.
    auto session = test::open_session(engine);
    for (const auto& in : m.inputs) {
      const Tensor want = test::evaluate_ok(*graph, in)[0];
      EXPECT_LE(test::max_difference(test::run_ok(*session, in)[0], want), 1e-4 * test::largest(ops::to_doubles(want)));
    }
  }
}

TEST(SameBits, Int8) {
  for (const char* target : {"vnni", "avx2"}) {
    for (Model& m : models()) {
      SCOPED_TRACE(std::string(m.name) + " for " + target);
      auto graph = m.graph();
      auto engine = test::compile_ok(*graph, test::options_for(PrecisionMode::kInt8, target), &m.samples);
      ASSERT_NE(engine, nullptr);
      EXPECT_GE(count_int8(engine->graph()), 5);
      expect_same_everywhere(engine, m.inputs);
      auto session = test::open_session(engine);
      const Tensor want = test::evaluate_ok(*graph, m.inputs[0])[0];
      EXPECT_LE(test::max_difference(test::run_ok(*session, m.inputs[0])[0], want),
                0.2 * test::largest(ops::to_doubles(want)));
    }
  }
}

TEST(SameBits, Fp16) {
  for (Model& m : models()) {
    SCOPED_TRACE(m.name);
    expect_same_everywhere(test::compile_ok(*m.graph(), test::options_for(PrecisionMode::kFp16)), m.inputs);
  }
}

}  // namespace
}  // namespace lowp
