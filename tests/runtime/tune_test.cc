// Selection by measurement: what is recorded, where it is used and where not, the cache. No test looks at times.
#include "runtime/tune.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/checksum.h"
#include "runtime/plan.h"
#include "runtime/tune_cache.h"
#include "support/models.h"
#include "temporary_folder.h"

namespace lowp {
namespace {

using kernels::KernelChoice;
using runtime::PrecisionMode;
using test::Random;

runtime::CompileOptions tuned(int threads = 1) {
  runtime::CompileOptions o = test::options_for(PrecisionMode::kFp32);
  o.measure = true;
  o.cache = false;
  o.threads = threads;
  return o;
}

runtime::Compiled compile_tuned(const ir::Graph& graph, const runtime::CompileOptions& options,
                                runtime::SampleSource* samples = nullptr) {
  auto compiled = runtime::compile(graph, options, samples);
  EXPECT_TRUE(compiled) << (compiled ? "" : compiled.error().to_string());
  return compiled ? std::move(*compiled) : runtime::Compiled{};
}

std::map<std::string, std::string> kernels_of(const std::shared_ptr<const runtime::Engine>& engine,
                                              const std::vector<Tensor>& inputs, int threads = 1) {
  runtime::SessionOptions options;
  options.threads = threads;
  options.profile = true;
  auto session = runtime::Session::create(engine, options).value();
  test::run_ok(*session, inputs);
  std::map<std::string, std::string> kernels;
  for (const runtime::ProfileEntry& e : session->profile()) kernels[e.node] = e.kernel;
  return kernels;
}

// Sets an environment variable for one test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(Tune, RecordsChoiceAndRunnerUp) {
  Random random;
  const std::vector<Tensor> in = test::conv_net_inputs(random, 2);
  test::Samples samples = test::conv_net_samples();
  for (const PrecisionMode mode : {PrecisionMode::kFp32, PrecisionMode::kBf16, PrecisionMode::kInt8}) {
    SCOPED_TRACE(std::string(runtime::precision_name(mode)));
    runtime::CompileOptions options = tuned();
    options.precision = mode;
    const runtime::Compiled compiled = compile_tuned(*test::conv_net(), options, &samples);
    ASSERT_NE(compiled.engine, nullptr);
    EXPECT_EQ(compiled.report.tuning.skipped, "");
    EXPECT_EQ(compiled.report.tuning.threads, 1);
    EXPECT_EQ(compiled.report.tuning.cached, 0);
    EXPECT_EQ(compiled.report.tuning.inputs.at("x"),
              mode == PrecisionMode::kInt8 ? "f32[2,3,16,16]" : "f32[1,3,16,16]");
    std::set<std::string> shapes;
    std::map<std::string, ir::Tuning> by_node;
    for (const auto& n : compiled.engine->graph().nodes()) {
      for (const ir::Tuning& t : n->tuning) {
        EXPECT_EQ(t.cpu, cpu_name());
        EXPECT_EQ(t.target, target_name(active_target()));
        EXPECT_EQ(t.threads, 1);
        EXPECT_FALSE(t.kernel.empty());
        EXPECT_FALSE(t.runner_up.empty());
        EXPECT_NE(t.kernel, t.runner_up);
        shapes.insert(t.shape);
        by_node[n->name] = t;
      }
    }
    for (const char* name : {"stem", "pointwise", "grouped"}) EXPECT_TRUE(by_node.contains(name)) << name;
    EXPECT_EQ(compiled.report.tuning.measured, static_cast<int64_t>(shapes.size()));
    for (const runtime::LayerReport& l : compiled.report.layers) {
      if (by_node.contains(l.node)) {
        EXPECT_EQ(l.kernel, by_node[l.node].kernel);
      }
    }
    EXPECT_NE(compiled.report.to_json().find("\"runner_up_us\""), std::string::npos);

    options.tune = false;
    const runtime::Compiled plain = compile_tuned(*test::conv_net(), options, &samples);
    EXPECT_EQ(plain.report.to_json().find("\"kernel\""), std::string::npos);
    if (mode == PrecisionMode::kInt8) continue;  // which layers are INT8 was measured too, and may differ
    const Tensor want = test::run_ok(*test::open_session(plain.engine), in)[0];
    EXPECT_TRUE(test::run_ok(*test::open_session(compiled.engine), in)[0].same_bits(want));
  }
}

// Hands each layer its candidate of one number, or the last it has.
class Fixed final : public KernelChooser {
 public:
  explicit Fixed(size_t number) : number_(number) {}
  KernelChoice choose(const ir::Node&, const std::string&, int, std::span<const KernelChoice> candidates) override {
    most = std::max(most, candidates.size());
    return candidates[std::min(number_, candidates.size() - 1)];
  }
  size_t most = 0;

