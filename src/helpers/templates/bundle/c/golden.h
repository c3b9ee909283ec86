/* Golden cases: inputs, and the scores that a model file must give for them. Reads golden.bin; C99, no dependencies.
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

enum { GOLDEN_MOST_INPUTS = 64, GOLDEN_MOST_FILES = 16, GOLDEN_MOST_NAME = 4096 };

typedef struct {
  char *name;
  uint32_t width, dtype;
} golden_input;

typedef struct {
  char *name;
  uint32_t rows;
  const unsigned char *inputs[GOLDEN_MOST_INPUTS]; /* rows x width values of the input's dtype, not aligned */
  const unsigned char *trained;                    /* rows float32, of the trained model */
  const unsigned char *expected[GOLDEN_MOST_FILES];
} golden_case;

typedef struct {
  unsigned char *content;
  size_t size, place;
  uint32_t n_inputs, n_files, n_cases;
  golden_input inputs[GOLDEN_MOST_INPUTS];
  char *output;
  char *files[GOLDEN_MOST_FILES];
  double tolerance[GOLDEN_MOST_FILES];
  golden_case *cases;
} golden;

/* Bytes of one input of a case; at most 2^20 rows of 2^16 values of 8 bytes. */
static inline uint64_t golden_bytes(uint32_t rows, const golden_input *input) {
  return (uint64_t)rows * input->width * (input->dtype == INPUT_INT64 ? 8 : 4);
}

static inline size_t golden_size(const golden *g, const golden_case *one, uint32_t input) {
  return (size_t)golden_bytes(one->rows, &g->inputs[input]);
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
  for (i = 0; i < g->n_files; i++) free(g->files[i]);
  for (i = 0; g->cases && i < g->n_cases; i++) free(g->cases[i].name);
  free(g->cases);
  free(g->output);
  free(g->content);
  memset(g, 0, sizeof *g);
}

static inline int golden_parse(golden *g) {
  uint32_t i, c, n;
  const unsigned char *magic = golden_take(g, 8);
  if (!magic || memcmp(magic, "GOLDEN01", 8)) return 0;
  if (!golden_count(g, GOLDEN_MOST_INPUTS, &n)) return 0;
  for (i = 0; i < n; i++) {
    g->n_inputs = i + 1;
    if (!(g->inputs[i].name = golden_name(g))) return 0;
    if (!golden_count(g, 1u << 16, &g->inputs[i].width) || !golden_count(g, 2, &g->inputs[i].dtype)) return 0;
  }
  if (!(g->output = golden_name(g)) || !golden_count(g, GOLDEN_MOST_FILES, &n)) return 0;
  for (i = 0; i < n; i++) {
    const unsigned char *tolerance;
    g->n_files = i + 1;
    if (!(g->files[i] = golden_name(g)) || !(tolerance = golden_take(g, 8))) return 0;
    memcpy(&g->tolerance[i], tolerance, 8);
    if (!(g->tolerance[i] >= 0 && g->tolerance[i] <= 0.05)) return 0;
  }
  if (!golden_count(g, 1000, &n) || !(g->cases = (golden_case *)calloc(n ? n : 1, sizeof *g->cases))) return 0;
  for (c = 0; c < n; c++) {
    golden_case *one = &g->cases[c];
    g->n_cases = c + 1;
    if (!(one->name = golden_name(g)) || !golden_count(g, 1u << 20, &one->rows) || !one->rows) return 0;
    for (i = 0; i < g->n_inputs; i++) {
      if (!(one->inputs[i] = golden_take(g, golden_bytes(one->rows, &g->inputs[i])))) return 0;
    }
    if (!(one->trained = golden_take(g, (uint64_t)one->rows * 4))) return 0;
    for (i = 0; i < g->n_files; i++)
      if (!(one->expected[i] = golden_take(g, (uint64_t)one->rows * 4))) return 0;
  }
  return g->n_inputs && g->n_files && g->n_cases && g->place == g->size;
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

/* The first input that is not the model's, in declared order; NULL if all are. */
static inline const char *golden_stranger(const golden *g, const input_tensor *inputs, uint32_t n, const char *output) {
  uint32_t i;
  for (i = 0; i < g->n_inputs; i++)
    if (i >= n || strcmp(g->inputs[i].name, inputs[i].name) || g->inputs[i].width != inputs[i].width ||
        g->inputs[i].dtype != inputs[i].dtype)
      return g->inputs[i].name;
  if (g->n_inputs < n) return inputs[g->n_inputs].name;
  return strcmp(g->output, output) ? g->output : NULL;
}

/* Compare scores with a case, print a line, return 1 if all are within the tolerance. A NaN is not. */
static inline int golden_compare(const golden *g, int file, const golden_case *one, const float *scores) {
  double largest = 0;
  uint32_t row, worst = 0;
  int good = 1;
  for (row = 0; row < one->rows; row++) {
    float expected;
    double difference;
    memcpy(&expected, one->expected[file] + 4 * (size_t)row, 4);
    difference = fabs((double)scores[row] - expected);
    if (!(difference <= g->tolerance[file])) good = 0;
    if (!(difference <= largest)) largest = difference, worst = row;
  }
  printf("%s  %-24s %4u rows, largest difference %.3g (row %u, at most %.3g)\n", good ? "ok  " : "FAIL", one->name,
         (unsigned)one->rows, largest, (unsigned)worst, g->tolerance[file]);
  return good;
}

#endif
