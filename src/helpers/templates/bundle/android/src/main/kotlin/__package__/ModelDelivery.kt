package {{ name | lower }}

import java.io.File
import java.io.IOException
import java.math.BigInteger
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.LinkOption.NOFOLLOW_LINKS
import java.nio.file.NoSuchFileException
import java.nio.file.NotLinkException
import java.nio.file.Path
import java.nio.file.Paths
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.nio.file.StandardCopyOption.REPLACE_EXISTING
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.WRITE
import java.security.MessageDigest
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.locks.ReentrantLock
import kotlin.math.ln

/** Scores rows: `model::predict` of an open model. */
typealias Predict = (Map<String, Values>) -> Map<String, Values>

/** Why nothing was installed: what is wrong, and what helps. What was installed before is still in use. */
class DeliveryRefusal(val kind: Kind, reason: String, cause: Throwable? = null) : Exception(reason, cause) {
    enum class Kind {
        /** The descriptor or the zip cannot be fetched: try again later. What has arrived of the zip stays. */
        FETCH,

        /** The folder is somebody else's, or holds nothing to go back to. */
        FOLDER,

        /** The bundle needs a later runtime than the app has: an update of the app brings it. */
        RUNTIME,

        /** The bundle is not what was announced, is not safe to unpack, or does not score as it should. */
        DAMAGED,
    }
}

/** How long a server may take: so many [seconds], and as long as what has arrived takes at [slowest] bytes a second. */
class Patience(val seconds: Double = 30.0, val slowest: Int = 8 shl 10)

/**
 * A version in use. [replaced] is the version that was in use before, if this is another one; [cases] how many golden cases
 * each model file has scored.
 */
class Delivered(val version: String, val folder: File, val cases: Map<String, Int>, val replaced: String?)

/**
 * Installs bundles of `{{ model | comment }}` without the app store: download, check, score the golden cases in this app,
 * switch, keep the version before.
 *
 * ```
 * val delivery = ModelDelivery(File(context.filesDir, "{{ name }}"), mapOf("litert" to "{{ releases.litert }}")) { file, score ->
 *     {{ name }}.open(file).use { score(it::predict) }
 * }
 * delivery.install("https://models.example.org/bundle.json") // on a thread of its own
 * val model = {{ name }}.open(File(delivery.current, "model.tflite"))
 * ```
 *
 * Whatever is wrong with a bundle is found before [current] changes; a kill or a power cut at any moment leaves the old or
 * the new version whole. A version is an opaque id (also of an A/B test, see [Rollout]): which one a phone has is the
 * server's decision, so an older one may follow a newer one. The folder is that of `workbench bundle install`:
 *
 * ```
 * .workbench-bundles    says that the folder is an installation; locked while it is changed
 * versions/V-HASH/      unpacked bundles: the current one and the one before
 * current               link to the version in use; replaced in one step
 * previous              link to the version before, for rollback
 * downloads/V-HASH.zip  what has arrived of a zip; continued after an interruption
 * ```
 *
 * Every call may take seconds: keep them off the main thread. Interrupting the thread gives up a download. Needs API 26.
 *
 * @param folder on storage of the app alone (`filesDir`), empty or not there at first: shared storage has no links.
 * @param runtimes versions that the app has, by `litert` or `tflite`, and `mnn`: a bundle that needs a later one is refused.
 * @param files names of the model files that the app scores with.
 * @param open opens a model file as the app does, hands its `predict` to `score`, and closes it.
 */
