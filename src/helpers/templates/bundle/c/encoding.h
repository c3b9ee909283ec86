{% if encoding %}
/* Raw behaviour to the integer inputs of the model, as features.json says. C99, no dependencies.
 *
 *     features f;
 *     features_session s;
 *     if (!features_read("features.json", &f)) complain(f.error);
 *     if (!features_assemble(&f, raw, size, &s)) complain(s.error);
 *     s.ids[i]                   the ids of input f.encoders[i].name, int64 [s.n, 1]
 *     s.info_ids[row]            the candidate of a row, in delivered order
 *     features_order(scores, s.n, order)
 *     features_session_free(&s), features_free(&f);
 *
 * raw is {"last_click": {"info_id": "7", "feature": {"800026": "887"}}, "resort_list": [{"info_id": ..., "feature": ...}]}.
 * A field's value is text: a whole number is an optional minus and 1 to 20 digits within int64, a number may go on with a
 * point and 1 to 20 digits; anything else, a field that is not there, and the sentinel -2147483648 are missing. Position of
 * a value: bucketize, the first j with value < boundaries[j]; label_encode, where it first occurs in the vocabulary; plain,
 * itself if below count; equal, whether both fields hold the same. Mode "published": the id is the position, 0 for missing
 * and unknown. Mode "separate": 0 missing, then 1 unknown for label_encode and plain, then the positions.
 *
 * Ids are compared as int64 and never pass through a double. Once read, an encoding may serve several threads. (This file
 * is not called features.h: the C library has one of that name, which a search path would hide.) */
#ifndef ENCODING_H
#define ENCODING_H

#include "json.h"

enum { FEATURES_MOST_ENCODERS = 1024, FEATURES_MOST_NAME = 64, FEATURES_MOST_FIELD = 100 };
#define FEATURES_MISSING INT64_C(-2147483648)
#define FEATURES_MOST_IDS INT64_C(2147483645)
#define FEATURES_MOST_BYTES ((size_t)1 << 28) /* of features.json */
#define FEATURES_MOST_RAW ((size_t)1 << 26)   /* of a session */

typedef enum { FEATURES_BUCKETIZE, FEATURES_LABEL_ENCODE, FEATURES_PLAIN, FEATURES_EQUAL } features_kind;

typedef struct {
  int64_t value, place;
} features_entry;

typedef struct {
  char name[FEATURES_MOST_NAME + 1];
  features_kind kind;
  json_text field[2];   /* of the last click and of the candidate; only one but for `equal` */
  double *boundaries;   /* ascending */
  features_entry *entries; /* distinct, ascending; place is where the value first occurs */
  uint32_t n;           /* boundaries or entries */
  int64_t count;        /* of plain */
} features_encoder;

typedef struct {
  json content; /* has the fields' names */
  int separate;
  uint32_t n;
  features_encoder *encoders;
  char error[256];
} features;

typedef struct {
  json content; /* has the info_ids' text */
  uint32_t n;
  json_text *info_ids; /* text[length] is not 0, and there may be a 0 before */
  int64_t **ids;       /* by encoder, n of them */
  int64_t *all;
  uint32_t *feature;   /* by candidate, where its fields are */
  char error[256];
} features_session;

#define FEATURES_FAIL(x, ...) (snprintf((x)->error, sizeof(x)->error, __VA_ARGS__), 0)

/* The configuration */

static inline void features_free(features *f) {
  uint32_t i;
  for (i = 0; f->encoders && i < f->n; i++) {
    free(f->encoders[i].boundaries);
    free(f->encoders[i].entries);
  }
  free(f->encoders);
  json_free(&f->content);
  f->encoders = NULL, f->n = 0;
}

/* Whether an object has exactly these keys. They lie in `values` in the same order. */
static inline int features_keys(features *f, uint32_t object, const char *where, const char *const *keys, uint32_t n,
                                uint32_t *values) {
  uint32_t i;
  for (i = 0; i < n; i++)
    if (!(values[i] = json_find(&f->content, object, keys[i], strlen(keys[i]))))
      return FEATURES_FAIL(f, "%s has no %s", where, keys[i]);
  return f->content.nodes[object].count == n ? 1 : FEATURES_FAIL(f, "%s has an unknown key", where);
}

static inline int features_whole(const features *f, uint32_t node, int64_t *value) {
  const json_text written = json_text_of(&f->content, node);
  return f->content.nodes[node].kind == JSON_WHOLE && json_int64(written.text, written.length, value);
}

