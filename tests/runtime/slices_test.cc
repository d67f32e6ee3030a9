// Batches in slices: the same bits as item by item, in less memory, whatever is read outside the slices.
#include "runtime/slices.h"

#include <gtest/gtest.h>

#include "support/models.h"

namespace lowp {
namespace {

using runtime::PrecisionMode;
using test::Random;

// Convolutions whose activations outweigh their weights, then one whose weights outweigh them. The second value is
// added to later ones; `shared` is an output, too.
std::unique_ptr<ir::Graph> image_net(bool shared) {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  ir::Value* x = m.graph->add_input(
      "x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("B"), ir::Dim(3), ir::Dim(64), ir::Dim(64)}));
  auto conv = [&](ir::Value* v, int64_t in, int64_t out, int64_t size, int64_t stride, int64_t group = 1) {
    return m.conv(v, in, out, size, stride, group, "conv");
  };
  ir::Value* a = b.op("Relu", {conv(x, 3, 16, 3, 1)});
  ir::Value* y = b.op("Relu", {b.op("Add", {conv(a, 16, 16, 3, 1), a})});
  y = b.op("Relu", {conv(y, 16, 16, 5, 1, 16)});
  y = b.op("Relu", {b.op("Add", {conv(y, 16, 16, 1, 1), a})});
  y = b.op("MaxPool", {y}, {{"kernel_shape", std::vector<int64_t>{8, 8}}, {"strides", std::vector<int64_t>{8, 8}}});
  y = conv(y, 16, 512, 3, 2);
  m.graph->outputs().push_back({"y", b.op("Flatten", {b.op("GlobalAveragePool", {y})})});
  if (shared) m.graph->outputs().push_back({"a", a});
  return std::move(m.graph);
}

Tensor item(const Tensor& batch, int64_t i) {
  Extents e = batch.extents();
  const size_t bytes = batch.bytes() / static_cast<size_t>(e[0]);
  e[0] = 1;
  Tensor t = Tensor::zeros(batch.dtype(), e);
  std::memcpy(t.mutable_raw(), static_cast<const std::byte*>(batch.raw()) + static_cast<size_t>(i) * bytes, bytes);
  return t;
}

TEST(Slices, SameBitsAsItemByItem) {
  Random random;
  SCOPED_TRACE("LOWP_SEED=" + std::to_string(Random::seed()));
  for (const bool shared : {false, true}) {
    const auto graph = image_net(shared);
    for (const PrecisionMode mode : {PrecisionMode::kFp32, PrecisionMode::kFp16, PrecisionMode::kInt8}) {
      for (const char* target : {"vnni", "avx2"}) {
        test::Samples samples({{test::random_floats(random, {2, 3, 64, 64})}});
        const auto engine = test::compile_ok(*graph, test::options_for(mode, target), &samples);
        for (const int64_t batch : {12, 7}) {
          const Tensor x = test::random_floats(random, {batch, 3, 64, 64});
          std::vector<std::vector<Tensor>> want;
          const auto alone = test::open_session(engine);
          for (int64_t i = 0; i < batch; ++i) want.push_back(test::run_ok(*alone, {item(x, i)}));
          for (const int threads : {1, 2, 3}) {
            const auto session = test::open_session(engine, threads);
            for (int round = 0; round < 2; ++round) {
              const std::vector<Tensor> got = test::run_ok(*session, {x});
              for (size_t o = 0; o < got.size(); ++o) {
                for (int64_t i = 0; i < batch; ++i)
                  EXPECT_TRUE(item(got[o], i).same_bits(want[static_cast<size_t>(i)][o])) << o << ", item " << i;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Slices, OnlyWhereActivationsOutweighWeights) {
  Random random;
  const auto engine = test::compile_ok(*image_net(false), test::options_for(PrecisionMode::kFp32));
  runtime::SessionOptions options;
  options.profile = true;
  options.threads = 1;
  const auto session = std::move(*runtime::Session::create(engine, options));
  test::run_ok(*session, {test::random_floats(random, {1, 3, 64, 64})});
  for (const auto& entry : session->profile())
    EXPECT_EQ(entry.kernel.find("slices"), std::string::npos) << entry.kernel;
  const size_t of_one = session->arena_bytes();
  test::run_ok(*session, {test::random_floats(random, {32, 3, 64, 64})});
  int sliced = 0;
  for (const auto& entry : session->profile()) {
    const bool is_sliced = entry.kernel.find("slices") != std::string::npos;
    sliced += is_sliced;
    EXPECT_EQ(entry.runs, 1) << entry.node;  // a run of all slices
    if (entry.macs > 0 && !is_sliced) {
      EXPECT_EQ(entry.macs, int64_t{32} * 4 * 4 * 512 * 16 * 9) << entry.node;
    }
  }
  EXPECT_GE(sliced, 5);
  // 32 items need three values of 8 MB at once.
  EXPECT_LT(session->arena_bytes(), 4 * of_one + (size_t{12} << 20));
}

// ids i64 [B] -> rows of two tables and their product side by side, then layers whose outputs are larger than L2.
std::unique_ptr<ir::Graph> row_net() {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  ir::Value* ids = m.graph->add_input("ids", TensorType(DType::kI64, ir::Dims{ir::Dim::symbol("B")}));
  auto rows = [&] { return b.op("Gather", {m.floats({50, 64}), ids}, {}, kOnnxDomain, "table"); };
  ir::Value* x = rows();
  ir::Value* y = rows();
  ir::Value* product = b.op("Mul", {x, y});
  y = b.op("Concat", {x, y, product}, {{"axis", int64_t{-1}}});
  y = b.op("Relu", {m.linear(y, 192, 256, "first")});
  y = b.op("Relu", {m.linear(y, 256, 128, "second")});
  m.graph->outputs().push_back({"y", m.linear(y, 128, 5, "third")});
  return std::move(m.graph);
}

TEST(Slices, OfRows) {
  Random random;
  SCOPED_TRACE("LOWP_SEED=" + std::to_string(Random::seed()));
  const auto graph = row_net();
  auto ids = [&](int64_t n) { return test::random_tensor(random, DType::kI64, {n}, -50, 49); };
  for (const PrecisionMode mode : {PrecisionMode::kFp32, PrecisionMode::kBf16, PrecisionMode::kInt8}) {
    test::Samples samples({{ids(64)}});
    const auto engine = test::compile_ok(*graph, test::options_for(mode, "avx2"), &samples);
    for (const int threads : {1, 2}) {
      runtime::SessionOptions options;
      options.profile = true;
      options.threads = threads;
      const auto session = std::move(*runtime::Session::create(engine, options));
      const auto alone = test::open_session(engine);
      // A prime number of rows is no number of slices.
      for (const int64_t batch : {8192, 8191}) {
        const Tensor x = ids(batch);
        const Tensor y = test::run_ok(*session, {x})[0];
        for (const int64_t i : {int64_t{0}, int64_t{511}, int64_t{512}, int64_t{5000}, batch - 1})
          EXPECT_TRUE(item(y, i).same_bits(test::run_ok(*alone, {item(x, i)})[0])) << "row " << i << " of " << batch;
        int sliced = 0;
        for (const auto& entry : session->profile()) sliced += entry.kernel.find("slices") != std::string::npos;
        EXPECT_EQ(sliced > 3, batch == 8192) << sliced << " steps of " << session->profile().size();
      }
      Tensor x = ids(8192);
      x.mutable_data<int64_t>()[6000] = 50;
      const auto refused = session->run(std::vector{x});
      ASSERT_FALSE(refused);
      EXPECT_NE(refused.error().to_string().find("index 50 at position 6000"), std::string::npos)
          << refused.error().to_string();
    }
  }
}

// x f32 [B, 48, 64], mask f32 [B, 1, 1, 48] -> an encoder's layer; its weights are few beside its activations.
TEST(Slices, OfEncoders) {
  test::ModelBuilder m;
  GraphBuilder& b = m.b;
  const ir::Dim batch = ir::Dim::symbol("B");
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, ir::Dims{batch, ir::Dim(48), ir::Dim(64)}));
  ir::Value* mask =
      m.graph->add_input("mask", TensorType(DType::kF32, ir::Dims{batch, ir::Dim(1), ir::Dim(1), ir::Dim(48)}));
  auto project = [&] { return m.linear(x, 64, 64, "projection"); };
  ir::Value* attended =
      b.op("Attention", {project(), project(), project(), mask}, {{"heads", int64_t{2}}, {"scale", 0.2F}}, kLowpDomain);
  ir::Value* y = b.op("LayerNormalization", {b.op("Add", {attended, x}), m.floats({64}), m.floats({64})});
  m.graph->outputs().push_back({"y", b.op("Relu", {m.linear(y, 64, 256, "up")})});
  const auto engine = test::compile_ok(*m.graph, test::options_for(PrecisionMode::kFp32));
  Random random;
  const int64_t count = 96;
  const Tensor xs = test::random_floats(random, {count, 48, 64}),
               masks = test::random_floats(random, {count, 1, 1, 48});
  runtime::SessionOptions options;
  options.profile = true;
  options.threads = 2;
  const auto session = std::move(*runtime::Session::create(engine, options));
  const std::vector<Tensor> got = test::run_ok(*session, {xs, masks});
  for (const auto& entry : session->profile())
    EXPECT_NE(entry.kernel.find("slices"), std::string::npos) << entry.node << " " << entry.kernel;
  const auto alone = test::open_session(engine);
  for (int64_t i = 0; i < count; ++i)
    EXPECT_TRUE(item(got[0], i).same_bits(test::run_ok(*alone, {item(xs, i), item(masks, i)})[0])) << i;
}

TEST(Slices, EndWithTheRunThatIsCancelled) {
  Random random;
  const auto engine = test::compile_ok(*image_net(false), test::options_for(PrecisionMode::kFp32));
  const auto graph = engine->graph().clone();
  auto plan = runtime::Plan::bind(*graph, std::vector{TensorType(DType::kF32, Extents{12, 3, 64, 64})}, 2).value();
  AlignedBuffer arena = AlignedBuffer::allocate(plan->arena_bytes()).value();
  plan->attach(arena.data(), {});
  const Tensor x = test::random_floats(random, {12, 3, 64, 64});
  Tensor out = Tensor::zeros(DType::kF32, plan->output_types()[0].extents());
  const void* inputs[] = {x.raw()};
  void* outputs[] = {out.mutable_raw()};
  std::atomic<bool> stop{true};
  EXPECT_EQ(plan->run(inputs, outputs, &stop, nullptr).code(), Code::kCancelled);
  stop = false;
  EXPECT_TRUE(plan->run(inputs, outputs, &stop, nullptr).is_ok());
}

}  // namespace
}  // namespace lowp