class ModelDelivery(
    folder: File,
    private val runtimes: Map<String, String>,
    private val files: List<String> = listOf({{ files[0] | kotlin }}),
    private val patience: Patience = Patience(),
    private val open: (file: File, score: (Predict) -> Unit) -> Unit,
) {
    private val into: Path = folder.toPath().toAbsolutePath()

    /**
     * Folder of the version in use; null if there is none. Its files stay readable for who has them open when another
     * version takes its place.
     *
     * @throws DeliveryRefusal something else has the name `current`.
     */
    val current: File? get() = Installation.linked(into.resolve("current"))?.toFile()

    /** The version in use, as its descriptor named it; null if there is none. Throws as [current]. */
    val version: String? get() = current?.let { Installation.versionOf(it.toPath()) }

    /**
     * Install the bundle that a descriptor announces.
     *
     * @param descriptor URL (http, https, file) of `bundle.json`.
     * @param switched is called with the new version's folder after it has become current, for an app's own check; if it
     *     throws, the version before is current again.
     * @throws DeliveryRefusal with what was installed before still in use.
     * @throws IOException the disk is full, or the folder cannot be written.
     */
    fun install(descriptor: String, switched: (File) -> Unit = {}): Delivered {
        val download = Download(patience)
        val place = download.descriptorPlace(descriptor)
        val announced = Descriptor.read(download.small(place))
        checkRuntimes(announced.minimum)
        return Installation.opened(into, make = true) { installed ->
            var (version, checked) = place(installed, announced)
            if (checked == null) {
                val zip = installed.downloads.resolve("${announced.name}.zip")
                download.zip(download.zipPlace(place, announced), zip, announced)
                checked = put(installed, zip, announced, version)
            }
            val before = installed.current
            val older = installed.previous
            var done = false
            try {
                if (before != version) {
                    // first: killed here, the version before is not forgotten; not a damaged copy of the same
                    if (before != null && !Installation.isOf(before, announced.name)) installed.link("previous", before)
                    installed.link("current", version)
                }
                switched(version.toFile())
                done = true
            } finally {
                if (!done && before != version) {
                    installed.link("current", before)
                    installed.link("previous", older)
                }
                installed.pruneVersions()
            }
            installed.pruneDownloads()
            val replaced = before?.takeIf { it != version }?.let(Installation::versionOf)
            Delivered(announced.version, version.toFile(), checked, replaced)
        }
    }

    /**
     * Make the version before current again; returns its folder. Done twice, it is as before.
     *
     * @throws DeliveryRefusal there is none, or it does not score as it should any more; the current one stays in use.
     */
    fun rollback(): File = Installation.opened(into, make = false) { installed ->
        val older = installed.previous
        val now = installed.current
        if (older == null || older == now) {
            val only = now?.let { "only version ${Installation.versionOf(it)}" } ?: "nothing in use"
            throw DeliveryRefusal(
                DeliveryRefusal.Kind.FOLDER,
                "$into has $only and no version before it to go back to: install another one first",
            )
        }
        verify(older)
        installed.link("current", older)
        if (now != null) installed.link("previous", now)
        older.toFile()
    }

    private fun checkRuntimes(minimum: Map<String, String>) {
        for ((runtime, least) in minimum) {
            val has = runtimes[runtime]
            // LiteRT is TensorFlow Lite's later name: it meets every least version of tflite, which meets none of litert
            val earlier = if (runtime == "litert" && has == null) runtimes["tflite"] else null
            if (earlier != null || has != null && compare(has, least) < 0) {
                throw DeliveryRefusal(
                    DeliveryRefusal.Kind.RUNTIME,
                    "the bundle needs $runtime $least or later, this app has ${has ?: "tflite $earlier"}: update the app first",
                )
            }
        }
    }

    private fun compare(one: String, other: String): Int {
        val (a, b) = listOf(one, other).map { version -> version.split(".").map { BigInteger(it) } }
        return (0 until maxOf(a.size, b.size))
            .map { a.getOrElse(it) { BigInteger.ZERO }.compareTo(b.getOrElse(it) { BigInteger.ZERO }) }
            .firstOrNull { it != 0 } ?: 0
    }

    /**
     * The folder for a bundle, and how many cases it scored if it is there already, whole. A folder that is there and
     * damaged may be in use, so it is not touched: another takes its place.
     */
    private fun place(installed: Installation, announced: Descriptor): Pair<Path, Map<String, Int>?> {
        var number = 1
        while (true) {
            val folder = installed.versions.resolve(if (number == 1) announced.name else "${announced.name}-$number")
            if (!Files.exists(folder, NOFOLLOW_LINKS)) return folder to null
            if (Files.isDirectory(folder, NOFOLLOW_LINKS)) {
                try {
                    return folder to verify(folder).second
                } catch (refusal: DeliveryRefusal) {
                    if (refusal.kind != DeliveryRefusal.Kind.DAMAGED) throw refusal
                }
            }
            number++
        }
    }

    /** Unpack beside [version], check, and rename: a version's folder is whole or not there. */
    private fun put(installed: Installation, zip: Path, announced: Descriptor, version: Path): Map<String, Int> {
        val fresh = Installation.partial(version)
        Installation.remove(fresh) // of a killed process
        try {
            Bundle.unpack(zip, fresh)
            val (said, cases) = verify(fresh)
            if (said != announced.version) {
                throw damaged("the bundle says it is version '$said', announced was '${announced.version}'")
            }
            installed.put(fresh, version)
            return cases
        } finally {
            runCatching { Installation.remove(fresh) } // the error that led here says more
        }
    }

    /** Compare an unpacked bundle with its manifest and score its golden cases; its version, and the number of cases. */
    private fun verify(folder: Path): Pair<String, Map<String, Int>> {
        val manifest = Bundle.check(folder)
        val golden = GoldenBinary.read(folder.resolve(Bundle.GOLDEN))
        manifest.check(golden)
        for (file in files) {
            if (file !in golden.tolerance) throw damaged("the bundle has no $file, with which this app scores")
            var wrong: List<String>? = null
            try {
                open(folder.resolve(file).toFile()) { predict -> wrong = golden.failures(file, predict) }
            } catch (error: RuntimeException) {
                throw damaged("the bundle cannot be scored: ${error.message ?: error}", error)
            } catch (error: IOException) {
                throw damaged("the bundle cannot be scored: ${error.message ?: error}", error)
            }
            val said = checkNotNull(wrong) { "open has not called score: nothing was compared" }
            if (said.isNotEmpty()) {
                throw damaged("$file does not score as it should, ${said.size} times in ${golden.cases.size} cases: ${said[0]}")
            }
        }
        return manifest.version to files.associateWith { golden.cases.size }
    }

    companion object {
        /**
         * Number of rows and inputs of golden cases, to try a model with, or to warm it up.
         *
         * @param file `golden.bin` of an installed version, or the app's own.
         * @throws DeliveryRefusal it is not there, or damaged.
         */
        fun goldenInputs(file: File): List<Pair<Int, Map<String, Values>>> = GoldenBinary.read(file.toPath()).given
    }
}

