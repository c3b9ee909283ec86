{% if halves %}
/* The two halves of the model as one `runner`: it takes and gives what the whole model does. The reader's half runs where the
 * reader's inputs change, so once a session; its vector goes to the candidates' half with every row.
 *
 *     runner model;
 *     if (!runner_open_halves(&model, runner_open_tflite, "bundle/model.tflite", inputs, n, outputs, n_outputs, 0))
 *       complain(model.error);                                       of reader.tflite and candidate.tflite in that folder
 *     outputs = model.predict(&model, values, rows);
 *
 * Where a server computes the vector, a phone opens {{ halves.files.values() | map("last") | join(" or ") }} alone, with `{{ name }}Vector` among its inputs.
 * C99 and C++11. */
#ifndef HALVES_H
#define HALVES_H

#include <stdlib.h>

#include "runner.h"

/* What the reader's half takes; the candidates' takes the other inputs, and the vector. */
static const char *const {{ name }}ReaderNames[] = {{ "{" }}{% for input in halves.reader %}{{ input.name | quoted }}{{ ", " if not loop.last }}{% endfor %}{{ "}" }};
enum { {{ name }}ReaderCount = {{ halves.reader | length }}, {{ name }}VectorWidth = {{ halves.vector.size }} };
static const input_range {{ name }}VectorRange[] = {{ "{{" }}{{ halves.vector.low | float }}, {{ halves.vector.high | float }}{{ "}}" }};
static const input_tensor {{ name }}Vector = {
    {{ halves.vector.name | quoted }}, {{ name }}VectorWidth, INPUT_FLOAT32, 1, {{ "{" }}{{ name }}VectorWidth{{ "}" }}, 1, {{ name }}VectorRange};

typedef struct {
  runner reader, candidate;
  int opened; /* how many of them */
  input_tensor read[INPUT_MOST], given[INPUT_MOST];    /* what each takes; the vector is given[0] */
  uint32_t read_at[INPUT_MOST], given_at[INPUT_MOST];  /* where that is among the whole model's inputs */
  uint32_t n_read, n_given;
  void *last[INPUT_MOST]; /* the reader's inputs that `vector` was computed of, if `known` */
  int known;
  float vector[{{ name }}VectorWidth];
  float *vectors; /* of each row */
  uint32_t room, rows;
} runner_halves;

/* The vector of a row: computed where the reader's inputs are others than those of the row before. */
static inline int runner_halves_read(runner_halves *own, const void *const *values, uint32_t row) {
  const void *const *outputs;
  uint32_t i;
  for (i = 0; i < own->n_read; i++) {
    const size_t size = input_size(&own->read[i], 1);
    const unsigned char *at = (const unsigned char *)values[own->read_at[i]] + row * size;
    if (own->known && !memcmp(own->last[i], at, size)) continue;
    memcpy(own->last[i], at, size);
    own->known = 0;
  }
  if (own->known) return 1;
  if (!(outputs = own->reader.predict(&own->reader, (const void *const *)own->last, 1))) return 0;
  memcpy(own->vector, outputs[0], sizeof own->vector);
  return own->known = 1;
}

static inline const void *const *runner_halves_predict(runner *self, const void *const *values, uint32_t rows) {
  runner_halves *own = (runner_halves *)self->state;
  const void *given[INPUT_MOST], *const *outputs;
  uint32_t i;
  if (rows > own->room) {
    free(own->vectors);
    own->room = 0;
    if (!(own->vectors = (float *)malloc(input_size(&{{ name }}Vector, rows))))
      return snprintf(self->error, sizeof self->error, "no memory for %u rows", (unsigned)rows), (const void *const *)NULL;
    own->room = rows;
  }
  for (i = 0; i < rows; i++) {
    if (!runner_halves_read(own, values, i))
      return snprintf(self->error, sizeof self->error, "%s", own->reader.error), (const void *const *)NULL;
    memcpy(own->vectors + (size_t)i * {{ name }}VectorWidth, own->vector, sizeof own->vector);
  }
  given[0] = own->vectors;
  for (i = 1; i < own->n_given; i++) given[i] = values[own->given_at[i]];
  own->rows = rows;
  if ((outputs = own->candidate.predict(&own->candidate, given, rows))) return outputs;
  snprintf(self->error, sizeof self->error, "%s", own->candidate.error);
  return NULL;
}