 private:
  size_t number_;
};

TEST(Tune, EveryCandidateGivesTheSameBits) {
  Random random;
  test::Samples samples = test::conv_net_samples();
  for (const PrecisionMode mode : {PrecisionMode::kFp32, PrecisionMode::kFp16, PrecisionMode::kInt8}) {
    auto engine = test::compile_ok(*test::conv_net(), test::options_for(mode), &samples);
    const std::vector<Tensor> in = test::conv_net_inputs(random, 2);
    const Tensor want = test::run_ok(*test::open_session(engine), in)[0];
    const std::vector<TensorType> types = {in[0].type()};
    test::for_each_target([&](int threads) {
      size_t most = 1;
      for (size_t number = 0; number < most; ++number) {
        Fixed chooser(number);
        auto plan = runtime::Plan::bind(engine->graph(), types, threads, nullptr, &chooser).value();
        most = std::max(most, chooser.most);
        AlignedBuffer arena = AlignedBuffer::allocate(plan->arena_bytes()).value();
        plan->attach(arena.data(), {});
        Tensor out = Tensor::zeros(want.dtype(), want.extents());
        const void* inputs[] = {in[0].raw()};
        void* outputs[] = {out.mutable_raw()};
        ASSERT_TRUE(plan->run(inputs, outputs, nullptr, nullptr).is_ok());
        EXPECT_TRUE(out.same_bits(want)) << "candidate " << number;
      }
      EXPECT_GE(most, 3U);
    });
  }
}

// An engine whose layer "pointwise" records a choice that is not the formula's, changed by `change`.
std::shared_ptr<const runtime::Engine> engine_with(const runtime::Engine& engine, std::string& text,
                                                   const std::function<void(ir::Tuning&)>& change) {
  std::unique_ptr<ir::Graph> copy = engine.graph().clone();
  for (const auto& n : copy->nodes()) {
    if (n->name != "pointwise") {
      n->tuning.clear();
      continue;
    }
    ir::Tuning& t = n->tuning.at(0);
    if (t.kernel == "formula") std::swap(t.kernel, t.runner_up);
    text = t.kernel;
    change(t);
  }
  return std::make_shared<runtime::Engine>(std::move(copy));
}

TEST(Tune, ARecordedChoiceRunsOnlyWhereItWasMeasured) {
  Random random;
  const std::vector<Tensor> in = test::conv_net_inputs(random, 1);
  const runtime::Compiled compiled = compile_tuned(*test::conv_net(), tuned());
  ASSERT_NE(compiled.engine, nullptr);
  const Tensor want = test::run_ok(*test::open_session(compiled.engine), in)[0];
  std::string text;
  auto kernel = [&](const std::function<void(ir::Tuning&)>& change, const std::vector<Tensor>& inputs, int threads) {
    auto engine = engine_with(*compiled.engine, text, change);
    if (inputs[0].extent(0) == 1) {
      EXPECT_TRUE(test::run_ok(*test::open_session(engine, threads), inputs)[0].same_bits(want));
    }
    return kernels_of(engine, inputs, threads)["pointwise"];
  };
  auto same = [](ir::Tuning&) {};
  const std::string plain = fmt::format("conv.f32 {}", target_name(active_target()));
  const std::string tuned_kernel = kernel(same, in, 1);
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(tuned_kernel, plain + " " + text);
  EXPECT_EQ(kernel(same, in, 2), plain);
  EXPECT_EQ(kernel(same, test::conv_net_inputs(random, 3), 1), plain);
  EXPECT_EQ(kernel([](ir::Tuning& t) { t.cpu += " II"; }, in, 1), plain);
  EXPECT_EQ(kernel([](ir::Tuning& t) { t.target = "nonesuch"; }, in, 1), plain);
  for (const char* wrong : {"", "formula", "tile=200", "tile=1 chunk=-5 threads=0x9", "gather gather", "loop"}) {
    EXPECT_EQ(kernel([&](ir::Tuning& t) { t.kernel = wrong; }, in, 1), plain) << wrong;
  }
  const Target before = active_target();
  set_active_target(Target::k_scalar);
  const std::string elsewhere = kernel(same, in, 1);
  set_active_target(before);
  EXPECT_EQ(elsewhere, before == Target::k_scalar ? plain + " " + text : "conv.f32 scalar");
}

TEST(Tune, TheSecondCompilationMeasuresNothing) {
  const TemporaryFolder folder;
  const Environment environment("LOWP_CACHE", folder / "new" + "/folder");
  runtime::CompileOptions options = tuned();
  options.cache = true;
  const runtime::Compiled first = compile_tuned(*test::conv_net(), options);
  EXPECT_GT(first.report.tuning.measured, 0);
  const runtime::Compiled second = compile_tuned(*test::conv_net(), options);
  EXPECT_EQ(second.report.tuning.measured, 0);
  EXPECT_EQ(second.report.tuning.cached, first.report.tuning.measured);
  auto b = second.engine->graph().nodes().begin();
  for (const auto& n : first.engine->graph().nodes()) EXPECT_EQ(n->tuning, (*b++)->tuning) << n->name;
  options.threads = 2;  // other choices
  EXPECT_EQ(compile_tuned(*test::conv_net(), options).report.tuning.cached, 0);
  options.cache = false;
  EXPECT_EQ(compile_tuned(*test::conv_net(), options).report.tuning.cached, 0);
}

TEST(Tune, Cancelled) {
  const TemporaryFolder folder;
  const Environment environment("LOWP_CACHE", folder.path());
  for (const char* stage : {"try kernels", "compare kernels"}) {
    runtime::CompileOptions options = tuned();
    options.cache = true;
    int calls = 0;
    options.progress = [&](std::string_view s, int64_t done, int64_t total) {
      EXPECT_LT(done, total);
      return s != stage || ++calls < 5;
    };
    auto compiled = runtime::compile(*test::conv_net(), options);
    ASSERT_FALSE(compiled);
    EXPECT_EQ(compiled.error().code(), Code::kCancelled);
    EXPECT_EQ(calls, 5);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

TEST(Tune, Shapes) {
  auto graph = test::transformer();
  runtime::CompileOptions options = tuned();
  EXPECT_EQ(compile_tuned(*graph, options).report.tuning.inputs.at("ids"), "i64[1,128]");
  options.shapes = {{"ids", {2, 9}}};
  const runtime::Compiled compiled = compile_tuned(*graph, options);
  EXPECT_EQ(compiled.report.tuning.inputs.at("ids"), "i64[2,9]");
  int recorded = 0;
  for (const auto& n : compiled.engine->graph().nodes()) {
    for (const ir::Tuning& t : n->tuning) recorded += t.shape.starts_with("gemm 18x");
  }
  EXPECT_GE(recorded, 6);
  auto fails = [&](Code code, const char* words) {
    auto failed = runtime::compile(*graph, options);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), code);
    EXPECT_NE(failed.error().to_string().find(words), std::string::npos) << failed.error().to_string();
  };
  options.shapes = {{"nonesuch", {2, 9}}};
  fails(Code::kInvalidArgument, "nonesuch");
  options.shapes = {{"ids", {2, 9, 4}}};
  fails(Code::kShapeMismatch, "ids");
  options.shapes = {{"ids", {2, -9}}};
  fails(Code::kInvalidArgument, "-9");
}

// Where a model cannot be run on made-up inputs it is compiled all the same, and the report says what is missing.
TEST(Tune, ModelsThatCannotBeMeasured) {
  test::ModelBuilder m;
  ir::Value* x = m.graph->add_input("x", TensorType(DType::kF32, Extents{4, 64}));
  ir::Value* limit = m.graph->add_input("limit", TensorType(DType::kI64, Extents{}));
  ir::Value* range =
      m.b.op("Range", {m.b.constant(Tensor::scalar<int64_t>(0)), limit, m.b.constant(Tensor::scalar<int64_t>(1))});
  m.graph->outputs() = {{"y", m.linear(x, 64, 80, "layer")}, {"range", range}};
  runtime::Compiled compiled = compile_tuned(*m.graph, tuned());
  EXPECT_NE(compiled.report.tuning.skipped.find("range"), std::string::npos) << compiled.report.tuning.skipped;
  EXPECT_NE(compiled.report.to_json().find("\"skipped\""), std::string::npos);
  ASSERT_NE(compiled.engine, nullptr);

  test::ModelBuilder u;
  TensorType unranked;
  unranked.dtype = DType::kF32;
  ir::Value* any = u.graph->add_input("any", unranked);
  u.graph->outputs() = {{"y", u.b.op("Relu", {any})}};
  EXPECT_NE(compile_tuned(*u.graph, tuned()).report.tuning.skipped.find("any"), std::string::npos);
}

ir::Tuning entry(const std::string& shape, int threads = 1) {
  ir::Tuning t;
  t.threads = threads;
  t.shape = shape;
  t.kernel = "tile=2";
  t.kernel_us = 1.25;
  t.runner_up = "formula";
  t.runner_up_us = 2;
  return t;
}

TEST(TuneCache, KeepsEntries) {
  const TemporaryFolder folder;
  runtime::TuneCache cache(folder.path());
  runtime::TuneCache other(folder.path());
  cache.put(entry("a"));
  cache.put(entry("a", 2));
  EXPECT_EQ(cache.find(1, "a")->kernel, "tile=2");
  EXPECT_EQ(cache.find(3, "a"), nullptr);
  cache.save();
  other.put(entry("b"));
  other.save();  // keeps what the first wrote
  runtime::TuneCache again(folder.path());
  for (auto [threads, shape] : {std::pair(1, "a"), {2, "a"}, {1, "b"}}) {
    const ir::Tuning* t = again.find(threads, shape);
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(t->kernel_us, 1.25);
    EXPECT_EQ(t->runner_up, "formula");
    EXPECT_EQ(t->runner_up_us, 2);
    EXPECT_EQ(t->cpu, cpu_name());
  }
  runtime::TuneCache memory("");
  memory.put(entry("a"));
  memory.save();
  EXPECT_NE(memory.find(1, "a"), nullptr);
}

TEST(TuneCache, DamageMeansNothingIsKnown) {
  const TemporaryFolder folder;
  runtime::TuneCache cache(folder.path());
  cache.put(entry("a"));
  cache.save();
  const std::string name = std::filesystem::path(cache.path()).filename();
  const std::string good = folder.read(name);
  auto known = [&](const std::string& content) {
    folder.write(name, content);
    return runtime::TuneCache(folder.path()).find(1, "a") != nullptr;
  };
  ASSERT_TRUE(known(good));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    EXPECT_FALSE(known(bad)) << "byte " << i;
    EXPECT_FALSE(known(good.substr(0, i))) << i;
  }
  EXPECT_FALSE(known(good + " "));
  // It is replaced.
  runtime::TuneCache next(folder.path());
  next.put(entry("b"));
  next.save();
  EXPECT_NE(runtime::TuneCache(folder.path()).find(1, "b"), nullptr);
}

