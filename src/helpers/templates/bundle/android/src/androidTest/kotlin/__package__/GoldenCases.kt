package {{ name | lower }}

import android.content.Context
import androidx.test.platform.app.InstrumentationRegistry
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Locale
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject

/** The cases of `golden.json` for one model file: inputs, with the outputs that it gives on any device. */
internal class GoldenCases private constructor(private val tolerance: Map<String, Double>, val cases: List<Case>) {
    class Case(val name: String, val rows: Int, val inputs: Map<String, Values>, val outputs: Map<String, Values>)

    /** What [predict] gets wrong, a line for each case and output; a NaN and a wrong number of values are wrong. */
    fun failures(predict: (Map<String, Values>) -> Map<String, Values>): List<String> =
        cases.flatMap { case ->
            val found = predict(case.inputs)
            {{ name }}Inputs.outputs.mapNotNull { wrong(it, found.getValue(it.name), case) }
        }

    private fun wrong(output: Output, found: Values, case: Case): String? {
        val expected = case.outputs.getValue(output.name)
        val allowed = tolerance.getValue(output.name)
        val which = "${case.name}: {{ "" if single else "${output.name}, " }}"
        if (found.size != expected.size) return "$which${found.size} {{ "scores" if single else "values" }} for ${case.rows} rows"
        val place = (0 until expected.size).firstOrNull { !(abs(number(found, it) - number(expected, it)) <= allowed) } // NaN fails
            ?: return null
        return which + String.format(
            Locale.ROOT,
            "row %d scores %.6f and not %.6f (at most %.2g apart)",
            place / output.width, number(found, place), number(expected, place), allowed,
        )
    }

    private fun number(values: Values, at: Int): Double =
        when (values) {
            is Values.Floats -> values.data[at].toDouble()
            is Values.Ints -> values.data[at].toDouble()
            is Values.Longs -> values.data[at].toDouble()
            is Values.Bytes -> (values.data[at].toInt() and 255).toDouble()
        }

    companion object {
        /** Of the test itself, whose assets hold a folder with `golden.json` and the model files: src/androidTest/assets. */
        val context: Context get() = InstrumentationRegistry.getInstrumentation().context

        fun read(file: String): GoldenCases {
            val content = JSONObject(asset("golden.json").decodeToString())
            require(content.getInt("format") == 2) { "golden.json is of another version: take it from this bundle" }
            val allowed = content.getJSONObject("tolerance").getJSONObject(file)
            val cases = content.getJSONArray("cases")
            return GoldenCases(
                {{ name }}Inputs.outputs.associate { it.name to allowed.getDouble(it.name) },
                List(cases.length()) { case(cases.getJSONObject(it), file) },
            )
        }

        private fun asset(name: String) = context.assets.open("{{ name }}/$name").use { it.readBytes() }

        private fun case(content: JSONObject, file: String): Case {
            val inputs = content.getJSONObject("inputs")
            val outputs = content.getJSONObject("expected").getJSONObject(file)
            return Case(
                content.getString("name"),
                content.getInt("rows"),
                {{ name }}Inputs.all.associate { it.name to values(inputs.get(it.name), it.dtype) },
                {{ name }}Inputs.outputs.associate { it.name to values(outputs.get(it.name), it.dtype) },
            )
        }

        private fun values(content: Any, dtype: Dtype): Values =
            if (content is JSONArray) listed(content, dtype) else stored(content as JSONObject, dtype)

        private fun listed(content: JSONArray, dtype: Dtype): Values {
            val size = content.length()
            return when (dtype) {
                Dtype.FLOAT32 -> Values.Floats(FloatArray(size) { content.getDouble(it).toFloat() })
                Dtype.INT32 -> Values.Ints(IntArray(size) { content.getInt(it) })
                Dtype.INT64 -> Values.Longs(LongArray(size) { content.getLong(it) })
                Dtype.UINT8 -> Values.Bytes(ByteArray(size) { content.getInt(it).toByte() })
            }
        }

        /** Many values, which lie in `golden.bin` only. */
        private fun stored(content: JSONObject, dtype: Dtype): Values {
            val size = content.getInt("count")
            val bytes = ByteBuffer.wrap(binary, content.getInt("at"), size * dtype.bytes).slice().order(ByteOrder.LITTLE_ENDIAN)
            return dtype.zeros(size).also {
                when (it) {
                    is Values.Floats -> bytes.asFloatBuffer().get(it.data)
                    is Values.Ints -> bytes.asIntBuffer().get(it.data)
                    is Values.Longs -> bytes.asLongBuffer().get(it.data)
                    is Values.Bytes -> bytes.get(it.data)
                }
            }
        }

        private val binary: ByteArray by lazy { asset("golden.bin") }
    }
}
