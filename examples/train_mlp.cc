// Trains a multilayer perceptron on Fashion-MNIST and compiles it to INT8: the graph that is trained is the graph that
// is deployed.
//
//   train_mlp [--epochs N] [--expect PERCENT] [--data FOLDER]
//
// FOLDER holds the four gzip files of Fashion-MNIST (Debian: dataset-fashion-mnist). Exit status 77 without data.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>

#include "runtime/compiler.h"
#include "runtime/session.h"
#include "train/training.h"

using lowp::DType;
using lowp::Extents;
using lowp::Result;
using lowp::Status;
using lowp::Tensor;
namespace ir = lowp::ir;
namespace runtime = lowp::runtime;

namespace {

struct Data {
  std::vector<float> images;  // [count, 784] in 0..1
  std::vector<int64_t> labels;
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

Result<std::vector<uint8_t>> read_gzip(const std::string& path, size_t header, size_t limit) {
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) return lowp::fail(lowp::Code::kNotFound, "there is no file '{}'", path);
  std::vector<uint8_t> bytes(header + limit);
  const int n = gzread(file.get(), bytes.data(), static_cast<unsigned>(bytes.size()));
  if (n < static_cast<int>(header)) return lowp::fail(lowp::Code::kCorrupt, "'{}' is too short", path);
  return std::vector<uint8_t>(bytes.begin() + static_cast<std::ptrdiff_t>(header), bytes.begin() + n);
}

Result<Data> load(const std::string& folder, const std::string& part) {
  constexpr size_t kPixels = 784;
  LOWP_ASSIGN(std::vector<uint8_t> pixels,
              read_gzip(folder + "/" + part + "-images-idx3-ubyte.gz", 16, 60000 * kPixels));
  LOWP_ASSIGN(std::vector<uint8_t> labels, read_gzip(folder + "/" + part + "-labels-idx1-ubyte.gz", 8, 60000));
  if (pixels.size() != labels.size() * kPixels)
    return lowp::fail(lowp::Code::kCorrupt, "{} images but {} labels", pixels.size() / kPixels, labels.size());
  Data d;
  d.images.assign(pixels.begin(), pixels.end());
  for (float& v : d.images) v /= 255.0F;
  d.labels.assign(labels.begin(), labels.end());
  return d;
}

struct Batch {
  Tensor images;
  Tensor labels;
};
Batch gather(const Data& d, std::span<const int64_t> index) {
  const auto n = static_cast<int64_t>(index.size());
  Batch b{Tensor::zeros(DType::kF32, {n, 784}), Tensor::zeros(DType::kI64, {n})};
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(d.images.data() + index[static_cast<size_t>(i)] * 784, 784, b.images.mutable_data<float>() + i * 784);
    b.labels.mutable_data<int64_t>()[i] = d.labels[static_cast<size_t>(index[static_cast<size_t>(i)])];
  }
  return b;
}

// 784 -> 256 -> 128 -> 10 with ReLU; weights are states.
ir::Value* build_model(ir::Graph& graph, ir::Value* x) {
  lowp::GraphBuilder b(graph);
  std::mt19937 rng(7);
  int64_t in = 784;
  int layer = 0;
  for (int64_t out : {256, 128, 10}) {
    Tensor w = Tensor::zeros(DType::kF32, {in, out});
    std::normal_distribution<float> normal(0.0F, std::sqrt(2.0F / static_cast<float>(in)));
    for (int64_t i = 0; i < w.size(); ++i) w.mutable_data<float>()[i] = normal(rng);
    const std::string name = fmt::format("layer{}", ++layer);
    x = b.op("MatMul", {x, graph.add_state(name + ".weight", std::move(w))}, {}, "", name);
    x = b.op("Add", {x, graph.add_state(name + ".bias", Tensor::zeros(DType::kF32, {out}))});
    if (out != 10) x = b.op("Relu", {x});
    in = out;
  }
  return x;
}

Result<double> accuracy(runtime::Session& session, const Data& test) {
  std::vector<int64_t> index(static_cast<size_t>(test.count()));
  std::iota(index.begin(), index.end(), 0);
  int64_t right = 0;
  constexpr size_t kBatch = 500;
  for (size_t begin = 0; begin < index.size(); begin += kBatch) {
    const auto part = std::span(index).subspan(begin, std::min(kBatch, index.size() - begin));
    const Batch batch = gather(test, part);
    const Tensor inputs[] = {batch.images};
    LOWP_ASSIGN(std::vector<Tensor> out, session.run(inputs));
    for (size_t i = 0; i < part.size(); ++i) {
      const float* row = out[0].data<float>() + i * 10;
      right += std::max_element(row, row + 10) - row == batch.labels.data<int64_t>()[i];
    }
  }
  return 100.0 * static_cast<double>(right) / static_cast<double>(test.count());
}

