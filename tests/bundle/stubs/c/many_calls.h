/* MODEL GOLDEN.bin: scores the golden cases 50,000 times in turn, so that the number of rows changes with each, and says by how
 * many KB the process grew after the first thousand; then, for each case, how long a checked call takes. */
#include "golden.h"
#include "runner.h"
#include "timing.h"
#include "NAMEInputs.h"

enum { WARM = 1000, CALLS = 50000 };

typedef struct {
  runner *model;
  const golden_case *one;
} call;

static int predict(void *state) {
  call *c = (call *)state;
  return c->model->predict(c->model, (const void *const *)c->one->inputs, c->one->rows) != NULL;
}

static long resident(void) {
  long all = 0, own = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f && fscanf(f, "%ld %ld", &all, &own) != 2) own = 0;
  if (f) fclose(f);
  return own * 4;
}

static int many_calls(int argc, char **argv, runner_open open) {
  golden g;
  runner model;
  long before = 0;
  if (argc != 3 || !golden_read(argv[2], &g)) return 2;
  if (!open(&model, argv[1], NAMEInputs, NAMEInputCount, NAMEOutputs, NAMEOutputCount, NAMEBatch)) return 2;
  for (long i = 0; i < WARM + CALLS; i++) {
    call c = {&model, &g.cases[(size_t)i % g.n_cases]};
    if (i == WARM) before = resident();
    if (!predict(&c)) return fprintf(stderr, "%s\n", model.error), 1;
  }
  printf("grew %ld KB\n", resident() - before);
  for (uint32_t i = 0; i < g.n_cases; i++) {
    call c = {&model, &g.cases[i]};
    predict(&c);
    printf("%u rows take %.3f us\n", (unsigned)g.cases[i].rows, timing_microseconds(predict, &c, 0.2));
  }
  model.close(&model);
  golden_free(&g);
  return 0;
}
