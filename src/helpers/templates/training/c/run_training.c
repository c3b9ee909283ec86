/* Make the golden steps of a bundle with train_step.tflite, and compare with Keras'.
 *
 *     run_training FOLDER
 *
 * Prints a line a step, and the processor time of the fastest. Exit status 0 if every step is reproduced, 1 if one is not, 2 if a file cannot be used. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "training.h"

typedef struct {
  const unsigned char *content;
  size_t size, place;
  int good;
} reader;

/* The next bytes; where there are not so many, `good` becomes 0 and the first byte is returned. */
static const unsigned char *take(reader *r, size_t size) {
  const unsigned char *start = r->content + r->place;
  if (!r->good || size > r->size - r->place) return r->good = 0, r->content;
  r->place += size;
  return start;
}

static uint32_t number(reader *r, uint32_t most) {
  uint32_t value = 0;
  const unsigned char *bytes = take(r, 4);
  if (r->good) memcpy(&value, bytes, 4);
  if (value > most) r->good = 0;
  return r->good ? value : 0;
}

static void copy(reader *r, void *values, size_t size) {
  const unsigned char *bytes = take(r, size);
  if (r->good) memcpy(values, bytes, size);
}

/* Where each input of golden_steps.bin is in the model; they must be the model's. */
static uint32_t read_inputs(reader *r, const training *t, int *places) {
  const uint32_t count = number(r, TRAINING_MOST);
  uint32_t i, j;
  for (i = 0; r->good && i < count; i++) {
    char name[65] = {0};
    size_t size = 1;
    uint32_t dtype, axes;
    copy(r, name, number(r, 64));
    dtype = number(r, 3), axes = number(r, 6);
    for (j = 0; j < axes; j++) size *= number(r, 1 << 22);
    if (!r->good || (places[i] = training_input_place(t, name)) < 0) return r->good = 0;
    {
      const TfLiteType types[4] = {kTfLiteFloat32, kTfLiteInt32, kTfLiteInt64, kTfLiteUInt8};
      const training_input *own = &t->inputs[places[i]];
      if (own->type != types[dtype] || own->size != size) return r->good = 0;
    }
  }
  return count;
}

static double fastest = HUGE_VAL; /* milliseconds of a step */

/* One step; 1 if it is Keras'. Values in the file are not aligned, so they are copied. */
static int step(reader *r, training *t, const int *places, uint32_t count, uint32_t n, float rate, const double *errors,
                unsigned which) {
  const training_vector *weights = training_state(t, "weights");
  void *inputs[TRAINING_MOST] = {0};
  const uint32_t rows = number(r, 1 << 20);
  int32_t *labels = (int32_t *)malloc(4 * (size_t)rows + 1);
  float *after = (float *)malloc(4 * (size_t)n + 1);
  float wanted = 0, loss = 0, correct;
  double furthest = 0;
  uint32_t i;
  int good = labels && after;
  for (i = 0; good && i < count; i++) {
    const training_input *own = &t->inputs[places[i]];
    const size_t size = rows * own->size * own->item;
    if (size > r->size || !(inputs[places[i]] = malloc(size + 1)))
      r->good = 0;
    else
      copy(r, inputs[places[i]], size);
  }
  copy(r, labels, 4 * (size_t)rows), copy(r, &wanted, 4), copy(r, after, 4 * (size_t)n);
  good = good && r->good;
  if (good) {
    const clock_t start = clock();
    good = training_step(t, (const void *const *)inputs, labels, rows, rate, &loss, &correct);
    fastest = fmin(fastest, 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC);
    if (!good) printf("FAIL  step %u: %s\n", which, t->error);
  }
  if (good) {
    for (i = 0; i < n; i++) furthest = fmax(furthest, fabs((double)weights->values[i] - after[i]));
    good = fabs((double)loss - wanted) <= errors[0] && furthest <= errors[1];
    printf("%s  step %u  loss %.6f, %.1e from Keras'  weights %.1e from Keras', %.0e allowed\n", good ? "ok  " : "FAIL", which,
           loss, fabs((double)loss - wanted), furthest, errors[1]);
  }
  for (i = 0; i < TRAINING_MOST; i++) free(inputs[i]);
  free(labels), free(after);
  return good;
}

static int unusable(const char *what) {
  fprintf(stderr, "%s\n", what);
  return 2;
}

static unsigned char *whole(const char *folder, size_t *size) {
  char path[4096];
  unsigned char *content = NULL;
  FILE *file;
  snprintf(path, sizeof path, "%s/golden_steps.bin", folder);
  if (!(file = fopen(path, "rb"))) return NULL;
  if (!fseek(file, 0, SEEK_END) && (*size = (size_t)ftell(file)) < 1u << 30 && (content = (unsigned char *)malloc(*size + 1))) {
    rewind(file);
    if (fread(content, 1, *size, file) != *size) free(content), content = NULL;
  }
  fclose(file);
  return content;
}

int main(int argc, char **argv) {
  static training t;
  reader r = {0};
  training_vector *weights;
  float rate = 0;
  double errors[2] = {0};
  int places[TRAINING_MOST];
  uint32_t count, n, steps, i, passed = 0;
  if (argc < 2) return unusable("usage: run_training FOLDER");
  if (!training_open(&t, argv[1])) return unusable(t.error);
  if (!(r.content = whole(argv[1], &r.size))) return unusable("golden_steps.bin cannot be read");
  r.good = 1;
  if (memcmp(take(&r, 8), "GSTEPS01", 8) || memcmp(take(&r, 32), t.identity, 32) || !r.good)
    return unusable("golden_steps.bin is damaged, or of another training.tflite");
  copy(&r, &rate, 4), copy(&r, errors, 16);
  count = read_inputs(&r, &t, places);
  n = number(&r, 1 << 28);
  weights = training_state(&t, "weights");
  if (!r.good || count != t.n_inputs || n != weights->length) return unusable("golden_steps.bin is of another model");
  for (i = 0; i < t.n_state; i++) memset(t.state[i].values, 0, 4 * (size_t)t.state[i].length);
  copy(&r, weights->values, 4 * (size_t)n);
  steps = number(&r, 1000);
  for (i = 0; r.good && i < steps; i++) passed += (uint32_t)step(&r, &t, places, count, n, rate, errors, i + 1);
  if (!r.good || r.place != r.size || !steps) return unusable("golden_steps.bin is damaged");
  printf("%u of %u golden steps reproduced by TensorFlow Lite %s; the fastest took %.2f ms\n", (unsigned)passed,
         (unsigned)steps, TfLiteVersion(), fastest);
  free((void *)r.content);
  training_close(&t);
  return passed != steps;
}
