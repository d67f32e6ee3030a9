// Sessions: errors that say what to do, cached plans, cancellation, many threads, profiles, shapes that depend on data.
#include "runtime/session.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <set>
#include <thread>

#include "support/models.h"

// Sanitizers bring an allocator of their own, which cannot be replaced half-way.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOWP_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LOWP_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef LOWP_COUNTS_ALLOCATIONS
#define LOWP_COUNTS_ALLOCATIONS 1
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};
}  // namespace

#if LOWP_COUNTS_ALLOCATIONS
namespace {
void* counted(size_t bytes) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}
}  // namespace
// Counts what the test binary allocates while it is asked to.
void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
#endif

namespace lowp {
namespace {

using runtime::PrecisionMode;
using test::Random;

void expect_error(const Result<std::vector<Tensor>>& result, Code code, std::initializer_list<const char*> words) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), code);
  const std::string text = result.error().to_string();
  for (const char* w : words) EXPECT_NE(text.find(w), std::string::npos) << "'" << w << "' is not in: " << text;
}

TEST(Session, WrongInputsAreNamed) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("image", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 3}));
  ir::Value* y = graph.add_input("mask", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 1}));
  graph.outputs().push_back({"y", b.op("Add", {x, y})});
  auto s = test::session_for(graph);
  auto f32 = [](Extents e) { return Tensor::zeros(DType::kF32, e); };
  auto run = [&](std::vector<Tensor> in) { return s->run(in); };
  EXPECT_TRUE(run({f32({2, 3}), f32({2, 1})}));
  expect_error(run({f32({2, 3})}), Code::kInvalidArgument, {"1 inputs", "wants 2"});
  expect_error(run({Tensor::zeros(DType::kF64, {2, 3}), f32({2, 1})}), Code::kTypeMismatch, {"image", "f64", "f32"});
  expect_error(run({f32({2, 3, 1}), f32({2, 1})}), Code::kShapeMismatch, {"image", "[2,3,1]", "[N,3]"});
  expect_error(run({f32({2, 4}), f32({2, 1})}), Code::kShapeMismatch, {"image", "[2,4]", "[N,3]"});
  expect_error(run({f32({2, 3}), f32({5, 1})}), Code::kShapeMismatch, {"mask", "'N' is 5", "2 in input 'image'"});
  EXPECT_TRUE(run({f32({0, 3}), f32({0, 1})}));  // an empty batch is a batch
}

TEST(Session, IndexOutOfRangeIsAnError) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* ids = graph.add_input("ids", TensorType(DType::kI64, Extents{2}));
  Random random;
  graph.outputs().push_back(
      {"y", b.op("Gather", {b.constant(test::random_floats(random, {5, 3})), ids}, {}, kOnnxDomain, "words")});
  auto s = test::session_for(graph);
  auto run = [&](int64_t i) {
    const std::vector<Tensor> in = {Tensor::from<int64_t>({2}, {0, i})};
    return s->run(in);
  };
  EXPECT_TRUE(run(-5));
  expect_error(run(5), Code::kInvalidArgument, {"words", "5"});
  expect_error(run(-6), Code::kInvalidArgument, {"words", "-6"});
  EXPECT_TRUE(run(4));  // the session lives on
}

TEST(Session, PlansAreReusedByShape) {
  auto engine = test::compile_ok(*test::transformer(), test::options_for(PrecisionMode::kFp32));
  auto s = test::open_session(engine);
  Random random;
  for (const int64_t length : {5, 9, 5, 9, 17, 5}) test::run_ok(*s, test::transformer_inputs(random, 1, length));
  EXPECT_EQ(s->cached_plans(), 3U);
  runtime::SessionOptions options;
  options.threads = 1;
  options.bind_cache_bytes = 0;
  auto small = runtime::Session::create(engine, options).value();
  for (const int64_t length : {5, 9, 5}) test::run_ok(*small, test::transformer_inputs(random, 1, length));
  EXPECT_EQ(small->cached_plans(), 1U);
}

