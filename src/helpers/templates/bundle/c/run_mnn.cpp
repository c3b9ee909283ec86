{% if "model.mnn" in files %}
/* Score the golden cases with an .mnn file, see golden_run.h. */
#include "golden_run.h"
#include "runner_mnn.h"

int main(int argc, char **argv) { return golden_run(argc, argv, runner_open_mnn); }
{% endif %}