static inline int features_name(features *f, uint32_t node, features_encoder *e) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
  const json_text name = json_text_of(&f->content, node);
  uint32_t i;
  int good = f->content.nodes[node].kind == JSON_TEXT && name.length >= 1 && name.length <= FEATURES_MOST_NAME;
  for (i = 0; good && i < name.length; i++) {
    const char *found = name.text[i] ? strchr(letters, name.text[i]) : NULL;
    good = found && (i || found - letters < 52);
  }
  if (!good) return 0;
  memcpy(e->name, name.text, name.length);
  for (; e > f->encoders; e--)
    if (!strcmp(e[-1].name, f->encoders[f->n - 1].name)) return 0;
  return 1;
}

/* A field id: text of 1 to FEATURES_MOST_FIELD characters, which are the bytes that continue no other. */
static inline int features_field(features *f, uint32_t node, json_text *field) {
  uint32_t i, characters = 0;
  *field = json_text_of(&f->content, node);
  for (i = 0; i < field->length; i++) characters += ((unsigned char)field->text[i] & 0xc0) != 0x80;
  return f->content.nodes[node].kind == JSON_TEXT && characters >= 1 && characters <= FEATURES_MOST_FIELD;
}

static inline int features_boundaries(features *f, uint32_t list, features_encoder *e) {
  uint32_t at = list + 1, i;
  if (f->content.nodes[list].kind != JSON_ARRAY || (e->n = f->content.nodes[list].count) < 2)
    return FEATURES_FAIL(f, "encoder %s: boundaries must be a list of at least two numbers", e->name);
  if (!(e->boundaries = (double *)json_memory(NULL, e->n, sizeof *e->boundaries))) return FEATURES_FAIL(f, "out of memory");
  for (i = 0; i < e->n; i++, at++) {
    if (!json_number(&f->content, at, &e->boundaries[i]))
      return FEATURES_FAIL(f, "encoder %s: boundary %u is no finite number", e->name, (unsigned)i);
    if (i && !(e->boundaries[i - 1] < e->boundaries[i]))
      return FEATURES_FAIL(f, "encoder %s: boundary %u is not larger than the one before", e->name, (unsigned)i);
  }
  return 1;
}

static inline int features_compare(const void *a, const void *b) {
  const features_entry *one = (const features_entry *)a, *other = (const features_entry *)b;
  if (one->value != other->value) return one->value < other->value ? -1 : 1;
  return one->place < other->place ? -1 : one->place > other->place;
}

static inline int features_vocabulary(features *f, uint32_t list, features_encoder *e) {
  const uint32_t count = f->content.nodes[list].count;
  uint32_t at = list + 1, i;
  if (f->content.nodes[list].kind != JSON_ARRAY || !count)
    return FEATURES_FAIL(f, "encoder %s: the vocabulary must be a list of at least one whole number", e->name);
  if (!(e->entries = (features_entry *)json_memory(NULL, count, sizeof *e->entries)))
    return FEATURES_FAIL(f, "out of memory");
  for (i = 0; i < count; i++, at++) {
    e->entries[i].place = i;
    if (!features_whole(f, at, &e->entries[i].value) || e->entries[i].value == FEATURES_MISSING)
      return FEATURES_FAIL(f, "encoder %s: vocabulary entry %u is no whole number within int64, or means missing",
                           e->name, (unsigned)i);
  }
  qsort(e->entries, count, sizeof *e->entries, features_compare);
  for (i = 0; i < count; i++) /* of a repeated value the first place counts */
    if (!i || e->entries[i].value != e->entries[e->n - 1].value) e->entries[e->n++] = e->entries[i];
  return 1;
}