/** Who gets which version: stable, uniform, and moving nobody who need not move. */
object Rollout {
    /**
     * The version that a user gets, by weighted rendezvous hashing, as the server's `helpers.bundle.rollout` says.
     *
     * When the weight of a version changes, users move to it or away from it, and nobody between two others.
     *
     * @param user any stable id.
     * @param weights by version, not negative; they need not sum to 1.
     * @param test name of the experiment: the same user is drawn anew for another one.
     * @throws IllegalArgumentException no version has a weight, or one is negative or not finite.
     */
    fun assign(user: String, weights: Map<String, Double>, test: String = ""): String {
        require(weights.values.all { it.isFinite() && it >= 0 } && weights.values.any { it > 0 }) {
            "weights must be finite, not negative, and not all 0: $weights"
        }
        val drawn = weights.filterValues { it > 0 }.map { (version, weight) -> draw(user, version, test) / weight to version }
        val least = drawn.minOf { it.first }
        return drawn.filter { it.first == least }.map { it.second }.reduce { a, b -> if (codePoints(a, b) <= 0) a else b }
    }

    /** Standard exponential, from a hash: the smallest by its weight wins in proportion to it. */
    private fun draw(user: String, version: String, test: String): Double {
        val hash = MessageDigest.getInstance("SHA-256").digest("$test\u0000$version\u0000$user".toByteArray())
        val number = BigInteger(1, hash.copyOf(8)).toDouble()
        return -ln((number + 0.5) / 18446744073709551616.0)
    }

    /** As UTF-8 sorts: of characters beyond 16 bits, `compareTo` sees halves. */
    private fun codePoints(a: String, b: String): Int {
        val (x, y) = a.codePoints().toArray() to b.codePoints().toArray()
        val at = (0 until minOf(x.size, y.size)).firstOrNull { x[it] != y[it] } ?: return x.size - y.size
        return x[at].compareTo(y[at])
    }
}

