// Steps of stochastic gradient descent against the same written by hand.
#include "train/sgd.h"

#include <gtest/gtest.h>

#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

constexpr int64_t kIn = 3;
constexpr int64_t kBatch = 4;

// loss = sum over the batch of (x w - t)^2
struct Regression {
  Random random;
  ir::Graph graph;
  ir::Value* loss = nullptr;
  Tensor initial = test::random_floats(random, {kIn, 1});

  explicit Regression(float momentum) {
    GraphBuilder b(graph);
    ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{kBatch, kIn}));
    ir::Value* t = graph.add_input("t", TensorType(DType::kF32, Extents{kBatch, 1}));
    ir::Value* w = graph.add_state("w", initial);
    ir::Value* y = b.op("MatMul", {x, w});
    ir::Value* d = b.op("Sub", {y, t});
    loss = b.op("ReduceSum", {b.op("Mul", {d, d})}, {{"keepdims", int64_t{0}}});
    graph.outputs() = {{"loss", loss}, {"y", y}};
    train::SgdOptions options;
    options.momentum = momentum;
    const Status s = train::add_sgd(graph, loss, options);
    EXPECT_TRUE(s.is_ok()) << s.to_string();
  }
};

TEST(Sgd, MatchesAHandWrittenLoop) {
  for (const float momentum : {0.0F, 0.9F}) {
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(momentum);
      Regression r(momentum);
      auto session = test::session_for(r.graph, threads);
      std::vector<double> w = ops::to_doubles(r.initial);
      std::vector<double> v(kIn, 0.0);
      for (int step = 0; step < 30; ++step) {
        const Tensor x = test::random_floats(r.random, {kBatch, kIn});
        const Tensor t = test::random_floats(r.random, {kBatch, 1});
        const float rate = step < 20 ? 0.02F : 0.005F;
        const std::vector<Tensor> out = test::run_ok(*session, {x, t, Tensor::scalar(rate)});
        std::vector<double> gradient(kIn, 0.0);
        double loss = 0;
        for (int64_t i = 0; i < kBatch; ++i) {
          double d = -static_cast<double>(t.data<float>()[i]);
          for (int64_t k = 0; k < kIn; ++k)
            d += static_cast<double>(x.data<float>()[i * kIn + k]) * w[static_cast<size_t>(k)];
          loss += d * d;
          for (int64_t k = 0; k < kIn; ++k)
            gradient[static_cast<size_t>(k)] += 2 * d * static_cast<double>(x.data<float>()[i * kIn + k]);
        }
        EXPECT_NEAR(static_cast<double>(out[0].data<float>()[0]), loss, 1e-4 * std::max(1.0, loss));
        for (size_t k = 0; k < w.size(); ++k) {
          v[k] = static_cast<double>(momentum) * v[k] + gradient[k];
          w[k] -= static_cast<double>(rate) * v[k];
          EXPECT_NEAR(static_cast<double>(session->state("w")->data<float>()[k]), w[k], 1e-5) << "step " << step;
        }
      }
      EXPECT_EQ(session->state("w.velocity") != nullptr, momentum != 0.0F);
    }
  }
}

TEST(Sgd, RefusesWhatItCannotTrain) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{}));
  EXPECT_EQ(train::add_sgd(graph, x, {}).code(), Code::kInvalidArgument);
  graph.add_state("half", Tensor::scalar(Float16(1.0F)));
  const Status s = train::add_sgd(graph, x, {});
  EXPECT_EQ(s.code(), Code::kTypeMismatch);
  EXPECT_NE(s.to_string().find("half"), std::string::npos);
}

TEST(Freeze, KeepsTheTrainedWeightsOnly) {
  Regression r(0.9F);
  auto session = test::session_for(r.graph);
  const Tensor x = test::random_floats(r.random, {kBatch, kIn});
  const Tensor t = test::random_floats(r.random, {kBatch, 1});
  for (int i = 0; i < 3; ++i) test::run_ok(*session, {x, t, Tensor::scalar(0.01F)});
  auto frozen = train::freeze(r.graph, *session, {"y"});
  ASSERT_TRUE(frozen) << frozen.error().to_string();
  ASSERT_EQ((*frozen)->inputs().size(), 1U);
  EXPECT_EQ((*frozen)->inputs()[0]->name, "x");
  EXPECT_TRUE((*frozen)->states().empty());
  EXPECT_EQ((*frozen)->nodes().size(), 1U);
  const Tensor y = test::run_ok(*test::session_for(**frozen), {x})[0];
  const Tensor want = test::run_ok(*session, {x, t, Tensor::scalar(0.0F)})[1];
  EXPECT_LE(test::max_difference(y, want), 1e-6);
  // Further training does not reach the frozen copy.
  test::run_ok(*session, {x, t, Tensor::scalar(0.1F)});
  EXPECT_EQ(test::run_ok(*test::session_for(**frozen), {x})[0], y);
  EXPECT_FALSE(train::freeze(r.graph, *session, {"no such output"}));
}

}  // namespace
}  // namespace lowp