TEST(Session, SessionsThatTakeTurnsShareAnArena) {
  auto engine = test::compile_ok(*test::transformer(), test::options_for(PrecisionMode::kFp32));
  runtime::SessionOptions options;
  options.threads = 1;
  auto own = runtime::Session::create(engine, options).value();
  options.arena = std::make_shared<AlignedBuffer>();
  auto first = runtime::Session::create(engine, options).value();
  auto second = runtime::Session::create(engine, options).value();
  Random random;
  const auto brief = test::transformer_inputs(random, 1, 5), extended = test::transformer_inputs(random, 2, 17);
  // The second makes the arena grow, so the first finds it at another place.
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(test::run_ok(*first, brief)[0].same_bits(test::run_ok(*own, brief)[0]));
    EXPECT_TRUE(test::run_ok(*second, extended)[0].same_bits(test::run_ok(*own, extended)[0]));
  }
  EXPECT_LT(first->arena_bytes(), second->arena_bytes());
  EXPECT_EQ(second->arena_bytes(), own->arena_bytes());
  EXPECT_LT(options.arena->size(), first->arena_bytes() + second->arena_bytes());
}

TEST(Session, RunIntoAllocatesNothing) {
  struct Case {
    const char* name;
    std::unique_ptr<ir::Graph> graph;
    std::vector<Tensor> inputs;
    test::Samples samples;
  };
  Random random;
  std::vector<Case> cases;
  cases.push_back({"conv net", test::conv_net(), test::conv_net_inputs(random, 2), test::conv_net_samples()});
  cases.push_back(
      {"transformer", test::transformer(), test::transformer_inputs(random, 2, 9), test::transformer_samples()});
  for (Case& c : cases) {
    for (const PrecisionMode mode : {PrecisionMode::kFp32, PrecisionMode::kInt8, PrecisionMode::kBf16}) {
      auto engine = test::compile_ok(*c.graph, test::options_for(mode), &c.samples);
      test::for_each_target([&](int threads) {
        SCOPED_TRACE(std::string(c.name) + " " + std::string(runtime::precision_name(mode)));
        auto s = test::open_session(engine, threads);
        std::vector<Tensor> outputs = test::run_ok(*s, c.inputs);
        ASSERT_TRUE(s->run_into(c.inputs, outputs).is_ok());
        allocations = 0;
        counting = true;
        const Status status = s->run_into(c.inputs, outputs);
        counting = false;
        EXPECT_TRUE(status.is_ok()) << status.to_string();
        EXPECT_EQ(allocations.load(), 0);  // trivially so under sanitizers, where nothing counts
      });
    }
  }
}

TEST(Session, RunIntoWantsTheRightBuffers) {
  auto s = test::open_session(test::compile_ok(*test::conv_net(), test::options_for(PrecisionMode::kFp32)));
  Random random;
  const std::vector<Tensor> in = test::conv_net_inputs(random, 2);
  std::vector<Tensor> out = {Tensor::zeros(DType::kF32, {2, 9})};
  const Status status = s->run_into(in, out);
  EXPECT_EQ(status.code(), Code::kShapeMismatch);
  EXPECT_NE(status.to_string().find("output 'y' is f32[2,10], the buffer is f32[2,9]"), std::string::npos)
      << status.to_string();
  EXPECT_FALSE(s->run_into(in, std::span<Tensor>()).is_ok());
}

TEST(Session, CancelledFromAnotherThread) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{1 << 16}));
  ir::Value* s = graph.add_state("s", Tensor::zeros(DType::kF32, {1 << 16}));
  ir::Value* y = x;
  for (int i = 0; i < 400; ++i) y = b.op("Tanh", {y});
  graph.states()[0].update = b.op("Add", {s, y});
  graph.outputs().push_back({"y", y});
  auto session = test::session_for(graph);
  Random random;
  const std::vector<Tensor> in = {test::random_floats(random, {1 << 16}, 0.5, 1)};
  ASSERT_TRUE(session->bind(std::vector<TensorType>{in[0].type()}));
  std::atomic<bool> started{false};
  std::atomic<bool> done{false};
  std::thread canceller([&] {
    while (!done) {
      session->cancel();
      started = true;
      std::this_thread::yield();
    }
  });
  while (!started) std::this_thread::yield();
  auto result = session->run(in);
  done = true;
  canceller.join();
  expect_error(result, Code::kCancelled, {"cancelled"});
  EXPECT_EQ(test::largest(ops::to_doubles(*session->state("s"))), 0);  // no half of a step
  EXPECT_TRUE(session->run(in));                                       // holds for one run
  EXPECT_GT(test::largest(ops::to_doubles(*session->state("s"))), 0);
}

