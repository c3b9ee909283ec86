{% if encoding or pictures %}
/* A strict reader of JSON (RFC 8259, UTF-8), which trusts nothing that it reads. C99, no dependencies.
 *
 * It refuses what parsers disagree about: a key twice in one object (escapes resolved), bytes that are no UTF-8, a byte
 * order mark, NaN, numbers with a leading zero, anything after the value, nesting deeper than JSON_MOST_DEPTH, whole
 * numbers of more than JSON_MOST_DIGITS digits. An escaped half of a surrogate pair is kept, in three bytes that no UTF-8
 * has. Text may hold zero bytes: it is a start and a length. */
#ifndef JSON_H
#define JSON_H

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_MOST_DEPTH = 64, JSON_MOST_DIGITS = 4300, JSON_MOST_NUMBER = 400, JSON_FEW_KEYS = 12 };

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_WHOLE, JSON_FRACTION, JSON_TEXT, JSON_ARRAY, JSON_OBJECT } json_kind;

/* A value. Members of an array follow it, those of an object as key, value, key, value; a member's own members come before
 * the next, which is at `after`. */
typedef struct {
  uint32_t kind, count, after;
  uint32_t start, length; /* in the text; of a text decoded, of a number as written */
} json_node;

typedef struct {
  char *text;
  json_node *nodes;
  uint32_t size, place, n, room;
  char error[160];
} json;

/* Text with the place that it had in its list. */
typedef struct {
  const char *text;
  uint32_t length, place;
} json_text;

/* Room for n things; NULL if there is none, also where n of them cannot be addressed. */
static inline void *json_memory(void *old, size_t n, size_t size) {
  return n <= SIZE_MAX / size ? realloc(old, n * size) : NULL;
}

static inline void json_free(json *j) {
  free(j->text);
  free(j->nodes);
  j->text = NULL, j->nodes = NULL, j->n = 0;
}

static inline int json_fail(json *j, const char *why) {
  if (!j->error[0]) snprintf(j->error, sizeof j->error, "not JSON: %s at byte %lu", why, (unsigned long)j->place);
  return 0;
}

static inline int json_compare(const void *a, const void *b) {
  const json_text *one = (const json_text *)a, *other = (const json_text *)b;
  int order;
  if (one->length != other->length) return one->length < other->length ? -1 : 1;
  order = memcmp(one->text, other->text, one->length);
  return order ? order : one->place < other->place ? -1 : one->place > other->place;
}

/* Whether a text is there twice, and at which places; sorts them. */
static inline int json_twice(json_text *texts, uint32_t n, uint32_t *first, uint32_t *second) {
  uint32_t i;
  qsort(texts, n, sizeof *texts, json_compare);
  for (i = 1; i < n; i++)
    if (texts[i].length == texts[i - 1].length && !memcmp(texts[i].text, texts[i - 1].text, texts[i].length)) {
      *first = texts[i - 1].place, *second = texts[i].place;
      return 1;
    }
  return 0;
}

static inline json_text json_text_of(const json *j, uint32_t node) {
  json_text text;
  text.text = j->text + j->nodes[node].start, text.length = j->nodes[node].length, text.place = node;
  return text;
}

static inline int json_is(const json *j, uint32_t node, const char *text, size_t length) {
  return j->nodes[node].kind == JSON_TEXT && j->nodes[node].length == length &&
         !memcmp(j->text + j->nodes[node].start, text, length);
}

/* The value of a key, 0 (which is the outermost value and no member) if the object has none. */
static inline uint32_t json_find(const json *j, uint32_t object, const char *key, size_t length) {
  uint32_t at = object + 1, i;
  for (i = 0; i < j->nodes[object].count; i++, at = j->nodes[at + 1].after)
    if (json_is(j, at, key, length)) return at + 1;
  return 0;
}

