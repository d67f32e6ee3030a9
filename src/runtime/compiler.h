// From a model to an engine: simplification, precision, quantization with calibration, lowering, measured decisions.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/cpu.h"
#include "runtime/engine.h"

namespace lowp::runtime {

enum class PrecisionMode : uint8_t { kFp32, kBf16, kFp16, kInt8, kAuto };
// "fp32", "bf16", "fp16", "int8", "auto".
std::optional<PrecisionMode> precision_from_name(std::string_view name);
std::string_view precision_name(PrecisionMode mode);

// How ranges of activations are chosen from what calibration saw. kAuto: that of the others which leaves the model's
// outputs with the most signal to noise on calibration samples, kMse where none is clearly better. No way of looking at
// one tensor alone is best for all models: what clipping outliers costs depends on what the layers behind make of them.
enum class Observer : uint8_t { kAuto, kMinMax, kPercentile, kMse };
std::optional<Observer> observer_from_name(std::string_view name);
std::string_view observer_name(Observer observer);

// Calibration samples: each a tensor for every input of the model, in the order of graph.inputs(). Read once, after
// rewind().
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual Status rewind() = 0;
  // False at the end.
  virtual Result<bool> next(std::vector<Tensor>& inputs) = 0;
  // Number of samples, or -1 where it is not known beforehand.
  virtual int64_t size() const { return -1; }
};

struct CompileOptions {
  PrecisionMode precision = PrecisionMode::kFp32;
  bool strict = false;  // an error where a layer cannot have the precision asked for
  int threads = 0;      // 0: all
  // What INT8 is optimised for: "" (this CPU), "vnni", "avx2". avx2 quantizes activations to 7 bits, which its fastest
  // exact kernels want.
  std::string optimize_for;
  Observer observer = Observer::kAuto;
  // Whether channels of activations are equalized before quantization (quant/equalize.h), as transformers want.
  bool equalize = true;
  // Whether INT8 layers are timed against FP32 on this machine and kept only where they win.
  bool measure = true;
  // Whether the ways in which kernels can compute each layer are timed on this machine and the fastest is recorded in
  // the engine (tune.h). Takes seconds, changes no bit of a result. Not without `measure`.
  bool tune = true;
  // Whether such measurements are kept in the user's cache folder for the next compilation (tune_cache.h).
  bool cache = true;
  // Shapes of inputs to measure with, by name. Inputs that are not named have the first calibration sample's shape
  // where nothing is named at all; else free extents are 1 in the first dimension and 128 in others.
  std::map<std::string, Extents> shapes;
  // A layer whose INT8 output has less signal to noise than this on the calibration samples stays FP32.
  double min_layer_snr_db = 6.0;
  // The model's outputs shall have this much signal to noise on the calibration samples: layers that cost them most
  // stay FP32 until they do. 0: no such wish. Takes an INT8 run of eight samples for each layer.
  double min_output_snr_db = 0;
  std::vector<std::string> keep_fp32;  // node names
  std::vector<std::string> disabled_passes;
  // Called as work goes on; false stops with kCancelled.
  std::function<bool(std::string_view stage, int64_t done, int64_t total)> progress;
};

// One layer's decision.
struct LayerReport {
  std::string node;
  std::string op;
  DType requested = DType::kF32;
  DType executed = DType::kF32;
  std::string reason;  // why they differ
  double snr_db = 0;   // INT8 output against FP32 on calibration samples; 0 where not measured
  double fp32_us = 0;  // measured time of this layer; 0 where not measured
  double int8_us = 0;
  // How its kernel computes it and the next best way, as measured (kernels/gemm/choice.h); empty where there was
  // nothing to choose or nothing was measured.
  std::string kernel, runner_up;
  double kernel_us = 0, runner_up_us = 0;
};

// How kernels were selected.
struct TuningReport {
  int threads = 0;
  std::map<std::string, std::string> inputs;  // types of the inputs measured with, by name
  int64_t measured = 0, cached = 0;           // distinct layers measured now, and known from the cache
  std::string skipped;                        // why nothing was measured
};

struct CompileReport {
  std::vector<LayerReport> layers;
  TuningReport tuning;
  std::string cpu;
  std::string target;
  int64_t calibration_samples = 0;
  int equalized = 0;                    // activations whose channels were
  Observer observer = Observer::kAuto;  // chosen or asked for; kAuto where nothing was calibrated
  double output_snr_db = 0;             // whole model, INT8 against FP32, on calibration samples
  std::string to_json() const;
};

struct Compiled {
  std::shared_ptr<const Engine> engine;
  CompileReport report;
};

// `model` is not changed. `calibration` is wanted for kInt8 (unless the model has Q/DQ nodes already) and ignored for
// the float precisions. Errors: kCalibration (missing, empty, NaN), kUnsupported (strict), kCancelled.
Result<Compiled> compile(const ir::Graph& model, const CompileOptions& options, SampleSource* calibration = nullptr);

}  // namespace lowp::runtime
