{% if pictures and "model.tflite" in files %}
package {{ name | lower }}

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.os.Build
import java.io.File
import java.util.concurrent.Callable
import java.util.concurrent.Executor
import java.util.concurrent.Executors
import java.util.concurrent.Future
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlin.coroutines.suspendCoroutine
import org.tensorflow.lite.Delegate

/**
 * Says what is on a picture, by `{{ model | comment }}` through TensorFlow Lite: labels with their probabilities, the most
 * probable first. The labels are those of the bundle's `model.json`, the preparation is that of its `features.json`.
 *
 * ```
 * {{ name }}Classifier.open(File(installed)).use { classifier ->
 *     val labels = classifier.classify({{ name }}Classifier.Picture.Stored(file), top = 3)
 * }
 * // suspends, and needs no library of coroutines
 * {{ name }}Classifier.shared(context).await({{ name }}Classifier.Picture.Encoded(bytes))
 * ```
 *
 * Calls from several threads wait for each other. One picture is decoded at a time, without a second copy of its pixels, and
 * freed before the next. It is decoded whole: with `inSampleSize` the decoder leaves pixels out, and the model would see
 * other ones than it was trained on. A picture of 12 million pixels takes 48 MB outside the Java heap for as long.
 *
 * NNAPI is not offered: it is deprecated since Android 15. The GPU (`delegate = { GpuDelegate() }`) computes in half floats,
 * which moves probabilities and may change the first label: hold it against the golden pictures on the devices that you have
 * ({{ name }}PicturesTest), and time it.
 */
