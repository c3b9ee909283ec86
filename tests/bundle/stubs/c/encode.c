/* Frames of a file, each a letter, a length and bytes: E is a features.json, S a session to encode with the last one.
 * Prints a line for each: refused and why, or ok; of a session the info_ids in hexadecimal and the ids by input. */
#include "encoding.h"

static void show(const features *f, const features_session *s) {
  uint32_t i, row, k;
  printf("ok %u", (unsigned)s->n);
  for (row = 0; row < s->n; row++) {
    putchar(' ');
    for (k = 0; k < s->info_ids[row].length; k++) printf("%02x", (unsigned char)s->info_ids[row].text[k]);
  }
  for (i = 0; i < f->n; i++) {
    printf(" %s", f->encoders[i].name);
    for (row = 0; row < s->n; row++) printf(" %lld", (long long)s->ids[i][row]);
  }
  putchar('\n');
}

int main(int argc, char **argv) {
  features f;
  features_session s;
  size_t size = 0, at = 0;
  char *content = argc > 1 ? json_file(argv[1], (size_t)1 << 30, &size) : NULL;
  uint32_t order[4];
  const float scores[] = {0, 1, 1, 0};
  setlocale(LC_ALL, ""); /* as an app may */
  memset(&f, 0, sizeof f);
  if (!content || !features_order(scores, 4, order)) return 2;
  while (at + 5 <= size) {
    uint32_t length;
    char *copy;
    memcpy(&length, content + at + 1, 4);
    copy = (char *)malloc(length ? length : 1); /* of exactly that length, so that a sanitiser sees its end */
    memcpy(copy, content + at + 5, length);
    if (content[at] == 'E') {
      features_free(&f);
      printf(features_parse(copy, length, &f) ? "ok\n" : "refused %s\n", f.error);
    } else {
      if (features_assemble(&f, copy, length, &s))
        show(&f, &s);
      else
        printf("refused %s\n", s.error);
      features_session_free(&s);
    }
    free(copy);
    at += 5 + length;
  }
  features_free(&f);
  free(content);
  return at == size ? 0 : 3;
}
