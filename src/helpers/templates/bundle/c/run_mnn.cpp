/* Score the golden cases with an .mnn file through MNN's session API.
 *
 *     run_mnn MODEL.mnn GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names and checked, the batch is set before each case, every step is checked. Exit status 0 if every case
 * is reproduced, 1 if one is not, 2 if a file cannot be used. With SECONDS each case is also timed that long. */
#include "golden.h"
#include "mnn_model.h"
#include "timing.h"
#include "{{ name }}Inputs.h"

namespace {

struct Call {
  mnn_model *model;
  const golden_case *one;
};

const void *const *values(const golden_case *one) { return reinterpret_cast<const void *const *>(one->inputs); }

int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

int run(void *state) {
  const Call *call = static_cast<Call *>(state);
  call->model->run(values(call->one));
  return 1;
}

// Score a case and compare; true if it is reproduced.
bool check(mnn_model &model, const golden *g, const golden_case *one, int file, double seconds) {
  try {
    if (!golden_compare(g, file, one, model.predict(values(one), one->rows))) return false;
    Call call{&model, one};
    if (seconds > 0)
      printf("time  %-24s %u rows %.3f us\n", one->name, (unsigned)one->rows, timing_microseconds(run, &call, seconds));
    return true;
  } catch (const std::exception &error) {
    printf("FAIL  %-24s could not be scored: %s\n", one->name, error.what());
    return false;
  }
}

}  // namespace

int main(int argc, char **argv) {
  golden g;
  uint32_t failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_mnn MODEL.mnn GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return golden_free(&g), unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if (const char *stranger = golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount,
                                             {{ name }}Outputs, {{ name }}OutputCount))
    return unusable("golden cases of another model", stranger);
  try {
    mnn_model model(argv[1], {{ name }}Inputs, {{ name }}InputCount,
                    {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch);
    for (uint32_t i = 0; i < g.n_cases; i++)
      failed += !check(model, &g, &g.cases[i], file, argc > 3 ? atof(argv[3]) : 0);
  } catch (const std::exception &error) {
    return golden_free(&g), unusable("the model cannot be used", error.what());
  }
  printf("%s: %u of %u cases reproduced by MNN %s\n", g.files[file], (unsigned)(g.n_cases - failed),
         (unsigned)g.n_cases, MNN::getVersion());
  fflush(stdout);
  golden_free(&g);
  return failed ? 1 : 0;
}
