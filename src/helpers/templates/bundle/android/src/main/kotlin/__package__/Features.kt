{% if encoding %}
package {{ name | lower }}

import java.io.File

/**
 * Raw behaviour to the integer inputs of `{{ model | comment }}`, as its `features.json` says.
 *
 * ```
 * val features = Features.read(File(installed, "features.json"))
 * {{ name }}.open(File(installed, "model.tflite")).use { model ->
 *     val infoIds = features.rerank(rawJson, model::score)
 * }
 * ```
 *
 * A session is `{"last_click": {"info_id": "7", "feature": {"800026": "887"}}, "resort_list": [{"info_id": ..., "feature":
 * ...}]}`. A field's value is text. A whole number is an optional minus and 1 to 20 digits within int64, a number may go on
 * with a point and 1 to 20 digits; anything else, a field that is not there, and the sentinel -2147483648 are missing. What
 * has a number gets a position: `bucketize`, the first j with value < boundaries[j]; `label_encode`, where it first occurs
 * in the vocabulary; `plain`, itself if below count; `equal`, whether both fields hold the same. In mode `published` the id
 * is the position, and 0 for missing and unknown; in mode `separate` 0 is missing, then 1 unknown (`label_encode`, `plain`),
 * then come the positions.
 *
 * Ids never pass through a Double. It holds nothing that changes: threads may share it.
 */
class Features private constructor(private val separate: Boolean, private val encoders: List<Encoder>) {
    /** [infoIds] of the candidates in delivered order; of each input, an id a candidate. */
    class Session(val infoIds: List<String>, val ids: Map<String, LongArray>) {
        /** What the model takes: int64 `[n, 1]` each. */
        val inputs: Map<String, Values> get() = ids.mapValues { Values.Longs(it.value) }
    }

    private class Encoder(
        val name: String,
        val lastClick: String?,
        val candidate: String?,
        val unknowable: Boolean, // whether a value can be unknown
        val position: (String?, String?) -> Long?, // of both values; null if missing, -1 if unknown
    )

    /**
     * The info_ids by descending score; equal scores keep the delivered order.
     *
     * @param score of the open model, e.g. `model::score`. It is not called if there are no candidates.
     * @throws IllegalArgumentException as [assemble].
     * @throws IllegalStateException a score is missing or not finite: keep the delivered order.
     */
    fun rerank(rawJson: String, score: (Map<String, Values>) -> FloatArray): List<String> {
        val session = assemble(rawJson)
        if (session.infoIds.isEmpty()) return emptyList()
        val scores = score(session.inputs)
        check(scores.size == session.infoIds.size && scores.all { it.isFinite() }) {
            "${session.infoIds.size} finite scores are needed, not ${scores.contentToString()}: keep the delivered order"
        }
        // compared as numbers: Float.compareTo puts 0.0 before -0.0
        val order = scores.indices.sortedWith { a, b -> if (scores[a] > scores[b]) -1 else if (scores[a] < scores[b]) 1 else 0 }
        return order.map { session.infoIds[it] }
    }

    /**
     * The inputs of a session.
     *
     * @throws IllegalArgumentException no JSON; a key twice in one object; no `last_click` or `resort_list`; a post without
     *     an `info_id` (text) and a `feature` (object); an `info_id` twice; a field that an encoder reads and that is no text.
     */
    fun assemble(rawJson: String): Session {
        val session = StrictJson.read(rawJson, MOST_RAW)
        require(session is Map<*, *>) { "the session must be an object with last_click and resort_list" }
        for (key in listOf("last_click", "resort_list")) require(key in session) { "the session has no $key" }
        val posts = session["resort_list"]
        require(posts is List<*>) { "resort_list must be a list of posts" }
        val lastClick = Post("last_click", session["last_click"])
        val candidates = posts.mapIndexed { row, post -> Post("resort_list[$row]", post) }
        val first = HashMap<String, Int>()
        for ((row, post) in candidates.withIndex()) {
            val before = first.put(post.infoId, row)
            require(before == null) { "resort_list[$before] and resort_list[$row] have the same info_id: list each post once" }
        }
        val ids = LinkedHashMap<String, LongArray>()
        for (encoder in encoders) {
            val last = lastClick.text(encoder.lastClick)
            ids[encoder.name] = LongArray(candidates.size) { row ->
                id(encoder, encoder.position(last, candidates[row].text(encoder.candidate)))
            }
        }
        return Session(candidates.map { it.infoId }, ids)
    }

