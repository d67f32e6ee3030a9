#include "base/status.h"

#include <gtest/gtest.h>

namespace lowp {
namespace {

Status inner() {
  return error(Code::kShapeMismatch, "input has {} channels, weight wants {}", 4, 3).with_node("conv1");
}
Status outer() {
  LOWP_TRY(inner());
  return {};
}
Result<int> value(bool good) {
  if (good) return 42;
  return fail(Code::kNotFound, "no {}", "file");
}
Result<std::string> text(bool good) {
  LOWP_ASSIGN(int number, value(good));
  return fmt::format("{}", number);
}

TEST(Status, Text) {
  EXPECT_TRUE(Status::ok().is_ok());
  Status status = outer().with_node("outer").with_hint("check the model").with_context("Conv");
  EXPECT_EQ(status.to_string(),
            "shape-mismatch: node 'conv1': Conv: input has 4 channels, weight wants 3 (check the model)");
}

TEST(Result, Propagates) {
  EXPECT_EQ(*text(true), "42");
  EXPECT_EQ(text(false).error().code(), Code::kNotFound);
}

TEST(Check, Throws) { EXPECT_THROW(LOWP_CHECK(1 > 2), InternalError); }

TEST(Code, NamesAreDistinct) {
  for (int i = 0; i < 13; ++i) EXPECT_NE(code_name(static_cast<Code>(i)), code_name(static_cast<Code>(i + 1)));
}

}  // namespace
}  // namespace lowp
