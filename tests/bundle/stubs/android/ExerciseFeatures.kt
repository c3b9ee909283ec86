// What test_features_android.py runs of the rendered encoding; it replaces NAME and the package. It reads the frames that
// stubs/c/encode.c reads and prints the lines that it prints; then it runs the golden sessions.
package PACKAGE

import java.io.DataInputStream
import java.io.File

private fun hex(infoId: String): String {
    // UTF-8, with half of a surrogate pair as three bytes
    val bytes = ArrayList<Int>()
    var at = 0
    while (at < infoId.length) {
        val code = infoId.codePointAt(at)
        at += Character.charCount(code)
        if (code in 0xd800..0xdfff) bytes += listOf(0xed, 0x80 or (code shr 6 and 0x3f), 0x80 or (code and 0x3f))
        else bytes += String(Character.toChars(code)).toByteArray().map { it.toInt() and 0xff }
    }
    return bytes.joinToString("") { "%02x".format(it) }
}

private fun line(features: Features, raw: String): String {
    val session = features.assemble(raw)
    val ids = session.ids.flatMap { (name, values) -> listOf(name) + values.map { it.toString() } }
    return (listOf("ok", session.infoIds.size.toString()) + session.infoIds.map { hex(it) } + ids).joinToString(" ")
}

private fun refusal(action: () -> String): String =
    try {
        action()
    } catch (error: IllegalArgumentException) {
        "refused ${error.message}".replace('\n', ' ')
    }

private fun frames(file: File): List<String> {
    var features: Features? = null
    val lines = ArrayList<String>()
    DataInputStream(file.inputStream().buffered()).use { stream ->
        while (true) {
            val kind = stream.read()
            if (kind < 0) return lines
            val content = ByteArray(Integer.reverseBytes(stream.readInt())).also { stream.readFully(it) }
            lines += refusal {
                val text = try {
                    content.decodeToString(throwOnInvalidSequence = true)
                } catch (error: CharacterCodingException) {
                    throw IllegalArgumentException("not UTF-8", error)
                }
                if (kind == 'E'.code) "ok".also { features = Features.parse(text) } else line(checkNotNull(features), text)
            }
        }
    }
}

private val raw = """{"last_click": {"info_id": "L", "feature": {}}, "resort_list": [
    {"info_id": "a", "feature": {}}, {"info_id": "b", "feature": {}}, {"info_id": "c", "feature": {}}]}"""

private fun expect(condition: Boolean) = check(condition) { "not as it should be" }

private fun reranks(features: Features) {
    expect(features.rerank(raw) { floatArrayOf(0.1f, 0.9f, 0.5f) } == listOf("b", "c", "a"))
    expect(features.rerank(raw) { floatArrayOf(-0.0f, 0.0f, 0.0f) } == listOf("a", "b", "c"))
    for (wrong in listOf(floatArrayOf(0f, Float.NaN, 1f), floatArrayOf(0f, 1f), FloatArray(0))) {
        try {
            features.rerank(raw) { wrong }
        } catch (error: IllegalStateException) {
            expect("keep the delivered order" in error.message.orEmpty())
            continue
        }
        throw AssertionError("not refused")
    }
}

private fun report(name: String, action: () -> Unit) = println(runCatching(action).fold({ "ok   $name" }, { "FAIL $name: $it" }))

fun main(arguments: Array<String>) {
    if (arguments.isNotEmpty()) return frames(File(arguments[0])).forEach(::println)
    val features = Features.read(File(System.getProperty("assets"), "NAME/features.json"))
    report("reranks by score, ties in delivered order") { reranks(features) }
    report("golden sessions") { NAMESessionsTest().run { reproducesEverySession(); close() } }
    report("a file that is not there is named") {
        expect("nowhere" in runCatching { Features.read(File("/nowhere")) }.exceptionOrNull()?.message.orEmpty())
    }
}
