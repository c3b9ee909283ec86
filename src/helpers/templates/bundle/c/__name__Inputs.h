/* What {{ model | comment }} takes and gives. */
#ifndef {{ name | upper }}_INPUTS_H
#define {{ name | upper }}_INPUTS_H

#include "inputs.h"

static const input_range {{ name }}Ranges[] = {
{% for input in inputs %}
{% for dimension in input.dimensions %}
    {{ "{" }}{{ dimension.low | float }}, {{ dimension.high | float }}}, /* {{ input.name | comment }}: {{ dimension.name | comment }} */
{% endfor %}
{% endfor %}
};

/* In declared order; a runtime lists them in an order of its own. */
static const input_tensor {{ name }}Inputs[] = {
{% set columns = namespace(before=0) %}
{% for input in inputs %}
    {{ "{" }}{{ input.name | quoted }}, {{ input.width }}, INPUT_{{ input.dtype | upper }}, {{ name }}Ranges + {{ columns.before }}},
{% set columns.before = columns.before + input.width %}
{% endfor %}
};
enum { {{ name }}InputCount = {{ inputs | length }} };
static const char {{ name }}Output[] = {{ output.name | quoted }};

#endif
