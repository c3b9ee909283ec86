#define _POSIX_C_SOURCE 200809L
#include "training.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[] = "WBTRAIN1", AFTER[] = "_after", BEFORE[] = ".before", PARTIAL[] = ".partial";
enum { MAGIC_SIZE = 8, DIGEST = 32, HEAD = MAGIC_SIZE + DIGEST + 4, MOST_PATH = 4096, MOST_STATE = 1 << 30 };

static int fail(training *t, const char *form, ...) {
  va_list arguments;
  va_start(arguments, form);
  vsnprintf(t->error, sizeof t->error, form, arguments);
  va_end(arguments);
  return 0;
}

/* SHA-256, FIPS 180-4. */

static uint32_t turned(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha256_block(uint32_t h[8], const uint8_t *block) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
      0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
      0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
      0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
      0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
      0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], v[8], i;
  for (i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (; i < 64; i++)
    w[i] = w[i - 16] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
           (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
  memcpy(v, h, sizeof v);
  for (i = 0; i < 64; i++) {
    const uint32_t one = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) +
                         ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
    const uint32_t two = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) +
                         ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += one, v[0] = one + two;
  }
  for (i = 0; i < 8; i++) h[i] += v[i];
}

static void sha256(const uint8_t *content, size_t size, uint8_t digest[DIGEST]) {
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t rest[128] = {0};
  const size_t whole = size / 64 * 64, left = size - whole, padded = left < 56 ? 64 : 128;
  size_t i;
  for (i = 0; i < whole; i += 64) sha256_block(h, content + i);
  if (left) memcpy(rest, content + whole, left);
  rest[left] = 0x80;
  for (i = 0; i < 8; i++) rest[padded - 1 - i] = (uint8_t)((uint64_t)size * 8 >> 8 * i);
  for (i = 0; i < padded; i += 64) sha256_block(h, rest + i);
  for (i = 0; i < DIGEST; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Files. */

static uint8_t *read_whole(training *t, const char *path, size_t *size) {
  struct stat found;
  uint8_t *content = NULL;
  FILE *file = fopen(path, "rb");
  if (!file) return fail(t, "%s cannot be read: %s", path, strerror(errno)), NULL;
  if (fstat(fileno(file), &found) || !S_ISREG(found.st_mode) || found.st_size > MOST_STATE)
    fail(t, "%s is no plain file, or too large", path);
  else if (!(content = (uint8_t *)malloc((size_t)found.st_size + 1)))
    fail(t, "no memory for %s", path);
  else if (fread(content, 1, (size_t)found.st_size, file) != (size_t)found.st_size) {
    fail(t, "%s cannot be read: %s", path, strerror(errno));
    free(content), content = NULL;
  }
  fclose(file);
  *size = content ? (size_t)found.st_size : 0;
  return content;
}

static int joined(training *t, char *path, const char *first, const char *rest) {
  if (snprintf(path, MOST_PATH, "%s%s", first, rest) >= MOST_PATH) return fail(t, "the path %.100s... is too long", first);
  return 1;
}

/* Make the disk hold the names in a file's folder; a file system that cannot is not waited for. */
static void flush_folder(const char *path) {
  char folder[MOST_PATH];
  const char *last = strrchr(path, '/');
  int number;
  snprintf(folder, sizeof folder, "%.*s", last ? (int)(last - path + 1) : 1, last ? path : ".");
  if ((number = open(folder, O_RDONLY)) < 0) return;
  fsync(number);
  close(number);
}

/* Write beside `path`, make the disk hold it, and only then let it take the name. */
static int replace_whole(training *t, const char *path, const uint8_t *content, size_t size) {
  char partial[MOST_PATH];
  FILE *file;
  int good;
  if (!joined(t, partial, path, PARTIAL)) return 0;
  if (!(file = fopen(partial, "wb"))) return fail(t, "%s cannot be written: %s", partial, strerror(errno));
  good = fwrite(content, 1, size, file) == size && !fflush(file) && !fsync(fileno(file));
  good = !fclose(file) && good && !rename(partial, path);
  if (!good) {
    fail(t, "%s cannot be written: %s", path, strerror(errno));
    remove(partial);
    return 0;
  }
  flush_folder(path);
  return 1;
}

/* The saved state: a head, by name in alphabetical order a vector each, and the SHA-256 of everything before it. */

static size_t state_size(const training *t) {
  size_t size = HEAD + DIGEST;
  uint32_t i;
  for (i = 0; i < t->n_state; i++) size += 4 + 4 * (size_t)t->state[i].length;
  return size;
}

/* Whether these bytes are a whole saved state of these files. */
static int is_state(training *t, const char *path, const uint8_t *content, size_t size) {
  uint8_t digest[DIGEST];
  size_t place = HEAD;
  uint32_t count, i, j;
  if (size < HEAD + DIGEST || memcmp(content, MAGIC, MAGIC_SIZE)) return fail(t, "%s is no saved state of training", path);
  sha256(content, size - DIGEST, digest);
  if (memcmp(digest, content + size - DIGEST, DIGEST)) return fail(t, "%s is not whole: its SHA-256 is another", path);
  memcpy(&count, content + MAGIC_SIZE + DIGEST, 4);
  if (memcmp(content + MAGIC_SIZE, t->identity, DIGEST) || count != t->n_state || size != state_size(t))
    return fail(t, "%s was saved by another file than this training.tflite", path);
  for (i = 0; i < t->n_state; i++) {
    memcpy(&count, content + place, 4);
    if (count != t->state[i].length) return fail(t, "%s has another %s", path, t->state[i].name);
    for (place += 4, j = 0; j < count; j++, place += 4) {
      float value;
      memcpy(&value, content + place, 4);
      if (!isfinite(value)) return fail(t, "%s of %s has values that are not finite", t->state[i].name, path);
    }
  }
  return 1;
}

int training_save(training *t, const char *path) {
  char before[MOST_PATH];
  uint8_t *old, *content = (uint8_t *)malloc(state_size(t)), *end = content;
  size_t size;
  uint32_t i;
  int good = 1;
  if (!content) return fail(t, "no memory to save the state");
  memcpy(end, MAGIC, MAGIC_SIZE), end += MAGIC_SIZE;
  memcpy(end, t->identity, DIGEST), end += DIGEST;
  memcpy(end, &t->n_state, 4), end += 4;
  for (i = 0; i < t->n_state; i++) {
    memcpy(end, &t->state[i].length, 4), end += 4;
    memcpy(end, t->state[i].values, 4 * (size_t)t->state[i].length), end += 4 * (size_t)t->state[i].length;
  }
  sha256(content, (size_t)(end - content), end);
  if (!access(path, F_OK) && joined(t, before, path, BEFORE) && (old = read_whole(t, path, &size))) {
    if (is_state(t, path, old, size)) good = replace_whole(t, before, old, size); /* a damaged one is not kept */
    free(old);
  }
  good = good && replace_whole(t, path, content, state_size(t));
  free(content);
  if (good) t->error[0] = 0;
  return good;
}

int training_restore(training *t, const char *path) {
  size_t size, place = HEAD;
  uint8_t *content = read_whole(t, path, &size);
  uint32_t i;
  int good = content && is_state(t, path, content, size);
  for (i = 0; good && i < t->n_state; i++) {
    memcpy(t->state[i].values, content + place + 4, 4 * (size_t)t->state[i].length);
    place += 4 + 4 * (size_t)t->state[i].length;
  }
  free(content);
  return good;
}

int training_rollback(training *t, const char *path) {
  char before[MOST_PATH];
  if (!joined(t, before, path, BEFORE) || !training_restore(t, before)) return 0;
  if (rename(before, path)) return fail(t, "%s cannot be renamed: %s", before, strerror(errno));
  flush_folder(path);
  return 1;
}

/* The two files. */

static TfLiteInterpreter *opened(training *t, const char *folder, const char *name, TfLiteModel **model) {
  char path[MOST_PATH];
  TfLiteInterpreterOptions *options;
  TfLiteInterpreter *interpreter;
  if (!joined(t, path, folder, name)) return NULL;
  if (!(*model = TfLiteModelCreateFromFile(path))) return fail(t, "%s is not a TFLite model", path), NULL;
  options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 1);
  if (!(interpreter = TfLiteInterpreterCreate(*model, options))) fail(t, "%s cannot be interpreted", path);
  TfLiteInterpreterOptionsDelete(options);
  return interpreter;
}

static int32_t place_of(const TfLiteInterpreter *interpreter, const char *name, const char *end, int output) {
  const int32_t count = output ? TfLiteInterpreterGetOutputTensorCount(interpreter)
                               : TfLiteInterpreterGetInputTensorCount(interpreter);
  const size_t length = strlen(name);
  int32_t i;
  for (i = 0; i < count; i++) {
    const char *found = TfLiteTensorName(output ? TfLiteInterpreterGetOutputTensor(interpreter, i)
                                                : TfLiteInterpreterGetInputTensor(interpreter, i));
    if (!strncmp(found, name, length) && !strcmp(found + length, end)) return i;
  }
  return -1;
}

static int add_state(training *t, const TfLiteTensor *tensor, int32_t input, int32_t output) {
  uint32_t place = t->n_state;
  training_vector made = {0};
  made.name = TfLiteTensorName(tensor), made.input = input, made.output = output;
  made.length = (uint32_t)(TfLiteTensorByteSize(tensor) / 4);
  made.values = (float *)calloc(made.length, 4), made.after = (float *)calloc(made.length, 4);
  for (; place && strcmp(t->state[place - 1].name, made.name) > 0; place--) t->state[place] = t->state[place - 1];
  t->state[place] = made, t->n_state++;
  if (TfLiteTensorType(tensor) != kTfLiteFloat32) return fail(t, "%s is not float32", made.name);
  return (made.values && made.after) || fail(t, "no memory for %s", made.name);
}

static int add_input(training *t, const TfLiteTensor *tensor, int32_t place) {
  training_input *made = &t->inputs[t->n_inputs++];
  int32_t i;
  made->name = TfLiteTensorName(tensor), made->type = TfLiteTensorType(tensor), made->size = 1;
  made->n_axes = TfLiteTensorNumDims(tensor), made->train = place;
  made->infer = place_of(t->infer, made->name, "", 0);
  made->item = made->type == kTfLiteInt64 ? 8 : made->type == kTfLiteUInt8 ? 1 : 4;
  if (made->infer < 0 || made->n_axes < 1 || made->n_axes > 8)
    return fail(t, "train_step.tflite takes %s, which infer.tflite does not: they are of two bundles", made->name);
  for (i = 0; i < made->n_axes; i++) made->axes[i] = TfLiteTensorDim(tensor, i);
  for (i = 1; i < made->n_axes; i++) made->size *= (size_t)made->axes[i];
  return 1;
}

static int bind(training *t) {
  const int32_t count = TfLiteInterpreterGetInputTensorCount(t->step);
  const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(t->infer, 0);
  int32_t i;
  if (count > TRAINING_MOST) return fail(t, "train_step.tflite has %d inputs", (int)count);
  t->labels = place_of(t->step, "labels", "", 0), t->learning_rate = place_of(t->step, "learning_rate", "", 0);
  t->loss = place_of(t->step, "loss", "", 1), t->correct = place_of(t->step, "correct", "", 1);
  t->weights_in = place_of(t->infer, "weights", "", 0);
  if (t->labels < 0 || t->learning_rate < 0 || t->loss < 0 || t->correct < 0 || t->weights_in < 0)
    return fail(t, "train_step.tflite or infer.tflite is no training file");
  for (i = 0; i < count; i++) {
    const TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(t->step, i);
    const int32_t after = place_of(t->step, TfLiteTensorName(tensor), AFTER, 1);
    if (i == t->labels || i == t->learning_rate) continue;
    if (!(after >= 0 ? add_state(t, tensor, i, after) : add_input(t, tensor, i))) return 0;
  }
  t->outputs = (uint32_t)TfLiteTensorDim(output, TfLiteTensorNumDims(output) - 1);
  return training_state(t, "weights") || fail(t, "train_step.tflite has no weights");
}

int training_open(training *t, const char *folder) {
  char path[MOST_PATH];
  uint8_t *content;
  size_t size;
  memset(t, 0, sizeof *t);
  if (!joined(t, path, folder, "/training.tflite") || !(content = read_whole(t, path, &size))) return 0;
  sha256(content, size, t->identity);
  free(content);
  if (!(t->step = opened(t, folder, "/train_step.tflite", &t->models[0]))) return 0;
  if (!(t->infer = opened(t, folder, "/infer.tflite", &t->models[1])) || !bind(t)) return 0;
  return joined(t, path, folder, "/initial.state") && training_restore(t, path);
}

void training_close(training *t) {
  uint32_t i;
  for (i = 0; i < t->n_state; i++) free(t->state[i].values), free(t->state[i].after);
  if (t->step) TfLiteInterpreterDelete(t->step);
  if (t->infer) TfLiteInterpreterDelete(t->infer);
  for (i = 0; i < 2; i++)
    if (t->models[i]) TfLiteModelDelete(t->models[i]);
  memset(t, 0, sizeof *t);
}

int training_input_place(const training *t, const char *name) {
  uint32_t i;
  for (i = 0; i < t->n_inputs; i++)
    if (!strcmp(t->inputs[i].name, name)) return (int)i;
  return -1;
}

training_vector *training_state(training *t, const char *name) {
  uint32_t i;
  for (i = 0; i < t->n_state; i++)
    if (!strcmp(t->state[i].name, name)) return &t->state[i];
  return NULL;
}

/* Set the number of rows of one of the files, if it is another than before. */
static int resize(training *t, int which, uint32_t rows) {
  TfLiteInterpreter *interpreter = which ? t->infer : t->step;
  const int32_t one = (int32_t)rows;
  uint32_t i;
  int good = rows > 0;
  if (rows && rows == t->rows[which]) return 1;
  t->rows[which] = 0;
  for (i = 0; good && i < t->n_inputs; i++) {
    t->inputs[i].axes[0] = one;
    good = TfLiteInterpreterResizeInputTensor(interpreter, which ? t->inputs[i].infer : t->inputs[i].train,
                                              t->inputs[i].axes, t->inputs[i].n_axes) == kTfLiteOk;
  }
  if (good && !which) good = TfLiteInterpreterResizeInputTensor(interpreter, t->labels, &one, 1) == kTfLiteOk;
  if (!good || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk)
    return fail(t, "the model does not take %u rows", (unsigned)rows);
  t->rows[which] = rows;
  return 1;
}

static int copy_in(TfLiteInterpreter *interpreter, int32_t place, const void *values, size_t size) {
  return TfLiteTensorCopyFromBuffer(TfLiteInterpreterGetInputTensor(interpreter, place), values, size) == kTfLiteOk;
}

static int copy_out(const TfLiteInterpreter *interpreter, int32_t place, void *values, size_t size) {
  const TfLiteTensor *tensor = TfLiteInterpreterGetOutputTensor(interpreter, place);
  return TfLiteTensorByteSize(tensor) == size && TfLiteTensorCopyToBuffer(tensor, values, size) == kTfLiteOk;
}

/* TensorFlow Lite cuts what overflows to the largest float: no model gives that one otherwise. */
static int all_finite(const float *values, size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    if (!(fabsf(values[i]) < FLT_MAX)) return 0;
  return 1;
}

/* Copy the rows in; 0 if a value is not finite. */
static int give(training *t, int which, const void *const *inputs, uint32_t rows) {
  uint32_t i;
  for (i = 0; i < t->n_inputs; i++) {
    const training_input *one = &t->inputs[i];
    if (one->type == kTfLiteFloat32 && !all_finite((const float *)inputs[i], one->size * rows))
      return fail(t, "%s has values that are not finite", one->name);
    if (!copy_in(which ? t->infer : t->step, which ? one->infer : one->train, inputs[i], one->size * one->item * rows))
      return fail(t, "%s cannot be given to TensorFlow Lite", one->name);
  }
  return 1;
}

int training_step(training *t, const void *const *inputs, const int32_t *labels, uint32_t rows, float learning_rate,
                  float *loss, float *correct) {
  const int32_t classes = t->outputs > 1 ? (int32_t)t->outputs : 2;
  uint32_t i;
  int good;
  for (i = 0; i < rows; i++)
    if (labels[i] < 0 || labels[i] >= classes)
      return fail(t, "label %d of row %u: labels are 0 to %d", (int)labels[i], (unsigned)i, (int)classes - 1);
  if (!resize(t, 0, rows) || !give(t, 0, inputs, rows)) return 0;
  good = copy_in(t->step, t->labels, labels, 4 * (size_t)rows) && copy_in(t->step, t->learning_rate, &learning_rate, 4);
  for (i = 0; good && i < t->n_state; i++)
    good = copy_in(t->step, t->state[i].input, t->state[i].values, 4 * (size_t)t->state[i].length);
  good = good && TfLiteInterpreterInvoke(t->step) == kTfLiteOk && copy_out(t->step, t->loss, loss, 4) &&
         copy_out(t->step, t->correct, correct, 4);
  for (i = 0; good && i < t->n_state; i++)
    good = copy_out(t->step, t->state[i].output, t->state[i].after, 4 * (size_t)t->state[i].length);
  if (!good) return fail(t, "TensorFlow Lite could not make the step");
  if (!all_finite(loss, 1)) return fail(t, "the loss is %g: the step was not made", *loss);
  for (i = 0; i < t->n_state; i++)
    if (!all_finite(t->state[i].after, t->state[i].length))
      return fail(t, "%s overflows in the step, which was not made: lower the learning rate", t->state[i].name);
  for (i = 0; i < t->n_state; i++) {
    float *before = t->state[i].values;
    t->state[i].values = t->state[i].after, t->state[i].after = before;
  }
  return 1;
}

int training_infer(training *t, const void *const *inputs, uint32_t rows, float *outputs) {
  const training_vector *weights = training_state(t, "weights");
  const size_t count = (size_t)rows * t->outputs;
  if (!resize(t, 1, rows) || !give(t, 1, inputs, rows)) return 0;
  if (!copy_in(t->infer, t->weights_in, weights->values, 4 * (size_t)weights->length) ||
      TfLiteInterpreterInvoke(t->infer) != kTfLiteOk || !copy_out(t->infer, 0, outputs, 4 * count))
    return fail(t, "TensorFlow Lite could not run infer.tflite");
  return all_finite(outputs, count) || fail(t, "infer.tflite gives numbers that are not finite");
}

/* The class of a row: the first of the largest, or of one probability whether it is above a half. */
static int32_t decided(const float *outputs, uint32_t count) {
  uint32_t best = 0, i;
  if (count == 1) return outputs[0] > 0.5f;
  for (i = 1; i < count; i++)
    if (outputs[i] > outputs[best]) best = i;
  return (int32_t)best;
}

int training_evaluate(training *t, const void *const *inputs, const int32_t *labels, uint32_t rows, uint32_t batch,
                      double *accuracy) {
  float *outputs = (float *)malloc(4 * (size_t)batch * t->outputs + 1);
  uint32_t first, i, count, right = 0;
  int good = rows && batch && outputs;
  if (!good) fail(t, "there are no rows to evaluate, or no memory");
  for (first = 0; good && first < rows; first += count) {
    const void *part[TRAINING_MOST];
    count = rows - first < batch ? rows - first : batch;
    for (i = 0; i < t->n_inputs; i++)
      part[i] = (const uint8_t *)inputs[i] + (size_t)first * t->inputs[i].size * t->inputs[i].item;
    good = training_infer(t, part, count, outputs);
    for (i = 0; good && i < count; i++) right += decided(outputs + (size_t)i * t->outputs, t->outputs) == labels[first + i];
  }
  free(outputs);
  *accuracy = good ? (double)right / rows : 0;
  return good;
}

int training_counts(double before, double after, double margin) {
  return before - after <= margin + 1e-9; /* the last is less than one row, and more than rounding */
}
