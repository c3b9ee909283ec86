/* Training on the device with train_step.tflite and infer.tflite, through TensorFlow Lite's C API, which calls no signatures.
 * C99 and POSIX; one training belongs to one thread at a time. Functions that return int give 1, or 0 and `error` says why. */
#ifndef TRAINING_H
#define TRAINING_H

#include <stddef.h>
#include <stdint.h>

#include "tensorflow/lite/c/c_api.h"

enum { TRAINING_MOST = 64, TRAINING_ERROR = 512 };

/* A vector of the state: the weights, one of the optimiser, or the number of steps. */
typedef struct {
  const char *name;
  uint32_t length;
  float *values, *after; /* `after` is where a step writes, until it has proved right */
  int32_t input, output; /* places in train_step.tflite */
} training_vector;

/* An input of the model; `size` is the values of a row. */
typedef struct {
  const char *name;
  TfLiteType type;
  size_t size, item; /* bytes of a value */
  int32_t axes[8], n_axes;
  int32_t train, infer; /* places in the two files */
} training_input;

typedef struct {
  TfLiteModel *models[2];
  TfLiteInterpreter *step, *infer;
  training_vector state[TRAINING_MOST]; /* in alphabetical order, as in a saved state */
  training_input inputs[TRAINING_MOST]; /* in the order of train_step.tflite */
  uint32_t n_state, n_inputs, outputs;  /* `outputs`: values that infer gives for a row */
  uint32_t rows[2];                     /* that the two interpreters are set to */
  int32_t labels, learning_rate, loss, correct, weights_in;
  uint8_t identity[32]; /* SHA-256 of training.tflite, which a saved state carries */
  char error[TRAINING_ERROR];
} training;

/* Open the training files of a bundle's folder, at its initial state. Close it in any case. */
int training_open(training *t, const char *folder);
void training_close(training *t);

/* The place of an input in `inputs`, by name; -1 if there is none. */
int training_input_place(const training *t, const char *name);

/* The vector of that name, NULL if there is none: "weights", "step", and what the optimiser keeps. */
training_vector *training_state(training *t, const char *name);

/* One step on a batch; `inputs` in the order of `t->inputs`, each row by row. A step that leads to numbers that are not finite
 * is refused, and the state stays as it was. `loss` and how many are `correct` are of the rows before the step. */
int training_step(training *t, const void *const *inputs, const int32_t *labels, uint32_t rows, float learning_rate,
                  float *loss, float *correct);

/* The model's output, `t->outputs` values a row. */
int training_infer(training *t, const void *const *inputs, uint32_t rows, float *outputs);

/* Share of the rows that are decided as labelled, scored `batch` rows at a time. */
int training_evaluate(training *t, const void *const *inputs, const int32_t *labels, uint32_t rows, uint32_t batch,
                      double *accuracy);

/* Whether a personal version counts: not worse than the shipped model by more than the margin. */
int training_counts(double before, double after, double margin);

/* Save the state; a kill at any moment leaves the old or the new one. The version before is kept as PATH.before. */
int training_save(training *t, const char *path);

/* Go on from a saved state, of this or another device, Python included. Nothing changes if it is damaged or of another file. */
int training_restore(training *t, const char *path);

/* Make the version before the current one, in the file and here. */
int training_rollback(training *t, const char *path);

#endif
