{% if "model.tflite" in files %}
/* A `runner` of a .tflite file. C99 and C++11. */
#ifndef RUNNER_TFLITE_H
#define RUNNER_TFLITE_H

#include "runner.h"
#include "tflite.h"

typedef struct {
  tflite model;
  uint32_t rows; /* that it was resized to */
  void *outputs[INPUT_MOST];
} runner_tflite;

static inline const void *const *runner_tflite_predict(runner *self, const void *const *values, uint32_t rows) {
  runner_tflite *own = (runner_tflite *)self->state;
  tflite *t = &own->model;
  uint32_t i;
  if (rows != own->rows) {
    own->rows = 0; /* nothing is right until everything is */
    snprintf(t->error, sizeof t->error, "TensorFlow Lite has no memory for %u rows", (unsigned)rows);
    if (!tflite_resize(t, rows)) return snprintf(self->error, sizeof self->error, "%s", t->error), (const void *const *)NULL;
    for (i = 0; i < t->n_outputs; i++) {
      free(own->outputs[i]);
      if (!(own->outputs[i] = malloc(input_size(&t->outputs[i], rows))))
        return snprintf(self->error, sizeof self->error, "no memory for %u rows", (unsigned)rows), (const void *const *)NULL;
    }
    own->rows = rows;
  }
  if (tflite_predict(t, values, rows, own->outputs)) return (const void *const *)own->outputs;
  snprintf(self->error, sizeof self->error, "%s", t->error);
  return NULL;
}

static inline int runner_tflite_run(runner *self, const void *const *values) {
  runner_tflite *own = (runner_tflite *)self->state;
  if (tflite_run(&own->model, values, own->rows, own->outputs)) return 1;
  snprintf(self->error, sizeof self->error, "%s", own->model.error);
  return 0;
}

static inline void runner_tflite_close(runner *self) {
  runner_tflite *own = (runner_tflite *)self->state;
  uint32_t i;
  if (!own) return;
  for (i = 0; i < INPUT_MOST; i++) free(own->outputs[i]);
  tflite_close(&own->model);
  free(own);
  self->state = NULL;
}

/* As `runner_open` of runner.h says. */
static inline int runner_open_tflite(runner *self, const char *path, const input_tensor *inputs, uint32_t n,
                                     const input_tensor *outputs, uint32_t n_outputs, uint32_t batch) {
  const char *wrong, *detail = "";
  runner_tflite *own = (runner_tflite *)calloc(1, sizeof *own);
  memset(self, 0, sizeof *self);
  self->predict = runner_tflite_predict, self->run = runner_tflite_run, self->close = runner_tflite_close;
  self->runtime = "TensorFlow Lite", self->version = TfLiteVersion();
  if (!(self->state = own)) return snprintf(self->error, sizeof self->error, "out of memory"), 0;
  wrong = tflite_open_model(&own->model, path, inputs, n, outputs, n_outputs, batch, &detail);
  if (!wrong) return 1;
  snprintf(self->error, sizeof self->error, "%s: %s", wrong, detail);
  runner_tflite_close(self);
  return 0;
}

#endif
{% endif %}
