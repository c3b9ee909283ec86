{% if pictures and "model.tflite" in files %}
/* Classify the golden pictures with a .tflite file: decoded picture in, probabilities out, as the phone does.
 *
 *     classify_tflite MODEL.tflite features.json pictures.json pictures.bin [DECODED [SECONDS]]
 *
 * DECODED is a folder with the pixels of each picture as its file stores them, picture-01.jpg.pam and so on (PAM is the
 * format of Netpbm: `djpeg` and `pngtopam -alphapam` write it, as does ImageMagick), so that no decoder is needed here. Each
 * is prepared, and its bytes held against pictures.bin: at most one step apart. Without DECODED the model is given those of
 * pictures.bin. Where the bytes are equal the probabilities must be within the file's tolerance, else the first class must
 * be the same wherever it leads by more than .1. Exit status 0 if every picture is reproduced, 1 if one is not, 2 if a file
 * cannot be used. With SECONDS each picture is also timed that long: prepare, score. */
#define _POSIX_C_SOURCE 199309L
#include "pictures.h"
#include "tflite.h"
#include "timing.h"
#include "{{ name }}Inputs.h"

#define MOST_JSON ((size_t)1 << 24)
#define MOST_FILE ((size_t)1 << 30)
enum { SIZE = {{ inputs[0].shape[0] }}, BYTES = SIZE * SIZE * 3, LABELS = {{ output.size }}, ROWS = {{ batch or 1 }} };

typedef struct {
  json content;
  uint32_t list;
  json_text file; /* name of the model file */
  double tolerance;
  unsigned char *prepared; /* pictures.bin */
} pictures_golden;

typedef struct {
  tflite *model;
  const pictures *preparation;
  picture from; /* no bytes: not decoded, and `bytes` is as pictures.bin has it */
  unsigned char bytes[BYTES];
  float *values; /* ROWS times the same picture */
  void *outputs[{{ name }}OutputCount];
  char error[256];
} call;

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static int fail(const char *name, const char *why) {
  printf("FAIL  %-24s %s\n", name, why);
  return 0;
}

/* Read pictures.json and pictures.bin for a model file; what is wrong with them, or NULL. */
static const char *golden_read(pictures_golden *g, const char *path, const char *binary, const char *model) {
  const char *last = strrchr(model, '/');
  json *j = &g->content;
  uint32_t at, format = 0;
  size_t size;
  char *text = json_file(path, MOST_JSON, &size);
  memset(g, 0, sizeof *g);
  if (!text) return "cannot be read";
  at = (uint32_t)json_parse(j, text, size, MOST_JSON);
  free(text);
  if (!at) return j->error;
  g->file.text = last ? last + 1 : model, g->file.length = (uint32_t)strlen(g->file.text);
  if (!(at = json_member(j, 0, "format", 6, JSON_WHOLE))) return "no golden pictures";
  if (!pictures_whole(j, at, 1, 1, &format)) return "another format";
  if (!(g->list = json_member(j, 0, "pictures", 8, JSON_ARRAY)) || !j->nodes[g->list].count) return "no golden pictures";
  if (!(at = json_member(j, 0, "tolerance", 9, JSON_OBJECT)) || !(at = json_find(j, at, g->file.text, g->file.length)))
    return "no golden pictures for this model file";
  if (!json_number(j, at, &g->tolerance) || !(g->tolerance >= 0 && g->tolerance <= 0.05))
    return "a tolerance that proves nothing";
  g->prepared = (unsigned char *)json_file(binary, MOST_FILE, &size);
  if (!g->prepared || size != (size_t)j->nodes[g->list].count * BYTES)
    return "pictures.bin is missing, or of other pictures";
  return NULL;
}

/* The next word of a PAM header; comments are lines that begin with #. */
static size_t pam_word(const char *text, size_t size, size_t at, char *word, size_t room) {
  size_t n = 0;
  for (;;) {
    while (at < size && strchr(" \t\r\n", text[at]) && text[at]) at++;
    if (at >= size || text[at] != '#') break;
    while (at < size && text[at] != '\n') at++;
  }
  while (at < size && text[at] && !strchr(" \t\r\n", text[at]) && n + 1 < room) word[n++] = text[at++];
  word[n] = 0;
  return at;
}

