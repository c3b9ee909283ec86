{% if "model.mnn" in files %}
#include "{{ name }}MnnC.h"

#include "runner_mnn.h"
#include "{{ name }}Inputs.h"

struct {{ name }}MnnModel {
  runner own;
};

{{ name }}MnnModel *{{ name }}MnnOpen(const char *path, char *error, size_t size) {
  {{ name }}MnnModel *model = new {{ name }}MnnModel;
  if (runner_open_mnn(&model->own, path, {{ name }}Inputs, {{ name }}InputCount,
                      {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch))
    return model;
  snprintf(error, size, "%s", model->own.error);
  delete model;
  return nullptr;
}

int {{ name }}MnnPredict({{ name }}MnnModel *model, const void *const *values, uint32_t rows,
                         const void **outputs, char *error, size_t size) {
  const void *const *found = model->own.predict(&model->own, values, rows);
  if (!found) return snprintf(error, size, "%s", model->own.error), 0;
  for (uint32_t i = 0; i < {{ name }}OutputCount; i++) outputs[i] = found[i];
  return 1;
}

void {{ name }}MnnClose({{ name }}MnnModel *model) {
  model->own.close(&model->own);
  delete model;
}

const char *{{ name }}MnnVersion(void) { return MNN::getVersion(); }
{% endif %}