static inline int features_encoder_read(features *f, uint32_t object, uint32_t number) {
  static const char *const kinds[] = {"bucketize", "label_encode", "plain", "equal"};
  static const char *const keys[][5] = {
      {"name", "kind", "source", "field", "boundaries"},
      {"name", "kind", "source", "field", "vocabulary"},
      {"name", "kind", "source", "field", "count"},
      {"name", "kind", "source", "last_click", "candidate"},
  };
  features_encoder *e = &f->encoders[number];
  uint32_t values[5], kind, i;
  char where[48];
  snprintf(where, sizeof where, "encoder number %u", (unsigned)number);
  if (f->content.nodes[object].kind != JSON_OBJECT) return FEATURES_FAIL(f, "%s must be an object", where);
  kind = json_find(&f->content, object, "kind", 4);
  for (i = 0; i < 4 && kind && !json_is(&f->content, kind, kinds[i], strlen(kinds[i])); i++) continue;
  if (!kind || i == 4) return FEATURES_FAIL(f, "%s: kind must be bucketize, label_encode, plain or equal", where);
  e->kind = (features_kind)i;
  if (!features_keys(f, object, where, keys[i], 5, values)) return 0;
  if (!features_name(f, values[0], e))
    return FEATURES_FAIL(f, "%s: its name cannot name a tensor, or is there already", where);
  if (e->kind == FEATURES_EQUAL) {
    if (!json_is(&f->content, values[2], "cross", 5)) return FEATURES_FAIL(f, "encoder %s: source must be cross", e->name);
    if (features_field(f, values[3], &e->field[0]) && features_field(f, values[4], &e->field[1])) return 1;
    return FEATURES_FAIL(f, "encoder %s: a field id is text of 1 to 100 characters", e->name);
  }
  i = json_is(&f->content, values[2], "candidate", 9) ? 1 : 0;
  if (!i && !json_is(&f->content, values[2], "last_click", 10))
    return FEATURES_FAIL(f, "encoder %s: source must be last_click or candidate", e->name);
  if (!features_field(f, values[3], &e->field[i]))
    return FEATURES_FAIL(f, "encoder %s: a field id is text of 1 to 100 characters", e->name);
  if (e->kind == FEATURES_BUCKETIZE) return features_boundaries(f, values[4], e);
  if (e->kind == FEATURES_LABEL_ENCODE) return features_vocabulary(f, values[4], e);
  if (!features_whole(f, values[4], &e->count) || e->count < 1 || e->count > FEATURES_MOST_IDS)
    return FEATURES_FAIL(f, "encoder %s: count must be a whole number from 1 to 2147483645", e->name);
  return 1;
}

/* The configuration of its text; 1 if it is whole, else `error` says why not. Free it with features_free in any case. */
static inline int features_parse(const char *text, size_t size, features *f) {
  static const char *const keys[] = {"format", "missing", "mode", "encoders"};
  uint32_t values[4], list, count, at, i;
  int64_t format = 0, missing = 0;
  memset(f, 0, sizeof *f);
  if (!json_parse(&f->content, text, size, FEATURES_MOST_BYTES)) return FEATURES_FAIL(f, "%s", f->content.error);
  if (f->content.nodes[0].kind != JSON_OBJECT) return FEATURES_FAIL(f, "the encoding must be an object");
  values[0] = json_find(&f->content, 0, "format", 6); /* first: another format may have other keys */
  if (!values[0] || !features_whole(f, values[0], &format) || format != 1)
    return FEATURES_FAIL(f, "the encoding's format is another one, this version reads 1");
  if (!features_keys(f, 0, "the encoding", keys, 4, values)) return 0;
  if (!features_whole(f, values[1], &missing) || missing != FEATURES_MISSING)
    return FEATURES_FAIL(f, "the encoding's missing is not -2147483648");
  f->separate = json_is(&f->content, values[2], "separate", 8);
  if (!f->separate && !json_is(&f->content, values[2], "published", 9))
    return FEATURES_FAIL(f, "mode must be separate or published");
  list = values[3], count = f->content.nodes[list].count;
  if (f->content.nodes[list].kind != JSON_ARRAY || count < 1 || count > FEATURES_MOST_ENCODERS)
    return FEATURES_FAIL(f, "encoders must be a list of 1 to %d", FEATURES_MOST_ENCODERS);
  if (!(f->encoders = (features_encoder *)calloc(count, sizeof *f->encoders))) return FEATURES_FAIL(f, "out of memory");
  for (i = 0, at = list + 1; i < count; i++, at = f->content.nodes[at].after) {
    f->n = i + 1;
    if (!features_encoder_read(f, at, i)) return 0;
  }
  return 1;
}

static inline int features_read(const char *path, features *f) {
  size_t size;
  char *text = json_file(path, FEATURES_MOST_BYTES, &size);
  int good;
  memset(f, 0, sizeof *f);
  if (!text) return FEATURES_FAIL(f, "%.200s cannot be read", path);
  good = features_parse(text, size, f);
  free(text);
  return good;
}

/* A session */

static inline void features_session_free(features_session *s) {
  json_free(&s->content);
  free(s->info_ids);
  free(s->ids);
  free(s->all);
  free(s->feature);
  s->info_ids = NULL, s->ids = NULL, s->all = NULL, s->feature = NULL, s->n = 0;
}