/* The pixels of a PAM file of 3 or 4 channels of 8 bits, somewhere in `content`; 0 if it is none. */
static int pam_read(const char *content, size_t size, picture *from) {
  char word[32], value[32];
  unsigned long most = 0;
  size_t at = pam_word(content, size, 0, word, sizeof word);
  memset(from, 0, sizeof *from);
  if (strcmp(word, "P7")) return 0;
  for (;;) {
    at = pam_word(content, size, at, word, sizeof word);
    if (!strcmp(word, "ENDHDR")) break;
    if (!word[0]) return 0;
    at = pam_word(content, size, at, value, sizeof value);
    if (!strcmp(word, "WIDTH")) from->width = (uint32_t)strtoul(value, NULL, 10);
    if (!strcmp(word, "HEIGHT")) from->height = (uint32_t)strtoul(value, NULL, 10);
    if (!strcmp(word, "DEPTH")) from->channels = (uint32_t)strtoul(value, NULL, 10);
    if (!strcmp(word, "MAXVAL")) most = strtoul(value, NULL, 10);
  }
  at++; /* the line's end */
  from->stride = (size_t)from->width * from->channels;
  from->bytes = (const unsigned char *)content + at;
  return most == 255 && from->width <= PICTURES_MOST_SIDE && from->height <= PICTURES_MOST_SIDE && from->channels <= 4 &&
         at <= size && size - at == from->stride * from->height;
}

/* What the phone does with one picture. */
static int classify(void *state) {
  call *c = (call *)state;
  const void *inputs[1];
  uint32_t row;
  if (c->from.bytes && !pictures_prepare(c->preparation, &c->from, c->bytes, c->error, sizeof c->error)) return 0;
  for (row = 0; row < ROWS; row++) pictures_tensor(c->preparation, c->bytes, c->values + (size_t)row * BYTES);
  inputs[0] = c->values;
  if (tflite_predict(c->model, inputs, ROWS, c->outputs)) return 1;
  snprintf(c->error, sizeof c->error, "%s", c->model->error);
  return 0;
}

/* Compare the prepared bytes; the furthest that one is from where it should be. */
static int same_bytes(const unsigned char *bytes, const unsigned char *expected, char *why, size_t size) {
  int furthest = 0, at = 0, i;
  for (i = 0; i < BYTES; i++)
    if (abs(bytes[i] - expected[i]) > furthest) furthest = abs(bytes[i] - expected[i]), at = i;
  if (furthest > 1)
    snprintf(why, size, "row %d, column %d, %s is %d and not %d", at / (SIZE * 3), at / 3 % SIZE,
             at % 3 ? at % 3 == 1 ? "green" : "blue" : "red", bytes[at], expected[at]);
  return furthest;
}

static int first_of(const double *values) {
  int first = 0, i;
  for (i = 1; i < LABELS; i++)
    if (values[i] > values[first]) first = i;
  return first;
}

/* Compare the probabilities: within the tolerance if the pixels are equal, else the class alone. */
static int same_class(const json *j, uint32_t list, const float *found, double tolerance, int exact, char *why,
                      size_t size) {
  double expected[LABELS], given[LABELS];
  int i, first, second = -1;
  if (!list || j->nodes[list].count != LABELS) return snprintf(why, size, "other labels are expected"), 0;
  for (i = 0; i < LABELS; i++) {
    given[i] = found[i];
    if (!json_number(j, list + 1 + (uint32_t)i, &expected[i])) return snprintf(why, size, "a probability is no number"), 0;
    if (exact && !(fabs(given[i] - expected[i]) <= tolerance)) /* written so that NaN fails */
      return snprintf(why, size, "class %d has %.6f and not %.6f (at most %.3g apart)", i, given[i], expected[i],
                      tolerance), 0;
  }
  first = first_of(expected);
  for (i = 0; i < LABELS; i++)
    if (i != first && (second < 0 || expected[i] > expected[second])) second = i;
  if (expected[first] - expected[second] > 0.1 && first_of(given) != first)
    return snprintf(why, size, "it is of class %d and not %d", first_of(given), first), 0;
  return 1;
}

