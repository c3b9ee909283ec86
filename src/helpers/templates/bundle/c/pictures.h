{% if pictures %}
/* A decoded picture to the input of the model, as features.json says: the same bytes as where the model was trained. C99.
 *
 *     pictures p;
 *     picture camera = {bytes, 4032, 3024, 4032 * 4, 4, 0, 6};
 *     char why[200];
 *     if (!pictures_read("features.json", &p)) complain(p.error);
 *     if (!pictures_prepare(&p, &camera, prepared, why, sizeof why)) complain(why);
 *     pictures_tensor(&p, prepared, values);
 *     pictures_free(&p);
 *
 * `prepared` has p.size * p.size * 3 bytes, red, green and blue row by row, `values` as many floats in the model's order of
 * colours: one row of the input p.input.
 *
 * In integers: alpha over the background; turned as EXIF says; the shorter side resized to `shorter`, the longer one to
 * shorter * long / short rounded down; the middle `size` x `size` cut out. A resized pixel is the mean of those below the
 * filter, which is as wide as a step between pixels of the result (antialias), with weights of 22 binary places, first along
 * rows and then along columns, rounded to 8 bits each time; a pass that changes no size is left out. Beside the picture
 * there are in memory the rows of the cut at its width: 3 bytes * size * the picture's rows, at most a few MB.
 *
 * Once read, a preparation may serve several threads. */
#ifndef PICTURES_H
#define PICTURES_H

#include <stddef.h>

#include "json.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* a fused multiplication rounds weights another way (gcc: -std=c99 turns it off) */
#endif

enum { PICTURES_MOST_SIDE = 20000, PICTURES_MOST_PIXELS = 64000000, PICTURES_MOST_SHORTER = 1024 };
enum { PICTURES_PLACES = 22, PICTURES_MOST_INPUT = 256 };
#define PICTURES_MOST_BYTES ((size_t)1 << 16) /* of features.json */

typedef enum { PICTURES_TRIANGLE, PICTURES_CUBIC } pictures_filter;

/* Pixels as they are stored: 3 channels are red, green, blue; a fourth is alpha, `premultiplied` if the colours were
 * multiplied by it. `stride` is bytes from a row to the next. `orientation` is EXIF tag 274; what is not 1 to 8 is 1. */
typedef struct {
  const unsigned char *bytes;
  uint32_t width, height;
  size_t stride;
  uint32_t channels, premultiplied, orientation;
} picture;

typedef struct {
  char input[PICTURES_MOST_INPUT + 1]; /* name of the model's input */
  uint32_t shorter, size, background;
  pictures_filter filter;
  int bgr;
  float low, high;
  char error[200];
} pictures;

#define PICTURES_FAIL(x, ...) (snprintf((x)->error, sizeof(x)->error, __VA_ARGS__), 0)

/* features.json */

static inline int pictures_whole(const json *j, uint32_t node, int64_t least, int64_t most, uint32_t *value) {
  const json_text written = json_text_of(j, node);
  int64_t whole = 0;
  if (j->nodes[node].kind != JSON_WHOLE || !json_int64(written.text, written.length, &whole)) return 0;
  *value = (uint32_t)whole;
  return whole >= least && whole <= most;
}

static inline int pictures_number(const json *j, uint32_t node, float *value) {
  double number = 0;
  if (!json_number(j, node, &number)) return 0;
  *value = (float)number;
  return number >= -1e6 && number <= 1e6;
}

