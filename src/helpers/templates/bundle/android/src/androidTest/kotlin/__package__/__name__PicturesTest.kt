{% if pictures and "model.tflite" in files %}
package {{ name | lower }}

import androidx.test.ext.junit.runners.AndroidJUnit4
import kotlin.math.abs
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * `features.json` and `model.tflite`, which are in src/androidTest/assets/{{ name }} with `model.json`, `pictures.json`,
 * `pictures.bin` and the pictures, make the same pixels and the same classes of them here as where they were made.
 */
@RunWith(AndroidJUnit4::class)
class {{ name }}PicturesTest {
    private class Case(val file: String, val says: String, val prepared: ByteArray, val expected: List<Double>)

    private val classifier = {{ name }}Classifier.open(GoldenCases.context)
    private val golden = StrictJson.read(asset("pictures.json").decodeToString(), 1 shl 24) as Map<*, *>
    private val tolerance = number((golden["tolerance"] as Map<*, *>)[FILE])
    private val cases = cases()

    @After
    fun close() = classifier.close()

    @Test
    fun reproducesEveryPicture() {
        assertTrue("pictures.json has no pictures", cases.isNotEmpty())
        val wrong = cases.mapNotNull { case -> wrong(case)?.let { "${case.file} (${case.says}): $it" } }
        assertEquals(emptyList<String>(), wrong)
    }

    @Test
    fun namesTheLabelsOfTheBundle() = assertEquals(golden["labels"], classifier.labels)

    @Test
    fun manyPicturesAtOnceAreAsEachAlone() {
        val pictures = List(11) { {{ name }}Classifier.Picture.Encoded(asset(cases[it % cases.size].file)) }
        val together = classifier.classify(pictures, top = 2)
        for ((picture, labels) in pictures.zip(together)) {
            val alone = classifier.classify(picture, top = 2)
            assertEquals(2, labels.size)
            for ((one, other) in alone.zip(labels)) {
                val close = abs(one.probability - other.probability) <= 1e-5f
                assertTrue("${one.name} ${one.probability} and ${other.name} ${other.probability}", close)
            }
        }
    }

    @Test
    fun submittingGivesTheSame() {
        val picture = {{ name }}Classifier.Picture.Encoded(asset(cases.first().file))
        val expected = classifier.classify(picture).map { it.name to it.probability }
        assertEquals(expected, classifier.submit(picture).get().map { it.name to it.probability })
    }

    @Test
    fun refusesWhatIsNoPicture() {
        val picture = {{ name }}Classifier.Picture.Encoded(ByteArray(100))
        assertThrows(IllegalArgumentException::class.java) { classifier.classify(picture) }
    }

    /** What is wrong with a picture; null if nothing is. */
    private fun wrong(case: Case): String? {
        val prepared = classifier.prepare({{ name }}Classifier.Picture.Encoded(asset(case.file)))
        if (prepared.size != case.prepared.size) return "${prepared.size} bytes and not ${case.prepared.size}"
        val apart = prepared.indices.map { abs((prepared[it].toInt() and 255) - (case.prepared[it].toInt() and 255)) }
        if (apart.any { it > 1 }) {
            return "${apart.count { it > 1 }} of ${apart.size} bytes are more than 1 apart, at most ${apart.maxOrNull()}"
        }
        val found = classifier.probabilities(listOf(prepared)).single().map { it.toDouble() }
        if (found.size != case.expected.size) return "${found.size} probabilities and not ${case.expected.size}"
        if (apart.all { it == 0 }) {
            // so written that NaN fails
            val place = found.indices.firstOrNull { !(abs(found[it] - case.expected[it]) <= tolerance) } ?: return null
            return "${classifier.labels[place]} has ${found[place]} and not ${case.expected[place]}"
        }
        val (first, second) = case.expected.sortedDescending()
        val (wanted, got) = case.expected.indexOf(first) to found.indices.maxByOrNull { found[it] }
        return if (first - second > LEAD && got != wanted) "its class is $got and not $wanted" else null
    }

    private fun cases(): List<Case> {
        val binary = asset("pictures.bin")
        val listed = golden["pictures"] as List<*>
        val size = binary.size / listed.size
        return listed.mapIndexed { index, content ->
            val case = content as Map<*, *>
            Case(
                case["file"] as String,
                case["says"] as String,
                binary.copyOfRange(index * size, (index + 1) * size),
                ((case["expected"] as Map<*, *>)[FILE] as List<*>).map { number(it) },
            )
        }
    }

    private companion object {
        const val FILE = "model.tflite"
        const val LEAD = 0.1

        fun asset(name: String) = GoldenCases.context.assets.open("{{ name }}/$name").use { it.readBytes() }

        fun number(value: Any?) = checkNotNull((value as StrictJson.Written).toDouble())
    }
}
{% endif %}
