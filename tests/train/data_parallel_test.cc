// Steps with the mean of two ranks' gradients, this process being one of them.
#include "train/data_parallel.h"

#include <gtest/gtest.h>

#include "base/exchange_queue.h"
#include "base/float16.h"
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

// loss = sum of (rows of the table that `indices` names)^2 / 2, whose gradient of a row is the row itself, as often as
// it is named.
std::unique_ptr<ir::Graph> lookups(const Tensor& table, int64_t count, const train::TrainingOptions& options) {
  auto graph = std::make_unique<ir::Graph>();
  GraphBuilder b(*graph);
  ir::Value* indices = graph->add_input("indices", TensorType(DType::kI64, Extents{count}));
  ir::Value* y = b.op("Gather", {graph->add_state("table", table), indices});
  ir::Value* sum = b.op("ReduceSum", {b.op("Mul", {y, y})}, {{"keepdims", int64_t{0}}});
  graph->outputs() = {{"loss", b.op("Mul", {sum, b.constant(Tensor::scalar(0.5F))})}};
  auto trained = train::add_training(*graph, "loss", options);
  EXPECT_TRUE(trained) << trained.error().to_string();
  const Status lowered = train::lower(*graph);
  EXPECT_TRUE(lowered.is_ok()) << lowered.to_string();
  return graph;
}

// Another rank's rows and values as ops/gather_rows.cc sends them.
template <typename T>
std::vector<std::byte> slot_of(const std::vector<int64_t>& rows, const std::vector<T>& values) {
  const uint64_t used = 8 + rows.size() * sizeof(int64_t) + values.size() * sizeof(T);
  std::vector<std::byte> slot(used);
  std::memcpy(slot.data(), &used, 8);
  std::memcpy(slot.data() + 8, rows.data(), rows.size() * sizeof(int64_t));
  std::memcpy(slot.data() + 8 + rows.size() * sizeof(int64_t), values.data(), values.size() * sizeof(T));
  return slot;
}

Status step_beside(const Tensor& table, const std::vector<std::byte>& sent, std::vector<double>* result = nullptr,
                   Wire wire = Wire::kF32) {
  test::FakeNetwork network(2);
  set_process_exchanges(std::make_shared<ExchangeQueue>(network.communicator(0)));
  train::TrainingOptions options = two_ranks();
  options.parameters["table"].sparse = true;
  options.data_parallel.compress = wire;
  const auto graph = lookups(table, 3, options);
  auto session = test::session_for(*graph);
  std::thread other([&] {
    const auto c = network.communicator(1);
    constexpr size_t kSlot = 1 << 16;
    std::vector<std::byte> slots(2 * kSlot);
    std::copy(sent.begin(), sent.end(), slots.begin() + kSlot);
    EXPECT_TRUE(all_gather(*c, slots, kSlot).is_ok());
  });
  const auto ran = session->run(std::vector<Tensor>{Tensor::from<int64_t>({3}, {1, 3, 1}), Tensor::scalar(0.5F)});
  other.join();
  if (result != nullptr) *result = ops::to_doubles(*session->state("table"));
  set_process_exchanges(nullptr);
  return ran ? Status() : ran.error();
}

TEST(DataParallel, SparseGradientsAreMeansOfRowsThatAnyRankHas) {
  const Tensor table = Tensor::from<float>({5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  std::vector<double> after;
  const Status status = step_beside(table, slot_of({0, 3}, std::vector<float>{8, 16, 32, 64}), &after);
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  // Gradients here: twice row 1, once row 3; of the other rank as given. w -= 0.5 * (here + there) / 2.
  EXPECT_EQ(after, (std::vector<double>{1 - 2, 2 - 4, 3 - 1.5, 4 - 2, 5, 6, 7 - 9.75, 8 - 18, 9, 10}));
}

TEST(DataParallel, SparseGradientsTravelInBf16) {
  // 1 + 2^-9 is rounded to 1, here and there.
  const float near = 1 + 0x1p-9F;
  const Tensor table = Tensor::from<float>({5, 2}, {0, 0, 0, 0, 0, 0, near, 2, 0, 0});
  std::vector<double> after;
  const Status status =
      step_beside(table, slot_of({4}, std::vector<BFloat16>{BFloat16(near), BFloat16(8.0F)}), &after, Wire::kBF16);
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(after, (std::vector<double>{0, 0, 0, 0, 0, 0, near - 0.25, 1.5, -0.25, -2}));
}

TEST(DataParallel, SlotsThatNobodyCanFillAreRefused) {
  for (const auto& [slots, table] : {std::pair<Extents, Extents>{{0}, {5, 3}},
                                     {{4}, {5, 3}},
                                     {{28}, {5, 3}},
                                     {{32}, {0, (int64_t{1} << 62) - 2}},
                                     {{32}, {(int64_t{1} << 40), 1}}}) {
    ir::Graph graph;
    GraphBuilder b(graph);
    std::vector<ir::Value*> inputs = {graph.add_input("slots", TensorType(DType::kU8, slots)),
                                      graph.add_input("ticket", TensorType(DType::kI64, Extents{})),
                                      graph.add_input("table", TensorType(DType::kF32, table))};
    EXPECT_FALSE(b.try_op(3, "GatherRowsWait", inputs, {}, kLowpDomain, "wait"))
        << ir::extents_to_string(slots) << ir::extents_to_string(table);
  }
}

TEST(DataParallel, RowsOfOtherRanksAreChecked) {
  const Tensor table = Tensor::from<float>({5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{3, 3}, {3, 1}, {-1, 2}, {1, 5}}) {
    const Status status = step_beside(table, slot_of(rows, std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.to_string().find("from rank 1"), std::string::npos) << status.to_string();
  }
  const Status status = step_beside(table, slot_of({1, 2}, std::vector<float>{1, 2, 3}));
  EXPECT_NE(status.to_string().find("rank 1 sent 36 bytes, which are no rows"), std::string::npos)
      << status.to_string();
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