static inline int pictures_members(const json *j, pictures *p) {
  static const char *const keys[] = {"format", "kind", "input", "shorter", "size", "filter", "colours", "low", "high",
                                     "background"};
  enum { N = sizeof keys / sizeof *keys };
  uint32_t at[N], i, format = 0;
  json_text input;
  if (j->nodes[0].kind != JSON_OBJECT) return PICTURES_FAIL(p, "the preparation must be an object");
  at[0] = json_find(j, 0, "format", 6); /* first: another format may have other keys */
  if (!at[0] || !pictures_whole(j, at[0], 1, 1, &format))
    return PICTURES_FAIL(p, "the preparation's format is another one, this version reads 1");
  for (i = 0; i < N; i++)
    if (!(at[i] = json_find(j, 0, keys[i], strlen(keys[i])))) return PICTURES_FAIL(p, "the preparation has no %s", keys[i]);
  if (j->nodes[0].count != N) return PICTURES_FAIL(p, "the preparation has an unknown key");
  if (!json_is(j, at[1], "pictures", 8)) return PICTURES_FAIL(p, "kind must be pictures");
  input = json_text_of(j, at[2]);
  if (j->nodes[at[2]].kind != JSON_TEXT || !input.length || input.length > PICTURES_MOST_INPUT ||
      memchr(input.text, 0, input.length))
    return PICTURES_FAIL(p, "input must be the name of a tensor");
  memcpy(p->input, input.text, input.length);
  if (!pictures_whole(j, at[3], 1, PICTURES_MOST_SHORTER, &p->shorter))
    return PICTURES_FAIL(p, "shorter must be a whole number from 1 to %d", PICTURES_MOST_SHORTER);
  if (!pictures_whole(j, at[4], 1, p->shorter, &p->size))
    return PICTURES_FAIL(p, "size must be a whole number from 1 to shorter, %u", (unsigned)p->shorter);
  p->filter = json_is(j, at[5], "cubic", 5) ? PICTURES_CUBIC : PICTURES_TRIANGLE;
  if (p->filter == PICTURES_TRIANGLE && !json_is(j, at[5], "triangle", 8))
    return PICTURES_FAIL(p, "filter must be triangle or cubic");
  p->bgr = json_is(j, at[6], "BGR", 3);
  if (!p->bgr && !json_is(j, at[6], "RGB", 3)) return PICTURES_FAIL(p, "colours must be RGB or BGR");
  if (!pictures_number(j, at[7], &p->low) || !pictures_number(j, at[8], &p->high) || !(p->low < p->high))
    return PICTURES_FAIL(p, "low and high must be numbers within a million, low the smaller one");
  if (!pictures_whole(j, at[9], 0, 255, &p->background))
    return PICTURES_FAIL(p, "background must be a whole number from 0 to 255");
  return 1;
}

/* The preparation of its text; 1 if it is whole, else `error` says why not. */
static inline int pictures_parse(const char *text, size_t size, pictures *p) {
  json content;
  int good;
  memset(p, 0, sizeof *p);
  good = json_parse(&content, text, size, PICTURES_MOST_BYTES) ? pictures_members(&content, p)
                                                               : PICTURES_FAIL(p, "%s", content.error);
  json_free(&content);
  return good;
}

static inline int pictures_read(const char *path, pictures *p) {
  size_t size;
  char *text = json_file(path, PICTURES_MOST_BYTES, &size);
  int good;
  memset(p, 0, sizeof *p);
  if (!text) return PICTURES_FAIL(p, "%.150s cannot be read", path);
  good = pictures_parse(text, size, p);
  free(text);
  return good;
}

/* Weights */

/* What makes `n` pixels of a longer line: of pixel i, `count[i]` pixels from `first[i]` on, with the weights from
 * `weights + i * most` on, in parts of 2^22. */
typedef struct {
  uint32_t n, most;
  uint32_t *first, *count;
  int32_t *weights;
} pictures_pass;

static inline void pictures_pass_free(pictures_pass *pass) {
  free(pass->first);
  free(pass->count);
  free(pass->weights);
  memset(pass, 0, sizeof *pass);
}

