{% if pictures %}
package {{ name | lower }}

import java.io.File
import kotlin.math.ceil

/** A decoded picture. Its colours are not multiplied by alpha, and it lies as its file stores it. */
interface Pixels {
    val width: Int
    val height: Int

    /** Write a rectangle row by row, without gaps, to the start of [into]: 0xAARRGGBB, as `Bitmap.getPixels` gives them. */
    fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray)
}

/**
 * A decoded picture to the input of `{{ model | comment }}`, as its `features.json` says: the same bytes as where the model
 * was trained.
 *
 * In integers: alpha over the background; turned as EXIF says; the shorter side resized to [shorter], the longer one to
 * shorter * long / short rounded down; the middle [size] x [size] cut out. A resized pixel is the mean of those below the
 * filter, which is as wide as a step between pixels of the result (antialias), with weights of 22 binary places, first along
 * rows and then along columns, rounded to 8 bits each time; a pass that changes no size is left out.
 * `Bitmap.createScaledBitmap` and `inSampleSize` make other pixels: they leave out those between.
 *
 * Beside the picture there are in memory the rows of the cut at its width: 3 bytes * size * the picture's rows, at most a few
 * MB. It holds nothing that changes: threads may share it.
 */
class Pictures private constructor(
    val input: String,
    val shorter: Int,
    val size: Int,
    private val cubic: Boolean,
    private val bgr: Boolean,
    private val low: Float,
    private val high: Float,
    private val background: Int,
) {
    /** Numbers of a picture in the model's input. */
    val values: Int get() = size * size * 3

    /**
     * The prepared picture: [values] bytes, red, green and blue row by row.
     *
     * @param orientation EXIF tag 274; what is not 1 to 8 is 1. See [Pictures.orientation].
     * @throws IllegalArgumentException it has no pixels, or too many.
     */
    fun prepare(pixels: Pixels, orientation: Int = 1): ByteArray {
        checkSize(pixels.width, pixels.height)
        val turn = Turn(if (orientation in 1..8) orientation else 1)
        val width = if (turn.lying) pixels.height else pixels.width
        val height = if (turn.lying) pixels.width else pixels.height
        val across = pass(width, if (width <= height) shorter else (shorter.toLong() * width / height).toInt())
        val down = pass(height, if (width <= height) (shorter.toLong() * height / width).toInt() else shorter)
        return down(across(pixels, turn, across, down), down)
    }

    /** The model's numbers of a prepared picture, in its order of colours and range: [into], from [at] on. */
    fun tensor(prepared: ByteArray, into: FloatArray = FloatArray(values), at: Int = 0): FloatArray {
        require(prepared.size == values) { "${prepared.size} bytes are no prepared picture, which has $values" }
        for (i in 0 until values) {
            val place = if (bgr) i - i % 3 + (2 - i % 3) else i
            into[at + i] = low + (high - low) * (prepared[place].toInt() and 255) / 255f
        }
        return into
    }

    /** How a stored picture is turned: [lying] on its side, its rows read from their end, its last row first. */
    private class Turn(orientation: Int) {
        val lying = orientation >= 5
        val left = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8
        val up = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7
    }

    /** Of pixel i of a resized line: [count] pixels from [first] on, with [weights] from `i * most` on, in parts of 2^22. */
    private class Pass(val first: IntArray, val count: IntArray, val weights: IntArray, val most: Int) {
        val start get() = first[0]
        val end get() = first.last() + count.last()
    }

    /** The middle [size] pixels of a line of [length] resized to [resized]. One that keeps its length is copied. */
    private fun pass(length: Int, resized: Int): Pass {
        val half = (resized - size) / 2
        val margin = if ((resized - size) % 2 == 0) half else half + half % 2 // a half goes to the even one
        if (length == resized) {
            return Pass(IntArray(size) { margin + it }, IntArray(size) { 1 }, IntArray(size) { 1 shl PLACES }, 1)
        }
        val scale = length.toDouble() / resized
        val wide = maxOf(scale, 1.0)
        val support = (if (cubic) 2 else 1) * wide
        val most = ceil(support).toInt() * 2 + 1
        val pass = Pass(IntArray(size), IntArray(size), IntArray(size * most), most)
        val exact = DoubleArray(most)
        for (i in 0 until size) {
            val center = (margin + i + 0.5) * scale
            val first = maxOf((center - support + 0.5).toInt(), 0)
            val count = minOf((center + support + 0.5).toInt(), length) - first
            var sum = 0.0
            for (x in 0 until count) {
                exact[x] = weight((x + first - center + 0.5) * (1 / wide))
                sum += exact[x]
            }
            for (x in 0 until count) {
                val part = (if (sum != 0.0) exact[x] / sum else exact[x]) * (1 shl PLACES)
                pass.weights[i * most + x] = (if (part < 0) part - 0.5 else part + 0.5).toInt()
            }
            pass.first[i] = first
            pass.count[i] = count
        }
        return pass
    }

    private fun weight(at: Double): Double {
        val x = if (at < 0) -at else at
        return when {
            !cubic -> if (x < 1) 1 - x else 0.0
            x < 1 -> (1.5 * x - 2.5) * x * x + 1
            x < 2 -> (((x - 5) * x + 8) * x - 4) * -0.5
            else -> 0.0
        }
    }

    /** The rows that [down] needs, at the width of the cut. They are read in bands: rows of a picture that lies are columns. */
    private fun across(pixels: Pixels, turn: Turn, across: Pass, down: Pass): ByteArray {
        val n = across.end - across.start
        val band = (BAND / n).coerceIn(1, down.end - down.start)
        val buffer = IntArray(n * band)
        val row = IntArray(n * 3)
        val rows = ByteArray((down.end - down.start) * size * 3)
        var to = 0
        for (start in down.start until down.end step band) {
            val count = minOf(band, down.end - start)
            val columns = if (turn.lying) count else n
            val lines = if (turn.lying) n else count
            val x = if (turn.lying) start else across.start
            val y = if (turn.lying) across.start else start
            val fromLeft = if (turn.left) pixels.width - x - columns else x
            val fromTop = if (turn.up) pixels.height - y - lines else y
            pixels.read(fromLeft, fromTop, columns, lines, buffer)
            val beside = if (turn.left) -1 else 1
            val below = if (turn.up) -columns else columns
            val corner = (if (turn.left) columns - 1 else 0) + (if (turn.up) (lines - 1) * columns else 0)
            for (line in 0 until count) {
                flatten(buffer, corner + line * if (turn.lying) beside else below, if (turn.lying) below else beside, row)
                resize(row, across, rows, to)
                to += size * 3
            }
        }
        return rows
    }

    /** A row of pixels from [from] on, each [step] behind the one before, over the background: red, green, blue. */
    private fun flatten(pixels: IntArray, from: Int, step: Int, row: IntArray) {
        var at = from
        for (i in row.indices step 3) {
            val pixel = pixels[at]
            val alpha = pixel ushr 24
            if (alpha == 255) {
                row[i] = pixel shr 16 and 255
                row[i + 1] = pixel shr 8 and 255
                row[i + 2] = pixel and 255
            } else {
                val rest = background * (255 - alpha) + 127
                row[i] = ((pixel shr 16 and 255) * alpha + rest) / 255
                row[i + 1] = ((pixel shr 8 and 255) * alpha + rest) / 255
                row[i + 2] = ((pixel and 255) * alpha + rest) / 255
            }
            at += step
        }
    }

    private fun resize(row: IntArray, pass: Pass, rows: ByteArray, to: Int) {
        for (i in 0 until size) {
            var at = (pass.first[i] - pass.start) * 3
            var red = HALF
            var green = HALF
            var blue = HALF
            for (place in i * pass.most until i * pass.most + pass.count[i]) {
                val weight = pass.weights[place]
                red += row[at] * weight
                green += row[at + 1] * weight
                blue += row[at + 2] * weight
                at += 3
            }
            rows[to + i * 3] = byte(red)
            rows[to + i * 3 + 1] = byte(green)
            rows[to + i * 3 + 2] = byte(blue)
        }
    }

    private fun down(rows: ByteArray, pass: Pass): ByteArray {
        val line = size * 3
        val prepared = ByteArray(values)
        val sums = IntArray(line)
        for (i in 0 until size) {
            sums.fill(HALF)
            for (k in 0 until pass.count[i]) {
                val weight = pass.weights[i * pass.most + k]
                val from = (pass.first[i] - pass.start + k) * line
                for (at in 0 until line) sums[at] += (rows[from + at].toInt() and 255) * weight
            }
            for (at in 0 until line) prepared[i * line + at] = byte(sums[at])
        }
        return prepared
    }

    private fun byte(sum: Int): Byte = (sum shr PLACES).coerceIn(0, 255).toByte()

    companion object {
        private const val MOST_SIDE = 20_000
        private const val MOST_PIXELS = 64_000_000
        private const val MOST_SHORTER = 1024
        private const val MOST_NUMBER = 1e6
        private const val MOST_BYTES = 1 shl 16
        private const val PLACES = 22
        private const val HALF = 1 shl (PLACES - 1)
        private const val BAND = 1 shl 17 // pixels that are read at a time
        private val KEYS = setOf(
            "format", "kind", "input", "shorter", "size", "filter", "colours", "low", "high", "background",
        )

        /** @throws IllegalArgumentException there is no such file, or it holds no preparation; the message names it. */
        fun read(file: File): Pictures {
            require(file.isFile && file.length() <= MOST_BYTES) { "$file is missing or too long: install the bundle again" }
            try {
                return parse(file.readBytes().decodeToString(throwOnInvalidSequence = true))
            } catch (error: CharacterCodingException) {
                throw IllegalArgumentException("$file: not UTF-8: install the bundle again", error)
            } catch (error: IllegalArgumentException) {
                throw IllegalArgumentException("$file: ${error.message}", error)
            }
        }

        /** The preparation of the text of `features.json`, e.g. of an asset. */
        fun parse(text: String): Pictures {
            val content = StrictJson.read(text, MOST_BYTES)
            require(content is Map<*, *>) { "the preparation must be an object" }
            require(whole(content["format"]) == 1L) { "the preparation's format is another one, this version reads 1" }
            for (key in KEYS) require(key in content) { "the preparation has no $key" }
            require(content.size == KEYS.size) { "the preparation has an unknown key" }
            require(content["kind"] == "pictures") { "kind must be pictures" }
            val input = content["input"]
            require(input is String && input.isNotEmpty() && '\u0000' !in input && input.length <= 256) {
                "input must be the name of a tensor"
            }
            val shorter = whole(content["shorter"])
            require(shorter != null && shorter in 1..MOST_SHORTER) { "shorter must be a whole number from 1 to $MOST_SHORTER" }
            val size = whole(content["size"])
            require(size != null && size in 1..shorter) { "size must be a whole number from 1 to shorter, $shorter" }
            val filter = content["filter"]
            require(filter == "triangle" || filter == "cubic") { "filter must be triangle or cubic" }
            val colours = content["colours"]
            require(colours == "RGB" || colours == "BGR") { "colours must be RGB or BGR" }
            val low = number(content["low"])
            val high = number(content["high"])
            require(low != null && high != null && low.toFloat() < high.toFloat()) {
                "low and high must be numbers within a million, low the smaller one"
            }
            val background = whole(content["background"])
            require(background != null && background in 0..255) { "background must be a whole number from 0 to 255" }
            return Pictures(
                input, shorter.toInt(), size.toInt(), filter == "cubic", colours == "BGR", low.toFloat(), high.toFloat(),
                background.toInt(),
            )
        }

        private fun whole(value: Any?): Long? = (value as? StrictJson.Written)?.toLong()

        private fun number(value: Any?): Double? =
            (value as? StrictJson.Written)?.toDouble()?.takeIf { it in -MOST_NUMBER..MOST_NUMBER }

        /** Refuse a picture that would not be prepared, before it is decoded. */
        internal fun checkSize(width: Int, height: Int) {
            require(width >= 1 && height >= 1) { "the picture has no pixels" }
            require(width <= MOST_SIDE && height <= MOST_SIDE && width.toLong() * height <= MOST_PIXELS) {
                "the picture has $width x $height pixels: at most $MOST_SIDE a side and $MOST_PIXELS together are taken"
            }
        }

        /**
         * How a picture file is to be turned: EXIF tag 274 of JPEG, PNG and WebP, else 1. A decoder of HEIF turns by itself.
         *
         * It is read here because `android.media.ExifInterface` knows PNG and WebP from Android 11 on only, and would turn
         * pictures on some devices and not on others.
         */
        fun orientation(file: ByteArray): Int =
            try {
                Exif(file).orientation().takeIf { it in 1..8 } ?: 1
            } catch (_: IndexOutOfBoundsException) {
                1 // cut short, or a place that is not in it: the block says nothing, the picture may be whole
            }
    }

    private class Exif(private val file: ByteArray) {
        fun orientation(): Int {
            var at = block() ?: return 1
            while (isAt(at, MARK)) at += MARK.length
            val little = isAt(at, "II*\u0000")
            if (!little && !isAt(at, "MM\u0000*")) return 1
            val entries = at + number(at + 4, 4, little)
            for (i in 0 until number(entries, 2, little)) {
                val entry = entries + 2 + 12 * i
                if (number(entry, 2, little) != TAG || number(entry + 4, 4, little) != 1) continue
                val bytes = when (number(entry + 2, 2, little)) { 1 -> 1; 3 -> 2; 4 -> 4; else -> return 1 }
                return number(entry + 8, bytes, little)
            }
            return 1
        }

        /** Where the file's EXIF block is; null if it has none. */
        private fun block(): Int? =
            when {
                isAt(0, "\u00ff\u00d8") -> segment()
                isAt(0, "\u0089PNG\r\n\u001a\n") -> chunk(8, "eXIf", 4, 0, false)
                isAt(0, "RIFF") && isAt(8, "WEBP") -> chunk(12, "EXIF", 0, 4, true)
                else -> null
            }

        /** The segment of a JPEG before its pixels. */
        private fun segment(): Int? {
            var at = 2
            while (number(at, 1) == 0xff) {
                val marker = number(at + 1, 1)
                if (marker == 0xda || marker == 0xd9) return null
                if (marker == 0xe1 && isAt(at + 4, MARK)) return at + 4
                at += if (marker == 0xff) 1 else 2 + number(at + 2, 2)
            }
            return null
        }

        /** The content of a chunk, of which name and length stand at these places of its header. */
        private fun chunk(first: Int, name: String, named: Int, length: Int, padded: Boolean): Int? {
            var at = first
            while (at + 8 <= file.size) {
                if (isAt(at + named, name)) return at + 8
                val size = number(at + length, 4, padded)
                if (size < 0 || size > file.size - at) return null
                at += 8 + size + if (padded) size and 1 else 4 // a checksum
            }
            return null
        }

        private fun isAt(at: Int, text: String) =
            at + text.length <= file.size && text.indices.all { number(at + it, 1) == text[it].code }

        private fun number(at: Int, bytes: Int, little: Boolean = false): Int {
            var value = 0
            for (i in 0 until bytes) value = value shl 8 or (file[at + if (little) bytes - 1 - i else i].toInt() and 255)
            return value
        }

        private companion object {
            const val TAG = 274
            const val MARK = "Exif\u0000\u0000"
        }
    }
}
{% endif %}
