/* Score the golden cases of a model file: the program of run_tflite.c and run_mnn.cpp. C99 and C++11.
 *
 *     run_... MODEL GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names and checked, the batch is set where it changes. Exit status 0 if every case is reproduced, 1 if one
 * is not, 2 if a file cannot be used. With SECONDS each case is also timed that long: copy in, run, copy out. */
#ifndef GOLDEN_RUN_H
#define GOLDEN_RUN_H

#include "golden.h"
#include "runner.h"
#include "timing.h"
#include "{{ name }}Inputs.h"

typedef struct {
  runner *model;
  const golden_case *one;
} call;

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static int run(void *state) {
  call *c = (call *)state;
  return c->model->run(c->model, (const void *const *)c->one->inputs);
}

/* Score a case and compare; 1 if it is reproduced. */
static int check(call *c, const golden *g, int file, double seconds) {
  const void *const *outputs = c->model->predict(c->model, (const void *const *)c->one->inputs, c->one->rows);
  if (!outputs) return printf("FAIL  %-24s could not be scored: %s\n", c->one->name, c->model->error), 0;
  if (!golden_compare(g, file, c->one, outputs)) return 0;
  if (seconds > 0)
    printf("time  %-24s %u rows %.3f us\n", c->one->name, (unsigned)c->one->rows, timing_microseconds(run, c, seconds));
  return 1;
}

/* The program; what it is called with, and what opens the model. */
static int golden_run(int argc, char **argv, runner_open open) {
  golden g;
  runner model;
  const char *stranger;
  uint32_t i, failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_... MODEL GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return golden_free(&g), unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if ((stranger = golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount, {{ name }}Outputs, {{ name }}OutputCount)))
    return unusable("golden cases of another model", stranger);
  if (!open(&model, argv[1], {{ name }}Inputs, {{ name }}InputCount, {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch))
    return golden_free(&g), unusable("the model cannot be used", model.error);
  for (i = 0; i < g.n_cases; i++) {
    call c;
    c.model = &model, c.one = &g.cases[i];
    failed += !check(&c, &g, file, argc > 3 ? atof(argv[3]) : 0);
  }
  printf("%s: %u of %u cases reproduced by %s %s\n", g.files[file], (unsigned)(g.n_cases - failed), (unsigned)g.n_cases,
         model.runtime, model.version);
  fflush(stdout);
  model.close(&model);
  golden_free(&g);
  return failed ? 1 : 0;
}

#endif