static inline int runner_halves_run(runner *self, const void *const *values) {
  return runner_halves_predict(self, values, ((runner_halves *)self->state)->rows) != NULL;
}

static inline void runner_halves_close(runner *self) {
  runner_halves *own = (runner_halves *)self->state;
  uint32_t i;
  if (!own) return;
  if (own->opened > 0) own->reader.close(&own->reader);
  if (own->opened > 1) own->candidate.close(&own->candidate);
  for (i = 0; i < own->n_read; i++) free(own->last[i]);
  free(own->vectors);
  free(own);
  self->state = NULL;
}

/* Open one half beside the whole model's file; 0 if it cannot be used, and `error` says why. */
static inline int runner_halves_open(runner *self, runner_open open, const char *path, const char *name, runner *half,
                                     const input_tensor *inputs, uint32_t n, const input_tensor *outputs, uint32_t n_outputs) {
  const char *last = strrchr(path, '/'), *suffix = strrchr(path, '.');
  const int folder = last ? (int)(last - path) + 1 : 0;
  char place[4096];
  const int length = snprintf(place, sizeof place, "%.*s%s%s", folder, path, name, suffix ? suffix : "");
  if (length < 0 || (size_t)length >= sizeof place) return snprintf(self->error, sizeof self->error, "the path is too long"), 0;
  if (open(half, place, inputs, n, outputs, n_outputs, 0)) return ((runner_halves *)self->state)->opened++, 1;
  snprintf(self->error, sizeof self->error, "%s: %.200s", name, half->error);
  return 0;
}

/* As `runner_open` of runner.h says, of the halves beside `path`, the whole model's file; `open` opens a file of their runtime. */
static inline int runner_open_halves(runner *self, runner_open open, const char *path, const input_tensor *inputs, uint32_t n,
                                     const input_tensor *outputs, uint32_t n_outputs, uint32_t batch) {
  runner_halves *own = (runner_halves *)calloc(1, sizeof *own);
  uint32_t i, j;
  memset(self, 0, sizeof *self);
  self->predict = runner_halves_predict, self->run = runner_halves_run, self->close = runner_halves_close;
  if (!(self->state = own)) return snprintf(self->error, sizeof self->error, "out of memory"), 0;
  own->given[own->n_given++] = {{ name }}Vector;
  for (i = 0; i < n && n < INPUT_MOST; i++) {
    for (j = 0; j < {{ name }}ReaderCount; j++)
      if (!strcmp(inputs[i].name, {{ name }}ReaderNames[j])) break;
    if (j == {{ name }}ReaderCount) {
      own->given_at[own->n_given] = i, own->given[own->n_given++] = inputs[i];
      continue;
    }
    own->read_at[own->n_read] = i, own->read[own->n_read] = inputs[i];
    if (!(own->last[own->n_read++] = malloc(input_size(&inputs[i], 1)))) break;
  }
  if (i < n || batch || own->n_read != {{ name }}ReaderCount)
    snprintf(self->error, sizeof self->error, "the halves do not take these inputs");
  else if (runner_halves_open(self, open, path, "reader", &own->reader, own->read, own->n_read, &{{ name }}Vector, 1) &&
           runner_halves_open(self, open, path, "candidate", &own->candidate, own->given, own->n_given, outputs, n_outputs))
    return self->runtime = own->candidate.runtime, self->version = own->candidate.version, 1;
  runner_halves_close(self);
  return 0;
}

#endif
{% endif %}
