{% if "model.tflite" in files %}
/* Score the golden cases with a .tflite file, see golden_run.h. */
#define _POSIX_C_SOURCE 199309L
#include "golden_run.h"
#include "runner_tflite.h"

int main(int argc, char **argv) { return golden_run(argc, argv, runner_open_tflite); }
{% endif %}