/* Where the fields of a post are, and its info_id; 0 if it is none. A `row` below 0 is the last click. */
static inline uint32_t features_post(features_session *s, uint32_t post, long row, json_text *info_id) {
  const json *j = &s->content;
  uint32_t id, feature;
  char where[48] = "last_click";
  if (row >= 0) snprintf(where, sizeof where, "resort_list[%ld]", row);
  if (j->nodes[post].kind != JSON_OBJECT)
    return (uint32_t)FEATURES_FAIL(s, "%s must be an object with info_id and feature", where);
  id = json_find(j, post, "info_id", 7);
  if (!id || j->nodes[id].kind != JSON_TEXT || !j->nodes[id].length)
    return (uint32_t)FEATURES_FAIL(s, "%s.info_id must be text that is not empty", where);
  feature = json_find(j, post, "feature", 7);
  if (!feature || j->nodes[feature].kind != JSON_OBJECT)
    return (uint32_t)FEATURES_FAIL(s, "%s.feature must be an object, which may be empty", where);
  *info_id = json_text_of(j, id);
  info_id->place = (uint32_t)row;
  return feature;
}

/* Read the posts of a session; the fields of the last click are at `last_click` then. */
static inline int features_posts(features_session *s, uint32_t *last_click) {
  json *j = &s->content;
  uint32_t last, list, at, i, first, second;
  json_text info_id, *sorted;
  int twice;
  if (j->nodes[0].kind != JSON_OBJECT)
    return FEATURES_FAIL(s, "the session must be an object with last_click and resort_list");
  if (!(last = json_find(j, 0, "last_click", 10))) return FEATURES_FAIL(s, "the session has no last_click");
  if (!(list = json_find(j, 0, "resort_list", 11))) return FEATURES_FAIL(s, "the session has no resort_list");
  if (j->nodes[list].kind != JSON_ARRAY) return FEATURES_FAIL(s, "resort_list must be a list of posts");
  if (!(*last_click = features_post(s, last, -1, &info_id))) return 0;
  s->n = j->nodes[list].count;
  s->info_ids = (json_text *)json_memory(NULL, (size_t)s->n + 1, sizeof *s->info_ids);
  s->feature = (uint32_t *)json_memory(NULL, (size_t)s->n + 1, sizeof *s->feature);
  if (!s->info_ids || !s->feature) return FEATURES_FAIL(s, "out of memory");
  for (i = 0, at = list + 1; i < s->n; i++, at = j->nodes[at].after)
    if (!(s->feature[i] = features_post(s, at, (long)i, &s->info_ids[i]))) return 0;
  if (!(sorted = (json_text *)json_memory(NULL, (size_t)s->n + 1, sizeof *sorted))) return FEATURES_FAIL(s, "out of memory");
  memcpy(sorted, s->info_ids, s->n * sizeof *sorted);
  twice = json_twice(sorted, s->n, &first, &second);
  free(sorted);
  if (twice)
    return FEATURES_FAIL(s, "resort_list[%u] and resort_list[%u] have the same info_id: list each post once",
                         (unsigned)first, (unsigned)second);
  return 1;
}

/* What an encoder reads: an int64, or for bucketize a double. */
typedef struct {
  int missing;
  int64_t whole;
  double number;
} features_value;

static inline size_t features_digits(const char *text, size_t length) {
  size_t n = 0;
  while (n < length && text[n] >= '0' && text[n] <= '9') n++;
  return n;
}

/* What text says as a number. The forms are checked first: strtol and strtod read more, and differ between systems. */
static inline features_value features_value_of(json_text t, int exact) {
  features_value v;
  const size_t minus = t.length && t.text[0] == '-' ? 1 : 0, digits = features_digits(t.text + minus, t.length - minus);
  const size_t point = minus + digits;
  memset(&v, 0, sizeof v);
  v.missing = 1;
  if (digits < 1 || digits > 20) return v;
  if (exact) {
    if (point == t.length && json_int64(t.text, t.length, &v.whole)) v.missing = v.whole == FEATURES_MISSING;
    return v;
  }
  if (point < t.length) {
    const size_t after = features_digits(t.text + point + 1, t.length - point - 1);
    if (t.text[point] != '.' || after < 1 || after > 20 || point + 1 + after != t.length) return v;
  }
  if (json_double(t.text, t.length, &v.number)) v.missing = v.number == (double)FEATURES_MISSING;
  return v;
}

/* The value of an encoder's field in a post; 0 if it is there and no text. */
static inline int features_find(features_session *s, uint32_t feature, long row, json_text field, int exact,
                                features_value *value) {
  const uint32_t at = json_find(&s->content, feature, field.text, field.length);
  memset(value, 0, sizeof *value);
  value->missing = 1;
  if (!at) return 1;
  if (s->content.nodes[at].kind != JSON_TEXT) {
    char where[48] = "last_click";
    if (row >= 0) snprintf(where, sizeof where, "resort_list[%ld]", row);
    return FEATURES_FAIL(s, "%s.feature[\"%.*s\"] is no text: write numbers as text, leave out what is not there", where,
                         (int)field.length, field.text);
  }
  *value = features_value_of(json_text_of(&s->content, at), exact);
  return 1;
}

