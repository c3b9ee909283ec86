/* One interface over the runtimes: an open model that takes rows and gives every output, whichever runtime it is of.
 * runner_tflite.h and runner_mnn.h open one. C99 and C++11. */
#ifndef RUNNER_H
#define RUNNER_H

#include "inputs.h"

typedef struct runner {
  /* Every output row by row, in declared order, good until the next call; NULL if there is none, and `error` says why. Of
   * inputs in their order, which are checked. One thread at a time. */
  const void *const *(*predict)(struct runner *self, const void *const *values, uint32_t rows);
  /* Free the model. */
  void (*close)(struct runner *self);
  const char *runtime, *version; /* TensorFlow Lite, 2.16.1 */
  void *state;                   /* the runtime's own */
  char error[256];
} runner;

#endif
