{% if encoding %}
/* Re-rank the golden sessions with a model file: raw JSON in, order out, as the phone does. rerank_tflite.c and rerank_mnn.cpp
 * are programs of it, which open a `runner`:
 *
 *     rerank_... MODEL features.json sessions.json [SECONDS]
 *
 * Of each session: its raw JSON is encoded and every id compared, exactly; the ids are scored and the scores compared
 * within the file's tolerance; the candidates are sorted and their order compared. Candidates may only stand in another
 * order than expected where their expected scores are closer than the tolerance can tell apart. Exit status 0 if every
 * session is reproduced, 1 if one is not, 2 if a file cannot be used. With SECONDS each session is also timed that long:
 * read, encode, score, sort. C99 and C++11. */
#ifndef RERANK_H
#define RERANK_H

#include "encoding.h"
#include "runner.h"
#include "timing.h"
#include "{{ name }}Inputs.h"

#define MOST_SESSIONS ((size_t)1 << 28)

typedef struct {
  json content;
  uint32_t list;
  json_text file; /* name of the model file */
  double tolerance;
} sessions;

typedef struct {
  runner *model;
  const features *encoding;
  json_text raw;
  uint32_t rows; /* that there is memory for */
  features_session session;
  float *scores; /* the first of the outputs */
  uint32_t *order;
} call;

static int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

static int fail(const char *name, const char *why) {
  printf("FAIL  %-24s %s\n", name, why);
  return 0;
}

/* Read sessions.json for a model file; what is wrong with it, or NULL. */
static const char *sessions_read(sessions *g, const char *path, const char *model) {
  const char *last = strrchr(model, '/');
  int64_t format = 0;
  uint32_t at;
  size_t size;
  char *text = json_file(path, MOST_SESSIONS, &size);
  json *j = &g->content;
  memset(g, 0, sizeof *g);
  if (!text) return "cannot be read";
  at = (uint32_t)json_parse(j, text, size, MOST_SESSIONS);
  free(text);
  if (!at) return j->error;
  g->file.text = last ? last + 1 : model, g->file.length = (uint32_t)strlen(g->file.text);
  if (!(at = json_member(j, 0, "format", 6, JSON_WHOLE))) return "no golden sessions";
  if (!json_int64(j->text + j->nodes[at].start, j->nodes[at].length, &format) || format != 1) return "another format";
  if (!(g->list = json_member(j, 0, "sessions", 8, JSON_ARRAY)) || !j->nodes[g->list].count) return "no golden sessions";
  if (!(at = json_member(j, 0, "tolerance", 9, JSON_OBJECT)) || !(at = json_find(j, at, g->file.text, g->file.length)))
    return "no golden sessions for this model file";
  if (!json_number(j, at, &g->tolerance) || !(g->tolerance >= 0 && g->tolerance <= 0.05))
    return "a tolerance that proves nothing";
  return NULL;
}

/* What the phone does with one session. */
static int rerank(void *state) {
  call *c = (call *)state;
  features_session *s = &c->session;
  const void *const *outputs;
  features_session_free(s);
  if (!features_assemble(c->encoding, c->raw.text, c->raw.length, s)) return 0;
  if (!s->n) return 1; /* nothing to score: a runtime refuses a batch of none */
  if (s->n > c->rows) {
    free(c->order), free(c->scores);
    c->scores = (float *)malloc(s->n * sizeof *c->scores);
    c->order = (uint32_t *)malloc(s->n * sizeof *c->order);
    c->rows = c->scores && c->order ? s->n : 0;
    if (!c->rows) return FEATURES_FAIL(s, "out of memory");
  }
  outputs = c->model->predict(c->model, (const void *const *)s->ids, s->n);
  if (!outputs) return FEATURES_FAIL(s, "%s", c->model->error);
  memcpy(c->scores, outputs[0], s->n * sizeof *c->scores);
  return features_order(c->scores, s->n, c->order) ? 1 : FEATURES_FAIL(s, "a score is not finite");
}

/* What the model takes by this name, NULL if nothing. */
static const input_tensor *input_of(const char *name) {
  uint32_t i;
  for (i = 0; i < {{ name }}InputCount; i++)
    if (!strcmp({{ name }}Inputs[i].name, name)) return &{{ name }}Inputs[i];
  return NULL;
}

static int same_ids(const call *c, const json *j, uint32_t inputs, char *why, size_t size) {
  uint32_t i, row, list;
  for (i = 0; i < c->encoding->n; i++) {
    const char *name = c->encoding->encoders[i].name;
    if (!(list = json_member(j, inputs, name, strlen(name), JSON_ARRAY)) || j->nodes[list].count != c->session.n)
      return snprintf(why, size, "input %s has %u rows, which are not expected", name, (unsigned)c->session.n), 0;
    for (row = 0; row < c->session.n; row++) {
      const json_text expected = json_text_of(j, list + 1 + row);
      int64_t id = -1;
      if (expected.length && j->nodes[expected.place].kind == JSON_WHOLE) json_int64(expected.text, expected.length, &id);
      if (c->session.ids[i][row] != id)
        return snprintf(why, size, "input %s, row %u is %lld and not %lld", name, (unsigned)row,
                        (long long)c->session.ids[i][row], (long long)id), 0;
    }
  }
  return j->nodes[inputs].count == c->encoding->n ? 1 : (snprintf(why, size, "other inputs are expected"), 0);
}