static inline double pictures_weight(pictures_filter filter, double x) {
  if (x < 0) x = -x;
  if (filter == PICTURES_TRIANGLE) return x < 1 ? 1 - x : 0;
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/* The pixels from `from` on, `n` of them, of a line of `length` resized to `resized`. A line that keeps its length is
 * copied: one pixel each, of weight 1. */
static inline int pictures_pass_make(pictures_pass *pass, pictures_filter filter, uint32_t length, uint32_t resized,
                                     uint32_t from, uint32_t n) {
  const double scale = (double)length / resized, wide = scale < 1 ? 1 : scale;
  const double support = (filter == PICTURES_CUBIC ? 2 : 1) * wide;
  double *exact = NULL;
  uint32_t i, x;
  memset(pass, 0, sizeof *pass);
  pass->n = n;
  pass->most = length == resized ? 1 : (uint32_t)ceil(support) * 2 + 1;
  pass->first = (uint32_t *)calloc(n, sizeof *pass->first);
  pass->count = (uint32_t *)calloc(n, sizeof *pass->count);
  pass->weights = (int32_t *)json_memory(NULL, (size_t)n * pass->most, sizeof *pass->weights);
  exact = (double *)json_memory(NULL, pass->most, sizeof *exact);
  if (!pass->first || !pass->count || !pass->weights || !exact) return free(exact), 0;
  for (i = 0; i < n; i++) {
    const double center = (from + i + 0.5) * scale, step = 1 / wide;
    const double start = center - support + 0.5, end = center + support + 0.5;
    const uint32_t first = start < 0 ? 0 : (uint32_t)start, last = end > length ? length : (uint32_t)end;
    int32_t *weights = pass->weights + (size_t)i * pass->most;
    double sum = 0;
    if (length == resized) {
      pass->first[i] = from + i, pass->count[i] = 1, weights[0] = 1 << PICTURES_PLACES;
      continue;
    }
    pass->first[i] = first, pass->count[i] = last - first;
    for (x = 0; x < last - first; x++) sum += exact[x] = pictures_weight(filter, (x + first - center + 0.5) * step);
    for (x = 0; x < last - first; x++) {
      const double part = (sum != 0 ? exact[x] / sum : exact[x]) * (1 << PICTURES_PLACES);
      weights[x] = (int32_t)(part < 0 ? part - 0.5 : part + 0.5);
    }
  }
  free(exact);
  return 1;
}

/* A sum of weighted bytes as a byte. (Not by a shift: that of a negative number is each compiler's own business.) */
static inline unsigned char pictures_byte(int32_t sum) {
  return sum < 0 ? 0 : sum >> PICTURES_PLACES > 255 ? 255 : (unsigned char)(sum >> PICTURES_PLACES);
}

/* Pictures */

/* Where the pixels of a turned picture are: pixel (x, y) of it begins at bytes + x * right + y * down. */
typedef struct {
  const unsigned char *bytes;
  uint32_t width, height;
  ptrdiff_t right, down;
} pictures_view;

static inline pictures_view pictures_turned(const picture *from) {
  const uint32_t o = from->orientation >= 1 && from->orientation <= 8 ? from->orientation : 1;
  const int lying = o >= 5;                                      /* rows of the stored picture are columns */
  const int left = o == 2 || o == 3 || o == 7 || o == 8;         /* the stored rows are read from their end */
  const int up = o == 3 || o == 4 || o == 6 || o == 7;           /* the last stored row comes first */
  const ptrdiff_t x = (ptrdiff_t)from->channels * (left ? -1 : 1), y = (ptrdiff_t)from->stride * (up ? -1 : 1);
  pictures_view view;
  view.bytes = from->bytes + (left ? (size_t)(from->width - 1) * from->channels : 0) +
               (up ? (size_t)(from->height - 1) * from->stride : 0);
  view.width = lying ? from->height : from->width, view.height = lying ? from->width : from->height;
  view.right = lying ? y : x, view.down = lying ? x : y;
  return view;
}

/* Pixels of a row without alpha, from `x` on, `n` of them: red, green, blue. */
static inline void pictures_row(const pictures *p, const picture *from, const pictures_view *view, uint32_t y, uint32_t x,
                                uint32_t n, unsigned char *row) {
  const unsigned char *pixel = view->bytes + (ptrdiff_t)y * view->down + (ptrdiff_t)x * view->right;
  for (; n; n--, row += 3, pixel += view->right) {
    const uint32_t alpha = from->channels == 4 ? pixel[3] : 255, rest = p->background * (255 - alpha) + 127;
    uint32_t c;
    for (c = 0; c < 3; c++) {
      const uint32_t over = from->premultiplied ? pixel[c] + rest / 255 : (pixel[c] * alpha + rest) / 255;
      row[c] = over > 255 ? 255 : (unsigned char)over;
    }
  }
}

/* The middle of so many pixels; a half goes to the even one. */
static inline uint32_t pictures_margin(uint32_t length, uint32_t size) {
  const uint32_t half = (length - size) / 2;
  return (length - size) % 2 ? half + half % 2 : half;
}

static inline int pictures_refused(const picture *from, char *why, size_t size) {
  const uint64_t pixels = (uint64_t)from->width * from->height;
  why[0] = 0;
  if (!from->bytes || !pixels)
    snprintf(why, size, "the picture has no pixels");
  else if (from->width > PICTURES_MOST_SIDE || from->height > PICTURES_MOST_SIDE || pixels > PICTURES_MOST_PIXELS)
    snprintf(why, size, "the picture has %u x %u pixels: at most %d a side and %d together are taken", (unsigned)from->width,
             (unsigned)from->height, PICTURES_MOST_SIDE, PICTURES_MOST_PIXELS);
  else if (from->channels != 3 && from->channels != 4)
    snprintf(why, size, "a pixel has %u channels: give 3, or 4 with alpha", (unsigned)from->channels);
  else if (from->stride < (size_t)from->width * from->channels)
    snprintf(why, size, "the stride is %lu bytes, a row of pixels has %lu", (unsigned long)from->stride,
             (unsigned long)from->width * from->channels);
  return why[0] != 0;
}

/* The model's pixels of a picture, size * size * 3 bytes; 0 if there are none, and `why` says what is wrong. */
static inline int pictures_prepare(const pictures *p, const picture *from, unsigned char *prepared, char *why, size_t size) {
  pictures_pass across, down;
  pictures_view view;
  unsigned char *row = NULL, *rows = NULL;
  uint32_t width, height, left, right, top, bottom, x, y, i, c;
  int good = 0;
  if (pictures_refused(from, why, size)) return 0;
  view = pictures_turned(from);
  width = view.width <= view.height ? p->shorter : (uint32_t)((uint64_t)p->shorter * view.width / view.height);
  height = view.width <= view.height ? (uint32_t)((uint64_t)p->shorter * view.height / view.width) : p->shorter;
  memset(&down, 0, sizeof down);
  if (!pictures_pass_make(&across, p->filter, view.width, width, pictures_margin(width, p->size), p->size) ||
      !pictures_pass_make(&down, p->filter, view.height, height, pictures_margin(height, p->size), p->size))
    goto done;
  left = across.first[0], right = across.first[p->size - 1] + across.count[p->size - 1];
  top = down.first[0], bottom = down.first[p->size - 1] + down.count[p->size - 1];
  row = (unsigned char *)json_memory(NULL, right - left, 3);
  rows = (unsigned char *)json_memory(NULL, bottom - top, (size_t)p->size * 3);
  if (!row || !rows) goto done;
  for (y = top; y < bottom; y++) {
    unsigned char *to = rows + (size_t)(y - top) * p->size * 3;
    pictures_row(p, from, &view, y, left, right - left, row);
    for (x = 0; x < p->size; x++, to += 3) {
      const unsigned char *pixel = row + (size_t)(across.first[x] - left) * 3;
      const int32_t *weights = across.weights + (size_t)x * across.most;
      int32_t red = 1 << (PICTURES_PLACES - 1), green = red, blue = red;
      for (i = 0; i < across.count[x]; i++, pixel += 3)
        red += pixel[0] * weights[i], green += pixel[1] * weights[i], blue += pixel[2] * weights[i];
      to[0] = pictures_byte(red), to[1] = pictures_byte(green), to[2] = pictures_byte(blue);
    }
  }
  for (y = 0; y < p->size; y++)
    for (c = 0; c < p->size * 3; c++) {
      const unsigned char *byte = rows + (size_t)(down.first[y] - top) * p->size * 3 + c;
      const int32_t *weights = down.weights + (size_t)y * down.most;
      int32_t sum = 1 << (PICTURES_PLACES - 1);
      for (i = 0; i < down.count[y]; i++, byte += (size_t)p->size * 3) sum += *byte * weights[i];
      prepared[(size_t)y * p->size * 3 + c] = pictures_byte(sum);
    }
  good = 1;
done:
  if (!good) snprintf(why, size, "out of memory");
  pictures_pass_free(&across);
  pictures_pass_free(&down);
  free(row);
  free(rows);
  return good;
}

/* Prepared pixels as the model takes them: floats, channel last, in its order of colours. */
static inline void pictures_tensor(const pictures *p, const unsigned char *prepared, float *values) {
  const size_t n = (size_t)p->size * p->size * 3;
  size_t i;
  for (i = 0; i < n; i++) {
    const size_t at = p->bgr ? i - i % 3 + (2 - i % 3) : i;
    values[i] = p->low + (p->high - p->low) * (float)prepared[at] / 255.0f;
  }
}

#endif
{% endif %}
