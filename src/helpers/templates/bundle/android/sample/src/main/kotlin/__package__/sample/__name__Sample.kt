{% if sample %}
package {{ name | lower }}.sample

{% if pictures %}
import {{ name | lower }}.{{ name }}
import {{ name | lower }}.{{ name }}Classifier
import {{ name | lower }}.DeliveryRefusal
import {{ name | lower }}.ModelDelivery
{% else %}
import {{ name | lower }}.DeliveryRefusal
{% if encoding %}
import {{ name | lower }}.Features
{% endif %}
import {{ name | lower }}.LiveScorer
import {{ name | lower }}.ModelDelivery
import {{ name | lower }}.{{ scorer }}
{% if encoding %}
import org.json.JSONObject
{% endif %}
{% endif %}
import java.io.File
import java.io.IOException
{% if not encoding %}
import java.util.Locale
{% endif %}

/**
 * What the sample does, without its looks. Every call may take seconds, and comes from one thread, which is not the main one.
 *
 * @param installed folder of the installation, empty or not there at first.
 * @param bundled folder with the bundle's files that the app came with.
 */
class {{ name }}Sample(installed: File, private val bundled: File) {
    /** A list before and after the model, which version of it that is, and why that one. */
    class Shown(val version: String, val reason: String, val before: List<Row>, val after: List<Row>)

    /** [place] is where it was delivered, from 1 on; [says] what the model says of it. */
    data class Row(val place: Int, val title: String, val says: String)

    private val delivery =
        ModelDelivery(installed, mapOf({{ '"litert" to "' ~ releases.litert ~ '"' if files[0].endswith(".tflite") else '"mnn" to "' ~ releases.mnn ~ '"' }})) { file, score ->
            {{ scorer }}.open(file).use { score(it::predict) }
        }
{% if not pictures %}
    private val live = LiveScorer(null)
{% endif %}

    fun start(): Shown = shown(if (delivery.version == null) "nothing is installed" else "it was installed earlier")

    fun install(descriptor: String): Shown = act {
        val before = delivery.version
        val new = delivery.install(descriptor)
        val cases = new.cases.values.sum()
        if (new.version == before) "it was in use already" else "it replaced the one ${before ?: "in the app"}, and reproduced $cases golden cases"
    }

    fun rollBack(): Shown = act {
        delivery.rollback()
        "went back to it"
    }

    private fun act(work: () -> String): Shown =
        shown(
            try {
                work()
            } catch (refusal: DeliveryRefusal) {
                "nothing has changed (${refusal.kind}): ${refusal.message}"
            } catch (error: IOException) {
                "nothing has changed: $error"
            },
        )

    private fun shown(reason: String): Shown {
        val folder = delivery.current ?: bundled
        val version = delivery.version ?: "in the app"
{% if pictures %}
        val files = bundled.listFiles { file -> file.name.startsWith("picture-") }.orEmpty().sorted()
        val before = files.mapIndexed { at, file -> Row(at + 1, file.name, "") }
        {{ name }}Classifier.open(folder).use { classifier ->
            val labels = files.map { classifier.classify({{ name }}Classifier.Picture.Stored(it), top = 1).single() }
            return Shown(version, reason, before, before.zip(labels) { row, label -> row.copy(says = "${label.name}, ${short(label.probability)}") })
        }
    }
{% elif encoding %}
        live.swap({{ scorer }}.open(File(folder, {{ files[0] | kotlin }})))
        val features = Features.read(File(folder, "features.json"))
        val sessions = JSONObject(File(bundled, "sessions.json").readText()).getJSONArray("sessions")
        val raws = List(sessions.length()) { sessions.getJSONObject(it).getString("raw") }
        val lists = raws.map { it to features.assemble(it).infoIds }
        val (raw, delivered) = lists.filter { it.second.size <= MOST }.ifEmpty { lists }.maxByOrNull { it.second.size }!!
        val before = delivered.mapIndexed { at, id -> Row(at + 1, id, "") }
        val after = features.rerank(raw, live::score).map { before[delivered.indexOf(it)] }
        return Shown(version, reason, before, after.map { it.copy(says = "was ${it.place}") })
    }
{% else %}
        live.swap({{ scorer }}.open(File(folder, {{ files[0] | kotlin }})))
        val cases = ModelDelivery.goldenInputs(File(bundled, "golden.bin"))
        val (count, inputs) = cases.filter { it.first <= MOST }.ifEmpty { cases }.maxByOrNull { it.first }!!
        val scores = live.score(inputs)
        val before = List(count) { Row(it + 1, "row ${it + 1}", "") }
{% if output.size == 1 %}
        val order = scores.indices.sortedByDescending { scores[it] } // stable: equal scores keep the delivered order
        return Shown(version, reason, before, order.map { before[it].copy(says = short(scores[it])) })
{% else %}
        val width = scores.size / count
        val after = before.mapIndexed { row, it ->
            val largest = (0 until width).maxByOrNull { scores[row * width + it] }!!
            it.copy(says = "value $largest is the largest, ${short(scores[row * width + largest])}")
        }
        return Shown(version, reason, before, after)
{% endif %}
    }
{% endif %}
{% if not encoding %}

    private fun short(number: Float) = String.format(Locale.ROOT, "%.3f", number)
{% endif %}
{% if not pictures %}

    private companion object {
        const val MOST = 20
    }
{% endif %}
}
{% endif %}
