/* What {{ model | comment }} takes and gives. */
#ifndef {{ name | upper }}_INPUTS_H
#define {{ name | upper }}_INPUTS_H

#include "inputs.h"

static const input_range {{ name }}Ranges[] = {
{% for input in inputs %}
{% for dimension in input.dimensions %}
    {{ "{" }}{{ dimension.low | float }}, {{ dimension.high | float }}}, /* {{ input.name | comment }}: {{ dimension.name | comment }} */
{% else %}
    {{ "{" }}{{ input.low | float }}, {{ input.high | float }}}, /* {{ input.name | comment }} */
{% endfor %}
{% endfor %}
};

/* In declared order; a runtime lists them in an order of its own. */
static const input_tensor {{ name }}Inputs[] = {
{% set ranges = namespace(before=0) %}
{% for input in inputs %}
    {{ "{" }}{{ input.name | quoted }}, {{ input.size }}, INPUT_{{ input.dtype | upper }}, {{ input.shape | length }}, {{ "{" }}{{ input.shape | join(", ") }}}, {{ input.ranges | length }}, {{ name }}Ranges + {{ ranges.before }}},
{% set ranges.before = ranges.before + input.ranges | length %}
{% endfor %}
};
static const input_tensor {{ name }}Outputs[] = {
{% for output in outputs %}
    {{ "{" }}{{ output.name | quoted }}, {{ output.size }}, INPUT_{{ output.dtype | upper }}, {{ output.shape | length }}, {{ "{" }}{{ output.shape | join(", ") }}}, 0, NULL},
{% endfor %}
};
enum { {{ name }}InputCount = {{ inputs | length }}, {{ name }}OutputCount = {{ outputs | length }} };
enum { {{ name }}Batch = {{ batch or 0 }} }; /* rows at a time; 0 is any number */
static const char {{ name }}Output[] = {{ output.name | quoted }}; /* the first, by which is decided */

#endif
