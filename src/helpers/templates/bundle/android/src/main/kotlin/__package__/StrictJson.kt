package {{ name | lower }}

/**
 * Reads JSON (RFC 8259) and refuses what parsers disagree about, as the server and the training do: a key twice in one
 * object, NaN, a number with a leading zero, anything after the value, deep nesting. (org.json takes all of these, single
 * quotes and comments as well, and of a repeated key keeps the last.)
 *
 * Objects are `Map<String, Any?>`, arrays `List<Any?>`, text `String`, numbers [Written]; true, false, null are themselves.
 */
internal class StrictJson private constructor(private val text: String) {
    /** A number as it is written: what it becomes is its reader's business. */
    class Written(val text: String, val whole: Boolean) {
        /** Null if it is not whole, or beyond int64. */
        fun toLong(): Long? = if (whole) text.toLongOrNull() else null

        /** The nearest double; null if it is not finite, or written with more digits than any double needs. */
        fun toDouble(): Double? = text.takeIf { it.length <= MOST_NUMBER }?.toDouble()?.takeIf { it.isFinite() }
    }

    private var place = 0

    private fun fail(why: String): Nothing = throw IllegalArgumentException("not JSON: $why at character $place")

    /** The next character that is no white space; a zero at the end. */
    private fun next(): Char {
        while (place < text.length && text[place] in " \t\n\r") place++
        return if (place < text.length) text[place] else '\u0000'
    }

    private fun whole(): Any? {
        val value = value(MOST_DEPTH)
        next()
        if (place < text.length) fail("more after the value")
        return value
    }

    private fun value(depth: Int): Any? =
        when (next()) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> string()
            'n' -> word("null", null)
            't' -> word("true", true)
            'f' -> word("false", false)
            else -> number()
        }

    private fun members(depth: Int): Map<String, Any?> {
        val made = LinkedHashMap<String, Any?>()
        listed(depth, '}') {
            if (next() != '"') fail("text is expected")
            val key = string()
            if (next() != ':') fail("a colon is expected")
            place++
            if (key in made) fail("a key that is twice in one object")
            made[key] = value(depth - 1)
        }
        return made
    }

    private fun elements(depth: Int): List<Any?> {
        val made = ArrayList<Any?>()
        listed(depth, ']') { made += value(depth - 1) }
        return made
    }

    private fun listed(depth: Int, end: Char, one: () -> Unit) {
        if (depth == 0) fail("too deeply nested")
        place++
        if (next() != end) {
            while (true) {
                one()
                if (next() == end) break
                if (next() != ',') fail("a comma is expected")
                place++
            }
        }
        place++
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, place)) fail("no value")
        place += word.length
        return value
    }

    private fun string(): String {
        val made = StringBuilder()
        place++
        while (true) {
            if (place == text.length) fail("text without an end")
            val c = text[place++]
            when {
                c == '"' -> return made.toString()
                c == '\\' -> made.append(escape())
                c < ' ' -> fail("a control character")
                else -> made.append(c)
            }
        }
    }

    private fun escape(): Char {
        val c = if (place < text.length) text[place++] else fail("text without an end")
        if (c == 'u') {
            var code = 0
            repeat(4) {
                // not Char.digitToInt, which also reads digits of other scripts
                val digit = if (place < text.length) DIGITS.indexOf(text[place]) else -1
                if (digit < 0) fail("no such escape")
                code = code * 16 + if (digit > 15) digit - 6 else digit
                place++
            }
            return code.toChar()
        }
        val found = "\"\\/bfnrt".indexOf(c)
        return if (found < 0) fail("no such escape") else "\"\\/\b\u000c\n\r\t"[found]
    }

    private fun digits(): Int {
        val start = place
        while (place < text.length && text[place] in '0'..'9') place++
        return place - start
    }

    private fun skip(characters: String): Boolean =
        (place < text.length && text[place] in characters).also { if (it) place++ }

    private fun number(): Written {
        val start = place
        var whole = true
        skip("-")
        val digits = if (skip("0")) 1 else digits()
        if (digits == 0) fail("no value")
        if (skip(".")) {
            whole = false
            if (digits() == 0) fail("a number without digits after its point")
        }
        if (skip("eE")) {
            whole = false
            skip("+-")
            if (digits() == 0) fail("a number without digits in its exponent")
        }
        if (whole && digits > MOST_DIGITS) fail("a number that is too long")
        return Written(text.substring(start, place), whole)
    }

    companion object {
        private const val MOST_DEPTH = 64
        private const val MOST_DIGITS = 4300
        private const val MOST_NUMBER = 400
        private const val DIGITS = "0123456789abcdefABCDEF"

        /** @throws IllegalArgumentException the text is no JSON, or longer than [most] characters. */
        fun read(text: String, most: Int): Any? {
            require(text.length <= most) { "${text.length} characters, at most $most are read" }
            return StrictJson(text).whole()
        }
    }
}
