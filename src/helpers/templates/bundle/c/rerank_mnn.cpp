{% if encoding and "model.mnn" in files %}
/* Re-rank the golden sessions with an .mnn file, see rerank.h. */
#include "rerank.h"
#include "runner_mnn.h"

int main(int argc, char **argv) { return rerank_main(argc, argv, runner_open_mnn); }
{% endif %}
