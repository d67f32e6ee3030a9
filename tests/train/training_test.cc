// Steps of stochastic gradient descent against the same written by hand.
#include "train/training.h"

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
    train::TrainingOptions options;
    options.optimizer.momentum = momentum;
    auto trained = train::add_training(graph, "loss", options);
    EXPECT_TRUE(trained) << trained.error().to_string();
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
  graph.outputs() = {{"loss", b.op("Mul", {x, x})}};
  EXPECT_EQ(train::add_training(graph, "loss", {}).error().code(), Code::kInvalidArgument);
  graph.add_state("half", Tensor::scalar(Float16(1.0F)));
  EXPECT_EQ(train::add_training(graph, "loss", {}).error().code(), Code::kInvalidArgument);
  graph.add_state("w", Tensor::scalar(1.0F));
  train::TrainingOptions options;
  options.parameters["v"].rate_factor = 2;
  auto unknown = train::add_training(graph, "loss", options);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().to_string().find("'v'"), std::string::npos);
}

// loss = mean of (x w)^2 with the loss scaled, and a state of the model's own: the mean of what it saw.
struct Scaled {
  ir::Graph graph;
  std::unique_ptr<runtime::Session> session;
  explicit Scaled(train::LossScaling scaling, train::OptimizerOptions optimizer = {}) {
    GraphBuilder b(graph);
    ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{2, 2}));
    ir::Value* w = graph.add_state("w", Tensor::from<float>({2, 1}, {0.5F, -0.25F}));
    ir::Value* seen = graph.add_state("seen", Tensor::scalar(0.0F));
    ir::Value* y = b.op("MatMul", {x, w});
    graph.outputs() = {{"loss", b.op("ReduceMean", {b.op("Mul", {y, y})}, {{"keepdims", int64_t{0}}})}};
    ir::Value* mean = b.op("ReduceMean", {x}, {{"keepdims", int64_t{0}}});
    for (ir::State& s : graph.states()) {
      if (s.value == seen) s.update = mean;
    }
    train::TrainingOptions options;
    options.loss_scaling = scaling;
    options.optimizer = optimizer;
    auto trained = train::add_training(graph, "loss", options);
    EXPECT_TRUE(trained) << trained.error().to_string();
    EXPECT_EQ(*trained, std::vector<std::string>{"w"});
    session = test::session_for(graph);
  }
  std::vector<Tensor> step(float x) {
    return test::run_ok(*session, {Tensor::from<float>({2, 2}, {x, 1, 2, 3}), Tensor::scalar(0.1F)});
  }
  template <typename T>
  T scalar(std::string_view state) {
    return session->state(state)->data<T>()[0];
  }
};

TEST(LossScaling, ASkippedStepChangesOnlyTheScale) {
  train::LossScaling scaling;
  scaling.mode = train::ScaleMode::kDynamic;
  scaling.initial = 8;
  scaling.interval = 2;
  Scaled s(scaling);
  s.step(1);
  const Tensor w = s.session->state("w")->clone();
  const float seen = s.scalar<float>("seen");
  EXPECT_EQ(seen, 1.75F);
  const std::vector<Tensor> out = s.step(INFINITY);
  EXPECT_EQ(out[2].data<int64_t>()[0], 0);  // the first parameter's gradient
  EXPECT_TRUE(s.session->state("w")->same_bits(w));
  EXPECT_EQ(s.scalar<float>("seen"), seen);
  EXPECT_EQ(s.scalar<float>("loss_scale"), 4);
  EXPECT_EQ(s.scalar<int64_t>("step"), 1);
  EXPECT_EQ(s.scalar<int64_t>("skipped_steps"), 1);
  s.step(1);
  s.step(1);
  EXPECT_EQ(s.scalar<float>("loss_scale"), 8);  // two good steps in a row
  for (int i = 0; i < 9; ++i) s.step(NAN);
  EXPECT_EQ(s.scalar<float>("loss_scale"), 1);  // not below the floor
  EXPECT_EQ(s.scalar<int64_t>("step"), 3);
}

