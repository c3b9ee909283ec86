/* Score the golden cases with a .tflite file through TensorFlow Lite's C API.
 *
 *     run_tflite MODEL.tflite GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names, the batch is set before each case. Exit status 0 if every case is reproduced, 1 if one
 * is not, 2 if a file cannot be used. With SECONDS each case is also timed that long: copy in, invoke, copy out. */
#define _POSIX_C_SOURCE 199309L
#include "golden.h"
#include "tensorflow/lite/c/c_api.h"
#include "timing.h"

typedef struct {
  const golden *g;
  const golden_case *one;
  TfLiteInterpreter *interpreter;
  int32_t place[GOLDEN_MOST_INPUTS]; /* where each input of the golden cases is in the interpreter */
  float *scores;
} call;

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static int fits(const golden_input *input, const TfLiteTensor *tensor) {
  static const TfLiteType types[] = {kTfLiteFloat32, kTfLiteInt32, kTfLiteInt64};
  return !strcmp(TfLiteTensorName(tensor), input->name) && TfLiteTensorNumDims(tensor) == 2 &&
         TfLiteTensorDim(tensor, 1) == (int32_t)input->width && TfLiteTensorType(tensor) == types[input->dtype];
}

/* Find every input by its name; the first that is not there or is of another type or width, NULL if all are. */
static const char *bind(call *c) {
  int32_t count = TfLiteInterpreterGetInputTensorCount(c->interpreter), j;
  uint32_t i;
  for (i = 0; i < c->g->n_inputs; i++) {
    c->place[i] = -1;
    for (j = 0; j < count; j++)
      if (fits(&c->g->inputs[i], TfLiteInterpreterGetInputTensor(c->interpreter, j))) c->place[i] = j;
    if (c->place[i] < 0) return c->g->inputs[i].name;
  }
  if (count != (int32_t)c->g->n_inputs || TfLiteInterpreterGetOutputTensorCount(c->interpreter) != 1) return "others";
  return NULL;
}

static int resize(call *c) {
  uint32_t i;
  for (i = 0; i < c->g->n_inputs; i++) {
    int shape[2];
    shape[0] = (int)c->one->rows, shape[1] = (int)c->g->inputs[i].width;
    if (TfLiteInterpreterResizeInputTensor(c->interpreter, c->place[i], shape, 2) != kTfLiteOk) return 0;
  }
  return TfLiteInterpreterAllocateTensors(c->interpreter) == kTfLiteOk;
}

static int score(void *state) {
  call *c = (call *)state;
  const TfLiteTensor *output;
  size_t size = (size_t)c->one->rows * sizeof(float);
  uint32_t i;
  for (i = 0; i < c->g->n_inputs; i++) {
    TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(c->interpreter, c->place[i]);
    if (TfLiteTensorCopyFromBuffer(tensor, c->one->inputs[i], golden_size(c->g, c->one, i)) != kTfLiteOk) return 0;
  }
  if (TfLiteInterpreterInvoke(c->interpreter) != kTfLiteOk) return 0;
  output = TfLiteInterpreterGetOutputTensor(c->interpreter, 0);
  if (strcmp(TfLiteTensorName(output), c->g->output) || TfLiteTensorByteSize(output) != size) return 0;
  return TfLiteTensorCopyToBuffer(output, c->scores, size) == kTfLiteOk;
}

/* Score a case and compare; 1 if it is reproduced. */
static int check(call *c, int file, double seconds) {
  int good;
  c->scores = (float *)calloc(c->one->rows, sizeof(float));
  good = c->scores && resize(c) && score(c);
  if (!good) printf("FAIL  %-24s could not be scored\n", c->one->name);
  good = good && golden_compare(c->g, file, c->one, c->scores);
  if (good && seconds > 0)
    printf("time  %-24s %u rows %.3f us\n", c->one->name, (unsigned)c->one->rows,
           timing_microseconds(score, c, seconds));
  free(c->scores);
  return good;
}

int main(int argc, char **argv) {
  golden g;
  call c;
  TfLiteModel *model;
  TfLiteInterpreterOptions *options;
  const char *missing;
  uint32_t i, failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_tflite MODEL.tflite GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return golden_free(&g), unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if (!(model = TfLiteModelCreateFromFile(argv[1]))) return unusable("not a TFLite model", argv[1]);
  options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 1);
  c.g = &g;
  if (!(c.interpreter = TfLiteInterpreterCreate(model, options))) return unusable("cannot be interpreted", argv[1]);
  if ((missing = bind(&c))) return unusable("the model has no such input, or of another type or width", missing);
  for (i = 0; i < g.n_cases; i++) {
    c.one = &g.cases[i];
    failed += !check(&c, file, argc > 3 ? atof(argv[3]) : 0);
  }
  printf("%s: %u of %u cases reproduced by TensorFlow Lite %s\n", g.files[file], (unsigned)(g.n_cases - failed),
         (unsigned)g.n_cases, TfLiteVersion());
  TfLiteInterpreterDelete(c.interpreter);
  TfLiteInterpreterOptionsDelete(options);
  TfLiteModelDelete(model);
  golden_free(&g);
  return failed ? 1 : 0;
}
