{% if encoding and "model.tflite" in files %}
/* Re-rank the golden sessions with a .tflite file, see rerank.h. */
#define _POSIX_C_SOURCE 199309L
#include "rerank.h"
#include "runner_tflite.h"

int main(int argc, char **argv) { return rerank_main(argc, argv, runner_open_tflite); }
{% endif %}
