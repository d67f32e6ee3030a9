/* Loads an ONNX model, compiles it in FP32, runs it on ones and zeros and saves and reopens the engine:
 *
 *   run_model MODEL.onnx ENGINE.lowp
 */
#include <lowp/lowp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(lowp_code code, const char* what) {
  if (code == LOWP_OK) return 0;
  fprintf(stderr, "%s: %s\n", what, lowp_last_error());
  return 1;
}

static size_t element_size(lowp_dtype dtype) {
  switch (dtype) {
    case LOWP_I8:
    case LOWP_U8:
    case LOWP_BOOL: return 1;
    case LOWP_F16:
    case LOWP_BF16:
    case LOWP_I16:
    case LOWP_U16: return 2;
    case LOWP_F32:
    case LOWP_I32:
    case LOWP_U32: return 4;
    default: return 8;
  }
}

/* A tensor of ones (floats) or zeros for an input; free extents become 1. */
static lowp_tensor make_input(const lowp_value_info* info) {
  lowp_tensor t;
  size_t count = 1;
  memset(&t, 0, sizeof t);
  t.name = info->name;
  t.dtype = info->dtype;
  t.rank = info->rank;
  for (int i = 0; i < info->rank; ++i) {
    t.shape[i] = info->shape[i] < 0 ? 1 : info->shape[i];
    count *= (size_t)t.shape[i];
  }
  t.data = calloc(count > 0 ? count : 1, element_size(t.dtype));
  if (t.dtype == LOWP_F32) {
    for (size_t i = 0; i < count; ++i) ((float*)t.data)[i] = 1.0f;
  }
  return t;
}

/* Runs an engine once and prints the first output's first value. */
static int run(const lowp_engine* engine, float* first) {
  lowp_session* session = NULL;
  if (check(lowp_session_open(engine, NULL, &session), "session")) return 1;
  const int32_t inputs = lowp_engine_inputs(engine);
  const int32_t outputs = lowp_engine_outputs(engine);
  lowp_tensor* in = calloc((size_t)inputs, sizeof *in);
  lowp_tensor* out = calloc((size_t)outputs, sizeof *out);
  int failed = 0;
  for (int32_t i = 0; i < inputs && !failed; ++i) {
    lowp_value_info info;
    failed = check(lowp_engine_input(engine, i, &info), "input");
    if (!failed) in[i] = make_input(&info);
  }
  if (!failed) failed = check(lowp_run(session, in, inputs, out, outputs), "run");
  if (!failed && out[0].dtype == LOWP_F32) {
    *first = *(float*)out[0].data;
    printf("%s[0] = %g\n", out[0].name, (double)*first);
  }
  for (int32_t i = 0; i < inputs; ++i) free(in[i].data);
  free(in);
  free(out);
  lowp_session_close(session);
  return failed;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: run_model MODEL.onnx ENGINE.lowp\n");
    return 2;
  }
  lowp_model* model = NULL;
  if (check(lowp_load(argv[1], &model), "load")) return 1;
  lowp_compile_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.precision = LOWP_FP32;
  lowp_engine* engine = NULL;
  int failed = check(lowp_compile(model, &options, &engine), "compile");
  lowp_model_close(model);
  float compiled = 0;
  float opened = 0;
  if (!failed) failed = run(engine, &compiled) || check(lowp_save(engine, argv[2]), "save");
  lowp_engine_close(engine);
  engine = NULL;
  if (!failed) failed = check(lowp_open(argv[2], &engine), "open") || run(engine, &opened);
  lowp_engine_close(engine);
  if (!failed && memcmp(&compiled, &opened, sizeof opened) != 0) {
    fprintf(stderr, "the saved engine gives %g instead of %g\n", (double)opened, (double)compiled);
    failed = 1;
  }
  return failed;
}