class {{ name }}Classifier private constructor(
    private val model: {{ name }},
    private val pictures: Pictures,
    /** In the order of the model's output. */
    val labels: List<String>,
) : AutoCloseable {
    class Label(val name: String, val probability: Float)

    private val worker = Executors.newSingleThreadExecutor { task ->
        Thread(task, "{{ name }}Classifier").apply { isDaemon = true }
    }
    private val decoding = Any()
    @Volatile private var closed = false

    init {
        val input = {{ name }}Inputs.all.single()
        require(pictures.input == input.name && input.shape == listOf(pictures.size, pictures.size, 3)) {
            "features.json prepares ${pictures.input} of ${pictures.size} x ${pictures.size} pixels, the model takes " +
                "${input.name} ${input.shape}: take both from one bundle"
        }
    }

    /**
     * The [top] most probable labels of a picture. It blocks: see [submit] and [await].
     *
     * @throws IllegalArgumentException the picture cannot be decoded, or has too many pixels.
     * @throws IllegalStateException the classifier is closed.
     */
    fun classify(picture: Picture, top: Int = TOP): List<Label> = classify(listOf(picture), top).single()

    /** The same of several pictures; if one is refused, the message says which, and none is classified. */
    fun classify(pictures: List<Picture>, top: Int = TOP): List<List<Label>> {
        require(top >= 1) { "top is $top: one or more" }
        return pictures.indices.chunked(AT_ONCE).flatMap { part -> probabilities(part.map { prepared(pictures, it) }) }
            .map { ranked(it, top) }
    }

    /** As [classify], on a thread of this classifier. Cancelling the answer spares a picture that has not begun. */
    fun submit(picture: Picture, top: Int = TOP): Future<List<Label>> = worker.submit(Callable { classify(picture, top) })

    /** As [classify], on a thread of this classifier; [done] is then called by [on], e.g. `context.mainExecutor`. */
    fun submit(picture: Picture, top: Int = TOP, on: Executor, done: (Result<List<Label>>) -> Unit): Future<*> =
        worker.submit {
            val answer = runCatching { classify(picture, top) }
            on.execute { done(answer) }
        }

    /** As [classify], on a thread of this classifier, for coroutines. */
    suspend fun await(picture: Picture, top: Int = TOP): List<Label> =
        suspendCoroutine { waiting ->
            worker.execute {
                runCatching { classify(picture, top) }.fold(waiting::resume, waiting::resumeWithException)
            }
        }

    /** The bytes that [Pictures.prepare] makes of a picture. */
    internal fun prepare(picture: Picture): ByteArray {
        check(!closed) { "this classifier is closed: open it again" }
        return synchronized(decoding) { // so that there is one picture of the camera's size in memory, whoever calls
            when (picture) {
                is Picture.Decoded -> pictures.prepare(BitmapPixels(picture.bitmap), picture.orientation)
                is Picture.Encoded -> prepare(picture.content)
                is Picture.Stored -> prepare(read(picture.file))
            }
        }
    }

    private fun prepared(pictures: List<Picture>, index: Int): ByteArray =
        try {
            prepare(pictures[index])
        } catch (error: IllegalArgumentException) {
            throw if (pictures.size == 1) error else IllegalArgumentException("picture $index: ${error.message}", error)
        }

    private fun prepare(content: ByteArray): ByteArray {
        val bitmap = decode(content)
        try {
            return pictures.prepare(BitmapPixels(bitmap), Pictures.orientation(content))
        } finally {
            bitmap.recycle()
        }
    }

    /** Of each prepared picture, a number for each label. At most [AT_ONCE] of them. */
    internal fun probabilities(prepared: List<ByteArray>): List<FloatArray> {
        val values = FloatArray(pictures.values * {{ "AT_ONCE" if batch else "prepared.size" }})
{% if batch %}
        for (i in 0 until AT_ONCE) { // the last one again where there are fewer
            pictures.tensor(prepared[minOf(i, prepared.lastIndex)], values, i * pictures.values)
        }
{% else %}
        for (i in prepared.indices) pictures.tensor(prepared[i], values, i * pictures.values)
{% endif %}
        val scores = model.score(mapOf(pictures.input to Values.Floats(values)))
        return prepared.indices.map { scores.copyOfRange(it * labels.size, (it + 1) * labels.size) }
    }

    private fun ranked(probabilities: FloatArray, top: Int): List<Label> =
        probabilities.indices.sortedByDescending { probabilities[it] }.take(top).map { Label(labels[it], probabilities[it]) }

    /** Free the interpreter; what was submitted and has not begun is refused. Closing twice does nothing. */
    override fun close() {
        closed = true
        worker.shutdown()
        model.close()
    }

    /** A picture as an app has it. */
    sealed interface Picture {
        /** The content of a file, JPEG, PNG, WebP or what else the device decodes; it is turned as its EXIF block says. */
        class Encoded(val content: ByteArray) : Picture

        class Stored(val file: File) : Picture

        /**
         * Pixels, [orientation] still to be done (EXIF tag 274). Not of the configuration HARDWARE, which cannot be read.
         * The bitmap must not change meanwhile, and is not recycled. Colours that are not sRGB are converted by Android.
         */
        class Decoded(val bitmap: Bitmap, val orientation: Int = 1) : Picture
    }

    private class BitmapPixels(private val bitmap: Bitmap) : Pixels {
        override val width get() = bitmap.width
        override val height get() = bitmap.height

        override fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray) =
            try {
                bitmap.getPixels(into, 0, width, x, y, width, height)
            } catch (error: IllegalStateException) {
                throw IllegalArgumentException("the bitmap cannot be read: ${error.message}", error)
            }
    }

    companion object {
        /** Labels that are returned if nothing else is said. */
        const val TOP = 5

        /** Pictures that the model is given at a time: the memory of a call does not grow with the list. */
        private const val AT_ONCE = {{ (name ~ "Inputs.BATCH") if batch else 8 }}
        private const val MOST_FILE = 256L shl 20
        private const val MOST_MANIFEST = 16 shl 20

        @Volatile private var instance: {{ name }}Classifier? = null

        /** The one instance that the whole app shares, of the bundle in its assets. Once closed, it is opened again. */
        fun shared(context: Context): {{ name }}Classifier =
            instance?.takeIf { !it.closed } ?: synchronized(this) {
                instance?.takeIf { !it.closed } ?: open(context).also { instance = it }
            }

        /**
         * Open an installed bundle, a folder with `model.tflite`, `model.json` and `features.json`.
         *
         * @param threads that one picture may use.
         * @throws IllegalArgumentException one is missing, or is not of this model.
         */
        fun open(
            folder: File,
            threads: Int = 1,
            delegate: (() -> Delegate)? = null,
            events: ScoringEvents? = null,
        ): {{ name }}Classifier {
            val manifest = File(folder, "model.json")
            require(manifest.isFile && manifest.length() <= MOST_MANIFEST) {
                "$manifest is missing or too long: install the bundle again"
            }
            val labels = labels(manifest.readBytes().decodeToString())
            val pictures = Pictures.read(File(folder, "features.json"))
            val file = File(folder, "model.tflite")
            val model = {{ name }}.open(file, threads, {{ "" if batch else "fixedRows = delegate?.let { 1 }, " }}delegate = delegate, events = events)
            return made(model, pictures, labels)
        }

        /** Open a bundle that is part of the app. */
        fun open(
            context: Context,
            folder: String = "{{ name }}",
            threads: Int = 1,
            delegate: (() -> Delegate)? = null,
            events: ScoringEvents? = null,
        ): {{ name }}Classifier {
            fun text(name: String) = context.assets.open("$folder/$name").use { it.readBytes().decodeToString() }
            val (labels, pictures) = labels(text("model.json")) to Pictures.parse(text("features.json"))
            val asset = "$folder/model.tflite"
            val model = {{ name }}.open(context, asset, threads, {{ "" if batch else "fixedRows = delegate?.let { 1 }, " }}delegate = delegate, events = events)
            return made(model, pictures, labels)
        }

        private fun made(model: {{ name }}, pictures: Pictures, labels: List<String>): {{ name }}Classifier =
            try {
                {{ name }}Classifier(model, pictures, labels)
            } catch (error: Throwable) {
                model.close()
                throw error
            }

        /** The names of the first output's values, of the text of `model.json`. */
        internal fun labels(manifest: String): List<String> {
            val schema = (StrictJson.read(manifest, MOST_MANIFEST) as? Map<*, *>)?.get("schema") as? Map<*, *>
            val output = (schema?.get("outputs") as? List<*>)?.firstOrNull() as? Map<*, *>
            val names = (output?.get("dimensions") as? List<*>)?.map { (it as? Map<*, *>)?.get("name") as? String }
            val width = {{ name }}Inputs.outputs.first().width
            val whole = names?.filterNotNull().orEmpty()
            require(output?.get("name") == {{ name }}Inputs.OUTPUT && names?.size == width && whole.size == width) {
                "model.json does not name the $width labels of ${{ "{" ~ name }}Inputs.OUTPUT}: take it from one bundle"
            }
            return whole
        }

        private fun read(file: File): ByteArray {
            require(file.isFile && file.length() <= MOST_FILE) { "$file is missing or too long" }
            return file.readBytes()
        }

        private fun decode(content: ByteArray): Bitmap {
            val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
            BitmapFactory.decodeByteArray(content, 0, content.size, bounds)
            require(bounds.outWidth > 0 && bounds.outHeight > 0) { "it is no picture that this device decodes" }
            Pictures.checkSize(bounds.outWidth, bounds.outHeight)
            val options = BitmapFactory.Options().apply {
                inPreferredConfig = Bitmap.Config.ARGB_8888 // else one of 16 bits a channel has twice the size
                inPremultiplied = false
                inScaled = false
            }
            val bitmap = requireNotNull(BitmapFactory.decodeByteArray(content, 0, content.size, options)) {
                "it is damaged, or no picture that this device decodes"
            }
            // The numbers that are stored, as in training. Else getPixels converts those of a wide gamut to sRGB.
            if (Build.VERSION.SDK_INT >= 29) bitmap.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
            return bitmap
        }
    }
}
{% endif %}