// Right checksums, wrong content.
TEST(TuneCache, ForeignContentMeansNothingIsKnown) {
  const TemporaryFolder folder;
  runtime::TuneCache cache(folder.path());
  cache.put(entry("a"));
  cache.save();
  const std::string name = std::filesystem::path(cache.path()).filename();
  const std::string good = folder.read(name);
  const std::string body = good.substr(good.find('\n') + 1);
  auto known = [&](std::string_view from, std::string_view to) {
    std::string changed = body;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    folder.write(name, fmt::format("lowp-tune {:016x}\n{}", checksum(changed.data(), changed.size()), changed));
    return runtime::TuneCache(folder.path()).find(1, "a") != nullptr;
  };
  EXPECT_TRUE(known("\"a\"", "\"a\""));
  EXPECT_FALSE(known("; lowp ", "; lowp 99."));
  EXPECT_FALSE(known("1.25", "-1.25"));
  EXPECT_FALSE(known("1.25", "\"soon\""));
  EXPECT_FALSE(known("\"tile=2\"", "7"));
  EXPECT_FALSE(known("\"threads\": 1", "\"threads\": 1.5"));
  EXPECT_FALSE(known("\"entries\"", "\"other\""));
  EXPECT_FALSE(known("{", "["));
}

TEST(TuneCache, FolderThatCannotBeWritten) {
  const TemporaryFolder folder;
  folder.write("file", "");
  runtime::TuneCache cache(folder / "file/folder");
  cache.put(entry("a"));
  cache.save();
  EXPECT_NE(cache.find(1, "a"), nullptr);
  const Environment environment("LOWP_CACHE", folder / "file/folder");
  runtime::CompileOptions options = tuned();
  options.cache = true;
  EXPECT_GT(compile_tuned(*test::conv_net(), options).report.tuning.measured, 0);
}

TEST(TuneCache, Folder) {
  const Environment home("HOME", "/somewhere");
  {
    const Environment cache("LOWP_CACHE", "/elsewhere");
    EXPECT_EQ(runtime::tune_cache_folder(), "/elsewhere");
  }
  {
    const Environment none("LOWP_CACHE", "");
    EXPECT_EQ(runtime::tune_cache_folder(), "");
  }
  const Environment unset("LOWP_CACHE", "x");
  ::unsetenv("LOWP_CACHE");
  {
    const Environment xdg("XDG_CACHE_HOME", "/cache");
    EXPECT_EQ(runtime::tune_cache_folder(), "/cache/lowp");
  }
  const Environment relative("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(runtime::tune_cache_folder(), "/somewhere/.cache/lowp");
}

}  // namespace
}  // namespace lowp