/* Compare the scores; the expected ones are copied, to compare the order with them. */
static int same_scores(const call *c, const json *j, uint32_t list, double tolerance, double *expected, double *largest,
                       char *why, size_t size) {
  uint32_t row;
  *largest = 0;
  if (!list || j->nodes[list].count != c->session.n) return snprintf(why, size, "there are other scores"), 0;
  for (row = 0; row < c->session.n; row++) {
    double difference;
    if (!json_number(j, list + 1 + row, &expected[row])) return snprintf(why, size, "an expected score is no number"), 0;
    difference = fabs((double)c->scores[row] - expected[row]);
    if (!(difference <= tolerance)) /* written so that NaN fails */
      return snprintf(why, size, "row %u scores %.6f and not %.6f (at most %.3g apart)", (unsigned)row, c->scores[row],
                      expected[row], tolerance), 0;
    if (difference > *largest) *largest = difference;
  }
  return 1;
}

static int same_order(const call *c, const json *j, uint32_t list, double tolerance, const double *expected, char *why,
                      size_t size) {
  const features_session *s = &c->session;
  uint32_t place, row;
  if (!list || j->nodes[list].count != s->n) return snprintf(why, size, "another number of posts is expected"), 0;
  for (place = 0; place < s->n; place++) {
    const uint32_t got = c->order[place];
    if (place) { /* by score, and equal ones as they were delivered */
      const uint32_t before = c->order[place - 1];
      if (!(c->scores[before] > c->scores[got] || (c->scores[before] == c->scores[got] && before < got)))
        return snprintf(why, size, "place %u: resort_list[%u] is not sorted", (unsigned)place, (unsigned)got), 0;
    }
    if (json_is(j, list + 1 + place, s->info_ids[got].text, s->info_ids[got].length)) continue;
    for (row = 0; row < s->n; row++)
      if (json_is(j, list + 1 + place, s->info_ids[row].text, s->info_ids[row].length)) break;
    if (row == s->n || !(fabs(expected[row] - expected[got]) <= 2 * tolerance))
      return snprintf(why, size, "place %u: resort_list[%u] is not expected there", (unsigned)place, (unsigned)got), 0;
  }
  return 1;
}

/* One session: prints a line, 1 if it is reproduced. */
static int check(call *c, const sessions *g, uint32_t at, double seconds) {
  const json *j = &g->content;
  const uint32_t called = json_member(j, at, "name", 4, JSON_TEXT), raw = json_member(j, at, "raw", 3, JSON_TEXT);
  const uint32_t inputs = json_member(j, at, "inputs", 6, JSON_OBJECT), scored = json_member(j, at, "expected", 8, JSON_OBJECT);
  const uint32_t sorted = json_member(j, at, "order", 5, JSON_OBJECT);
  const json_text file = g->file;
  char name[64] = "?", why[200] = "";
  double *expected, largest = 0;
  int good;
  if (called) snprintf(name, sizeof name, "%.*s", (int)j->nodes[called].length, j->text + j->nodes[called].start);
  if (!raw || !inputs || !scored || !sorted) return fail(name, "is no golden session");
  c->raw = json_text_of(j, raw);
  if (!rerank(c)) return fail(name, c->session.error);
  if (!(expected = (double *)malloc((c->session.n + 1) * sizeof *expected))) return fail(name, "out of memory");
  good = same_ids(c, j, inputs, why, sizeof why) &&
         same_scores(c, j, json_member(j, scored, file.text, file.length, JSON_ARRAY), g->tolerance, expected, &largest, why,
                     sizeof why) &&
         same_order(c, j, json_member(j, sorted, file.text, file.length, JSON_ARRAY), g->tolerance, expected, why, sizeof why);
  free(expected);
  if (!good) return fail(name, why);
  printf("ok    %-24s %4u candidates, largest difference %.3g (at most %.3g)\n", name, (unsigned)c->session.n, largest,
         g->tolerance);
  if (seconds > 0)
    printf("time  %-24s %u rows %.3f us\n", name, (unsigned)c->session.n, timing_microseconds(rerank, c, seconds));
  return 1;
}

/* The program; what it is called with, and what opens the model. */
static int rerank_main(int argc, char **argv, runner_open open) {
  static input_tensor inputs[INPUT_MOST];
  features encoding;
  sessions golden;
  runner model;
  call c;
  const char *wrong;
  uint32_t i, at, count, failed = 0;
  if (argc < 4) return unusable("usage", "rerank_... MODEL features.json sessions.json [SECONDS]");
  if (!features_read(argv[2], &encoding)) return unusable(argv[2], encoding.error);
  if ((wrong = sessions_read(&golden, argv[3], argv[1]))) return unusable(argv[3], wrong);
  if (encoding.n > INPUT_MOST) return unusable(argv[2], "too many encoders");
  for (i = 0; i < encoding.n; i++) {
    const input_tensor *input = input_of(encoding.encoders[i].name);
    if (!input) return unusable("the model has no such input", encoding.encoders[i].name);
    inputs[i] = *input;
  }
  if (!open(&model, argv[1], inputs, encoding.n, {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch))
    return unusable("the model cannot be used", model.error);
  memset(&c, 0, sizeof c);
  c.model = &model, c.encoding = &encoding;
  count = golden.content.nodes[golden.list].count;
  for (i = 0, at = golden.list + 1; i < count; i++, at = golden.content.nodes[at].after)
    failed += !check(&c, &golden, at, argc > 4 ? atof(argv[4]) : 0);
  printf("%.*s: %u of %u sessions reproduced by %s %s\n", (int)golden.file.length, golden.file.text,
         (unsigned)(count - failed), (unsigned)count, model.runtime, model.version);
  fflush(stdout);
  features_session_free(&c.session);
  free(c.scores), free(c.order);
  model.close(&model);
  json_free(&golden.content);
  features_free(&encoding);
  return failed ? 1 : 0;
}

#endif
{% endif %}
