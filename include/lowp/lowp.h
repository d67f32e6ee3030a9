/* lowp: low-precision neural networks on CPUs. The C API.
 *
 * Life cycle: load a model, compile it to an engine (or open an engine file), open sessions on the engine, run them,
 * close everything. An engine may be shared by sessions in any number of threads; a session belongs to one thread at a
 * time. No exception crosses this interface.
 *
 * Functions that can fail return a lowp_code; lowp_last_error() describes the last failure in the calling thread.
 * Handles that a function gives out are owned by the caller, who closes them with the matching function; null is
 * accepted there.
 */
#ifndef LOWP_LOWP_H_
#define LOWP_LOWP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOWP_API __attribute__((visibility("default")))

/* Stable; also the numbers behind the names in messages and JSON. */
typedef enum lowp_code {
  LOWP_OK = 0,
  LOWP_INVALID_ARGUMENT = 1,
  LOWP_INVALID_MODEL = 2,
  LOWP_UNSUPPORTED = 3,
  LOWP_SHAPE_MISMATCH = 4,
  LOWP_TYPE_MISMATCH = 5,
  LOWP_NOT_FOUND = 6,
  LOWP_IO = 7,
  LOWP_CORRUPT = 8,
  LOWP_VERSION = 9,
  LOWP_CALIBRATION = 10,
  LOWP_RESOURCE = 11,
  LOWP_CANCELLED = 12,
  LOWP_INTERNAL = 13
} lowp_code;

/* Numbers are stable. Types without a row here exist inside models but do not cross this interface. */
typedef enum lowp_dtype {
  LOWP_F32 = 1,
  LOWP_F16 = 2,
  LOWP_BF16 = 3,
  LOWP_F64 = 4,
  LOWP_I8 = 5,
  LOWP_U8 = 6,
  LOWP_I16 = 7,
  LOWP_U16 = 8,
  LOWP_I32 = 9,
  LOWP_U32 = 10,
  LOWP_I64 = 11,
  LOWP_U64 = 12,
  LOWP_BOOL = 13
} lowp_dtype;

typedef enum lowp_precision {
  LOWP_FP32 = 0,
  LOWP_PRECISION_BF16 = 1,
  LOWP_PRECISION_FP16 = 2,
  LOWP_INT8 = 3,
  LOWP_AUTO = 4
} lowp_precision;

typedef struct lowp_model lowp_model;
typedef struct lowp_engine lowp_engine;
typedef struct lowp_session lowp_session;

#define LOWP_MAX_RANK 16

/* A row-major tensor. `data` is the caller's for inputs; for outputs see lowp_run. */
typedef struct lowp_tensor {
  const char* name;
  lowp_dtype dtype;
  int32_t rank;
  int64_t shape[LOWP_MAX_RANK];
  void* data;
} lowp_tensor;

/* A model's or engine's input or output. Extents are -1 where they are free. The name lives as long as the handle. */
typedef struct lowp_value_info {
  const char* name;
  lowp_dtype dtype;
  int32_t rank; /* -1: not known */
  int64_t shape[LOWP_MAX_RANK];
} lowp_value_info;

/* Gives sample `index` for calibration: fills `inputs` (count of them, named, in the model's order) with pointers that
 * stay valid until the next call. Returns 1, 0 at the end, or -1 to stop with LOWP_CANCELLED. */
typedef int (*lowp_sample_fn)(void* user, int64_t index, lowp_tensor* inputs, int32_t count);

/* Options begin with their size, so that a program compiled against an older header goes on working. Zero means
 * default. */
typedef struct lowp_compile_options {
  size_t size; /* sizeof(lowp_compile_options) */
  lowp_precision precision;
  int32_t threads; /* 0: all */
  int32_t strict;  /* not 0: an error where a layer cannot have the precision asked for */
  int32_t no_measure;
  lowp_sample_fn samples; /* LOWP_INT8 */
  void* samples_user;
  int32_t no_tune; /* not 0: do not time the ways in which kernels can compute each layer */
} lowp_compile_options;

typedef struct lowp_session_options {
  size_t size;
  int32_t threads; /* 0: all */
  int32_t profile;
} lowp_session_options;

/* "0.1.0" */
LOWP_API const char* lowp_version(void);
/* "shape-mismatch" and the like. */
LOWP_API const char* lowp_code_name(lowp_code code);
/* The last failure in this thread: code, node, message and what to do. Valid until the next call in this thread. */
LOWP_API const char* lowp_last_error(void);

/* Messages of the library; level 0 debug, 1 info, 2 warning, 3 error. null: none, the default. */
typedef void (*lowp_log_fn)(void* user, int level, const char* message);
LOWP_API void lowp_set_log(lowp_log_fn log, void* user);

LOWP_API lowp_code lowp_load(const char* path, lowp_model** model);
LOWP_API void lowp_model_close(lowp_model* model);
LOWP_API int32_t lowp_model_inputs(const lowp_model* model);
LOWP_API int32_t lowp_model_outputs(const lowp_model* model);
LOWP_API lowp_code lowp_model_input(const lowp_model* model, int32_t index, lowp_value_info* info);
LOWP_API lowp_code lowp_model_output(const lowp_model* model, int32_t index, lowp_value_info* info);

/* options may be null: FP32, all threads. */
LOWP_API lowp_code lowp_compile(const lowp_model* model, const lowp_compile_options* options, lowp_engine** engine);
LOWP_API lowp_code lowp_save(const lowp_engine* engine, const char* path);
LOWP_API lowp_code lowp_open(const char* path, lowp_engine** engine);
LOWP_API void lowp_engine_close(lowp_engine* engine);
LOWP_API int32_t lowp_engine_inputs(const lowp_engine* engine);
LOWP_API int32_t lowp_engine_outputs(const lowp_engine* engine);
LOWP_API lowp_code lowp_engine_input(const lowp_engine* engine, int32_t index, lowp_value_info* info);
LOWP_API lowp_code lowp_engine_output(const lowp_engine* engine, int32_t index, lowp_value_info* info);

/* The engine may be closed before its sessions. */
LOWP_API lowp_code lowp_session_open(const lowp_engine* engine, const lowp_session_options* options,
                                     lowp_session** session);
LOWP_API void lowp_session_close(lowp_session* session);

/* Runs with `inputs` matched by name, each exactly once. `outputs` has room for all of the engine's outputs, in their
 * order. An output with data == null is filled in: name, dtype, shape, and data that the session owns until its next
 * run or its end. An output with data is the caller's buffer: dtype, rank and shape must be what the run gives. */
LOWP_API lowp_code lowp_run(lowp_session* session, const lowp_tensor* inputs, int32_t input_count, lowp_tensor* outputs,
                            int32_t output_count);
/* Ends a run in another thread with LOWP_CANCELLED at the next layer. */
LOWP_API void lowp_cancel(lowp_session* session);

#ifdef __cplusplus
}
#endif

#endif /* LOWP_LOWP_H_ */
