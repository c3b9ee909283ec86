// What test_pictures_android.py runs of the rendered preparation and classifier; it replaces NAME and the package. It reads the
// frames that stubs/c/prepare.c reads, and two more, and gives the answers that it gives; then it runs the golden pictures.
package PACKAGE

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.concurrent.CountDownLatch
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executor
import kotlin.coroutines.Continuation
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine

private class Given(content: ByteArray) : Pixels {
    private val said = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    override val width = said.getInt(0)
    override val height = said.getInt(4)
    private val stride = said.getInt(8)
    private val channels = said.getInt(12)
    val orientation = said.getInt(20)

    override fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray) {
        require(x >= 0 && y >= 0 && x + width <= this.width && y + height <= this.height) { "outside" }
        for (i in 0 until width * height) {
            val at = 24 + (y + i / width) * stride + (x + i % width) * channels
            fun byte(c: Int) = said.get(at + c).toInt() and 255
            into[i] = ((if (channels == 4) byte(3) else 255) shl 24) or (byte(0) shl 16) or (byte(1) shl 8) or byte(2)
        }
    }
}

private class Stored(private val bitmap: Bitmap) : Pixels {
    override val width = bitmap.width
    override val height = bitmap.height

    override fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray) =
        bitmap.getPixels(into, 0, width, x, y, width, height)
}

private fun decoded(content: ByteArray): Bitmap {
    val options = BitmapFactory.Options().apply { inPremultiplied = false; inScaled = false }
    return checkNotNull(BitmapFactory.decodeByteArray(content, 0, content.size, options))
}

private fun frames(file: File, to: DataOutputStream) {
    var pictures: Pictures? = null
    var prepared = ByteArray(0)
    fun done(kind: Char, content: ByteArray): ByteArray {
        if (kind == 'E') {
            val text = try {
                content.decodeToString(throwOnInvalidSequence = true)
            } catch (error: CharacterCodingException) {
                throw IllegalArgumentException("not JSON: not UTF-8", error)
            }
            return ByteArray(0).also { pictures = Pictures.parse(text) }
        }
        if (kind == 'O') return byteArrayOf(Pictures.orientation(content).toByte())
        val preparation = checkNotNull(pictures)
        if (kind == 'P') prepared = Given(content).let { preparation.prepare(it, it.orientation) }
        if (kind == 'F') prepared = preparation.prepare(Stored(decoded(content)), Pictures.orientation(content))
        if (kind != 'T') return prepared
        val bytes = ByteBuffer.allocate(preparation.values * 4).order(ByteOrder.LITTLE_ENDIAN)
        bytes.asFloatBuffer().put(preparation.tensor(prepared))
        return bytes.array()
    }
    DataInputStream(file.inputStream().buffered()).use { stream ->
        while (true) {
            val kind = stream.read()
            if (kind < 0) return
            val content = ByteArray(Integer.reverseBytes(stream.readInt())).also { stream.readFully(it) }
            val answer = runCatching { done(kind.toChar(), content) }
            val bytes = answer.getOrElse { if (it is IllegalArgumentException) it.message.orEmpty().toByteArray() else throw it }
            to.write(if (answer.isSuccess) 1 else 0)
            to.writeInt(Integer.reverseBytes(bytes.size))
            to.write(bytes)
        }
    }
}

private fun expect(condition: Boolean) = check(condition) { "not as it should be" }

private fun same(one: List<NAMEClassifier.Label>, other: List<NAMEClassifier.Label>) =
    expect(one.map { it.name to it.probability } == other.map { it.name to it.probability })

private fun report(name: String, action: () -> Unit) =
    println(runCatching(action).fold({ "ok   $name" }, { "FAIL $name: ${it.stackTraceToString()}" }))

