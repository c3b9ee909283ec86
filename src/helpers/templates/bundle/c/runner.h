/* One interface over the runtimes: an open model that takes rows and gives every output, whichever runtime it is of.
 * runner_tflite.h and runner_mnn.h open one. C99 and C++11. */
#ifndef RUNNER_H
#define RUNNER_H

#include "inputs.h"

typedef struct runner {
  /* Every output row by row, in declared order, good until the next call; NULL if there is none, and `error` says why. Of
   * inputs in their order, which are checked. One thread at a time. */
  const void *const *(*predict)(struct runner *self, const void *const *values, uint32_t rows);
  /* Copies in, runs and copies out, with the number of rows of the last `predict` that succeeded; nothing is checked. For timing:
   * 1 if it ran. */
  int (*run)(struct runner *self, const void *const *values);
  /* Free the model. */
  void (*close)(struct runner *self);
  const char *runtime, *version; /* TensorFlow Lite, 2.16.1 */
  void *state;                   /* the runtime's own */
  char error[256];
} runner;

/* Open a model that takes exactly these inputs and gives these outputs, `batch` rows at a time or, if that is 0, any number;
 * the tables must stay. 0 if it does not, and `error` says why. */
typedef int (*runner_open)(runner *self, const char *path, const input_tensor *inputs, uint32_t n, const input_tensor *outputs,
                           uint32_t n_outputs, uint32_t batch);

#endif
