/* A .tflite file through TensorFlow Lite's C API, one thread: inputs found by their names, the batch set before scoring,
 * nothing scored that the model does not take. */
#ifndef TFLITE_H
#define TFLITE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "tensorflow/lite/c/c_api.h"

enum { TFLITE_MOST_INPUTS = 1024 };

typedef struct {
  TfLiteModel *model;
  TfLiteInterpreterOptions *options;
  TfLiteInterpreter *interpreter;
  const input_tensor *inputs;
  const char *output; /* its name */
  uint32_t n;
  int32_t place[TFLITE_MOST_INPUTS]; /* where each input is in the interpreter */
  char error[256];                   /* why tflite_score has no scores */
} tflite;

static inline void tflite_close(tflite *t) {
  if (t->interpreter) TfLiteInterpreterDelete(t->interpreter);
  if (t->options) TfLiteInterpreterOptionsDelete(t->options);
  if (t->model) TfLiteModelDelete(t->model);
  memset(t, 0, sizeof *t);
}

static inline int tflite_fits(const input_tensor *input, const TfLiteTensor *tensor) {
  const TfLiteType type = input->dtype == INPUT_FLOAT32 ? kTfLiteFloat32
                          : input->dtype == INPUT_INT32 ? kTfLiteInt32
                                                        : kTfLiteInt64;
  return !strcmp(TfLiteTensorName(tensor), input->name) && TfLiteTensorNumDims(tensor) == 2 &&
         TfLiteTensorDim(tensor, 1) == (int32_t)input->width && TfLiteTensorType(tensor) == type;
}

/* Open a model that takes exactly these inputs; they must stay. NULL if it does, else what is wrong, and `detail` is what
 * with. Close it in any case. */
static inline const char *tflite_open(tflite *t, const char *path, const input_tensor *inputs, uint32_t n,
                                      const char *output, const char **detail) {
  int32_t count, j;
  uint32_t i;
  memset(t, 0, sizeof *t);
  t->inputs = inputs, t->n = n, t->output = output;
  *detail = path;
  if (n > TFLITE_MOST_INPUTS) return "too many inputs";
  if (!(t->model = TfLiteModelCreateFromFile(path))) return "not a TFLite model";
  t->options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(t->options, 1);
  if (!(t->interpreter = TfLiteInterpreterCreate(t->model, t->options))) return "cannot be interpreted";
  count = TfLiteInterpreterGetInputTensorCount(t->interpreter);
  for (i = 0; i < n; i++) {
    t->place[i] = -1;
    for (j = 0; j < count; j++)
      if (tflite_fits(&inputs[i], TfLiteInterpreterGetInputTensor(t->interpreter, j))) t->place[i] = j;
    *detail = inputs[i].name;
    if (t->place[i] < 0) return "the model has no such input, or of another type or width";
  }
  *detail = path;
  if (count != (int32_t)n || TfLiteInterpreterGetOutputTensorCount(t->interpreter) != 1)
    return "the model has other inputs or outputs";
  return NULL;
}

static inline int tflite_resize(tflite *t, uint32_t rows) {
  uint32_t i;
  for (i = 0; i < t->n; i++) {
    int shape[2];
    shape[0] = (int)rows, shape[1] = (int)t->inputs[i].width;
    if (TfLiteInterpreterResizeInputTensor(t->interpreter, t->place[i], shape, 2) != kTfLiteOk) return 0;
  }
  return TfLiteInterpreterAllocateTensors(t->interpreter) == kTfLiteOk;
}

/* Copy in, invoke, copy out, of inputs that were checked: the values of each input row by row, and a score a row. */
static inline int tflite_run(tflite *t, const void *const *values, uint32_t rows, float *scores) {
  const size_t size = (size_t)rows * sizeof *scores;
  const TfLiteTensor *output;
  uint32_t i;
  for (i = 0; i < t->n; i++) {
    TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(t->interpreter, t->place[i]);
    if (TfLiteTensorCopyFromBuffer(tensor, values[i], input_size(&t->inputs[i], rows)) != kTfLiteOk) return 0;
  }
  if (TfLiteInterpreterInvoke(t->interpreter) != kTfLiteOk) return 0;
  output = TfLiteInterpreterGetOutputTensor(t->interpreter, 0);
  if (strcmp(TfLiteTensorName(output), t->output) || TfLiteTensorByteSize(output) != size) return 0;
  return TfLiteTensorCopyToBuffer(output, scores, size) == kTfLiteOk;
}

/* The same of any inputs; 0 if they or the scores are nothing to rank by, and `error` says why. */
static inline int tflite_score(tflite *t, const void *const *values, uint32_t rows, float *scores) {
  uint32_t i;
  for (i = 0; i < t->n; i++)
    if (!input_check(&t->inputs[i], values[i], rows, t->error, sizeof t->error)) return 0;
  if (tflite_run(t, values, rows, scores)) return score_check(scores, rows, t->error, sizeof t->error);
  snprintf(t->error, sizeof t->error, "TensorFlow Lite could not run the model");
  return 0;
}

#endif
