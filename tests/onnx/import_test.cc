#include "onnx/import.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "onnx/model_builder.h"
#include "temporary_folder.h"

namespace lowp::onnx {
namespace {

Result<ir::Graph> import(const ModelBuilder& builder) {
  std::string bytes = builder.bytes();
  return import_onnx_bytes(std::as_bytes(std::span(bytes)));
}
Status error_of(const ModelBuilder& builder) {
  auto graph = import(builder);
  return graph ? Status::ok() : graph.error();
}

ModelBuilder small_model() {
  ModelBuilder m;
  m.input("x", {-1, 3});
  m.floats("w", {3}, {1, 2, 3});
  m.node("Add", {"x", "w"}, {"s"}, "add");
  m.node("Relu", {"s"}, {"y"}, "relu");
  m.output("y");
  return m;
}

TEST(Import, SmallModel) {
  auto graph = import(small_model());
  ASSERT_TRUE(graph) << graph.error().to_string();
  ASSERT_EQ(graph->inputs().size(), 1u);
  EXPECT_EQ(graph->inputs()[0]->name, "x");
  EXPECT_EQ(graph->inputs()[0]->type.to_string(), "f32[N,3]");
  ASSERT_EQ(graph->outputs().size(), 1u);
  EXPECT_EQ(graph->outputs()[0].name, "y");
  EXPECT_EQ(graph->outputs()[0].value->type.to_string(), "f32[N,3]");
  ASSERT_EQ(graph->nodes().size(), 2u);
  const ir::Node& add = *graph->nodes().front();
  EXPECT_EQ(add.name, "add");
  EXPECT_EQ(add.outputs[0]->name, "s");
  ASSERT_TRUE(add.inputs[1]->is_constant());
  EXPECT_EQ(add.inputs[1]->constant.values<float>()[2], 3.0f);
  EXPECT_TRUE(ir::verify(*graph).is_ok());
}

TEST(Import, UnsortedNodesAreSorted) {
  ModelBuilder m = small_model();
  m.graph->mutable_node()->SwapElements(0, 1);
  auto graph = import(m);
  ASSERT_TRUE(graph) << graph.error().to_string();
  EXPECT_EQ(graph->nodes().front()->name, "add");
}

TEST(Import, InitializerThatIsAlsoAnInputIsAConstant) {
  ModelBuilder m = small_model();
  m.input("w", {3});
  auto graph = import(m);
  ASSERT_TRUE(graph) << graph.error().to_string();
  EXPECT_EQ(graph->inputs().size(), 1u);
}

TEST(Import, ConstantNodesAndUnnamedNodes) {
  ModelBuilder m;
  m.input("x", {2});
  auto* constant = m.node("Constant", {}, {"c"});
  auto* a = constant->add_attribute();
  a->set_name("value_floats");
  a->set_type(::onnx::AttributeProto::FLOATS);
  a->add_floats(4);
  a->add_floats(5);
  m.node("Add", {"x", "c"}, {"y"});
  m.output("y");
  auto graph = import(m);
  ASSERT_TRUE(graph) << graph.error().to_string();
  ASSERT_EQ(graph->nodes().size(), 1u);
  EXPECT_EQ(graph->nodes().front()->name, "Add_1");
  EXPECT_EQ(graph->nodes().front()->inputs[1]->constant.values<float>()[1], 5.0f);
}

TEST(Import, OptionalInputsAreAbsent) {
  ModelBuilder m;
  m.input("x", {2});
  m.floats("high", {}, {1});
  m.node("Clip", {"x", "", "high"}, {"y"}, "clip");
  m.output("y");
  auto graph = import(m);
  ASSERT_TRUE(graph) << graph.error().to_string();
  const ir::Node& clip = *graph->nodes().front();
  ASSERT_EQ(clip.inputs.size(), 3u);
  EXPECT_EQ(clip.inputs[1], nullptr);
  EXPECT_NE(clip.inputs[2], nullptr);
}

TEST(Import, UnsupportedOpsAreListedTogether) {
  ModelBuilder m = small_model();
  m.node("NoSuchOp", {"y"}, {"a"}, "first");
  m.node("NoSuchOp", {"a"}, {"b"}, "second");
  m.node("Other", {"b"}, {"c"}, "third")->set_domain("com.example");
  Status status = error_of(m);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_EQ(
      status.message(),
      "2 ops of the model are not supported: NoSuchOp (nodes 'first', 'second'), com.example.Other (node 'third')");
}

TEST(Import, StructuralErrorsNameTheNode) {
  {
    ModelBuilder m = small_model();
    m.node("Relu", {"nowhere"}, {"z"}, "lost");
    Status status = error_of(m);
    EXPECT_EQ(status.code(), Code::kInvalidModel);
    EXPECT_EQ(status.node(), "lost");
    EXPECT_NE(status.message().find("'nowhere'"), std::string::npos);
  }
  {
    ModelBuilder m = small_model();
    m.node("Relu", {"x"}, {"s"}, "twin");
    Status status = error_of(m);
    EXPECT_EQ(status.code(), Code::kInvalidModel);
    EXPECT_NE(status.message().find("'add'"), std::string::npos) << status.to_string();
  }
  {
    ModelBuilder m = small_model();
    m.node("Add", {"x", "q"}, {"p"}, "round");
    m.node("Relu", {"p"}, {"q"}, "about");
    Status status = error_of(m);
    EXPECT_EQ(status.code(), Code::kInvalidModel);
    EXPECT_NE(status.message().find("cycle"), std::string::npos);
    EXPECT_NE(status.message().find("'round', 'about'"), std::string::npos) << status.message();
  }
  {
    ModelBuilder m = small_model();
    m.output("missing");
    EXPECT_EQ(error_of(m).code(), Code::kInvalidModel);
  }
  {
    ModelBuilder m = small_model();
    ModelBuilder::attribute(m.graph->mutable_node(1), "nonsense", int64_t{1});
    Status status = error_of(m);
    EXPECT_EQ(status.code(), Code::kInvalidModel);
    EXPECT_EQ(status.node(), "relu");
  }
  {
    ModelBuilder m = small_model();
    m.input("x", {3});
    EXPECT_EQ(error_of(m).code(), Code::kInvalidModel);
  }
}

TEST(Import, ShapeErrorsNameTheNode) {
  ModelBuilder m;
  m.input("x", {2, 4});
  m.floats("w", {3}, {1, 2, 3});
  m.node("Add", {"x", "w"}, {"y"}, "bad add");
  m.output("y");
  Status status = error_of(m);
  EXPECT_EQ(status.code(), Code::kShapeMismatch) << status.to_string();
  EXPECT_EQ(status.node(), "bad add");
}

TEST(Import, TooNewOpset) {
  ModelBuilder m(1000);
  m.input("x", {1});
  m.node("Relu", {"x"}, {"y"});
  m.output("y");
  Status status = error_of(m);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_FALSE(status.hint().empty());
}

TEST(Import, GarbageAndTruncation) {
  std::string good = small_model().bytes();
  for (size_t size = 0; size < good.size(); ++size) {
    auto graph = import_onnx_bytes(std::as_bytes(std::span(good.data(), size)));
    (void)graph;  // an error or, where the cut falls between fields, a smaller model; never a crash
  }
  std::string garbage = "this is no model";
  EXPECT_EQ(import_onnx_bytes(std::as_bytes(std::span(garbage))).error().code(), Code::kCorrupt);
  EXPECT_EQ(import_onnx("/nonexistent.onnx").error().code(), Code::kNotFound);
}

// ---- tensors ----

ModelBuilder tensor_model(int dtype, std::initializer_list<int64_t> dims, ::onnx::TensorProto** tensor) {
  ModelBuilder m;
  m.input("x", {1});
  *tensor = m.graph->add_initializer();
  (*tensor)->set_name("t");
  (*tensor)->set_data_type(dtype);
  for (int64_t d : dims) (*tensor)->add_dims(d);
  m.output("t");
  return m;
}
Result<ir::Tensor> imported_tensor(const ModelBuilder& m) {
  auto graph = import(m);
  if (!graph) return fail(graph.error());
  return graph->outputs()[0].value->constant;
}

TEST(ImportTensor, TypedFieldsOfEveryDtype) {
  struct Case {
    int onnx;
    DType dtype;
  };
  for (Case c :
       {Case{2, DType::kU8}, Case{3, DType::kI8}, Case{4, DType::kU16}, Case{5, DType::kI16}, Case{6, DType::kI32},
        Case{9, DType::kBool}, Case{10, DType::kF16}, Case{16, DType::kBF16}, Case{17, DType::kF8E4M3FN},
        Case{18, DType::kF8E4M3FNUZ}, Case{19, DType::kF8E5M2}, Case{20, DType::kF8E5M2FNUZ}}) {
    ::onnx::TensorProto* t = nullptr;
    ModelBuilder m = tensor_model(c.onnx, {3}, &t);
    for (int i = 0; i < 3; ++i) t->add_int32_data(i);
    auto tensor = imported_tensor(m);
    ASSERT_TRUE(tensor) << tensor.error().to_string();
    EXPECT_EQ(tensor->dtype(), c.dtype);
    EXPECT_EQ(static_cast<const uint8_t*>(tensor->raw())[static_cast<size_t>(dtype_bits(c.dtype)) / 8], 1);
  }
  ::onnx::TensorProto* t = nullptr;
  ModelBuilder m = tensor_model(22, {3}, &t);  // INT4: two to a byte, one byte an entry
  t->add_int32_data(0x21);
  t->add_int32_data(0x03);
  auto packed = imported_tensor(m);
  ASSERT_TRUE(packed) << packed.error().to_string();
  EXPECT_EQ(packed->bytes(), 2u);
  EXPECT_EQ(static_cast<const uint8_t*>(packed->raw())[0], 0x21);

  ModelBuilder u32 = tensor_model(12, {2}, &t);
  t->add_uint64_data(7);
  t->add_uint64_data(4'000'000'000u);
  EXPECT_EQ(imported_tensor(u32)->values<uint32_t>()[1], 4'000'000'000u);
  ModelBuilder f64 = tensor_model(11, {1}, &t);
  t->add_double_data(0.1);
  EXPECT_EQ(imported_tensor(f64)->values<double>()[0], 0.1);
}

TEST(ImportTensor, RawData) {
  ::onnx::TensorProto* t = nullptr;
  ModelBuilder m = tensor_model(7, {2}, &t);
  int64_t values[] = {-1, 5};
  t->set_raw_data(values, sizeof(values));
  EXPECT_EQ(imported_tensor(m)->values<int64_t>()[0], -1);
  ModelBuilder b = tensor_model(9, {2}, &t);
  t->set_raw_data(std::string("\x02\x00", 2));
  EXPECT_EQ(static_cast<const uint8_t*>(imported_tensor(b)->raw())[0], 1);  // a bool is 0 or 1
}

TEST(ImportTensor, WrongSizes) {
  ::onnx::TensorProto* t = nullptr;
  ModelBuilder raw = tensor_model(1, {2}, &t);
  t->set_raw_data("1234567");
  Status status = error_of(raw);
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("tensor 't': raw_data has 7 bytes, f32 2 wants 8"), std::string::npos)
      << status.message();
  ModelBuilder fields = tensor_model(1, {2}, &t);
  t->add_float_data(1);
  EXPECT_EQ(error_of(fields).code(), Code::kCorrupt);
  ModelBuilder wrong_field = tensor_model(1, {1}, &t);
  t->add_double_data(1);
  EXPECT_EQ(error_of(wrong_field).code(), Code::kCorrupt);
  for (auto dims : {std::initializer_list<int64_t>{-1}, {int64_t{1} << 40, int64_t{1} << 40}, {int64_t{1} << 50}}) {
    ModelBuilder huge = tensor_model(1, dims, &t);
    EXPECT_EQ(error_of(huge).code(), Code::kCorrupt);
  }
  ModelBuilder text = tensor_model(8, {1}, &t);
  t->add_string_data("hello");
  EXPECT_EQ(error_of(text).code(), Code::kUnsupported);
}

// ---- external data ----

class ExternalDataTest : public testing::Test {
 protected:
  Status import_with(const std::string& location, const std::string& offset = "", const std::string& length = "") {
    ::onnx::TensorProto* t = nullptr;
    ModelBuilder m = tensor_model(1, {2}, &t);
    t->set_data_location(::onnx::TensorProto::EXTERNAL);
    auto add = [&](const std::string& key, const std::string& value) {
      auto* entry = t->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    };
    add("location", location);
    if (!offset.empty()) add("offset", offset);
    if (!length.empty()) add("length", length);
    auto graph = import_onnx(folder_.write("model/m.onnx", m.bytes()));
    if (!graph) return graph.error();
    values_ = graph->outputs()[0].value->constant.clone();
    return {};
  }
  std::string floats(std::initializer_list<float> values) {
    return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
  }

  TemporaryFolder folder_;
  ir::Tensor values_;
};

TEST_F(ExternalDataTest, Reads) {
  folder_.write("model/data/w.bin", floats({1, 2, 3, 4}));
  Status status = import_with("data/w.bin", "8", "8");
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(values_.values<float>()[0], 3.0f);
  EXPECT_TRUE(import_with("data/w.bin").is_ok());
  EXPECT_EQ(values_.values<float>()[0], 1.0f);
}

TEST_F(ExternalDataTest, StaysInItsFolder) {
  folder_.write("secret.bin", floats({1, 2}));
  folder_.write("model/own.bin", floats({1, 2}));
  EXPECT_EQ(import_with("../secret.bin").code(), Code::kInvalidModel);
  EXPECT_EQ(import_with("x/../../secret.bin").code(), Code::kInvalidModel);
  EXPECT_EQ(import_with(folder_ / "secret.bin").code(), Code::kInvalidModel);
  EXPECT_EQ(import_with("").code(), Code::kInvalidModel);
  ASSERT_EQ(symlink("../secret.bin", (folder_ / "model/link.bin").c_str()), 0);
  EXPECT_EQ(import_with("link.bin").code(), Code::kInvalidModel);
  ASSERT_EQ(symlink("..", (folder_ / "model/up").c_str()), 0);
  EXPECT_EQ(import_with("up/secret.bin").code(), Code::kInvalidModel);
  ASSERT_EQ(symlink("own.bin", (folder_ / "model/inside.bin").c_str()), 0);
  EXPECT_TRUE(import_with("inside.bin").is_ok());
}

TEST_F(ExternalDataTest, WrongPlaces) {
  folder_.write("model/w.bin", floats({1, 2}));
  EXPECT_EQ(import_with("w.bin", "4").code(), Code::kCorrupt);
  EXPECT_EQ(import_with("w.bin", "18446744073709551615").code(), Code::kCorrupt);
  EXPECT_EQ(import_with("w.bin", "0", "4").code(), Code::kCorrupt);
  EXPECT_EQ(import_with("w.bin", "-8").code(), Code::kInvalidModel);
  EXPECT_EQ(import_with("w.bin", "99999999999999999999").code(), Code::kInvalidModel);
  EXPECT_EQ(import_with("missing.bin").code(), Code::kNotFound);
}

// ---- functions ----

::onnx::FunctionProto* add_function(ModelBuilder& m, const std::string& name, std::vector<std::string> inputs,
                                    std::vector<std::string> outputs) {
  auto* f = m.model.add_functions();
  f->set_name(name);
  f->set_domain("local");
  for (auto& i : inputs) f->add_input(i);
  for (auto& o : outputs) f->add_output(o);
  f->add_opset_import()->set_version(17);
  return f;
}

TEST(ImportFunctions, AreExpanded) {
  ModelBuilder m;
  m.input("x", {2, 3});
  auto* f = add_function(m, "Twice", {"a"}, {"b"});
  f->add_attribute("alpha");
  ModelBuilder::fill(f->add_node(), "Add", {"a", "a"}, {"t"});
  auto* leaky = ModelBuilder::fill(f->add_node(), "LeakyRelu", {"t"}, {"b"});
  auto* reference = leaky->add_attribute();
  reference->set_name("alpha");
  reference->set_type(::onnx::AttributeProto::FLOAT);
  reference->set_ref_attr_name("alpha");
  auto* outer = add_function(m, "Four", {"a"}, {"b"});
  for (auto [from, to] : {std::pair("a", "t"), std::pair("t", "b")}) {
    ModelBuilder::fill(outer->add_node(), "Twice", {from}, {to})->set_domain("local");
  }
  m.node("Four", {"x"}, {"y"}, "one")->set_domain("local");
  m.node("Four", {"y"}, {"z"}, "two")->set_domain("local");
  m.output("z");
  auto graph = import(m);
  ASSERT_TRUE(graph) << graph.error().to_string();
  EXPECT_EQ(graph->nodes().size(), 8u);
  EXPECT_EQ(graph->outputs()[0].value->type.to_string(), "f32[2,3]");
}

TEST(ImportFunctions, RecursionAndExplosionAreErrors) {
  ModelBuilder m;
  m.input("x", {1});
  auto* f = add_function(m, "Loop", {"a"}, {"b"});
  ModelBuilder::fill(f->add_node(), "Loop", {"a"}, {"b"})->set_domain("local");
  m.node("Loop", {"x"}, {"y"})->set_domain("local");
  m.output("y");
  EXPECT_EQ(error_of(m).code(), Code::kInvalidModel);

  ModelBuilder bomb;
  bomb.input("x", {1});
  for (int level = 0; level < 30; ++level) {
    auto* g = add_function(bomb, "F" + std::to_string(level), {"a"}, {"b"});
    std::string callee = level == 0 ? "Relu" : "F" + std::to_string(level - 1);
    for (auto [from, to] : {std::pair("a", "t"), std::pair("t", "b")}) {
      ModelBuilder::fill(g->add_node(), callee, {from}, {to})->set_domain(level == 0 ? "" : "local");
    }
  }
  bomb.node("F29", {"x"}, {"y"})->set_domain("local");
  bomb.output("y");
  EXPECT_EQ(error_of(bomb).code(), Code::kResource);
}

}  // namespace
}  // namespace lowp::onnx