    private fun id(encoder: Encoder, position: Long?): Long =
        when {
            position == null -> 0
            !separate -> maxOf(position, 0)
            position < 0 -> 1
            else -> position + if (encoder.unknowable) 2 else 1
        }

    private class Post(private val where: String, post: Any?) {
        val infoId: String
        private val feature: Map<*, *>

        init {
            require(post is Map<*, *>) { "$where must be an object with info_id and feature" }
            val id = post["info_id"]
            require(id is String && id.isNotEmpty()) { "$where.info_id must be text that is not empty" }
            val fields = post["feature"]
            require(fields is Map<*, *>) { "$where.feature must be an object, which may be empty" }
            infoId = id
            feature = fields
        }

        /** Null if it is not there, or there is no such [field]. */
        fun text(field: String?): String? {
            if (field == null || field !in feature) return null
            val value = feature[field]
            require(value is String) {
                "$where.feature[\"$field\"] is no text: write numbers as text, leave out what is not there"
            }
            return value
        }
    }

    companion object {
        private const val MISSING = -2147483648L
        private const val MOST_BYTES = 1 shl 28
        private const val MOST_RAW = 1 shl 26
        private const val MOST_IDS = 2147483645L
        private val NAME = Regex("[A-Za-z][A-Za-z0-9_]{0,63}")
        private val WHOLE = Regex("-?[0-9]{1,20}")
        private val NUMBER = Regex("-?[0-9]{1,20}(\\.[0-9]{1,20})?")
        private val KEYS = mapOf(
            "bucketize" to setOf("kind", "name", "source", "field", "boundaries"),
            "label_encode" to setOf("kind", "name", "source", "field", "vocabulary"),
            "plain" to setOf("kind", "name", "source", "field", "count"),
            "equal" to setOf("kind", "name", "source", "last_click", "candidate"),
        )

        /** @throws IllegalArgumentException there is no such file, or it holds no encoding; the message names it. */
        fun read(file: File): Features {
            require(file.isFile && file.length() <= MOST_BYTES) { "$file is missing or too long: install the bundle again" }
            try {
                return parse(file.readBytes().decodeToString(throwOnInvalidSequence = true))
            } catch (error: CharacterCodingException) {
                throw IllegalArgumentException("$file: not UTF-8: install the bundle again", error)
            } catch (error: IllegalArgumentException) {
                throw IllegalArgumentException("$file: ${error.message}", error)
            }
        }

        /** The encoding of the text of `features.json`, e.g. of an asset. */
        fun parse(text: String): Features {
            val content = StrictJson.read(text, MOST_BYTES)
            require(content is Map<*, *>) { "the encoding must be an object" }
            require(whole(content["format"]) == 1L) { "the encoding's format is another one, this version reads 1" }
            checkKeys(content, setOf("format", "missing", "mode", "encoders"), "the encoding")
            require(whole(content["missing"]) == MISSING) { "the encoding's missing is not $MISSING" }
            val mode = content["mode"]
            require(mode == "separate" || mode == "published") { "mode must be separate or published" }
            val encoders = content["encoders"]
            require(encoders is List<*> && encoders.isNotEmpty()) { "encoders must be a list of at least one" }
            val made = encoders.mapIndexed { number, one -> encoder("encoder number $number", one) }
            val names = HashSet<String>()
            for (one in made) require(names.add(one.name)) { "encoder ${one.name} is there more than once" }
            return Features(mode == "separate", made)
        }

        private fun encoder(where: String, value: Any?): Encoder {
            require(value is Map<*, *>) { "$where must be an object" }
            val kind = value["kind"]
            val keys = requireNotNull(KEYS[kind as? String]) { "$where: kind must be one of ${KEYS.keys.joinToString()}" }
            checkKeys(value, keys, where)
            val name = value["name"]
            require(name is String && NAME.matches(name)) { "$where: its name cannot name a tensor" }
            val own = "encoder $name"
            val source = value["source"]
            if (kind == "equal") {
                require(source == "cross") { "$own: source must be cross" }
                val position = { last: String?, candidate: String? ->
                    val (x, y) = wholeNumber(last) to wholeNumber(candidate)
                    if (x == null || y == null) null else if (x == y) 1L else 0L
                }
                return Encoder(name, field(own, value["last_click"]), field(own, value["candidate"]), false, position)
            }
            require(source == "last_click" || source == "candidate") { "$own: source must be last_click or candidate" }
            val position = when (kind) {
                "bucketize" -> boundaries(own, value["boundaries"]).let { limits ->
                    { text: String? -> number(text)?.let { bucket(limits, it) } }
                }
                "label_encode" -> vocabulary(own, value["vocabulary"]).let { entries ->
                    { text: String? -> wholeNumber(text)?.let { entries.place(it) } }
                }
                else -> count(own, value["count"]).let { count ->
                    { text: String? -> wholeNumber(text)?.let { if (it in 0 until count) it else -1 } }
                }
            }
            val field = field(own, value["field"])
            val last = source == "last_click"
            return Encoder(name, field.takeIf { last }, field.takeIf { !last }, kind != "bucketize") { x, y ->
                position(if (last) x else y)
            }
        }

        private fun checkKeys(value: Map<*, *>, keys: Set<String>, where: String) {
            for (key in keys) require(key in value) { "$where has no $key" }
            require(value.size == keys.size) { "$where has an unknown key" }
        }

        private fun whole(value: Any?): Long? = (value as? StrictJson.Written)?.toLong()

        /** A field id; characters are code points. */
        private fun field(where: String, value: Any?): String {
            require(value is String && value.codePointCount(0, value.length) in 1..100) {
                "$where: a field id is text of 1 to 100 characters"
            }
            return value
        }

        private fun boundaries(where: String, value: Any?): DoubleArray {
            require(value is List<*> && value.size >= 2) { "$where: boundaries must be a list of at least two numbers" }
            val made = DoubleArray(value.size) {
                requireNotNull((value[it] as? StrictJson.Written)?.toDouble()) { "$where: boundary $it is no finite number" }
            }
            for (i in 1 until made.size) {
                require(made[i - 1] < made[i]) { "$where: boundary $i is not larger than the one before" }
            }
            return made
        }

        private fun count(where: String, value: Any?): Long {
            val count = whole(value)
            require(count != null && count in 1..MOST_IDS) { "$where: count must be a whole number from 1 to $MOST_IDS" }
            return count
        }

        private fun vocabulary(where: String, value: Any?): Vocabulary {
            require(value is List<*> && value.isNotEmpty()) { "$where: the vocabulary must be a list of at least one number" }
            return Vocabulary(
                LongArray(value.size) {
                    val entry = whole(value[it])
                    require(entry != null && entry != MISSING) {
                        "$where: vocabulary entry $it is no whole number within int64, or means missing"
                    }
                    entry
                },
            )
        }

        /** Entries in ascending order, each with where it first occurs; eight and four bytes an entry, and no boxes. */
        private class Vocabulary(entries: LongArray) {
            private val sorted = entries.sortedArray()
            private val places = IntArray(entries.size) { -1 }

            init {
                for (place in entries.indices) {
                    val at = lowest(entries[place])
                    if (places[at] < 0) places[at] = place
                }
            }

            /** -1 if it does not occur. */
            fun place(value: Long): Long {
                val at = lowest(value)
                return if (at < sorted.size && sorted[at] == value) places[at].toLong() else -1
            }

            /** Index of the first entry that is not smaller. (binarySearch finds any of repeated ones.) */
            private fun lowest(value: Long): Int {
                var low = 0
                var high = sorted.size
                while (low < high) {
                    val middle = (low + high) ushr 1
                    if (sorted[middle] < value) low = middle + 1 else high = middle
                }
                return low
            }
        }

        /** Index of the first boundary that is larger. */
        private fun bucket(limits: DoubleArray, value: Double): Long {
            var low = 0
            var high = limits.size
            while (low < high) {
                val middle = (low + high) ushr 1
                if (limits[middle] <= value) low = middle + 1 else high = middle
            }
            return low.toLong()
        }

        /** The form is checked first: toLong also reads +5 and the digits of every script. */
        private fun wholeNumber(text: String?): Long? =
            text?.takeIf { WHOLE.matches(it) }?.toLongOrNull()?.takeIf { it != MISSING }

        /** The form is checked first: toDouble also reads 1e3, 0x1p3, 5f, NaN and white space around. */
        private fun number(text: String?): Double? =
            text?.takeIf { NUMBER.matches(it) }?.toDouble()?.takeIf { it != MISSING.toDouble() }
    }
}
{% endif %}
