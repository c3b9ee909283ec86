/* Score the golden cases with a .tflite file through TensorFlow Lite's C API.
 *
 *     run_tflite MODEL.tflite GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names and checked, the batch is set before each case. Exit status 0 if every case is reproduced, 1 if one
 * is not, 2 if a file cannot be used. With SECONDS each case is also timed that long: copy in, invoke, copy out. */
#define _POSIX_C_SOURCE 199309L
#include "golden.h"
#include "tflite.h"
#include "{{ name }}Inputs.h"
#include "timing.h"

typedef struct {
  tflite *model;
  const golden_case *one;
  void *outputs[INPUT_MOST];
} call;

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static int run(void *state) {
  call *c = (call *)state;
  return tflite_run(c->model, (const void *const *)c->one->inputs, c->one->rows, c->outputs);
}

/* Score a case and compare; 1 if it is reproduced. */
static int check(call *c, const golden *g, int file, double seconds) {
  uint32_t i;
  int good = 1;
  for (i = 0; i < {{ name }}OutputCount; i++)
    if (!(c->outputs[i] = calloc(1, input_size(&{{ name }}Outputs[i], c->one->rows)))) good = 0;
  strcpy(c->model->error, "no memory for so many rows");
  good = good && tflite_resize(c->model, c->one->rows) &&
         tflite_predict(c->model, (const void *const *)c->one->inputs, c->one->rows, c->outputs);
  if (!good) printf("FAIL  %-24s could not be scored: %s\n", c->one->name, c->model->error);
  good = good && golden_compare(g, file, c->one, (const void *const *)c->outputs);
  if (good && seconds > 0)
    printf("time  %-24s %u rows %.3f us\n", c->one->name, (unsigned)c->one->rows,
           timing_microseconds(run, c, seconds));
  for (i = 0; i < {{ name }}OutputCount; i++) free(c->outputs[i]);
  return good;
}

int main(int argc, char **argv) {
  golden g;
  tflite model;
  const char *wrong, *detail;
  uint32_t i, failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_tflite MODEL.tflite GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return golden_free(&g), unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if ((detail = golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount,
                                {{ name }}Outputs, {{ name }}OutputCount)))
    return unusable("golden cases of another model", detail);
  if ((wrong = tflite_open_model(&model, argv[1], {{ name }}Inputs, {{ name }}InputCount,
                                 {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch, &detail)))
    return unusable(wrong, detail);
  for (i = 0; i < g.n_cases; i++) {
    call c;
    c.model = &model, c.one = &g.cases[i];
    failed += !check(&c, &g, file, argc > 3 ? atof(argv[3]) : 0);
  }
  printf("%s: %u of %u cases reproduced by TensorFlow Lite %s\n", g.files[file], (unsigned)(g.n_cases - failed),
         (unsigned)g.n_cases, TfLiteVersion());
  tflite_close(&model);
  golden_free(&g);
  return failed ? 1 : 0;
}
