package {{ name | lower }}

import android.content.Context
import androidx.test.platform.app.InstrumentationRegistry
import java.util.Locale
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject

/** The cases of `golden.json` for one model file: inputs, with the scores that it gives on any device. */
internal class GoldenCases private constructor(val tolerance: Double, val cases: List<Case>) {
    class Case(val name: String, val inputs: Map<String, Values>, val expected: FloatArray)

    /** What [score] gets wrong, a line for each case; a NaN and a wrong number of scores are wrong. */
    fun failures(score: (Map<String, Values>) -> FloatArray): List<String> =
        cases.mapNotNull { case ->
            val scores = score(case.inputs)
            val row = case.expected.indices.firstOrNull { row ->
                val difference = abs(scores.getOrElse(row) { Float.NaN }.toDouble() - case.expected[row].toDouble())
                !(difference <= tolerance) // so written that NaN fails
            }
            when {
                scores.size != case.expected.size ->
                    "${case.name}: ${scores.size} scores for ${case.expected.size} rows"
                row == null -> null
                else -> String.format(
                    Locale.ROOT,
                    "%s: row %d scores %.6f and not %.6f (at most %.2g apart)",
                    case.name, row, scores[row], case.expected[row], tolerance,
                )
            }
        }

    companion object {
        /** Of the test itself, whose assets hold a folder with `golden.json` and the model files: src/androidTest/assets. */
        val context: Context get() = InstrumentationRegistry.getInstrumentation().context

        fun read(file: String): GoldenCases {
            val content = JSONObject(context.assets.open("{{ name }}/golden.json").use { it.readBytes().decodeToString() })
            val tolerance = content.getJSONObject("tolerance").getDouble(file)
            val cases = content.getJSONArray("cases")
            return GoldenCases(tolerance, List(cases.length()) { case(cases.getJSONObject(it), file) })
        }

        private fun case(content: JSONObject, file: String): Case {
            val inputs = content.getJSONObject("inputs")
            return Case(
                content.getString("name"),
                {{ name }}Inputs.all.associate { it.name to values(inputs.getJSONArray(it.name), it.dtype) },
                floats(content.getJSONObject("expected").getJSONArray(file)),
            )
        }

        private fun values(content: JSONArray, dtype: Dtype): Values =
            when (dtype) {
                Dtype.FLOAT32 -> Values.Floats(floats(content))
                Dtype.INT32 -> Values.Ints(IntArray(content.length()) { content.getInt(it) })
                Dtype.INT64 -> Values.Longs(LongArray(content.length()) { content.getLong(it) })
            }

        private fun floats(content: JSONArray) = FloatArray(content.length()) { content.getDouble(it).toFloat() }
    }
}
