/* Score the golden cases with a .tflite file through TensorFlow Lite's C API.
 *
 *     run_tflite MODEL.tflite GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names, the batch is set before each case. Exit status 0 if every case is reproduced, 1 if one
 * is not, 2 if a file cannot be used. With SECONDS each batch size is also timed that long. */
#define _POSIX_C_SOURCE 199309L
#include <time.h>

#include "golden.h"
#include "tensorflow/lite/c/c_api.h"

static TfLiteType type_of(uint32_t dtype) {
  return dtype == GOLDEN_FLOAT32 ? kTfLiteFloat32 : dtype == GOLDEN_INT32 ? kTfLiteInt32 : kTfLiteInt64;
}

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Where each input of the golden cases is in the interpreter; 0 if one is not there or of another type or width. */
static int bind(const golden *g, TfLiteInterpreter *interpreter, int32_t *place) {
  int32_t count = TfLiteInterpreterGetInputTensorCount(interpreter), j;
  uint32_t i;
  if (count != (int32_t)g->n_inputs || TfLiteInterpreterGetOutputTensorCount(interpreter) != 1) return 0;
  for (i = 0; i < g->n_inputs; i++) {
    place[i] = -1;
    for (j = 0; j < count; j++) {
      const TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(interpreter, j);
      if (!strcmp(TfLiteTensorName(tensor), g->inputs[i].name) && TfLiteTensorNumDims(tensor) == 2 &&
          TfLiteTensorDim(tensor, 1) == (int32_t)g->inputs[i].width &&
          TfLiteTensorType(tensor) == type_of(g->inputs[i].dtype))
        place[i] = j;
    }
    if (place[i] < 0) return 0;
  }
  return 1;
}

static int copy_in(const golden *g, const golden_case *one, TfLiteInterpreter *interpreter, const int32_t *place) {
  uint32_t i;
  for (i = 0; i < g->n_inputs; i++) {
    size_t size = (size_t)one->rows * g->inputs[i].width * golden_item_size(g->inputs[i].dtype);
    TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(interpreter, place[i]);
    if (TfLiteTensorCopyFromBuffer(tensor, one->inputs[i], size) != kTfLiteOk) return 0;
  }
  return 1;
}

static int score(const golden *g, const golden_case *one, TfLiteInterpreter *interpreter, const int32_t *place,
                 float *scores) {
  uint32_t i;
  const TfLiteTensor *output;
  for (i = 0; i < g->n_inputs; i++) {
    int shape[2];
    shape[0] = (int)one->rows, shape[1] = (int)g->inputs[i].width;
    if (TfLiteInterpreterResizeInputTensor(interpreter, place[i], shape, 2) != kTfLiteOk) return 0;
  }
  if (TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk || !copy_in(g, one, interpreter, place)) return 0;
  if (TfLiteInterpreterInvoke(interpreter) != kTfLiteOk) return 0;
  output = TfLiteInterpreterGetOutputTensor(interpreter, 0);
  if (strcmp(TfLiteTensorName(output), g->output) || TfLiteTensorByteSize(output) != (size_t)one->rows * 4) return 0;
  return TfLiteTensorCopyToBuffer(output, scores, (size_t)one->rows * 4) == kTfLiteOk;
}

/* The smallest microseconds a call over blocks of at least 4 ms, with the copies in and out; the batch is set already. */
static double microseconds(const golden *g, const golden_case *one, TfLiteInterpreter *interpreter, const int32_t *place,
                           float *scores, double seconds) {
  double best = 1e300, start = now();
  long calls = 1;
  do {
    double from = now(), taken;
    long i;
    for (i = 0; i < calls; i++) {
      copy_in(g, one, interpreter, place);
      TfLiteInterpreterInvoke(interpreter);
      TfLiteTensorCopyToBuffer(TfLiteInterpreterGetOutputTensor(interpreter, 0), scores, (size_t)one->rows * 4);
    }
    taken = now() - from;
    if (taken < 0.004)
      calls *= 2;
    else if (taken / calls < best)
      best = taken / calls;
  } while (now() - start < seconds);
  return best * 1e6;
}

int main(int argc, char **argv) {
  golden g;
  TfLiteModel *model;
  TfLiteInterpreterOptions *options;
  TfLiteInterpreter *interpreter;
  int32_t place[GOLDEN_MOST_INPUTS];
  uint32_t c, failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_tflite MODEL.tflite GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if (!(model = TfLiteModelCreateFromFile(argv[1]))) return unusable("not a TFLite model", argv[1]);
  options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 1);
  if (!(interpreter = TfLiteInterpreterCreate(model, options))) return unusable("cannot be interpreted", argv[1]);
  if (!bind(&g, interpreter, place)) return unusable("does not take the inputs of the golden cases", argv[1]);
  for (c = 0; c < g.n_cases; c++) {
    float *scores = (float *)calloc(g.cases[c].rows, sizeof *scores);
    if (!scores || !score(&g, &g.cases[c], interpreter, place, scores)) {
      printf("FAIL  %-24s could not be scored\n", g.cases[c].name);
      failed++;
    } else {
      failed += !golden_compare(&g, file, &g.cases[c], scores);
      if (argc > 3)
        printf("time  %-24s %.3f us\n", g.cases[c].name,
               microseconds(&g, &g.cases[c], interpreter, place, scores, atof(argv[3])));
    }
    free(scores);
  }
  printf("%s: %u of %u cases reproduced\n", argv[1], (unsigned)(g.n_cases - failed), (unsigned)g.n_cases);
  TfLiteInterpreterDelete(interpreter);
  TfLiteInterpreterOptionsDelete(options);
  TfLiteModelDelete(model);
  golden_free(&g);
  return failed ? 1 : 0;
}