/* A number as the nearest double; 0 if it is too long, not finite, or no number. Whatever the locale's decimal point is. */
static inline int json_double(const char *written, size_t length, double *value) {
  char copy[JSON_MOST_NUMBER + 32];
  const char *point = localeconv()->decimal_point;
  size_t i, n = 0;
  if (length > JSON_MOST_NUMBER || strlen(point) > 16) return 0;
  for (i = 0; i < length; i++) {
    if (written[i] == '.') {
      memcpy(copy + n, point, strlen(point));
      n += strlen(point);
    } else {
      copy[n++] = written[i];
    }
  }
  copy[n] = 0;
  *value = strtod(copy, NULL);
  return isfinite(*value) != 0;
}

/* The value of a key that is of a kind, 0 if there is none. */
static inline uint32_t json_member(const json *j, uint32_t object, const char *key, size_t length, json_kind kind) {
  const uint32_t at = j->nodes[object].kind == JSON_OBJECT ? json_find(j, object, key, length) : 0;
  return at && j->nodes[at].kind == (uint32_t)kind ? at : 0;
}

/* A value as the nearest double; 0 if it is no number that `json_double` takes. */
static inline int json_number(const json *j, uint32_t node, double *value) {
  const json_text written = json_text_of(j, node);
  const uint32_t kind = j->nodes[node].kind;
  return (kind == JSON_WHOLE || kind == JSON_FRACTION) && json_double(written.text, written.length, value);
}

