{% if "model.mnn" in files %}
/* model.mnn ({{ model | comment }}) through MNN, for {{ name }}Mnn.swift.
 * C, because Swift is to see nothing of MNN's C++. */
#ifndef {{ name | upper }}_MNN_C_H
#define {{ name | upper }}_MNN_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {{ name }}MnnModel {{ name }}MnnModel;

/* NULL if the file cannot be used, and `error` says why. */
{{ name }}MnnModel *{{ name }}MnnOpen(const char *path, char *error, size_t size);

/* Of inputs in declared order, row by row. 1, and where each output is, row by row, good until the next call; or 0, and `error`
 * says why. One thread at a time. */
int {{ name }}MnnPredict({{ name }}MnnModel *model, const void *const *values, uint32_t rows,
                         const void **outputs, char *error, size_t size);

void {{ name }}MnnClose({{ name }}MnnModel *model);

/* MNN's version. */
const char *{{ name }}MnnVersion(void);

#ifdef __cplusplus
}
#endif

#endif
{% endif %}
