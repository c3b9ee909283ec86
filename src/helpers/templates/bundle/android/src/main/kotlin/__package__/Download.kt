package {{ name | lower }}

import java.io.File
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.MalformedURLException
import java.net.SocketTimeoutException
import java.net.URI
import java.net.URL
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.Path
import java.util.Locale
import java.util.concurrent.ArrayBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.math.max

/**
 * Fetches a descriptor and its zip from a server that may be slow, wrong or hostile, going on where it stopped.
 *
 * A socket's timeout is for one read, and a server that sends a byte now and then never meets it. So a thread fetches, and
 * whoever waits for it has one deadline over all: redirections, headers and content.
 */
internal class Download(private val patience: Patience) {
    /** The descriptor's URL. */
    fun descriptorPlace(source: String): String {
        if (scheme(source) !in SCHEMES) throw failed("$source is neither http, https nor a file")
        val named = if (source.endsWith(".zip")) source.removeSuffix(".zip") + ".json" else source
        try {
            return URL(quoted(named)).toString()
        } catch (error: MalformedURLException) {
            throw failed("$source is no URL: ${error.message}", error)
        }
    }

    /** The zip's URL, from the descriptor's. */
    fun zipPlace(place: String, descriptor: Descriptor): String {
        val kind = scheme(descriptor.modelUrl)
        if (kind == "file" && scheme(place) != "file") {
            throw damaged("the descriptor from $place names a file of this machine, ${descriptor.modelUrl}")
        }
        if (kind != null && kind !in SCHEMES) throw damaged("${descriptor.modelUrl} is neither http, https nor a file")
        try {
            return URL(URL(place), quoted(descriptor.modelUrl)).toString()
        } catch (error: MalformedURLException) {
            throw damaged("'${descriptor.modelUrl}' is no URL: ${error.message}", error)
        }
    }

    /** The descriptor's bytes. */
    fun small(place: String): ByteArray {
        val content = java.io.ByteArrayOutputStream()
        Answer.of(place, MOST_DESCRIPTOR + 1L, 0, patience).use { answer ->
            while (true) content.write(answer.next() ?: break)
        }
        if (content.size() > MOST_DESCRIPTOR) {
            throw damaged("$place is no descriptor: it is larger than $MOST_DESCRIPTOR bytes")
        }
        return content.toByteArray()
    }

    /** Fetch what is missing of a zip, never more than was announced, and check it. */
    fun zip(url: String, zip: Path, announced: Descriptor) {
        Installation.openPlain(zip).use { target ->
            var have = target.size()
            if (have != announced.size) {
                if (have > announced.size) have = 0
                try {
                    proceed(url, target, announced.size, have)
                } catch (refusal: DeliveryRefusal) {
                    if (have == 0L || (refusal.cause as? BadStatus)?.status != NO_SUCH_RANGE) throw refusal
                    proceed(url, target, announced.size, 0)
                }
            }
        }
        try {
            announced.check(zip)
        } catch (refusal: DeliveryRefusal) {
            if (Files.size(zip) >= announced.size) Files.delete(zip) // continuing would not make it right
            throw refusal
        }
    }

    /** Fetch a zip from byte [from] on, to at most one byte more than its size. */
    private fun proceed(url: String, target: FileChannel, size: Long, from: Long) {
        Answer.of(url, size + 1, from, patience).use { answer ->
            var have = if (answer.status == PARTIAL_CONTENT) from else 0
            target.truncate(have)
            target.position(have)
            while (have <= size) {
                val part = answer.next() ?: break
                val taken = ByteBuffer.wrap(part, 0, minOf(part.size.toLong(), size + 1 - have).toInt())
                have += taken.remaining()
                while (taken.hasRemaining()) target.write(taken)
            }
        }
    }

    private companion object {
        const val MOST_DESCRIPTOR = 1 shl 16
        const val PARTIAL_CONTENT = 206
        const val NO_SUCH_RANGE = 416
    }
}

private val SCHEMES = setOf("http", "https", "file")

private fun failed(reason: String, cause: Throwable? = null) = DeliveryRefusal(DeliveryRefusal.Kind.FETCH, reason, cause)

/** Null if a URL is relative. */
private fun scheme(url: String): String? =
    Regex("^([A-Za-z][A-Za-z0-9+.-]*):").find(url)?.let { it.groupValues[1].lowercase(Locale.ROOT) }

/** Blanks, letters of other alphabets and the like as %XX. */
private fun quoted(url: String): String =
    url.toByteArray().joinToString("") {
        val c = (it.toInt() and 255).toChar()
        val isPlain = c in 'a'..'z' || c in 'A'..'Z' || c in '0'..'9' || c in "_.-%/:=&?~#+!$,;'@()*[]"
        if (isPlain) "$c" else "%%%02X".format(Locale.ROOT, c.code)
    }

private class BadStatus(val status: Int) : IOException("the server answers with the status $status")