TEST(LossScaling, APowerOfTwoChangesNoBit) {
  train::LossScaling scaling;
  scaling.mode = train::ScaleMode::kStatic;
  scaling.initial = 1024;
  for (const train::Optimizer kind :
       {train::Optimizer::kSgd, train::Optimizer::kAdam, train::Optimizer::kAdamW, train::Optimizer::kLamb}) {
    train::OptimizerOptions optimizer;
    optimizer.kind = kind;
    Scaled plain({}, optimizer), scaled(scaling, optimizer);
    for (int i = 0; i < 5; ++i) {
      const std::vector<Tensor> a = plain.step(1), b = scaled.step(1);
      EXPECT_TRUE(a[0].same_bits(b[0]));
      EXPECT_TRUE(a[1].same_bits(b[1]));
      EXPECT_TRUE(plain.session->state("w")->same_bits(*scaled.session->state("w")));
    }
    EXPECT_EQ(scaled.scalar<float>("loss_scale"), 1024);
    EXPECT_LT(plain.step(1)[0].data<float>()[0], 0.0625F);  // what it began with
  }
}

TEST(Session, FindsTheFirstValueThatIsNotFinite) {
  Scaled s({});
  const Tensor bad[] = {Tensor::from<float>({2, 2}, {1, INFINITY, 2, 3}), Tensor::scalar(0.1F)};
  auto found = s.session->find_nonfinite(bad);
  ASSERT_TRUE(found) << found.error().to_string();
  ASSERT_NE(*found, nullptr);
  EXPECT_EQ((*found)->value, "x");
  EXPECT_EQ((*found)->index, 1);
  const Tensor large[] = {Tensor::from<float>({2, 2}, {3e38F, -3e38F, 2, 3}), Tensor::scalar(0.1F)};
  found = s.session->find_nonfinite(large);
  ASSERT_TRUE(found);
  ASSERT_NE(*found, nullptr);
  EXPECT_EQ((*found)->op, "Mul");
  const Tensor good[] = {Tensor::from<float>({2, 2}, {1, 1, 2, 3}), Tensor::scalar(0.1F)};
  found = s.session->find_nonfinite(good);
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, nullptr);
  EXPECT_EQ(s.scalar<int64_t>("step"), 0);
}

TEST(Session, SharesTheMemoryOfStates) {
  Scaled s({});
  Tensor w = Tensor::from<float>({2, 1}, {1, 1});
  runtime::SessionOptions options;
  options.threads = 1;
  options.states["w"] = w;
  auto engine = std::make_shared<runtime::Engine>(s.graph.clone());
  auto session = runtime::Session::create(engine, options);
  ASSERT_TRUE(session) << session.error().to_string();
  test::run_ok(**session, {Tensor::from<float>({2, 2}, {1, 1, 2, 3}), Tensor::scalar(0.1F)});
  EXPECT_NE(w.data<float>()[0], 1);
  options.states["w"] = Tensor::zeros(DType::kF32, {3, 1});
  EXPECT_EQ(runtime::Session::create(engine, options).error().code(), Code::kShapeMismatch);
}

TEST(TrainingOptions, ComeFromJson) {
  auto o = train::options_from_json(
      R"({"optimizer": {"name": "adamw", "weight_decay": 0.1}, "parameters": {"b": {"weight_decay": 0}},
          "clip_norm": 1, "loss_scaling": {"mode": "static", "initial": 128}, "recompute": ["layer1."],
          "recurrences_kept": "bf16"})");
  ASSERT_TRUE(o) << o.error().to_string();
  EXPECT_EQ(o->optimizer.kind, train::Optimizer::kAdamW);
  EXPECT_EQ(o->parameters.at("b").weight_decay, 0.0F);
  EXPECT_EQ(o->loss_scaling.initial, 128);
  EXPECT_EQ(o->recompute.size(), 1U);
  EXPECT_EQ(o->recurrences_kept, DType::kBF16);
  for (const char* bad : {"[]", "{", R"({"optimiser": {}})", R"({"optimizer": {"name": "sdg"}})",
                          R"({"optimizer": {"momentum": "high"}})", R"({"recurrences_kept": "i8"})",
                          R"({"parameters": {"b": {"trained": 1}}})"})
    EXPECT_EQ(train::options_from_json(bad).error().code(), Code::kInvalidArgument) << bad;
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
