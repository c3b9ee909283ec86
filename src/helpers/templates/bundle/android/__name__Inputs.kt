package {{ name | lower }}

/** Values of one input, row by row: `rows x width` of them. */
sealed interface Values {
    class Floats(val data: FloatArray) : Values

    class Ints(val data: IntArray) : Values

    class Longs(val data: LongArray) : Values
}

enum class Dtype(val bytes: Int) { FLOAT32(4), INT32(4), INT64(8) }

/** One input of the model. [columns] says what each of its dimensions is, [ranges] what it goes from and to. */
class Input(
    val name: String,
    val dtype: Dtype,
    val columns: List<String>,
    val ranges: List<ClosedFloatingPointRange<Double>>,
) {
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
            listOf(
{% for d in tensor.dimensions %}
                {{ d.low | float }}..{{ d.high | float }},
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
            require(rows.toLong() * input.width * input.dtype.bytes <= Int.MAX_VALUE) {
                "$rows rows of ${input.name} do not fit into one buffer: score them in smaller batches"
            }
            when (values) {
                is Values.Floats -> checkFinite(input, values.data)
                is Values.Ints -> checkRange(input, values.data.size) { values.data[it].toLong() }
                is Values.Longs -> checkRange(input, values.data.size) { values.data[it] }
            }
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

    /**
     * Score [rows] rows of [inputs] with [score] in parts of [fixed] rows: the last is filled up with its last row, whose
     * scores are dropped.
     */
    internal fun inParts(
        inputs: Map<String, Values>,
        rows: Int,
        fixed: Int,
        score: (Map<String, Values>) -> FloatArray,
    ): FloatArray {
        val scores = FloatArray(rows)
        for (start in 0 until rows step fixed) {
            val part = inputs.mapValues { (_, values) -> part(values, rows, start, fixed) }
            score(part).copyInto(scores, start, 0, minOf(fixed, rows - start))
        }
        return scores
    }

    private fun part(values: Values, rows: Int, start: Int, count: Int): Values {
        fun places(size: Int): IntArray {
            val width = size / rows
            return IntArray(count * width) { minOf(start + it / width, rows - 1) * width + it % width }
        }
        return when (values) {
            is Values.Floats -> {
                val at = places(values.data.size)
                Values.Floats(FloatArray(at.size) { values.data[at[it]] })
            }
            is Values.Ints -> {
                val at = places(values.data.size)
                Values.Ints(IntArray(at.size) { values.data[at[it]] })
            }
            is Values.Longs -> {
                val at = places(values.data.size)
                Values.Longs(LongArray(at.size) { values.data[at[it]] })
            }
        }
    }

    private inline fun checkRange(input: Input, size: Int, value: (Int) -> Long) {
        for (at in 0 until size) {
            val range = input.ranges[at % input.width]
            require(value(at).toDouble() in range) {
                "${input.name} is ${value(at)} at row ${at / input.width}, ${input.columns[at % input.width]}: " +
                    "it takes ${range.start.toLong()} to ${range.endInclusive.toLong()}"
            }
        }
    }

    private fun checkFinite(input: Input, data: FloatArray) {
        val bad = data.indexOfFirst { !it.isFinite() }
        require(bad < 0) {
            "${input.name} is ${data[bad]} at row ${bad / input.width}, ${input.columns[bad % input.width]}: " +
                "clean or impute it before scoring"
        }
    }
}
