#include "format/engine_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "base/aligned_buffer.h"
#include "base/checksum.h"
#include "format/header.h"
#include "ops/op_def.h"
#include "temporary_folder.h"

namespace lowp::format {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Tensor;

// x[N,3] -> Add(w) -> Clip(absent, 6) -> y, with a state that counts.
Graph example() {
  Graph graph;
  graph.name = "example";
  graph.metadata["origin"] = "test";
  auto* x = graph.add_input("x", TensorType(DType::kF32, ir::Dims{Dim::symbol("N"), Dim(3)}));
  auto* w = graph.add_constant("w", Tensor::from<float>({3}, {1, 2, 3}));
  auto* six = graph.add_constant("six", Tensor::scalar(6.0f));
  auto* again = graph.add_constant("again", w->constant);  // shares its bytes
  GraphBuilder builder(graph);
  auto* sum = builder.op("Add", {x, w});
  auto* y = builder.op("Clip", {sum, nullptr, six});
  auto* z = builder.op("Mul", {y, again});
  auto* state = graph.add_state("count", Tensor::from<float>({3}, {0, 0, 0}));
  auto* next = builder.op("Add", {state, w});
  graph.states()[0].update = next;
  auto* softmax = builder.op("Softmax", {z}, {{"axis", int64_t{1}}});
  softmax->producer->precision = {DType::kI8, DType::kF32, "no INT8 kernel"};
  ir::Tuning measured{"Some CPU", "avx2", 2, "gemm 1x2x3", "tile=4", "formula", 1.5, 2.25};
  softmax->producer->tuning = {measured, measured};
  softmax->producer->tuning[1].threads = 1;
  graph.outputs().push_back({"y", softmax});
  return graph;
}

void expect_same(const Graph& a, const Graph& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.metadata, b.metadata);
  ASSERT_EQ(a.nodes().size(), b.nodes().size());
  auto j = b.nodes().begin();
  for (const auto& n : a.nodes()) {
    const ir::Node& m = **j++;
    EXPECT_EQ(n->op, m.op);
    EXPECT_EQ(n->name, m.name);
    EXPECT_TRUE(n->attrs == m.attrs);
    EXPECT_EQ(n->precision, m.precision);
    EXPECT_EQ(n->tuning, m.tuning);
    ASSERT_EQ(n->inputs.size(), m.inputs.size());
    for (size_t i = 0; i < n->inputs.size(); ++i) {
      ASSERT_EQ(n->inputs[i] == nullptr, m.inputs[i] == nullptr);
      if (n->inputs[i] == nullptr) continue;
      EXPECT_EQ(n->inputs[i]->name, m.inputs[i]->name);
      EXPECT_EQ(n->inputs[i]->type, m.inputs[i]->type);
      EXPECT_EQ(n->inputs[i]->constant, m.inputs[i]->constant);
    }
    for (size_t i = 0; i < n->outputs.size(); ++i) {
      EXPECT_EQ(n->outputs[i]->name, m.outputs[i]->name);
      EXPECT_EQ(n->outputs[i]->type, m.outputs[i]->type);
    }
  }
  ASSERT_EQ(a.states().size(), b.states().size());
  for (size_t i = 0; i < a.states().size(); ++i) {
    EXPECT_EQ(a.states()[i].name, b.states()[i].name);
    EXPECT_EQ(a.states()[i].initial, b.states()[i].initial);
    EXPECT_EQ(a.states()[i].update->name, b.states()[i].update->name);
  }
  ASSERT_EQ(a.outputs().size(), b.outputs().size());
  EXPECT_EQ(a.outputs()[0].name, b.outputs()[0].name);
}

class EngineFileTest : public testing::Test {
 protected:
  void SetUp() override {
    Status status = save_engine(example(), info_, path());
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    good_ = folder_.read("m.lowp");
  }
  std::string path() const { return folder_ / "m.lowp"; }
  Status open_changed(const std::string& bytes) {
    auto buffer = std::make_shared<AlignedBuffer>(*AlignedBuffer::allocate(bytes.size() + 1));
    std::memcpy(buffer->data(), bytes.data(), bytes.size());
    auto engine = open_engine_bytes({buffer->data(), bytes.size()}, buffer);
    return engine ? Status::ok() : engine.error();
  }
  // With the header's checksum made right again.
  Status open_forged(std::string bytes) {
    uint64_t sum = checksum(bytes.data(), offsetof(Header, header_checksum));
    std::memcpy(bytes.data() + offsetof(Header, header_checksum), &sum, sizeof(sum));
    return open_changed(bytes);
  }

  TemporaryFolder folder_;
  EngineInfo info_{{{"golden", "\"abc\""}, {"request", "{\"precision\":\"int8\"}"}}};
  std::string good_;
};

