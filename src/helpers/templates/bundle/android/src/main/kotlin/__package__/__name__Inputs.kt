package {{ name | lower }}

/** Values of one input or output, row by row: `rows x width` of them. */
sealed interface Values {
    class Floats(val data: FloatArray) : Values

    class Ints(val data: IntArray) : Values

    class Longs(val data: LongArray) : Values

    /** Of a tensor that is UINT8: the byte -1 is 255. */
    class Bytes(val data: ByteArray) : Values
}

enum class Dtype(val bytes: Int) { FLOAT32(4), INT32(4), INT64(8), UINT8(1) }

/**
 * One input of the model. [columns] says what each value of a row is, if it has a meaning of its own; [ranges] what it goes
 * from and to, by column or one for all. [shape] is that of a row.
 */
class Input(
    val name: String,
    val dtype: Dtype,
    val columns: List<String>,
    val ranges: List<ClosedFloatingPointRange<Double>>,
    val shape: List<Int> = listOf(columns.size),
) {
    val width = shape.fold(1, Int::times)

    internal fun place(at: Int): String = columns.getOrNull(at % width) ?: "value ${at % width}"
}

/** One output of the model. [shape] is that of a row. */
class Output(val name: String, val dtype: Dtype, val shape: List<Int>) {
    val width = shape.fold(1, Int::times)
}

internal val Values.array: Any
    get() = when (this) {
        is Values.Floats -> data
        is Values.Ints -> data
        is Values.Longs -> data
        is Values.Bytes -> data
    }

internal val Values.dtype: Dtype
    get() = when (this) {
        is Values.Floats -> Dtype.FLOAT32
        is Values.Ints -> Dtype.INT32
        is Values.Longs -> Dtype.INT64
        is Values.Bytes -> Dtype.UINT8
    }

internal val Values.size: Int get() = java.lang.reflect.Array.getLength(array)

/** So many values of a type, all 0. */
internal fun Dtype.zeros(size: Int): Values =
    when (this) {
        Dtype.FLOAT32 -> Values.Floats(FloatArray(size))
        Dtype.INT32 -> Values.Ints(IntArray(size))
        Dtype.INT64 -> Values.Longs(LongArray(size))
        Dtype.UINT8 -> Values.Bytes(ByteArray(size))
    }

/**
 * What `{{ model | comment }}` takes: every input below, by name, with the same number of rows.
 *
 * | input | dtype | column | dimension | meaning | range |
 * |---|---|---|---|---|---|
{% for tensor in inputs %}
{% for d in tensor.dimensions %}
 * | {{ tensor.name | comment | replace("|", "/") }} | {{ tensor.dtype }} | {{ loop.index0 }} | {{ d.name | comment | replace("|", "/") }} | {{ d.meaning | comment | replace("|", "/") }} | {{ d.low }} to {{ d.high }} |
{% else %}
 * | {{ tensor.name | comment | replace("|", "/") }} | {{ tensor.dtype }} | all of {{ tensor.shape | join(" x ") }} | - | {{ tensor.meaning | comment | replace("|", "/") }} | {{ tensor.low }} to {{ tensor.high }} |
{% endfor %}
{% endfor %}
 *
{% if single %}
 * A score is `{{ output.name | comment }}`: {{ (output.dimensions[0].meaning if output.dimensions else output.meaning) | comment }}.
{% else %}
 * It gives, for each row:
 *
{% for tensor in outputs %}
 * - `{{ tensor.name | comment }}`, {{ tensor.dtype }} {{ tensor.shape | join(" x ") }}: {{ (tensor.meaning or tensor.dimensions | map(attribute="meaning") | join("; ") or "-") | comment }}
{% endfor %}
{% endif %}
{% if batch %}
 *
 * It takes [BATCH] rows at a time.
{% endif %}
 */
object {{ name }}Inputs {
    const val MODEL = {{ model | kotlin }}
    const val OUTPUT = {{ output.name | kotlin }}
{% if batch %}
    const val BATCH = {{ batch }}
{% endif %}

    val all: List<Input> = listOf(
{% for tensor in inputs %}
        Input(
            {{ tensor.name | kotlin }},
            Dtype.{{ tensor.dtype | upper }},
            listOf(
{% for d in tensor.dimensions %}
                {{ d.name | kotlin }},
{% endfor %}
            ),
            listOf(
{% for d in tensor.ranges %}
                {{ d.low | float }}..{{ d.high | float }},
{% endfor %}
            ),
{% if not tensor.dimensions %}
            listOf({{ tensor.shape | join(", ") }}),
{% endif %}
        ),
{% endfor %}
    )
    val outputs: List<Output> = listOf(
{% for tensor in outputs %}
        Output({{ tensor.name | kotlin }}, Dtype.{{ tensor.dtype | upper }}, listOf({{ tensor.shape | join(", ") }})),
{% endfor %}
    )
    private val wanted = all.map { it.name }.toSet()

