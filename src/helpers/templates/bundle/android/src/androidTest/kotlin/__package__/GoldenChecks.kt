package {{ name | lower }}

import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

/** What a model file has to do, whichever runtime opens it: score as where it was made, and refuse what does not fit. */
abstract class GoldenChecks(file: String, private val model: Scorer) {
    private val golden = GoldenCases.read(file)
    private val inputs = golden.cases.first().inputs

    @After
    fun close() = model.close()

    @Test
    fun reproducesEveryCase() = assertEquals(emptyList<String>(), golden.failures(model::predict))

    @Test
    fun refusesAnUnknownInput() =
        assertRefused("unknown no such input", inputs + ("no such input" to inputs.values.first()))

    @Test
    fun refusesAMissingInput() {
        val name = {{ name }}Inputs.all.first().name
        assertRefused("missing $name", inputs - name)
    }

{% if inputs | selectattr("dtype", "equalto", "float32") | list %}
    @Test
    fun refusesNan() {
        val (name, values) = inputs.entries.first { it.value is Values.Floats }
        val data = (values as Values.Floats).data.copyOf().also { it[0] = Float.NaN }
        assertRefused("$name is NaN at row 0", inputs + (name to Values.Floats(data)))
    }

{% endif %}
{% for input in inputs if input.outside %}
{% if loop.first %}
    @Test
    fun refusesAnIntegerOutsideItsRange() {
        for (wrong in longArrayOf({{ input.outside | join("L, ") }}L)) {
            val values = when (val first = inputs.getValue({{ input.name | kotlin }})) {
                is Values.Ints -> Values.Ints(first.data.copyOf().also { it[0] = wrong.toInt() })
                is Values.Longs -> Values.Longs(first.data.copyOf().also { it[0] = wrong })
                is Values.Bytes -> Values.Bytes(first.data.copyOf().also { it[0] = wrong.toByte() })
                is Values.Floats -> first
            }
            assertRefused("{{ input.name }} is $wrong at row 0", inputs + ({{ input.name | kotlin }} to values))
        }
    }

{% endif %}
{% endfor %}
{% if batch %}
    @Test
    fun refusesAnotherNumberOfRows() {
        val rows = {{ name }}Inputs.BATCH + 1
        val more = inputs.mapValues { {{ name }}Inputs.part(it.value, {{ name }}Inputs.BATCH, 0, rows) }
        assertRefused("there are $rows rows, the model takes {{ batch }} at a time", more)
    }

{% endif %}
    private fun assertRefused(why: String, given: Map<String, Values>) {
        val refusal = assertThrows(IllegalArgumentException::class.java) { model.predict(given) }
        assertTrue(refusal.message, refusal.message.orEmpty().contains(why))
    }
}