/* Index of the first boundary that is larger. */
static inline int64_t features_bucket(const features_encoder *e, double x) {
  uint32_t low = 0, high = e->n;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (e->boundaries[middle] <= x)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Where a value first occurs in the vocabulary, -1 if it does not. */
static inline int64_t features_label(const features_encoder *e, int64_t x) {
  uint32_t low = 0, high = e->n;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (e->entries[middle].value < x)
      low = middle + 1;
    else
      high = middle;
  }
  return low < e->n && e->entries[low].value == x ? e->entries[low].place : -1;
}

/* The id of a value; of `equal`, of the last click's and the candidate's. */
static inline int64_t features_id(const features *f, const features_encoder *e, const features_value *x,
                                  const features_value *y) {
  int64_t position = 0, first = 1; /* the id of position 0 in mode separate */
  if (x->missing || (y && y->missing)) return 0;
  switch (e->kind) {
    case FEATURES_BUCKETIZE: position = features_bucket(e, x->number); break;
    case FEATURES_LABEL_ENCODE: position = features_label(e, x->whole), first = 2; break;
    case FEATURES_PLAIN: position = x->whole >= 0 && x->whole < e->count ? x->whole : -1, first = 2; break;
    case FEATURES_EQUAL: position = y && x->whole == y->whole; break;
  }
  if (!f->separate) return position < 0 ? 0 : position;
  return position < 0 ? 1 : first + position;
}

static inline int features_encode(const features *f, const features_encoder *e, features_session *s, uint32_t last_click,
                                  int64_t *ids) {
  const int exact = e->kind != FEATURES_BUCKETIZE;
  features_value last = {1, 0, 0}, own = {1, 0, 0};
  uint32_t row;
  if (e->field[0].length && !features_find(s, last_click, -1, e->field[0], exact, &last)) return 0;
  for (row = 0; row < s->n; row++) {
    if (e->field[1].length && !features_find(s, s->feature[row], (long)row, e->field[1], exact, &own)) return 0;
    if (e->kind == FEATURES_EQUAL)
      ids[row] = features_id(f, e, &last, &own);
    else
      ids[row] = features_id(f, e, e->field[0].length ? &last : &own, NULL);
  }
  return 1;
}

/* The inputs of a session's JSON text; 1 if it could be read, else `error` says what is wrong and where. Free it with
 * features_session_free in any case. */
static inline int features_assemble(const features *f, const char *raw, size_t size, features_session *s) {
  uint32_t last_click, i;
  memset(s, 0, sizeof *s);
  if (!json_parse(&s->content, raw, size, FEATURES_MOST_RAW))
    return FEATURES_FAIL(s, "the session is %s", s->content.error);
  if (!features_posts(s, &last_click)) return 0;
  s->ids = (int64_t **)calloc(f->n, sizeof *s->ids);
  s->all = (int64_t *)json_memory(NULL, (size_t)s->n + 1, f->n * sizeof *s->all);
  if (!s->ids || !s->all) return FEATURES_FAIL(s, "out of memory");
  for (i = 0; i < f->n; i++) {
    s->ids[i] = s->all + (size_t)i * s->n;
    if (!features_encode(f, &f->encoders[i], s, last_click, s->ids[i])) return 0;
  }
  return 1;
}

/* Rows by descending score, equal scores in delivered order; 0 if a score is not finite (keep the delivered order then), or
 * without memory. A merge sort: qsort need not keep the order of equal scores. */
static inline int features_order(const float *scores, uint32_t n, uint32_t *order) {
  uint32_t *from = order, *to, *spare, width, row;
  for (row = 0; row < n; row++) {
    order[row] = row;
    if (!isfinite(scores[row])) return 0;
  }
  if (n < 2) return 1;
  if (!(spare = to = (uint32_t *)json_memory(NULL, n, sizeof *spare))) return 0;
  for (width = 1; width < n; width *= 2) {
    uint32_t start, *other = from;
    for (start = 0; start < n; start += 2 * width) {
      const uint32_t middle = width < n - start ? start + width : n, end = 2 * width < n - start ? start + 2 * width : n;
      uint32_t left = start, right = middle, at;
      for (at = start; at < end; at++)
        if (left < middle && (right >= end || !(scores[from[right]] > scores[from[left]])))
          to[at] = from[left++];
        else
          to[at] = from[right++];
    }
    from = to, to = other;
  }
  if (from != order) memcpy(order, from, n * sizeof *order);
  free(spare);
  return 1;
}

#endif
{% endif %}