// The first `count` training images as calibration samples of one batch each.
class Samples : public runtime::SampleSource {
 public:
  Samples(const Data& data, int64_t count) : data_(data), count_(count) {}
  Status rewind() override {
    at_ = 0;
    return {};
  }
  Result<bool> next(std::vector<Tensor>& inputs) override {
    if (at_ == count_) return false;
    const int64_t index[] = {at_++};
    inputs = {gather(data_, index).images};
    return true;
  }

 private:
  const Data& data_;
  int64_t count_;
  int64_t at_ = 0;
};

Status run(int epochs, double expect, const std::string& folder) {
  LOWP_ASSIGN(Data train, load(folder, "train"));
  LOWP_ASSIGN(Data test, load(folder, "t10k"));

  auto graph = std::make_unique<ir::Graph>();
  ir::Value* x = graph->add_input("image", lowp::TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 784}));
  ir::Value* labels = graph->add_input("label", lowp::TensorType(DType::kI64, ir::Dims{ir::Dim::symbol("N")}));
  ir::Value* logits = build_model(*graph, x);
  ir::Value* loss = lowp::GraphBuilder(*graph).op("SoftmaxCrossEntropyLoss", {logits, labels});
  graph->outputs() = {{"loss", loss}, {"logits", logits}};
  lowp::train::TrainingOptions training;
  training.optimizer.momentum = 0.9F;
  LOWP_ASSIGN(auto trained, lowp::train::add_training(*graph, "loss", training));
  fmt::print("{} parameters\n", trained.size());
  auto engine = std::make_shared<runtime::Engine>(std::move(graph));
  LOWP_ASSIGN(auto session, runtime::Session::create(engine));

  std::vector<int64_t> order(static_cast<size_t>(train.count()));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 rng(11);
  constexpr size_t kBatch = 128;
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), rng);
    const float rate = 0.05F * (1.0F - static_cast<float>(epoch - 1) / static_cast<float>(epochs));
    double total = 0;
    int64_t steps = 0;
    for (size_t begin = 0; begin + kBatch <= order.size(); begin += kBatch, ++steps) {
      const Batch batch = gather(train, std::span(order).subspan(begin, kBatch));
      const Tensor inputs[] = {batch.images, batch.labels, Tensor::scalar(rate)};
      LOWP_ASSIGN(std::vector<Tensor> out, session->run(inputs));
      total += static_cast<double>(out[0].data<float>()[0]);
    }
    fmt::print("epoch {}: loss {:.4f}\n", epoch, total / static_cast<double>(steps));
  }

  LOWP_ASSIGN(std::unique_ptr<ir::Graph> model, lowp::train::freeze(engine->graph(), *session, {"logits"}));
  LOWP_ASSIGN(runtime::Compiled fp32, runtime::compile(*model, {}));
  LOWP_ASSIGN(auto fp32_session, runtime::Session::create(fp32.engine));
  LOWP_ASSIGN(double fp32_accuracy, accuracy(*fp32_session, test));
  runtime::CompileOptions options;
  options.precision = runtime::PrecisionMode::kInt8;
  options.measure = false;
  Samples samples(train, 200);
  LOWP_ASSIGN(runtime::Compiled int8, runtime::compile(*model, options, &samples));
  LOWP_ASSIGN(auto int8_session, runtime::Session::create(int8.engine));
  LOWP_ASSIGN(double int8_accuracy, accuracy(*int8_session, test));
  fmt::print("test accuracy: FP32 {:.2f}%, INT8 {:.2f}%\n", fp32_accuracy, int8_accuracy);
  if (fp32_accuracy < expect || int8_accuracy < expect)
    return lowp::error(lowp::Code::kInternal, "accuracy is below {}%", expect);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  int epochs = 6;
  double expect = 0;
  std::string folder = "/usr/share/datasets/fashion-mnist";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--epochs") epochs = std::atoi(argv[i + 1]);
    if (option == "--expect") expect = std::atof(argv[i + 1]);
    if (option == "--data") folder = argv[i + 1];
  }
  const Status status = run(epochs, expect, folder);
  if (status.is_ok()) return 0;
  fmt::print(stderr, "{}\n", status.to_string());
  return status.code() == lowp::Code::kNotFound ? 77 : 1;
}
