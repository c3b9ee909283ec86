package {{ name | lower }}

/** Values of one input, row by row: `rows x width` of them. */
sealed interface Values {
    class Floats(val data: FloatArray) : Values

    class Ints(val data: IntArray) : Values

    class Longs(val data: LongArray) : Values
}

enum class Dtype(val bytes: Int) { FLOAT32(4), INT32(4), INT64(8) }

/** One input of the model. [columns] says what each of its dimensions is. */
class Input(val name: String, val dtype: Dtype, val columns: List<String>) {
    val width get() = columns.size
}

/**
 * What `{{ model | comment }}` takes: every input below, by name, with the same number of rows.
 *
 * | input | dtype | column | dimension | meaning | range |
 * |---|---|---|---|---|---|
{% for tensor in inputs %}
{% for d in tensor.dimensions %}
 * | {{ tensor.name | comment | replace("|", "/") }} | {{ tensor.dtype }} | {{ loop.index0 }} | {{ d.name | comment | replace("|", "/") }} | {{ d.meaning | comment | replace("|", "/") }} | {{ d.low }} to {{ d.high }} |
{% endfor %}
{% endfor %}
 *
 * A score is `{{ output.name | comment }}`: {{ output.dimensions[0].meaning | comment }}.
 */
object {{ name }}Inputs {
    const val MODEL = {{ model | kotlin }}
    const val OUTPUT = {{ output.name | kotlin }}

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
        ),
{% endfor %}
    )
    private val wanted = all.map { it.name }.toSet()

    /**
     * The number of rows of [inputs].
     *
     * A runtime takes what is refused here and scores it wrongly in silence.
     *
     * @throws IllegalArgumentException a name is missing or unknown, a type or a size is wrong, a value is not finite.
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
            require(rows.toLong() * input.width * input.dtype.bytes <= Int.MAX_VALUE) {
                "$rows rows of ${input.name} do not fit into one buffer: score them in smaller batches"
            }
            if (values is Values.Floats) checkFinite(input, values.data)
        }
        return rows
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
        val (dtype, size) = when (values) {
            is Values.Floats -> Dtype.FLOAT32 to values.data.size
            is Values.Ints -> Dtype.INT32 to values.data.size
            is Values.Longs -> Dtype.INT64 to values.data.size
        }
        require(dtype == input.dtype) {
            val way = when (input.dtype) {
                Dtype.FLOAT32 -> "Values.Floats"
                Dtype.INT32 -> "Values.Ints"
                Dtype.INT64 -> "Values.Longs"
            }
            "${input.name} is $dtype, the model takes ${input.dtype}: give it as $way"
        }
        require(size > 0 && size % input.width == 0) {
            "${input.name} has $size values, the model takes rows of ${input.width}: " +
                "give rows x ${input.width} values, row by row, and at least one row"
        }
        return size / input.width
    }

    private fun checkFinite(input: Input, data: FloatArray) {
        val bad = data.indexOfFirst { !it.isFinite() }
        require(bad < 0) {
            "${input.name} is ${data[bad]} at row ${bad / input.width}, ${input.columns[bad % input.width]}: " +
                "clean or impute it before scoring"
        }
    }
}
