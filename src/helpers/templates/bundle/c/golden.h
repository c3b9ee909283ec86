/* Golden cases: inputs, and the outputs that a model file must give for them. Reads golden.bin; C99, no dependencies.
 *
 * Numbers in the file are little-endian uint32, as is every machine that this is meant for; a name is its length and its
 * UTF-8 bytes. Every length is checked before it is believed. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"

enum { GOLDEN_MOST_FILES = 16, GOLDEN_MOST_NAME = 4096 };

/* An input or output; axes and size are those of a row. */
typedef struct {
  char *name;
  uint32_t size, dtype, n_axes, axes[INPUT_MOST_AXES];
} golden_tensor;

/* Values are those of a tensor's dtype, row by row, not aligned. */
typedef struct {
  char *name;
  uint32_t rows;
  const unsigned char *inputs[INPUT_MOST];
  const unsigned char *trained[INPUT_MOST]; /* outputs of the trained model */
  const unsigned char *expected[GOLDEN_MOST_FILES][INPUT_MOST];
} golden_case;

typedef struct {
  unsigned char *content;
  size_t size, place;
  uint32_t n_inputs, n_outputs, n_files, n_cases;
  golden_tensor inputs[INPUT_MOST], outputs[INPUT_MOST];
  char *files[GOLDEN_MOST_FILES];
  double tolerance[GOLDEN_MOST_FILES][INPUT_MOST];
  golden_case *cases;
} golden;

/* Bytes of a tensor of a case; at most 2^20 rows of 2^22 values of 8 bytes. */
static inline uint64_t golden_bytes(uint32_t rows, const golden_tensor *tensor) {
  return (uint64_t)rows * tensor->size * input_item(tensor->dtype);
}

/* The value at a place of a tensor. */
static inline double golden_value(const void *values, uint32_t dtype, size_t place) {
  const unsigned char *at = (const unsigned char *)values + place * input_item(dtype);
  float number;
  int32_t narrow;
  int64_t wide;
  switch (dtype) {
    case INPUT_FLOAT32: return memcpy(&number, at, 4), (double)number;
    case INPUT_INT32: return memcpy(&narrow, at, 4), (double)narrow;
    case INPUT_INT64: return memcpy(&wide, at, 8), (double)wide;
    default: return *at;
  }
}

static inline const unsigned char *golden_take(golden *g, uint64_t size) {
  const unsigned char *start = g->content + g->place;
  if (size > g->size - g->place) return NULL;
  g->place += (size_t)size;
  return start;
}

static inline int golden_count(golden *g, uint32_t most, uint32_t *value) {
  const unsigned char *bytes = golden_take(g, 4);
  if (!bytes) return 0;
  memcpy(value, bytes, 4);
  return *value <= most;
}

static inline char *golden_name(golden *g) {
  uint32_t length;
  const unsigned char *bytes;
  char *name;
  if (!golden_count(g, GOLDEN_MOST_NAME, &length) || !(bytes = golden_take(g, length))) return NULL;
  if (!(name = (char *)malloc(length + 1))) return NULL;
  memcpy(name, bytes, length);
  name[length] = 0;
  return name;
}

static inline void golden_free(golden *g) {
  uint32_t i;
  for (i = 0; i < g->n_inputs; i++) free(g->inputs[i].name);
  for (i = 0; i < g->n_outputs; i++) free(g->outputs[i].name);
  for (i = 0; i < g->n_files; i++) free(g->files[i]);
  for (i = 0; g->cases && i < g->n_cases; i++) free(g->cases[i].name);
  free(g->cases);
  free(g->content);
  memset(g, 0, sizeof *g);
}

static inline int golden_tensors(golden *g, golden_tensor *tensors, uint32_t *count) {
  uint32_t i, j, n;
  if (!golden_count(g, INPUT_MOST, &n) || !n) return 0;
  for (i = 0; i < n; i++) {
    golden_tensor *one = &tensors[i];
    *count = i + 1;
    if (!(one->name = golden_name(g)) || !golden_count(g, INPUT_DTYPES - 1, &one->dtype)) return 0;
    if (!golden_count(g, INPUT_MOST_AXES, &one->n_axes) || !one->n_axes) return 0;
    one->size = 1;
    for (j = 0; j < one->n_axes; j++) {
      if (!golden_count(g, INPUT_MOST_SIZE / one->size, &one->axes[j]) || !one->axes[j]) return 0;
      one->size *= one->axes[j];
    }
  }
  return 1;
}

static inline int golden_arrays(golden *g, uint32_t rows, const golden_tensor *tensors, uint32_t n,
                                const unsigned char **arrays) {
  uint32_t i;
  for (i = 0; i < n; i++)
    if (!(arrays[i] = golden_take(g, golden_bytes(rows, &tensors[i])))) return 0;
  return 1;
}

/* Whether tolerances are at most a twentieth of an output's largest value, or of 1: a larger one proves nothing. */
static inline int golden_strict(const golden *g) {
  uint32_t i, c, f;
  size_t j;
  for (i = 0; i < g->n_outputs; i++) {
    double scale = 1;
    for (c = 0; c < g->n_cases; c++)
      for (j = 0; j < (size_t)g->cases[c].rows * g->outputs[i].size; j++) {
        const double value = fabs(golden_value(g->cases[c].trained[i], g->outputs[i].dtype, j));
        if (!isfinite(value)) return 0;
        if (value > scale) scale = value;
      }
    for (f = 0; f < g->n_files; f++)
      if (!(g->tolerance[f][i] >= 0 && g->tolerance[f][i] <= 0.05 * scale)) return 0;
  }
  return 1;
}