TEST_F(EngineFileTest, RoundTrip) {
  auto engine = open_engine(path());
  ASSERT_TRUE(engine) << engine.error().to_string();
  EXPECT_EQ(engine->info, info_);
  expect_same(example(), engine->graph);
  Status verified = ir::verify(engine->graph);
  EXPECT_TRUE(verified.is_ok()) << verified.to_string();
  // Saved again, it is the same file.
  ASSERT_TRUE(save_engine(engine->graph, engine->info, folder_ / "again.lowp").is_ok());
  EXPECT_TRUE(folder_.read("again.lowp") == good_);
}

TEST_F(EngineFileTest, ImpossibleTimes) {
  for (const double us : {-1.0, std::nan(""), HUGE_VAL}) {
    for (double ir::Tuning::*time : {&ir::Tuning::kernel_us, &ir::Tuning::runner_up_us}) {
      Graph graph = example();
      graph.nodes().back()->tuning = {ir::Tuning{}};
      graph.nodes().back()->tuning[0].*time = us;
      ASSERT_TRUE(save_engine(graph, info_, path()).is_ok());
      EXPECT_EQ(open_changed(folder_.read("m.lowp")).code(), Code::kCorrupt);
    }
  }
}

TEST_F(EngineFileTest, ConstantsShareTheMapping) {
  ir::Graph graph;
  {
    auto engine = open_engine(path());
    ASSERT_TRUE(engine);
    graph = std::move(engine->graph);
  }
  const Tensor& w = graph.find_value("w")->constant;
  const Tensor& again = graph.find_value("again")->constant;
  EXPECT_EQ(w.raw(), again.raw());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(w.raw()) % 64, 0u);
  EXPECT_EQ(w.values<float>()[2], 3.0f);  // the mapping lives on
}

TEST_F(EngineFileTest, TruncatedAnywhere) {
  for (size_t size = 0; size < good_.size(); size += size < 200 ? 1 : 64) {
    Status status = open_changed(good_.substr(0, size));
    ASSERT_EQ(status.code(), Code::kCorrupt) << size << ": " << status.to_string();
  }
  EXPECT_EQ(open_changed(good_ + "x").code(), Code::kCorrupt);
}

TEST_F(EngineFileTest, EveryFlippedBitIsFound) {
  for (size_t i = 0; i < good_.size(); ++i) {
    std::string bytes = good_;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    Status status = open_changed(bytes);
    ASSERT_EQ(status.code(), Code::kCorrupt) << "byte " << i << ": " << status.to_string();
  }
}

TEST_F(EngineFileTest, NewerVersion) {
  std::string bytes = good_;
  bytes[offsetof(Header, version)] = 2;
  Status status = open_forged(bytes);
  EXPECT_EQ(status.code(), Code::kVersion) << status.to_string();
  EXPECT_FALSE(status.hint().empty());
}

TEST_F(EngineFileTest, NoEngine) {
  auto text = open_engine(folder_.write("text.lowp", "not an engine"));
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message().find("text.lowp"), std::string::npos);
  EXPECT_EQ(open_changed("").code(), Code::kCorrupt);
  EXPECT_EQ(open_changed("PK\x03\x04 some zip file").code(), Code::kCorrupt);
  EXPECT_EQ(open_engine(folder_ / "missing").error().code(), Code::kNotFound);
}

// A forger can make checksums right. Random damage to the graph must then still be an error or a valid graph.
TEST_F(EngineFileTest, ForgedChecksums) {
  constexpr uint32_t kSeed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  Header header;
  std::memcpy(&header, good_.data(), sizeof(header));
  for (int round = 0; round < 3'000; ++round) {
    std::string bytes = good_;
    for (int i = 0; i < 1 + round % 3; ++i) {
      auto at = header.graph_offset + random() % header.graph_size;
      bytes[at] = static_cast<char>(random() % 2 == 0 ? random() : 0xff);
    }
    Header changed = header;
    changed.graph_checksum = checksum(bytes.data() + header.graph_offset, header.graph_size);
    std::memcpy(bytes.data(), &changed, sizeof(changed));
    (void)open_forged(bytes);
  }
}

TEST_F(EngineFileTest, OldFileSurvivesAFailedSave) {
  Status status = save_engine(example(), info_, folder_ / "missing/m.lowp");
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_EQ(folder_.read("m.lowp"), good_);
}

// 25 MB, the weights of ResNet-50 in INT8: checks included, opening must stay below 30 ms.
TEST(EngineFile, OpensQuickly) {
  TemporaryFolder folder;
  Graph graph;
  auto* x = graph.add_input("x", TensorType(DType::kF32, Extents{1}));
  GraphBuilder builder(graph);
  ir::Value* sum = x;
  for (int i = 0; i < 53; ++i) {
    auto* w = graph.add_constant("w" + std::to_string(i), Tensor::zeros(DType::kF32, {120'000}));
    sum = builder.op("Add", {sum, w});
  }
  graph.outputs().push_back({"y", sum});
  ASSERT_TRUE(save_engine(graph, {}, folder / "m.lowp").is_ok());
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(open_engine(folder / "m.lowp"));
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  RecordProperty("open_ms", std::to_string(best));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(best, 30.0);
#endif
}

}  // namespace
}  // namespace lowp::format
