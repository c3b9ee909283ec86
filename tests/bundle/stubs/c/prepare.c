/* Frames of a file, each a letter, a length and bytes: E is a features.json; P a decoded picture, of which six numbers stand
 * before the pixels: width, height, stride, channels, premultiplied, orientation; T asks for the tensor of the last one.
 * Answers each: a byte, 1 if it could be done, a length, and the prepared bytes, the tensor or the reason. */
#include "pictures.h"

static void answer(int good, const void *content, size_t size) {
  const uint32_t length = (uint32_t)size;
  putchar(good);
  fwrite(&length, 4, 1, stdout);
  fwrite(content, 1, size, stdout);
}

int main(int argc, char **argv) {
  pictures p;
  size_t size = 0, at = 0, n = 0;
  char *content = argc > 1 ? json_file(argv[1], (size_t)1 << 30, &size) : NULL;
  unsigned char *prepared = NULL;
  char why[200];
  setlocale(LC_ALL, ""); /* as an app may */
  if (!content) return 2;
  memset(&p, 0, sizeof p);
  while (at + 5 <= size) {
    const char kind = content[at];
    uint32_t length, header[6];
    char *copy;
    memcpy(&length, content + at + 1, 4);
    copy = (char *)malloc(length ? length : 1); /* of exactly that length, so that a sanitiser sees its end */
    memcpy(copy, content + at + 5, length);
    if (kind == 'E') {
      const int good = pictures_parse(copy, length, &p);
      n = (size_t)p.size * p.size * 3;
      free(prepared);
      prepared = (unsigned char *)malloc(n ? n : 1);
      answer(good, p.error, strlen(p.error));
    } else if (kind == 'P') {
      picture from;
      unsigned char *pixels = (unsigned char *)malloc(length > 24 ? length - 24 : 1);
      memcpy(header, copy, sizeof header);
      memcpy(pixels, copy + 24, length - 24);
      from.bytes = pixels, from.width = header[0], from.height = header[1], from.stride = header[2];
      from.channels = header[3], from.premultiplied = header[4], from.orientation = header[5];
      if (pictures_prepare(&p, &from, prepared, why, sizeof why))
        answer(1, prepared, n);
      else
        answer(0, why, strlen(why));
      free(pixels);
    } else {
      float *values = (float *)malloc(n * sizeof *values);
      pictures_tensor(&p, prepared, values);
      answer(1, values, n * sizeof *values);
      free(values);
    }
    free(copy);
    at += 5 + length;
  }
  free(prepared);
  free(content);
  return at == size ? 0 : 3;
}
