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

inline int runner_mnn_run(runner *self, const void *const *values) {
  try {
    static_cast<mnn_model *>(self->state)->run(values);
    return 1;
  } catch (const std::exception &error) {
    snprintf(self->error, sizeof self->error, "%s", error.what());
    return 0;
  }
}

inline void runner_mnn_close(runner *self) {
  delete static_cast<mnn_model *>(self->state);
  self->state = nullptr;
}

/* As `runner_open` of runner.h says. */
inline int runner_open_mnn(runner *self, const char *path, const input_tensor *inputs, uint32_t n,
                           const input_tensor *outputs, uint32_t n_outputs, uint32_t batch) {
  memset(self, 0, sizeof *self);
  self->predict = runner_mnn_predict, self->run = runner_mnn_run, self->close = runner_mnn_close;
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
