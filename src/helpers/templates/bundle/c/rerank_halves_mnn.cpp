{% if encoding and halves and "model.mnn" in halves.files %}
/* Re-rank the golden sessions with reader.mnn and candidate.mnn beside MODEL, see rerank.h: the scores are to be those of the
 * whole model. */
#include "rerank.h"
#include "halves.h"
#include "runner_mnn.h"

static int open_halves(runner *self, const char *path, const input_tensor *inputs, uint32_t n, const input_tensor *outputs,
                       uint32_t n_outputs, uint32_t batch) {
  return runner_open_halves(self, runner_open_mnn, path, inputs, n, outputs, n_outputs, batch);
}

int main(int argc, char **argv) { return rerank_main(argc, argv, open_halves); }
{% endif %}