    /**
     * The number of rows of [inputs].
     *
     * A runtime takes what is refused here and scores it wrongly in silence.
     *
     * @throws IllegalArgumentException a name is missing or unknown, a type or a size is wrong, a number is not finite, an
     *     integer, which is a place in a table, is outside its range.
     */
    fun check(inputs: Map<String, Values>): Int {
        checkNames(inputs.keys) { "give each input once, under its own name" }
        val rows = rowsOf(all.first(), inputs.getValue(all.first().name))
        for (input in all) {
            val values = inputs.getValue(input.name)
            val own = rowsOf(input, values)
            require(own == rows) {
                "${input.name} has $own rows, ${all.first().name} has $rows: every input describes the same items"
            }
            checkBuffer(rows, input.name, input.width * input.dtype.bytes)
            when (values) {
                is Values.Floats -> checkFinite(input, values.data)
                is Values.Ints -> checkRange(input, values.data.size) { values.data[it].toLong() }
                is Values.Longs -> checkRange(input, values.data.size) { values.data[it] }
                is Values.Bytes -> if (input.ranges.any { it.start > 0 || it.endInclusive < 255 }) {
                    checkRange(input, values.data.size) { values.data[it].toLong() and 255 }
                }
            }
        }
        for (output in outputs) checkBuffer(rows, output.name, output.width * output.dtype.bytes)
{% if batch %}
        require(rows == BATCH) { "there are $rows rows, the model takes $BATCH at a time: fill them up, or drop some" }
{% endif %}
        return rows
    }

    private fun checkBuffer(rows: Int, name: String, bytes: Int) =
        require(rows.toLong() * bytes <= Int.MAX_VALUE) {
            "$rows rows of $name do not fit into one buffer: score them in smaller batches"
        }

    /** Refuse what no model gives that is whole. */
    internal fun checkFinite(output: Output, values: Values) {
        val bad = (values as? Values.Floats)?.data?.indexOfFirst { !it.isFinite() } ?: -1
        check(bad < 0) {
            "{{ "the score" if single else "${output.name}" }} of row ${bad / output.width} is ${(values as Values.Floats).data[bad]}: " +
                "the model file is damaged, install it again"
        }
    }

    /** Refuse names, of what a caller gives or of what a model file takes, that are not exactly those of [all]. */
    internal fun checkNames(names: Set<String>, wayOut: () -> String) {
        if (names == wanted) return
        val wrong = listOf("missing" to wanted - names, "unknown" to names - wanted).filter { it.second.isNotEmpty() }
        val said = wrong.joinToString("; ") { (kind, which) -> "$kind ${which.joinToString()}" }
        throw IllegalArgumentException(
            "inputs do not fit $MODEL: $said (it takes ${wanted.joinToString()}): ${wayOut()}",
        )
    }

    private fun rowsOf(input: Input, values: Values): Int {
        val size = values.size
        require(values.dtype == input.dtype) {
            val way = when (input.dtype) {
                Dtype.FLOAT32 -> "Values.Floats"
                Dtype.INT32 -> "Values.Ints"
                Dtype.INT64 -> "Values.Longs"
                Dtype.UINT8 -> "Values.Bytes"
            }
            "${input.name} is ${values.dtype}, the model takes ${input.dtype}: give it as $way"
        }
        require(size > 0 && size % input.width == 0) {
            "${input.name} has $size values, the model takes rows of ${input.width}: " +
                "give rows x ${input.width} values, row by row, and at least one row"
        }
        return size / input.width
    }

    /**
     * Compute [rows] rows of [inputs] with [predict] in parts of [fixed] rows: the last is filled up with its last row, whose
     * outputs are dropped.
     */
    internal fun inParts(
        inputs: Map<String, Values>,
        rows: Int,
        fixed: Int,
        predict: (Map<String, Values>) -> Map<String, Values>,
    ): Map<String, Values> {
        val whole = outputs.associate { it.name to it.dtype.zeros(rows * it.width) }
        for (start in 0 until rows step fixed) {
            val part = predict(inputs.mapValues { (_, values) -> part(values, rows, start, fixed) })
            for (output in outputs) {
                val (from, to) = part.getValue(output.name) to whole.getValue(output.name)
                val count = minOf(fixed, rows - start) * output.width
                System.arraycopy(from.array, 0, to.array, start * output.width, count)
            }
        }
        return whole
    }

    /** [count] rows of [values] from [start] on; behind the last one, that one again. */
    internal fun part(values: Values, rows: Int, start: Int, count: Int): Values {
        val width = values.size / rows
        val part = values.dtype.zeros(count * width)
        for (row in 0 until count) {
            System.arraycopy(values.array, minOf(start + row, rows - 1) * width, part.array, row * width, width)
        }
        return part
    }

    private inline fun checkRange(input: Input, size: Int, value: (Int) -> Long) {
        for (at in 0 until size) {
            val range = input.ranges.singleOrNull() ?: input.ranges[at % input.width]
            require(value(at).toDouble() in range) {
                "${input.name} is ${value(at)} at row ${at / input.width}, ${input.place(at)}: " +
                    "it takes ${range.start.toLong()} to ${range.endInclusive.toLong()}"
            }
        }
    }

    private fun checkFinite(input: Input, data: FloatArray) {
        val bad = data.indexOfFirst { !it.isFinite() }
        require(bad < 0) {
            "${input.name} is ${data[bad]} at row ${bad / input.width}, ${input.place(bad)}: " +
                "clean or impute it before scoring"
        }
    }
}