/** What is at a URL: its status, then its content in parts. Closing it ends the thread that fetches soon. */
private class Answer private constructor(
    private val url: String,
    private val from: Long,
    private val patience: Patience,
) : AutoCloseable {
    private sealed interface Handed {
        class Opened(val status: Int) : Handed

        class Part(val bytes: ByteArray) : Handed

        class Failed(val error: Exception) : Handed

        data object End : Handed
    }

    private val started = System.nanoTime()
    private var received = 0L
    private val handed = ArrayBlockingQueue<Handed>(16)

    @Volatile
    private var givenUp = false

    @Volatile
    private var connection: HttpURLConnection? = null
    var status = 0
        private set

    /** The next part of the content; null at the end. */
    fun next(): ByteArray? =
        when (val next = take()) {
            is Handed.Part -> next.bytes.also { received += it.size }
            else -> null
        }

    private fun take(): Handed {
        val patient = patience.seconds + received.toDouble() / patience.slowest
        val left = (patient * 1e9).toLong() - (System.nanoTime() - started)
        val next = handed.poll(max(0L, left), TimeUnit.NANOSECONDS) ?: throw failed("cannot fetch $url: $TOO_SLOWLY")
        if (next is Handed.Failed) {
            val reason = if (next.error is SocketTimeoutException) TOO_SLOWLY else next.error.message ?: "${next.error}"
            throw failed("cannot fetch $url: $reason", next.error)
        }
        return next
    }

    override fun close() {
        givenUp = true
        val open = connection ?: return
        thread(isDaemon = true) { open.disconnect() } // which may wait for a read that is going on
    }

    private fun fetch(most: Long) {
        try {
            if (scheme(url) == "file") {
                val file = File(URI(url))
                if (!file.isFile) throw IOException("there is no file $file")
                file.inputStream().use { handOver(0, it, most, null) }
            } else {
                val answer = connected()
                answer.inputStream.use { handOver(answer.responseCode, it, most, announcedLength(answer)) }
            }
        } catch (error: Exception) { // whoever waits throws it
            handOver(Handed.Failed(error))
        } finally {
            connection?.disconnect()
        }
    }

    private fun handOver(status: Int, content: InputStream, most: Long, length: Long?) {
        handOver(Handed.Opened(status))
        val block = ByteArray(1 shl 16)
        var left = most
        while (left > 0 && !givenUp) {
            val count = content.read(block, 0, minOf(left, block.size.toLong()).toInt())
            if (count < 0) {
                val got = most - left
                if (length != null && got < length) throw IOException("the connection was cut after $got of $length bytes")
                break
            }
            handOver(Handed.Part(block.copyOf(count)))
            left -= count
        }
        handOver(Handed.End)
    }

    private fun handOver(part: Handed) {
        while (!givenUp && !handed.offer(part, 1, TimeUnit.SECONDS)) continue
    }

    /** The answer at the end of all redirections, which lead to http and https only, and from https to https. */
    private fun connected(): HttpURLConnection {
        var place = url
        repeat(MOST_REDIRECTIONS + 1) {
            val call = URL(place).openConnection() as HttpURLConnection
            connection = call
            call.instanceFollowRedirects = false
            call.useCaches = false
            call.connectTimeout = max(1, (patience.seconds * 1000).toInt())
            call.readTimeout = call.connectTimeout
            call.setRequestProperty("Accept-Encoding", "identity") // else Android asks for gzip, and sizes are of another thing
            if (from > 0) call.setRequestProperty("Range", "bytes=$from-")
            if (givenUp) throw IOException("given up")
            val status = call.responseCode
            checkHeaders(call)
            val target = call.getHeaderField("Location")
            if (status !in REDIRECTED || target == null) {
                if (status !in 200..299) throw if (status > 0) BadStatus(status) else IOException("no answer in HTTP")
                val encoding = call.contentEncoding
                if (encoding != null && !encoding.equals("identity", ignoreCase = true)) {
                    throw IOException("the server sends it compressed ($encoding), which was not asked for")
                }
                return call
            }
            call.disconnect()
            place = redirected(place, target)
        }
        throw IOException("more than $MOST_REDIRECTIONS redirections")
    }

    private fun redirected(place: String, target: String): String {
        val to = URL(URL(place), quoted(target))
        if (to.protocol !in listOf("http", "https")) throw IOException("it redirects to $target, which is neither http nor https")
        if (scheme(place) == "https" && to.protocol != "https") {
            throw IOException("it redirects from https to $target, where anybody on the way can change it")
        }
        return to.toString()
    }

    private fun checkHeaders(call: HttpURLConnection) {
        val headers = call.headerFields.filterKeys { it != null }
        val size = headers.maxOfOrNull { (name, values) -> values.maxOf { name.length + it.length } } ?: 0
        if (size > MOST_HEADER || headers.values.sumOf { it.size } > MOST_HEADERS) throw IOException("headers that are too long")
    }

    private fun announcedLength(call: HttpURLConnection): Long? = call.contentLengthLong.takeIf { it >= 0 }

    companion object {
        private const val TOO_SLOWLY = "the server sends too slowly, try again later"
        private const val MOST_REDIRECTIONS = 10
        private const val MOST_HEADER = 65536 - 4
        private const val MOST_HEADERS = 100
        private val REDIRECTED = setOf(301, 302, 303, 307, 308)

        /** Ask for at most [most] bytes of what is at [url], from byte [from] on. */
        fun of(url: String, most: Long, from: Long, patience: Patience): Answer {
            val answer = Answer(url, from, patience)
            thread(isDaemon = true, name = "model download") { answer.fetch(most) }
            try {
                answer.status = (answer.take() as Handed.Opened).status
                return answer
            } catch (error: Throwable) {
                answer.close()
                throw error
            }
        }
    }
}