internal fun damaged(reason: String, cause: Throwable? = null) = DeliveryRefusal(DeliveryRefusal.Kind.DAMAGED, reason, cause)

private fun misplaced(reason: String) = DeliveryRefusal(DeliveryRefusal.Kind.FOLDER, reason)

/** The folder of an installation, locked; see [ModelDelivery]. What has another name or kind is not touched. */
internal class Installation private constructor(private val folder: Path) {
    val versions: Path = folder.resolve("versions")
    val downloads: Path = folder.resolve("downloads")
    val current: Path? get() = linked(folder.resolve("current"))
    val previous: Path? get() = linked(folder.resolve("previous"))

    /** Point `current` or `previous` to a version, in one step; remove it if there is none. */
    fun link(name: String, version: Path?) {
        val link = folder.resolve(name)
        if (version == null) {
            Files.deleteIfExists(link)
        } else {
            val fresh = partial(link)
            Files.deleteIfExists(fresh)
            Files.createSymbolicLink(fresh, folder.relativize(version))
            Files.move(fresh, link, ATOMIC_MOVE, REPLACE_EXISTING)
        }
        flush(folder)
    }

    /** Give an unpacked bundle its name, when the disk holds all of it. */
    fun put(fresh: Path, version: Path) {
        Files.walk(fresh).use { paths -> paths.forEach(::flush) }
        Files.move(fresh, version, ATOMIC_MOVE)
        flush(versions)
    }

    /** Remove versions that are neither current nor previous, and what killed processes left of one. */
    fun pruneVersions() {
        val kept = listOf(current, previous)
        // what cannot be removed nobody depends on: it is tried again
        for (path in listed(versions)) {
            val name = path.fileName.toString()
            if (name.startsWith(PARTIAL) && VERSION_FOLDER.matches(name.removePrefix(PARTIAL))) runCatching { remove(path) }
        }
        for (path in listed(versions).filter { it !in kept && isVersion(it) }) {
            runCatching {
                val gone = partial(path)
                Files.move(path, gone, ATOMIC_MOVE) // first: killed halfway, no version is left that lacks files
                remove(gone)
            }
        }
        for (name in listOf("current", "previous")) {
            val left = partial(folder.resolve(name))
            if (Files.isSymbolicLink(left)) Files.delete(left)
        }
    }

    /** Remove what has arrived of zips. */
    fun pruneDownloads() {
        for (path in listed(downloads)) {
            if (DOWNLOAD.matches(path.fileName.toString()) && Files.isRegularFile(path, NOFOLLOW_LINKS)) {
                runCatching { Files.delete(path) }
            }
        }
    }

