/* A .tflite file through TensorFlow Lite's C API, one thread: inputs found by their names, the batch set before scoring,
 * nothing scored that the model does not take. */
#ifndef TFLITE_H
#define TFLITE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "tensorflow/lite/c/c_api.h"

typedef struct {
  TfLiteModel *model;
  TfLiteInterpreterOptions *options;
  TfLiteInterpreter *interpreter;
  const input_tensor *inputs, *outputs;
  uint32_t n, n_outputs, batch;
  input_tensor score;                            /* the only output, of tflite_open */
  int32_t place[INPUT_MOST], result[INPUT_MOST]; /* where each input and output is in the interpreter */
  char error[256];                               /* why there are no outputs */
} tflite;

static inline void tflite_close(tflite *t) {
  if (t->interpreter) TfLiteInterpreterDelete(t->interpreter);
  if (t->options) TfLiteInterpreterOptionsDelete(t->options);
  if (t->model) TfLiteModelDelete(t->model);
  memset(t, 0, sizeof *t);
}

static inline TfLiteType tflite_type(uint32_t dtype) {
  return dtype == INPUT_FLOAT32 ? kTfLiteFloat32
         : dtype == INPUT_INT32 ? kTfLiteInt32
         : dtype == INPUT_UINT8 ? kTfLiteUInt8
                                : kTfLiteInt64;
}

/* Whether it has the axes of a row behind the batch, and so many rows if that is not 0. */
static inline int tflite_shaped(const input_tensor *wanted, const TfLiteTensor *tensor, uint32_t rows) {
  uint32_t i;
  if (TfLiteTensorNumDims(tensor) != (int32_t)wanted->n_axes + 1) return 0;
  for (i = 0; i < wanted->n_axes; i++)
    if (TfLiteTensorDim(tensor, (int32_t)i + 1) != (int32_t)wanted->axes[i]) return 0;
  return !rows || TfLiteTensorDim(tensor, 0) == (int32_t)rows;
}

static inline int tflite_named(const input_tensor *wanted, const TfLiteTensor *tensor) {
  return !strcmp(TfLiteTensorName(tensor), wanted->name) && TfLiteTensorType(tensor) == tflite_type(wanted->dtype);
}

/* Open a model that takes exactly these inputs and gives these outputs, `batch` rows at a time or, if that is 0, any number;
 * the tables must stay. NULL if it does, else what is wrong, and `detail` is what with. Close it in any case. */
static inline const char *tflite_open_model(tflite *t, const char *path, const input_tensor *inputs, uint32_t n,
                                            const input_tensor *outputs, uint32_t n_outputs, uint32_t batch,
                                            const char **detail) {
  int32_t count, results, j;
  uint32_t i;
  memset(t, 0, sizeof *t);
  t->inputs = inputs, t->n = n, t->outputs = outputs, t->n_outputs = n_outputs, t->batch = batch;
  *detail = path;
  if (n > INPUT_MOST || n_outputs > INPUT_MOST) return "too many inputs or outputs";
  if (!(t->model = TfLiteModelCreateFromFile(path))) return "not a TFLite model";
  t->options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(t->options, 1);
  if (!(t->interpreter = TfLiteInterpreterCreate(t->model, t->options))) return "cannot be interpreted";
  count = TfLiteInterpreterGetInputTensorCount(t->interpreter);
  for (i = 0; i < n; i++) {
    t->place[i] = -1;
    for (j = 0; j < count; j++) {
      const TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(t->interpreter, j);
      if (tflite_named(&inputs[i], tensor) && tflite_shaped(&inputs[i], tensor, batch)) t->place[i] = j;
    }
    *detail = inputs[i].name;
    if (t->place[i] < 0) return "the model has no such input, or of another type or shape";
  }
  results = TfLiteInterpreterGetOutputTensorCount(t->interpreter);
  for (i = 0; i < n_outputs; i++) {
    t->result[i] = -1;
    for (j = 0; j < results; j++)
      if (tflite_named(&outputs[i], TfLiteInterpreterGetOutputTensor(t->interpreter, j))) t->result[i] = j;
    *detail = outputs[i].name;
    if (t->result[i] < 0) return "the model has no such output, or of another type";
  }
  *detail = path;
  return count != (int32_t)n || results != (int32_t)n_outputs ? "the model has other inputs or outputs" : NULL;
}

/* The same of a model of any number of rows whose only output is a score, one float32 a row. */
static inline const char *tflite_open(tflite *t, const char *path, const input_tensor *inputs, uint32_t n,
                                      const char *output, const char **detail) {
  const input_tensor score = {output, 1, INPUT_FLOAT32, 1, {1}, 0, NULL};
  const char *wrong = tflite_open_model(t, path, inputs, n, &score, 1, 0, detail);
  t->score = score;
  t->outputs = &t->score;
  return wrong;
}

/* Set the number of rows; 0 if the model does not take so many. */
static inline int tflite_resize(tflite *t, uint32_t rows) {
  uint32_t i, j;
  if (t->batch && rows != t->batch) {
    snprintf(t->error, sizeof t->error, "the model takes %u rows at a time, not %u", (unsigned)t->batch, (unsigned)rows);
    return 0;
  }
  for (i = 0; !t->batch && i < t->n; i++) {
    int shape[1 + INPUT_MOST_AXES];
    shape[0] = (int)rows;
    for (j = 0; j < t->inputs[i].n_axes; j++) shape[j + 1] = (int)t->inputs[i].axes[j];
    if (TfLiteInterpreterResizeInputTensor(t->interpreter, t->place[i], shape, (int32_t)j + 1) != kTfLiteOk) return 0;
  }
  return TfLiteInterpreterAllocateTensors(t->interpreter) == kTfLiteOk;
}

/* Copy in, invoke, copy out, of inputs that were checked: the values of each input and output row by row. */
static inline int tflite_run(tflite *t, const void *const *values, uint32_t rows, void *const *outputs) {
  uint32_t i;
  for (i = 0; i < t->n; i++) {
    TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(t->interpreter, t->place[i]);
    if (TfLiteTensorCopyFromBuffer(tensor, values[i], input_size(&t->inputs[i], rows)) != kTfLiteOk) return 0;
  }
  if (TfLiteInterpreterInvoke(t->interpreter) != kTfLiteOk) return 0;
  for (i = 0; i < t->n_outputs; i++) {
    const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(t->interpreter, t->result[i]);
    const size_t size = input_size(&t->outputs[i], rows);
    if (!tflite_shaped(&t->outputs[i], output, rows) || TfLiteTensorByteSize(output) != size) return 0;
    if (TfLiteTensorCopyToBuffer(output, outputs[i], size) != kTfLiteOk) return 0;
  }
  return 1;
}

/* The same of any inputs, after tflite_resize; 0 if they or the outputs are nothing to go by, and `error` says why. */
static inline int tflite_predict(tflite *t, const void *const *values, uint32_t rows, void *const *outputs) {
  uint32_t i;
  for (i = 0; i < t->n; i++)
    if (!input_check(&t->inputs[i], values[i], rows, t->error, sizeof t->error)) return 0;
  if (tflite_run(t, values, rows, outputs))
    return outputs_check(t->outputs, t->n_outputs, (const void *const *)outputs, rows, t->error, sizeof t->error);
  snprintf(t->error, sizeof t->error, "TensorFlow Lite could not run the model");
  return 0;
}

/* A score a row, of a model that tflite_open has opened. */
static inline int tflite_score(tflite *t, const void *const *values, uint32_t rows, float *scores) {
  void *outputs[1];
  outputs[0] = scores;
  return tflite_predict(t, values, rows, outputs);
}

#endif