TEST(Session, FourThreadsShareOneEngine) {
  Random random;
  test::Samples samples = test::conv_net_samples();
  auto engine = test::compile_ok(*test::conv_net(), test::options_for(PrecisionMode::kInt8), &samples);
  const std::vector<Tensor> in = test::conv_net_inputs(random, 1);
  const Tensor want = test::run_ok(*test::open_session(engine), in)[0];
  std::atomic<int> different{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      auto s = test::open_session(engine, 1 + t % 2);
      for (int i = 0; i < 1000; ++i) {
        auto out = s->run(in);
        if (!out || !(*out)[0].same_bits(want)) ++different;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(different, 0);
}

TEST(Session, ProfileSeesEveryNode) {
  auto engine = test::compile_ok(*test::conv_net(), test::options_for(PrecisionMode::kFp32));
  runtime::SessionOptions options;
  options.threads = 1;
  options.profile = true;
  auto s = runtime::Session::create(engine, options).value();
  Random random;
  for (int i = 0; i < 3; ++i) test::run_ok(*s, test::conv_net_inputs(random, 2));
  std::set<std::string> names;
  int64_t macs = 0;
  for (const runtime::ProfileEntry& e : s->profile()) {
    names.insert(e.node);
    EXPECT_EQ(e.runs, 3);
    EXPECT_GT(e.bytes, 0U);
    EXPECT_FALSE(e.kernel.empty());
    EXPECT_EQ(e.kernel.find("reference"), std::string::npos) << e.node << " runs as " << e.kernel;
    macs += e.macs;
  }
  for (const char* n : {"stem", "depthwise", "pointwise", "square", "grouped", "head"})
    EXPECT_TRUE(names.contains(n)) << n;
  EXPECT_EQ(macs, 2 * (64 * 24 * 27 + 64 * 24 * 9 + 64 * 24 * 24 + 64 * 24 * 24 * 9 + 16 * 40 * 12 * 9 + 400));
  EXPECT_TRUE(test::open_session(engine)->profile().empty());
}

// The shape of an output is the content of an input: the graph runs node by node.
TEST(Session, ShapesThatDependOnData) {
  test::ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{1, 3, 6, 6}));
  ir::Value* shape = m.graph->add_input("shape", TensorType(DType::kI64, Extents{2}));
  ir::Value* limit = m.graph->add_input("limit", TensorType(DType::kI64, Extents{}));
  ir::Value* c = m.conv(x, 3, 6, 3, 1, 1, "conv");
  c = m.b.op("Mean", {c, m.floats({6, 1, 1})});
  ir::Value* range =
      m.b.op("Range", {m.b.constant(Tensor::scalar<int64_t>(0)), limit, m.b.constant(Tensor::scalar<int64_t>(2))});
  ir::Value* w = m.floats({2});
  m.graph->outputs() = {{"conv", c},
                        {"zeros", m.b.op("ConstantOfShape", {shape})},
                        {"range", m.b.op("Mul", {range, range})},
                        {"view", m.b.op("Reshape", {x, m.b.ints({-1})})},
                        {"constant", w}};
  auto s = test::session_for(*m.graph);
  for (const int64_t n : {4, 0, 7}) {
    const std::vector<Tensor> in = {test::random_floats(m.random, {1, 3, 6, 6}), Tensor::from<int64_t>({2}, {n, 3}),
                                    Tensor::scalar<int64_t>(n)};
    const std::vector<Tensor> want = test::evaluate_ok(*m.graph, in);
    const std::vector<Tensor> have = test::run_ok(*s, in);
    ASSERT_EQ(have.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_LE(test::max_difference(have[i], want[i]), 1e-5) << i;
    // The caller owns what it got.
    EXPECT_NE(have[3].raw(), in[0].raw());
    EXPECT_NE(have[4].raw(), s->engine().graph().outputs()[4].value->constant.raw());
  }
  EXPECT_EQ(s->bind(std::vector<TensorType>{
                        {DType::kF32, Extents{1, 3, 6, 6}}, {DType::kI64, Extents{2}}, {DType::kI64, Extents{}}})
                .error()
                .code(),
            Code::kUnsupported);
}

}  // namespace
}  // namespace lowp
