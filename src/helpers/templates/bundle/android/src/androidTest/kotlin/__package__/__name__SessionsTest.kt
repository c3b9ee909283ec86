{% if encoding and "model.tflite" in files %}
package {{ name | lower }}

import androidx.test.ext.junit.runners.AndroidJUnit4
import kotlin.math.abs
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * `features.json` and `model.tflite`, which are in src/androidTest/assets/{{ name }} as is `sessions.json`, make the same
 * ids and the same order of raw sessions here as where they were made.
 */
@RunWith(AndroidJUnit4::class)
class {{ name }}SessionsTest {
    private class Case(val name: String, val raw: String, val ids: Map<*, *>, val scores: List<Double>, val order: List<*>)

    private val features = Features.parse(asset("features.json"))
    private val golden = StrictJson.read(asset("sessions.json"), 1 shl 28) as Map<*, *>
    private val tolerance = number((golden["tolerance"] as Map<*, *>)[FILE])
    private val cases = (golden["sessions"] as List<*>).map { case(it as Map<*, *>) }
    private val model = {{ name }}.open(GoldenCases.context)

    @After
    fun close() = model.close()

    @Test
    fun reproducesEverySession() {
        assertTrue("sessions.json has no sessions", cases.isNotEmpty())
        assertEquals(emptyList<String>(), cases.mapNotNull { case -> wrong(case)?.let { "${case.name}: $it" } })
    }

    /** What is wrong with a session; null if nothing is. */
    private fun wrong(case: Case): String? {
        val session = features.assemble(case.raw)
        if (session.ids.keys != case.ids.keys) return "the inputs are ${session.ids.keys} and not ${case.ids.keys}"
        for ((name, ids) in session.ids) {
            val expected = (case.ids[name] as List<*>).map { (it as StrictJson.Written).toLong() }
            if (ids.toList() != expected) return "input $name is ${ids.contentToString()} and not $expected"
        }
        val scores = if (session.infoIds.isEmpty()) FloatArray(0) else model.score(session.inputs)
        if (scores.size != case.scores.size) return "${scores.size} scores and not ${case.scores.size}"
        for ((row, score) in scores.withIndex()) {
            val close = abs(score.toDouble() - case.scores[row]) <= tolerance // so written that NaN fails
            if (!close) return "row $row scores $score and not ${case.scores[row]}"
        }
        return wrongOrder(case, session.infoIds, scores)
    }

    /** Candidates may only stand in another order where the tolerance cannot tell their expected scores apart. */
    private fun wrongOrder(case: Case, delivered: List<String>, scores: FloatArray): String? {
        val order = features.rerank(case.raw, model::score).map { delivered.indexOf(it) }
        for ((before, after) in order.zipWithNext()) {
            val sorted = scores[before] > scores[after] || (scores[before] == scores[after] && before < after)
            if (!sorted) return "resort_list[$before] stands before resort_list[$after]"
        }
        for ((place, infoId) in case.order.withIndex()) {
            val expected = delivered.indexOf(infoId)
            if (expected < 0) return "place $place: there is no such candidate"
            val close = abs(case.scores[order[place]] - case.scores[expected]) <= 2 * tolerance
            if (!close) return "place $place: resort_list[${order[place]}] and not resort_list[$expected]"
        }
        return if (order.size == case.order.size) null else "${order.size} candidates and not ${case.order.size}"
    }

    private fun case(content: Map<*, *>) =
        Case(
            content["name"] as String,
            content["raw"] as String,
            content["inputs"] as Map<*, *>,
            ((content["expected"] as Map<*, *>)[FILE] as List<*>).map { number(it) },
            (content["order"] as Map<*, *>)[FILE] as List<*>,
        )

    private companion object {
        const val FILE = "model.tflite"

        fun asset(name: String) = GoldenCases.context.assets.open("{{ name }}/$name").use { it.readBytes().decodeToString() }

        fun number(value: Any?) = checkNotNull((value as StrictJson.Written).toDouble())
    }
}
{% endif %}
