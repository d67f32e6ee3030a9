// Steps with the mean of two ranks' gradients, this process being one of them.
#include "train/data_parallel.h"

#include <gtest/gtest.h>

#include "base/exchange_queue.h"
#include "support/fake_communicator.h"
#include "support/graphs.h"
#include "train/training.h"

namespace lowp {
namespace {

constexpr int kLayers = 4;
constexpr int64_t kWidth = 8;

// loss = mean of (x w0 w1 w2 w3)^2
std::unique_ptr<ir::Graph> chain(const train::TrainingOptions& options, Status* status = nullptr) {
  auto graph = std::make_unique<ir::Graph>();
  GraphBuilder b(*graph);
  ir::Value* x = graph->add_input("x", TensorType(DType::kF32, Extents{2, kWidth}));
  for (int i = 0; i < kLayers; ++i) {
    Tensor w = Tensor::zeros(DType::kF32, {kWidth, kWidth});
    for (int64_t k = 0; k < kWidth; ++k) w.mutable_data<float>()[k * kWidth + (k + i) % kWidth] = 0.5F + 0.1F * i;
    x = b.op("MatMul", {x, graph->add_state("w" + std::to_string(i), w)});
  }
  graph->outputs() = {{"loss", b.op("ReduceMean", {b.op("Mul", {x, x})}, {{"keepdims", int64_t{0}}})}};
  auto trained = train::add_training(*graph, "loss", options);
  if (status == nullptr) {
    EXPECT_TRUE(trained) << trained.error().to_string();
  } else if (!trained) {
    *status = trained.error();
  }
  return graph;
}

train::TrainingOptions two_ranks() {
  train::TrainingOptions options;
  options.data_parallel = {.ranks = 2, .bucket_bytes = 2 * kWidth * kWidth * 4, .compress = Wire::kF32};
  return options;
}

TEST(DataParallel, BucketsStartWhereTheirLastGradientIs) {
  const auto graph = chain(two_ranks());
  int starts = 0, waits = 0;
  std::vector<std::string> names;
  const ir::Node* before = nullptr;
  for (const auto& node : graph->nodes()) {
    if (node->op->name == "AllReduceStart") {
      ++starts;
      EXPECT_EQ(waits, 0) << "an exchange starts behind the first that is waited for";
      EXPECT_EQ(node->inputs.size(), 2U);
      EXPECT_EQ(node->inputs.back()->producer, before);
    }
    if (node->op->name == "AllReduceWait") {
      ++waits;
      for (const ir::Value* v : std::span(node->inputs).subspan(2)) names.push_back(v->name);
    }
    before = node.get();
  }
  EXPECT_EQ(starts, 2);
  EXPECT_EQ(names, (std::vector<std::string>{"w3", "w2", "w1", "w0"}));
}

TEST(DataParallel, StepsWithTheMeanOfAllRanks) {
  test::FakeNetwork network(2);
  set_process_exchanges(std::make_shared<ExchangeQueue>(network.communicator(0)));
  const auto alone = chain({});
  const auto together = chain(two_ranks());
  for (ir::Graph* g : {alone.get(), together.get()}) {
    const Status lowered = train::lower(*g);
    ASSERT_TRUE(lowered.is_ok()) << lowered.to_string();
  }
  auto one = test::session_for(*alone);
  auto session = test::session_for(*together);
  // The other rank has gradients of 0: a step of the mean is one of half the rate.
  std::thread other([&] {
    const auto c = network.communicator(1);
    std::vector<std::byte> scratch;
    for (int bucket = 0; bucket < kLayers / 2; ++bucket) {
      std::vector<float> zeros(2 * kWidth * kWidth);
      EXPECT_TRUE(all_reduce_mean(*c, zeros, Wire::kF32, scratch).is_ok());
    }
  });
  test::Random random;
  const Tensor x = test::random_floats(random, {2, kWidth});
  test::run_ok(*one, {x, Tensor::scalar(0.125F)});
  test::run_ok(*session, {x, Tensor::scalar(0.25F)});
  other.join();
  for (int i = 0; i < kLayers; ++i) {
    const std::string name = "w" + std::to_string(i);
    EXPECT_EQ(ops::to_doubles(*session->state(name)), ops::to_doubles(*one->state(name))) << name;
  }
  set_process_exchanges(nullptr);
}

TEST(DataParallel, RefusesWhatItCannotDo) {
  Status status;
  train::TrainingOptions options = two_ranks();
  options.parameters["w1"].sparse = true;
  chain(options, &status);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.to_string().find("'w1'"), std::string::npos);
  options = two_ranks();
  options.data_parallel.ranks = 0;
  chain(options, &status);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);

  const auto graph = chain(two_ranks());
  auto session = test::session_for(*graph);
  const auto result = session->run(std::vector<Tensor>{Tensor::zeros(DType::kF32, {2, kWidth}), Tensor::scalar(1.0F)});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kUnsupported);
}

TEST(DataParallel, OptionsComeFromJson) {
  auto options =
      train::options_from_json(R"({"data_parallel": {"ranks": 3, "bucket_bytes": 100, "compress": "bf16"}})");
  ASSERT_TRUE(options) << options.error().to_string();
  EXPECT_EQ(options->data_parallel.ranks, 3);
  EXPECT_EQ(options->data_parallel.bucket_bytes, 100);
  EXPECT_EQ(options->data_parallel.compress, Wire::kBF16);
  EXPECT_FALSE(train::options_from_json(R"({"data_parallel": {"compress": "int8"}})"));
}

}  // namespace
}  // namespace lowp
