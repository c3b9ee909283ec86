/* What test_training_native.py does with saved states.
 *
 *     state FOLDER same IN OUT        restore IN, save OUT
 *     state FOLDER loop A B PATH      save A and B in turns as PATH, without end
 *     state FOLDER rollback PATH OUT  roll PATH back, save what is then here as OUT
 *     state FOLDER train ROWS RATE STEPS PATH
 *                                     train on ROWS, of one input and rehearsal.bin's form, and save PATH
 *     state FOLDER evaluate IN        the accuracy on rehearsal.bin of a saved state
 *
 * Exit status 2 and the reason if something is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "training.h"

static training t;

static int refused(void) {
  puts(t.error);
  return 2;
}

/* rehearsal.bin of one float32 input of three axes, whose name has five letters. */
static unsigned char *rows_of(const char *path, uint32_t *rows, const void **inputs, const int32_t **labels) {
  FILE *file = fopen(path, "rb");
  unsigned char *content = malloc(1 << 24);
  fread(content, 1, 1 << 24, file);
  fclose(file);
  memcpy(rows, content + 41, 4);
  memmove(content, content + 45, (1 << 24) - 45);
  *inputs = content;
  *labels = (const int32_t *)(content + (size_t)*rows * 4 * t.inputs[0].size);
  return content;
}

int main(int argc, char **argv) {
  const char *what = argv[2];
  if (argc < 4) return 3;
  if (!training_open(&t, argv[1])) return refused();
  if (!strcmp(what, "same")) {
    if (!training_restore(&t, argv[3]) || !training_save(&t, argv[4])) return refused();
  } else if (!strcmp(what, "loop")) {
    for (;;) {
      if (!training_restore(&t, argv[3]) || !training_save(&t, argv[5])) return refused();
      if (!training_restore(&t, argv[4]) || !training_save(&t, argv[5])) return refused();
      putchar('.'), fflush(stdout);
    }
  } else if (!strcmp(what, "rollback")) {
    if (!training_rollback(&t, argv[3]) || !training_save(&t, argv[4])) return refused();
  } else if (!strcmp(what, "train") || !strcmp(what, "evaluate")) {
    uint32_t rows;
    int i, train = !strcmp(what, "train");
    const void *inputs;
    const int32_t *labels;
    char path[4096];
    unsigned char *content;
    double accuracy;
    float loss, correct;
    snprintf(path, sizeof path, "%s/rehearsal.bin", argv[1]);
    content = rows_of(train ? argv[3] : path, &rows, &inputs, &labels);
    for (i = 0; train && i < atoi(argv[5]); i++)
      if (!training_step(&t, &inputs, labels, rows, (float)atof(argv[4]), &loss, &correct)) {
        puts(t.error);
        return training_save(&t, argv[6]) ? 2 : 3; /* the state must be as it was */
      }
    if (train && !training_save(&t, argv[6])) return refused();
    if (!train && (!training_restore(&t, argv[3]) || !training_evaluate(&t, &inputs, labels, rows, 7, &accuracy)))
      return refused();
    if (!train) printf("%.17g\n", accuracy);
    free(content);
  }
  training_close(&t);
  return 0;
}