fun main(arguments: Array<String>) {
    if (arguments.isNotEmpty()) return DataOutputStream(System.out.buffered()).use { frames(File(arguments[0]), it) }
    val folder = File(System.getProperty("assets"), "NAME")
    val file = File(folder, "picture-01.jpg")
    val picture = NAMEClassifier.Picture.Stored(file)
    for (test in NAMEPicturesTest::class.java.declaredMethods.filter { it.isAnnotationPresent(org.junit.Test::class.java) }) {
        report("PicturesTest.${test.name}") {
            val one = NAMEPicturesTest()
            try {
                test.invoke(one)
            } catch (error: java.lang.reflect.InvocationTargetException) {
                throw checkNotNull(error.cause)
            } finally {
                one.close()
            }
        }
    }
    val classifier = NAMEClassifier.open(folder)
    report("the most probable labels come first, as many as asked for") {
        val all = classifier.classify(picture, top = 100)
        expect(all.map { it.name }.toSet() == classifier.labels.toSet())
        expect(all.zipWithNext().all { (a, b) -> a.probability >= b.probability })
        expect(kotlin.math.abs(all.sumOf { it.probability.toDouble() } - 1) < 1e-5)
        same(classifier.classify(picture, top = 1), all.take(1))
        expect(runCatching { classifier.classify(picture, top = 0) }.exceptionOrNull() is IllegalArgumentException)
    }
    report("a bitmap, its file and its bytes are the same") {
        val stored = classifier.classify(picture)
        same(stored, classifier.classify(NAMEClassifier.Picture.Encoded(file.readBytes())))
        val bitmap = decoded(file.readBytes())
        same(stored, classifier.classify(NAMEClassifier.Picture.Decoded(bitmap, Pictures.orientation(file.readBytes()))))
        expect(bitmap.width > 0)
        bitmap.recycle()
    }
    report("a recycled bitmap is refused") {
        val bitmap = decoded(file.readBytes()).also { it.recycle() }
        val refused = runCatching { classifier.classify(NAMEClassifier.Picture.Decoded(bitmap)) }.exceptionOrNull()
        expect(refused != null)
    }
    report("coroutines and callbacks give the same") {
        val expected = classifier.classify(picture)
        val latch = CountDownLatch(3)
        val found = ArrayList<Result<List<NAMEClassifier.Label>>>()
        val suspended: suspend () -> List<NAMEClassifier.Label> = { classifier.await(picture) }
        suspended.startCoroutine(Continuation(EmptyCoroutineContext) { synchronized(found) { found += it }; latch.countDown() })
        classifier.submit(picture, on = Executor { it.run() }) { synchronized(found) { found += it }; latch.countDown() }
        val nothing: suspend () -> List<NAMEClassifier.Label> = { classifier.await(NAMEClassifier.Picture.Stored(File("/nowhere"))) }
        nothing.startCoroutine(Continuation(EmptyCoroutineContext) {
            expect("/nowhere" in it.exceptionOrNull()?.message.orEmpty())
            latch.countDown()
        })
        latch.await()
        expect(found.size == 2)
        for (answer in found) same(expected, answer.getOrThrow())
    }
    report("a list names the picture that is refused") {
        val list = listOf(picture, NAMEClassifier.Picture.Encoded(ByteArray(9)))
        expect("picture 1: " in runCatching { classifier.classify(list) }.exceptionOrNull()?.message.orEmpty())
        val pending = classifier.submit(list[1])
        expect(runCatching { pending.get() }.exceptionOrNull() is ExecutionException)
        expect(classifier.classify(emptyList()).isEmpty())
    }
    report("many callers have one picture in memory at a time") {
        Bitmap.most = 0
        val expected = classifier.classify(picture)
        val threads = List(4) { Thread { repeat(5) { same(expected, classifier.classify(picture)) } }.apply { start() } }
        threads.forEach { it.join() }
        expect(Bitmap.open == 0 && Bitmap.most == 1)
    }
    report("one instance is shared, and opened again once closed") {
        val shared = NAMEClassifier.shared(GoldenCases.context)
        expect(shared === NAMEClassifier.shared(GoldenCases.context))
        shared.close()
        val again = NAMEClassifier.shared(GoldenCases.context)
        expect(again !== shared)
        same(classifier.classify(picture), again.classify(picture))
    }
    report("a closed one is refused") {
        classifier.close()
        expect(runCatching { classifier.classify(picture) }.exceptionOrNull() is IllegalStateException)
    }
}