/* One picture: prints a line, 1 if it is reproduced. */
static int check(call *c, const pictures_golden *g, uint32_t at, uint32_t index, const char *decoded, double seconds) {
  const json *j = &g->content;
  const uint32_t file = json_member(j, at, "file", 4, JSON_TEXT), turned = json_member(j, at, "orientation", 11, JSON_WHOLE);
  const uint32_t expected = json_member(j, at, "expected", 8, JSON_OBJECT);
  const unsigned char *bytes = g->prepared + (size_t)index * BYTES;
  char name[64] = "?", path[1024], why[200] = "", *content = NULL;
  uint32_t orientation = 1;
  size_t size = 0;
  int good = 0, furthest = 0;
  if (!file || !expected || !turned || !pictures_whole(j, turned, 1, 8, &orientation))
    return fail(name, "is no golden picture");
  snprintf(name, sizeof name, "%.*s", (int)j->nodes[file].length, j->text + j->nodes[file].start);
  memset(&c->from, 0, sizeof c->from);
  memcpy(c->bytes, bytes, BYTES);
  if (decoded) {
    snprintf(path, sizeof path, "%s/%s.pam", decoded, name);
    if (!(content = json_file(path, MOST_FILE, &size))) return fail(name, "there is no PAM of it");
    if (!pam_read(content, size, &c->from)) return free(content), fail(name, "its PAM is none of 3 or 4 channels of 8 bits");
    c->from.orientation = orientation;
  }
  if (!classify(c)) {
    snprintf(why, sizeof why, "%.190s", c->error);
  } else if ((furthest = same_bytes(c->bytes, bytes, why, sizeof why)) <= 1) {
    good = same_class(j, json_member(j, expected, g->file.text, g->file.length, JSON_ARRAY), (const float *)c->outputs[0],
                      g->tolerance, furthest == 0, why, sizeof why);
  }
  if (good)
    printf("ok    %-24s bytes at most %d apart\n", name, furthest);
  else
    fail(name, why);
  if (good && seconds > 0) printf("time  %-24s %u rows %.3f us\n", name, ROWS, timing_microseconds(classify, c, seconds));
  free(content);
  return good;
}

int main(int argc, char **argv) {
  static call c;
  pictures preparation;
  pictures_golden golden;
  tflite model;
  const char *wrong, *detail;
  uint32_t i, at, count, failed = 0;
  if (argc < 5) return unusable("usage", "classify_tflite MODEL.tflite features.json pictures.json pictures.bin [DECODED]");
  if (!pictures_read(argv[2], &preparation)) return unusable(argv[2], preparation.error);
  if (preparation.size != SIZE || strcmp(preparation.input, {{ name }}Inputs[0].name))
    return unusable(argv[2], "it prepares the input of another model");
  if ((wrong = golden_read(&golden, argv[3], argv[4], argv[1]))) return unusable(argv[3], wrong);
  if ((wrong = tflite_open_model(&model, argv[1], {{ name }}Inputs, {{ name }}InputCount, {{ name }}Outputs,
                                 {{ name }}OutputCount, {{ name }}Batch, &detail)))
    return unusable(wrong, detail);
  c.model = &model, c.preparation = &preparation;
  c.values = (float *)json_memory(NULL, (size_t)ROWS * BYTES, sizeof *c.values);
  for (i = 0; i < {{ name }}OutputCount; i++) c.outputs[i] = malloc(input_size(&{{ name }}Outputs[i], ROWS));
  for (i = 0; i < {{ name }}OutputCount; i++)
    if (!c.values || !c.outputs[i]) return unusable(argv[1], "out of memory");
  if (!tflite_resize(&model, ROWS)) return unusable(argv[1], "the model cannot be resized");
  count = golden.content.nodes[golden.list].count;
  for (i = 0, at = golden.list + 1; i < count; i++, at = golden.content.nodes[at].after)
    failed += !check(&c, &golden, at, i, argc > 5 ? argv[5] : NULL, argc > 6 ? atof(argv[6]) : 0);
  printf("%.*s: %u of %u pictures reproduced by TensorFlow Lite %s\n", (int)golden.file.length, golden.file.text,
         (unsigned)(count - failed), (unsigned)count, TfLiteVersion());
  for (i = 0; i < {{ name }}OutputCount; i++) free(c.outputs[i]);
  free(c.values);
  free(golden.prepared);
  tflite_close(&model);
  json_free(&golden.content);
  return failed ? 1 : 0;
}
{% endif %}