/* A whole number, of digits that may have a minus before them; 0 if it is beyond int64. */
static inline int json_int64(const char *written, size_t length, int64_t *value) {
  const int negative = length && written[0] == '-';
  uint64_t sum = 0;
  size_t i;
  for (i = negative ? 1 : 0; i < length; i++) {
    const unsigned digit = (unsigned)(written[i] - '0');
    if (sum > (UINT64_MAX - digit) / 10) return 0;
    sum = sum * 10 + digit;
  }
  if (sum > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return 0;
  *value = !negative ? (int64_t)sum : sum ? -(int64_t)(sum - 1) - 1 : 0;
  return 1;
}

static inline int json_node_new(json *j, json_kind kind, uint32_t *node) {
  if (j->n == j->room) {
    const uint32_t room = j->room ? j->room * 2 : 64; /* at most one a byte, and 2^28 bytes are read */
    json_node *grown = (json_node *)json_memory(j->nodes, room, sizeof *grown);
    if (!grown) return json_fail(j, "out of memory");
    j->nodes = grown, j->room = room;
  }
  *node = j->n++;
  memset(&j->nodes[*node], 0, sizeof *j->nodes);
  j->nodes[*node].kind = (uint32_t)kind, j->nodes[*node].after = j->n;
  return 1;
}

/* The next byte that is no white space; 0 at the end. */
static inline char json_next(json *j) {
  while (j->place < j->size && j->text[j->place] && strchr(" \t\n\r", j->text[j->place])) j->place++;
  return j->place < j->size ? j->text[j->place] : (char)0;
}

/* Length of the UTF-8 sequence at a place, 0 if there is none: not longer than needed, no surrogates, below 0x110000. */
static inline uint32_t json_sequence(const json *j) {
  const unsigned char *s = (const unsigned char *)j->text + j->place;
  const uint32_t left = j->size - j->place;
  const uint32_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  uint32_t i;
  if (length > left) return 0;
  for (i = 1; i < length; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
  if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return length;
}

/* Four hexadecimal digits at a place. */
static inline int json_hex(const json *j, uint32_t place, uint32_t *value) {
  uint32_t i;
  *value = 0;
  if (j->size - place < 4) return 0;
  for (i = place; i < place + 4; i++) {
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *found = j->text[i] ? strchr(digits, j->text[i]) : NULL;
    if (!found) return 0;
    *value = *value * 16 + (uint32_t)(found - digits) - (found - digits > 15 ? 6 : 0);
  }
  return 1;
}

/* Write a code point where text has been read already: an escape is never shorter than what it stands for. */
static inline uint32_t json_put(json *j, uint32_t to, uint32_t code) {
  char *s = j->text + to;
  if (code < 0x80) return s[0] = (char)code, 1;
  if (code < 0x800) return s[0] = (char)(0xc0 | code >> 6), s[1] = (char)(0x80 | (code & 0x3f)), 2;
  if (code < 0x10000) {
    s[0] = (char)(0xe0 | code >> 12), s[1] = (char)(0x80 | (code >> 6 & 0x3f)), s[2] = (char)(0x80 | (code & 0x3f));
    return 3;
  }
  s[0] = (char)(0xf0 | code >> 18), s[1] = (char)(0x80 | (code >> 12 & 0x3f));
  s[2] = (char)(0x80 | (code >> 6 & 0x3f)), s[3] = (char)(0x80 | (code & 0x3f));
  return 4;
}

/* An escape, from behind its backslash; the length of what it stands for, 0 if it is none. */
static inline uint32_t json_escape(json *j, uint32_t to) {
  static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
  const char *found;
  uint32_t code, low;
  if (j->place >= j->size) return 0;
  if (j->text[j->place] == 'u') {
    if (!json_hex(j, j->place + 1, &code)) return 0;
    j->place += 5;
    if (code >= 0xd800 && code < 0xdc00 && j->size - j->place >= 6 && j->text[j->place] == '\\' &&
        j->text[j->place + 1] == 'u' && json_hex(j, j->place + 2, &low) && low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      j->place += 6;
    }
    return json_put(j, to, code);
  }
  if (!j->text[j->place] || !(found = strchr(names, j->text[j->place]))) return 0;
  j->text[to] = means[found - names];
  j->place++;
  return 1;
}

static inline int json_read_text(json *j) {
  uint32_t node, to, length;
  if (json_next(j) != '"') return json_fail(j, "text is expected");
  if (!json_node_new(j, JSON_TEXT, &node)) return 0;
  to = j->nodes[node].start = ++j->place;
  for (;;) {
    const unsigned char c = j->place < j->size ? (unsigned char)j->text[j->place] : 0;
    if (c < 0x20) return json_fail(j, j->place < j->size ? "a control character" : "text without an end");
    if (c == '"') break;
    if (c == '\\') {
      j->place++;
      if (!(length = json_escape(j, to))) return json_fail(j, "no such escape");
    } else {
      if (!(length = json_sequence(j))) return json_fail(j, "bytes that are no UTF-8");
      memmove(j->text + to, j->text + j->place, length);
      j->place += length;
    }
    to += length;
  }
  j->nodes[node].length = to - j->nodes[node].start;
  j->place++;
  return 1;
}

static inline uint32_t json_digits(json *j) {
  const uint32_t start = j->place;
  while (j->place < j->size && j->text[j->place] >= '0' && j->text[j->place] <= '9') j->place++;
  return j->place - start;
}

static inline int json_read_number(json *j) {
  uint32_t node, digits;
  if (!json_node_new(j, JSON_WHOLE, &node)) return 0;
  j->nodes[node].start = j->place;
  if (j->text[j->place] == '-') j->place++;
  if (j->place < j->size && j->text[j->place] == '0')
    digits = 1, j->place++;
  else
    digits = json_digits(j);
  if (!digits) return json_fail(j, "no value");
  if (j->place < j->size && j->text[j->place] == '.') {
    j->nodes[node].kind = JSON_FRACTION, j->place++;
    if (!json_digits(j)) return json_fail(j, "a number without digits after its point");
  }
  if (j->place < j->size && (j->text[j->place] == 'e' || j->text[j->place] == 'E')) {
    j->nodes[node].kind = JSON_FRACTION, j->place++;
    if (j->place < j->size && (j->text[j->place] == '+' || j->text[j->place] == '-')) j->place++;
    if (!json_digits(j)) return json_fail(j, "a number without digits in its exponent");
  }
  if (j->nodes[node].kind == JSON_WHOLE && digits > JSON_MOST_DIGITS) return json_fail(j, "a number that is too long");
  j->nodes[node].length = j->place - j->nodes[node].start;
  return 1;
}

static inline int json_read_word(json *j, const char *word, json_kind kind) {
  const uint32_t length = (uint32_t)strlen(word);
  uint32_t node;
  if (j->size - j->place < length || memcmp(j->text + j->place, word, length)) return json_fail(j, "no value");
  j->place += length;
  return json_node_new(j, kind, &node);
}

/* Whether the keys of an object are there once each. */
static inline int json_check_keys(json *j, uint32_t object) {
  const uint32_t count = j->nodes[object].count;
  json_text few[JSON_FEW_KEYS], *keys = few;
  uint32_t at = object + 1, i, first, second;
  int twice;
  if (count < 2) return 1;
  if (count > JSON_FEW_KEYS) keys = (json_text *)json_memory(NULL, count, sizeof *keys);
  if (!keys) return json_fail(j, "out of memory");
  for (i = 0; i < count; i++, at = j->nodes[at + 1].after) keys[i] = json_text_of(j, at);
  twice = json_twice(keys, count, &first, &second);
  if (keys != few) free(keys);
  if (twice) j->place = j->nodes[second].start;
  return twice ? json_fail(j, "a key that is twice in one object") : 1;
}

static inline int json_read_value(json *j, int depth);

static inline int json_read_members(json *j, json_kind kind, int depth) {
  const char end = kind == JSON_OBJECT ? '}' : ']';
  uint32_t node;
  if (depth == 0) return json_fail(j, "too deeply nested");
  if (!json_node_new(j, kind, &node)) return 0;
  j->place++;
  if (json_next(j) == end) {
    j->place++;
    return 1;
  }
  for (;;) {
    if (kind == JSON_OBJECT) {
      if (!json_read_text(j)) return 0;
      if (json_next(j) != ':') return json_fail(j, "a colon is expected");
      j->place++;
    }
    if (!json_read_value(j, depth - 1)) return 0;
    j->nodes[node].count++;
    if (json_next(j) == end) break;
    if (json_next(j) != ',') return json_fail(j, "a comma is expected");
    j->place++;
  }
  j->place++;
  j->nodes[node].after = j->n;
  return kind == JSON_OBJECT ? json_check_keys(j, node) : 1;
}

static inline int json_read_value(json *j, int depth) {
  switch (json_next(j)) {
    case '{': return json_read_members(j, JSON_OBJECT, depth);
    case '[': return json_read_members(j, JSON_ARRAY, depth);
    case '"': return json_read_text(j);
    case 'n': return json_read_word(j, "null", JSON_NULL);
    case 't': return json_read_word(j, "true", JSON_TRUE);
    case 'f': return json_read_word(j, "false", JSON_FALSE);
    case 0: return json_fail(j, "no value");
    default: return json_read_number(j);
  }
}

/* Read a text of at most `most` bytes, itself at most 2^28; 1 if it is JSON, else `error` says why not. Free it with
 * json_free in any case. */
static inline int json_parse(json *j, const char *text, size_t size, size_t most) {
  memset(j, 0, sizeof *j);
  if (size > most || most > ((size_t)1 << 28)) {
    snprintf(j->error, sizeof j->error, "%lu bytes, at most %lu are read", (unsigned long)size, (unsigned long)most);
    return 0;
  }
  if (!(j->text = (char *)malloc(size + 1))) return json_fail(j, "out of memory");
  if (size) memcpy(j->text, text, size);
  j->text[size] = 0;
  j->size = (uint32_t)size;
  if (!json_read_value(j, JSON_MOST_DEPTH)) return 0;
  json_next(j);
  return j->place == j->size ? 1 : json_fail(j, "more after the value");
}

/* The content of a file; NULL if it is not there or longer than `most`. To be freed. */
static inline char *json_file(const char *path, size_t most, size_t *size) {
  FILE *file = fopen(path, "rb");
  char *content = NULL;
  long length;
  if (!file) return NULL;
  if (!fseek(file, 0, SEEK_END) && (length = ftell(file)) >= 0 && (size_t)length <= most && !fseek(file, 0, SEEK_SET) &&
      (content = (char *)malloc((size_t)length + 1)) != NULL) {
    *size = (size_t)length;
    if (fread(content, 1, *size, file) != *size) free(content), content = NULL;
  }
  fclose(file);
  return content;
}

#endif
{% endif %}
