/* What a model may be given and may answer: a runtime scores in silence, and wrongly, what is refused here. C99 and C++11, no
 * dependencies. */
#ifndef INPUTS_H
#define INPUTS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_FLOAT32 = 0, INPUT_INT32 = 1, INPUT_INT64 = 2, INPUT_UINT8 = 3, INPUT_DTYPES };
enum { INPUT_MOST = 64, INPUT_MOST_AXES = 6 };
#define INPUT_MOST_SIZE (1u << 22)

typedef struct {
  double low, high;
} input_range;

/* An input [rows, axes...], or an output. */
typedef struct {
  const char *name;
  uint32_t size, dtype; /* values in a row */
  uint32_t n_axes, axes[INPUT_MOST_AXES];
  uint32_t n_ranges;
  const input_range *ranges; /* by column, or one for all values */
} input_tensor;

static inline size_t input_item(uint32_t dtype) { return dtype == INPUT_INT64 ? 8 : dtype == INPUT_UINT8 ? 1 : 4; }

static inline size_t input_size(const input_tensor *input, uint32_t rows) {
  return (size_t)rows * input->size * input_item(input->dtype);
}

/* Whether values, row by row and not necessarily aligned, can be scored: floats that are finite, integers within their range,
 * because they are places in a table. If not, `why` says where. */
static inline int input_check(const input_tensor *input, const void *values, uint32_t rows, char *why, size_t size) {
  const unsigned char *at = (const unsigned char *)values;
  const size_t item = input_item(input->dtype);
  const char *place = input->n_axes == 1 ? "column" : "value";
  uint32_t row, column;
  for (row = 0; row < rows; row++)
    for (column = 0; column < input->size; column++, at += item) {
      const input_range *range = &input->ranges[input->n_ranges == 1 ? 0 : column];
      int64_t whole = 0;
      if (input->dtype == INPUT_FLOAT32) {
        float value;
        memcpy(&value, at, 4);
        if (isfinite(value)) continue;
        snprintf(why, size, "%s is %g in row %u, %s %u: it must be finite", input->name, (double)value, (unsigned)row,
                 place, (unsigned)column);
        return 0;
      }
      if (input->dtype == INPUT_INT32) {
        int32_t value;
        memcpy(&value, at, 4);
        whole = value;
      } else if (input->dtype == INPUT_UINT8) {
        whole = *at;
      } else {
        memcpy(&whole, at, 8);
      }
      if ((double)whole >= range->low && (double)whole <= range->high) continue;
      snprintf(why, size, "%s is %lld in row %u, %s %u: it takes %.0f to %.0f", input->name, (long long)whole,
               (unsigned)row, place, (unsigned)column, range->low, range->high);
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

/* The same of every output. */
static inline int outputs_check(const input_tensor *outputs, uint32_t n, const void *const *values, uint32_t rows,
                                char *why, size_t size) {
  uint32_t i;
  size_t j;
  for (i = 0; i < n; i++) {
    const float *numbers = (const float *)values[i];
    if (outputs[i].dtype != INPUT_FLOAT32) continue;
    if (n == 1 && outputs[i].size == 1) return score_check(numbers, rows, why, size);
    for (j = 0; j < (size_t)rows * outputs[i].size; j++)
      if (!isfinite(numbers[j])) {
        snprintf(why, size, "%s is %g in row %lu: the model file is damaged", outputs[i].name, (double)numbers[j],
                 (unsigned long)(j / outputs[i].size));
        return 0;
      }
  }
  return 1;
}

#endif
