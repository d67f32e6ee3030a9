// The C API and its C++ header, as a program outside the project uses them: through the shared library.
#include <gtest/gtest.h>

#include <atomic>
#include <lowp/lowp.hpp>
#include <string>
#include <thread>
#include <vector>

#include "temporary_folder.h"

namespace {

// An ONNX file, opset 17: y = relu(x * w) with x [N, 2] and w [[1, -1], [2, 0.5]]. As bytes, because this program and
// the library must not both contain the generated protobuf code.
constexpr unsigned char kSmallModel[] = {
    0x08, 0x08, 0x3a, 0x7a, 0x0a, 0x15, 0x0a, 0x01, 0x78, 0x0a, 0x01, 0x77, 0x12, 0x01, 0x7a, 0x1a, 0x02, 0x6d, 0x6d,
    0x22, 0x06, 0x4d, 0x61, 0x74, 0x4d, 0x75, 0x6c, 0x0a, 0x11, 0x0a, 0x01, 0x7a, 0x12, 0x01, 0x79, 0x1a, 0x03, 0x61,
    0x63, 0x74, 0x22, 0x04, 0x52, 0x65, 0x6c, 0x75, 0x12, 0x05, 0x73, 0x6d, 0x61, 0x6c, 0x6c, 0x2a, 0x1b, 0x08, 0x02,
    0x08, 0x02, 0x10, 0x01, 0x42, 0x01, 0x77, 0x4a, 0x10, 0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x80, 0xbf, 0x00, 0x00,
    0x00, 0x40, 0x00, 0x00, 0x00, 0x3f, 0x5a, 0x14, 0x0a, 0x01, 0x78, 0x12, 0x0f, 0x0a, 0x0d, 0x08, 0x01, 0x12, 0x09,
    0x0a, 0x03, 0x12, 0x01, 0x4e, 0x0a, 0x02, 0x08, 0x02, 0x62, 0x14, 0x0a, 0x01, 0x79, 0x12, 0x0f, 0x0a, 0x0d, 0x08,
    0x01, 0x12, 0x09, 0x0a, 0x03, 0x12, 0x01, 0x4e, 0x0a, 0x02, 0x08, 0x02, 0x42, 0x04, 0x0a, 0x00, 0x10, 0x11};

std::string small_model(const lowp::TemporaryFolder& folder) {
  return folder.write("small.onnx", std::string_view(reinterpret_cast<const char*>(kSmallModel), sizeof kSmallModel));
}

int samples(void* user, int64_t index, lowp_tensor* inputs, int32_t count) {
  static float data[2];
  if (index == 8 || count != 1) return 0;
  data[0] = static_cast<float>(index) / 4 - 1;
  data[1] = *static_cast<float*>(user);
  inputs[0].rank = 2;
  inputs[0].shape[0] = 1;
  inputs[0].shape[1] = 2;
  inputs[0].data = data;
  return 1;
}

class CApi : public ::testing::Test {
 protected:
  lowp::TemporaryFolder folder_;
};

TEST_F(CApi, LifeCycle) {
  lowp::Engine engine = lowp::Model::load(small_model(folder_)).compile();
  ASSERT_EQ(engine.inputs().size(), 1U);
  EXPECT_STREQ(engine.inputs()[0].name, "x");
  EXPECT_EQ(engine.inputs()[0].shape[0], -1);
  EXPECT_EQ(engine.inputs()[0].shape[1], 2);
  const float x[] = {1, 1, -1, 2};
  lowp::Session session(engine, 1);
  auto y = session.run({lowp::input("x", x, {2, 2})});
  EXPECT_EQ(y[0].shape(), (std::vector<int64_t>{2, 2}));
  const float want[] = {3, 0, 3, 2};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(y[0].data<float>()[i], want[i]);

  const std::string path = folder_ / "small.lowp";
  engine.save(path);
  lowp::Session reopened(lowp::Engine::open(path));  // the engine ends here, the session lives on
  EXPECT_EQ(reopened.run({lowp::input("x", x, {2, 2})})[0].data<float>()[0], 3);
}

TEST_F(CApi, CallersBuffers) {
  lowp::Engine engine = lowp::Model::load(small_model(folder_)).compile();
  lowp_session* session = nullptr;
  ASSERT_EQ(lowp_session_open(engine.handle(), nullptr, &session), LOWP_OK);
  const float x[] = {1, 1};
  float y[2] = {-1, -1};
  const lowp_tensor in = lowp::input("x", x, {1, 2});
  lowp_tensor out = lowp::input("y", y, {1, 2});
  EXPECT_EQ(lowp_run(session, &in, 1, &out, 1), LOWP_OK);
  EXPECT_EQ(y[0], 3);
  lowp_tensor wrong = lowp::input("y", y, {2, 1});
  EXPECT_EQ(lowp_run(session, &in, 1, &wrong, 1), LOWP_SHAPE_MISMATCH);
  lowp_session_close(session);
}

TEST_F(CApi, Int8FromCallback) {
  lowp::Model model = lowp::Model::load(small_model(folder_));
  lowp_compile_options options{};
  options.precision = LOWP_INT8;
  options.no_measure = 1;
  options.samples = samples;
  float second = 1;
  options.samples_user = &second;
  lowp::Engine engine = model.compile(options);
  const float x[] = {0.5F, 1};
  lowp::Session session(engine);
  EXPECT_NEAR(session.run({lowp::input("x", x, {1, 2})})[0].data<float>()[0], 2.5F, 0.05F);
}

TEST_F(CApi, ErrorsHaveCodesAndMessages) {
  lowp_model* model = nullptr;
  EXPECT_EQ(lowp_load((folder_ / "none.onnx").c_str(), &model), LOWP_NOT_FOUND);
  EXPECT_NE(std::string(lowp_last_error()).find("none.onnx"), std::string::npos);
  EXPECT_EQ(lowp_load(nullptr, &model), LOWP_INVALID_ARGUMENT);
  lowp_engine* opened = nullptr;
  folder_.write("junk.lowp", "not an engine");
  EXPECT_EQ(lowp_open((folder_ / "junk.lowp").c_str(), &opened), LOWP_CORRUPT);
  EXPECT_STREQ(lowp_code_name(LOWP_SHAPE_MISMATCH), "shape-mismatch");

  lowp::Engine engine = lowp::Model::load(small_model(folder_)).compile();
  lowp::Session session(engine);
  const float x[] = {1, 1, 1};
  try {
    session.run({lowp::input("x", x, {1, 3})});
    FAIL() << "a wrong shape was accepted";
  } catch (const lowp::Error& e) {
    EXPECT_EQ(e.code(), LOWP_SHAPE_MISMATCH);
    EXPECT_NE(std::string(e.what()).find("'x'"), std::string::npos);
  }
  EXPECT_THROW(session.run({}), lowp::Error);
  EXPECT_THROW(session.run({lowp::input("other", x, {1, 2})}), lowp::Error);
  lowp_compile_options options{};
  options.precision = LOWP_INT8;  // without samples
  EXPECT_THROW(lowp::Model::load(small_model(folder_)).compile(options), lowp::Error);
}

TEST_F(CApi, SessionsInThreads) {
  lowp::Engine engine = lowp::Model::load(small_model(folder_)).compile();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      lowp::Session session(engine, 1);
      const float x[] = {1, 1};
      for (int i = 0; i < 1000; ++i) wrong += session.run({lowp::input("x", x, {1, 2})})[0].data<float>()[0] != 3;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