    companion object {
        private const val MARK = ".workbench-bundles"
        private const val TEXT = "This folder is an installation of `workbench bundle install`, which makes, replaces and\n" +
            "removes here:\nversions/, downloads/, current and previous. Other files are left alone.\n"
        private const val PARTIAL = ".partial-phone-"
        private const val BUNDLE = "([A-Za-z0-9][A-Za-z0-9._-]{0,63})-([0-9a-f]{64}|[0-9a-f]{12})" // 12: of earlier clients
        private val VERSION_FOLDER = Regex("$BUNDLE(?:-[1-9][0-9]{0,3})?")
        private val DOWNLOAD = Regex("$BUNDLE\\.zip")

        /** A file's lock holds against other processes only. */
        private val threads = ConcurrentHashMap<Path, ReentrantLock>()

        /** Do something with an installation while nobody else does; it is made if it is not there and may be. */
        fun <T> opened(into: Path, make: Boolean, action: (Installation) -> T): T {
            if (make) {
                Files.createDirectories(if (Files.isSymbolicLink(into)) into.toRealPath() else into)
            } else if (!Files.exists(into.resolve(MARK), NOFOLLOW_LINKS)) {
                throw misplaced("nothing is installed in $into")
            }
            val folder = into.toRealPath() // links relative to it must not depend on how it is reached
            val lock = threads.getOrPut(folder) { ReentrantLock() }
            lock.lockInterruptibly()
            try {
                claim(folder)
                return openPlain(folder.resolve(MARK)).use { mark ->
                    mark.lock()
                    if (mark.size() == 0L) mark.write(java.nio.ByteBuffer.wrap(TEXT.toByteArray()))
                    val installation = Installation(folder)
                    for (part in listOf(installation.versions, installation.downloads)) {
                        if (Files.exists(part, NOFOLLOW_LINKS) && !Files.isDirectory(part, NOFOLLOW_LINKS)) {
                            throw misplaced("$part is a link or a file, an installation has a folder there: move it away")
                        }
                        Files.createDirectories(part)
                    }
                    linked(folder.resolve("previous")) // refused before anything is done
                    linked(folder.resolve("current"))
                    action(installation)
                }
            } finally {
                lock.unlock()
            }
        }

        /** The version that `current` or `previous` leads to; null if there is none. */
        fun linked(link: Path): Path? {
            val target = try {
                Files.readSymbolicLink(link).toString()
            } catch (_: NoSuchFileException) {
                return null
            } catch (_: NotLinkException) {
                ""
            }
            val name = target.removePrefix("versions/")
            if (name == target || !VERSION_FOLDER.matches(name)) {
                val leads = if (target.isEmpty()) "is no link" else "leads to $target"
                throw misplaced("$link $leads, an installation has a link to one of its versions there: move it away")
            }
            return link.resolveSibling(target).takeIf(::isVersion)
        }

        /** Whether a version's folder is of the bundle of that name, damaged or not. */
        fun isOf(version: Path, bundle: String): Boolean {
            val found = VERSION_FOLDER.matchEntire(version.fileName.toString()) ?: return false
            return bundle.startsWith("${found.groupValues[1]}-${found.groupValues[2]}")
        }

        fun versionOf(folder: Path): String =
            VERSION_FOLDER.matchEntire(folder.fileName.toString())?.groupValues?.get(1) ?: folder.fileName.toString()

        /** A temporary name beside [path]: who has the lock owns it. */
        fun partial(path: Path): Path = path.resolveSibling(PARTIAL + path.fileName)

        /** Remove a file, a link (not what it leads to) or a folder, if it is there. */
        fun remove(path: Path) {
            if (Files.isDirectory(path, NOFOLLOW_LINKS)) listed(path).forEach(::remove)
            Files.deleteIfExists(path)
        }

        /** Open a file for reading and writing, made if it is not there; what is no plain file is refused. */
        fun openPlain(path: Path): FileChannel {
            val reason = misplaced("$path is no plain file: move it away")
            if (Files.exists(path, NOFOLLOW_LINKS)) {
                if (!Files.isRegularFile(path, NOFOLLOW_LINKS)) throw reason
                if (names(path) > 1) throw reason // what is written would land elsewhere as well
            }
            return FileChannel.open(path, READ, WRITE, CREATE, NOFOLLOW_LINKS)
        }

        /** How many names (hard links) a file has; 1 where the system does not say. */
        private fun names(path: Path): Int = try {
            Files.getAttribute(path, "unix:nlink", NOFOLLOW_LINKS) as Int
        } catch (_: UnsupportedOperationException) {
            1
        }

        private fun listed(folder: Path): List<Path> = Files.newDirectoryStream(folder).use { it.toList() }

        private fun isVersion(path: Path): Boolean =
            VERSION_FOLDER.matches(path.fileName.toString()) && Files.isDirectory(path, NOFOLLOW_LINKS)

        /** Refuse a folder that is somebody else's: not marked and not empty. */
        private fun claim(folder: Path) {
            if (Files.exists(folder.resolve(MARK), NOFOLLOW_LINKS)) return
            val foreign = listed(folder).map { it.fileName.toString() }.minOrNull() ?: return
            if (Files.exists(folder.resolve(MARK), NOFOLLOW_LINKS)) return // another process has marked it just now
            throw misplaced(
                "$folder is not empty (it holds '$foreign') and was not made by `workbench bundle install`: " +
                    "give a new or an empty folder, as ${Paths.get(folder.toString(), "models")}",
            )
        }

        /** Make the disk hold a file, or a folder's list of names, before what follows. */
        private fun flush(path: Path) = FileChannel.open(path, READ).use { it.force(true) }
    }
}