static inline int golden_parse(golden *g) {
  uint32_t i, c, n;
  const unsigned char *magic = golden_take(g, 8);
  if (!magic || memcmp(magic, "GOLDEN02", 8)) return 0;
  if (!golden_tensors(g, g->inputs, &g->n_inputs) || !golden_tensors(g, g->outputs, &g->n_outputs)) return 0;
  if (!golden_count(g, GOLDEN_MOST_FILES, &n)) return 0;
  for (i = 0; i < n; i++) {
    const unsigned char *tolerance;
    g->n_files = i + 1;
    if (!(g->files[i] = golden_name(g)) || !(tolerance = golden_take(g, 8 * (uint64_t)g->n_outputs))) return 0;
    memcpy(g->tolerance[i], tolerance, 8 * (size_t)g->n_outputs);
  }
  if (!golden_count(g, 1000, &n) || !(g->cases = (golden_case *)calloc(n ? n : 1, sizeof *g->cases))) return 0;
  for (c = 0; c < n; c++) {
    golden_case *one = &g->cases[c];
    g->n_cases = c + 1;
    if (!(one->name = golden_name(g)) || !golden_count(g, 1u << 20, &one->rows) || !one->rows) return 0;
    if (!golden_arrays(g, one->rows, g->inputs, g->n_inputs, one->inputs)) return 0;
    if (!golden_arrays(g, one->rows, g->outputs, g->n_outputs, one->trained)) return 0;
    for (i = 0; i < g->n_files; i++)
      if (!golden_arrays(g, one->rows, g->outputs, g->n_outputs, one->expected[i])) return 0;
  }
  return g->n_files && g->n_cases && g->place == g->size && golden_strict(g);
}

/* Read a file; 1 if it is whole. Free it with golden_free, also if it is not. */
static inline int golden_read(const char *path, golden *g) {
  FILE *file = fopen(path, "rb");
  long size;
  memset(g, 0, sizeof *g);
  if (!file) return 0;
  if (fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || size > (64L << 20) || fseek(file, 0, SEEK_SET)) {
    fclose(file);
    return 0;
  }
  g->size = (size_t)size;
  g->content = (unsigned char *)malloc(g->size ? g->size : 1);
  if (!g->content || fread(g->content, 1, g->size, file) != g->size) {
    fclose(file);
    return 0;
  }
  fclose(file);
  return golden_parse(g);
}

/* Which of the files a path is, by its last part; -1 if none. */
static inline int golden_file(const golden *g, const char *path) {
  const char *last = strrchr(path, '/');
  uint32_t i;
  last = last ? last + 1 : path;
  for (i = 0; i < g->n_files; i++)
    if (!strcmp(g->files[i], last)) return (int)i;
  return -1;
}

/* The first of some tensors that is not the model's, in declared order; NULL if all are. */
static inline const char *golden_other(const golden_tensor *found, uint32_t n_found, const input_tensor *wanted, uint32_t n) {
  uint32_t i;
  for (i = 0; i < n_found; i++)
    if (i >= n || strcmp(found[i].name, wanted[i].name) || found[i].dtype != wanted[i].dtype ||
        found[i].n_axes != wanted[i].n_axes ||
        memcmp(found[i].axes, wanted[i].axes, found[i].n_axes * sizeof found[i].axes[0]))
      return found[i].name;
  return n_found < n ? wanted[n_found].name : NULL;
}

/* The first input or output that is not the model's; NULL if all are. */
static inline const char *golden_stranger(const golden *g, const input_tensor *inputs, uint32_t n,
                                          const input_tensor *outputs, uint32_t n_outputs) {
  const char *other = golden_other(g->inputs, g->n_inputs, inputs, n);
  return other ? other : golden_other(g->outputs, g->n_outputs, outputs, n_outputs);
}

/* Compare outputs with a case, print a line, return 1 if all are within their tolerances. A NaN is not. */
static inline int golden_compare(const golden *g, int file, const golden_case *one, const void *const *outputs) {
  double largest = 0, share = -1; /* of its tolerance */
  uint32_t i, output = 0;
  size_t j, worst = 0;
  int good = 1;
  for (i = 0; i < g->n_outputs; i++)
    for (j = 0; j < (size_t)one->rows * g->outputs[i].size; j++) {
      const uint32_t dtype = g->outputs[i].dtype;
      const double expected = golden_value(one->expected[file][i], dtype, j);
      const double difference = fabs(golden_value(outputs[i], dtype, j) - expected);
      const int close = difference <= g->tolerance[file][i];
      double part = difference / g->tolerance[file][i];
      if (!(part >= 0)) part = close ? 0 : HUGE_VAL; /* no tolerance, or NaN */
      if (!close) good = 0;
      if (part > share) largest = difference, share = part, output = i, worst = j / g->outputs[i].size;
    }
  printf("%s  %-24s %4u rows, largest difference %.3g (%s%srow %u, at most %.3g)\n", good ? "ok  " : "FAIL", one->name,
         (unsigned)one->rows, largest, g->n_outputs > 1 ? g->outputs[output].name : "", g->n_outputs > 1 ? ", " : "",
         (unsigned)worst, g->tolerance[file][output]);
  return good;
}

#endif
