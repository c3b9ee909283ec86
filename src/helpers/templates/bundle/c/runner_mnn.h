{% if "model.mnn" in files %}
/* A `runner` of an .mnn file. C++11. */
#ifndef RUNNER_MNN_H
#define RUNNER_MNN_H

#include "mnn_model.h"
#include "runner.h"

inline const void *const *runner_mnn_predict(runner *self, const void *const *values, uint32_t rows) {
  try {
    return static_cast<mnn_model *>(self->state)->predict(values, rows);
  } catch (const std::exception &error) {
    snprintf(self->error, sizeof self->error, "%s", error.what());
    return nullptr;
  }
}

inline void runner_mnn_close(runner *self) {
  delete static_cast<mnn_model *>(self->state);
  self->state = nullptr;
}

/* Open a model that takes these inputs and gives these outputs, `batch` rows at a time or, if that is 0, any number. 0 if it
 * does not, and `error` says why. */
inline int runner_open_mnn(runner *self, const char *path, const input_tensor *inputs, uint32_t n,
                           const input_tensor *outputs, uint32_t n_outputs, uint32_t batch) {
  memset(self, 0, sizeof *self);
  self->predict = runner_mnn_predict, self->close = runner_mnn_close;
  self->runtime = "MNN", self->version = MNN::getVersion();
  try {
    self->state = new mnn_model(path, inputs, n, outputs, n_outputs, batch);
    return 1;
  } catch (const std::exception &error) {
    snprintf(self->error, sizeof self->error, "%s", error.what());
    return 0;
  }
}

#endif
{% endif %}
