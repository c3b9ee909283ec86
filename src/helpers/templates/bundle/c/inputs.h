/* What a model may be given and may answer: a runtime scores in silence, and wrongly, what is refused here. C99 and C++11, no
 * dependencies. */
#ifndef INPUTS_H
#define INPUTS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_FLOAT32 = 0, INPUT_INT32 = 1, INPUT_INT64 = 2 };

typedef struct {
  double low, high;
} input_range;

/* An input [rows, width]. */
typedef struct {
  const char *name;
  uint32_t width, dtype;
  const input_range *ranges; /* by column */
} input_tensor;

static inline size_t input_size(const input_tensor *input, uint32_t rows) {
  return (size_t)rows * input->width * (input->dtype == INPUT_INT64 ? 8 : 4);
}

/* Whether values, row by row and not necessarily aligned, can be scored: floats that are finite, integers within their range,
 * because they are places in a table. If not, `why` says where. */
static inline int input_check(const input_tensor *input, const void *values, uint32_t rows, char *why, size_t size) {
  const unsigned char *at = (const unsigned char *)values;
  const size_t item = input->dtype == INPUT_INT64 ? 8 : 4;
  uint32_t row, column;
  for (row = 0; row < rows; row++)
    for (column = 0; column < input->width; column++, at += item) {
      const input_range *range = &input->ranges[column];
      int64_t whole = 0;
      if (input->dtype == INPUT_FLOAT32) {
        float value;
        memcpy(&value, at, 4);
        if (isfinite(value)) continue;
        snprintf(why, size, "%s is %g in row %u, column %u: it must be finite", input->name, (double)value, (unsigned)row,
                 (unsigned)column);
        return 0;
      }
      if (input->dtype == INPUT_INT32) {
        int32_t value;
        memcpy(&value, at, 4);
        whole = value;
      } else {
        memcpy(&whole, at, 8);
      }
      if ((double)whole >= range->low && (double)whole <= range->high) continue;
      snprintf(why, size, "%s is %lld in row %u, column %u: it takes %.0f to %.0f", input->name, (long long)whole,
               (unsigned)row, (unsigned)column, range->low, range->high);
      return 0;
    }
  return 1;
}

/* Whether all scores are finite. If not, `why` says which is not. */
static inline int score_check(const float *scores, size_t n, char *why, size_t size) {
  size_t i;
  for (i = 0; i < n; i++)
    if (!isfinite(scores[i])) {
      snprintf(why, size, "score %lu is %g: the model file is damaged", (unsigned long)i, (double)scores[i]);
      return 0;
    }
  return 1;
}

#endif
