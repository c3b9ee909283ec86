package {{ name | lower }}

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import java.nio.charset.CharacterCodingException
import java.nio.file.Files
import java.nio.file.LinkOption.NOFOLLOW_LINKS
import java.nio.file.Path
import java.nio.file.StandardOpenOption.CREATE_NEW
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.WRITE
import java.security.MessageDigest
import java.util.Locale
import java.util.zip.CRC32
import java.util.zip.DataFormatException
import java.util.zip.Inflater
import kotlin.math.abs

/** What a server says of a bundle, `bundle.json`: every field is checked. */
internal class Descriptor private constructor(
    val modelUrl: String,
    val version: String,
    private val md5: String,
    private val sha256: String,
    val size: Long,
    val minimum: Map<String, String>,
) {
    /** Of the bundle's folder, but for a number after it. */
    val name: String get() = "$version-$sha256"

    /** Refuse a file that is not the one that was described. */
    fun check(zip: Path) {
        val there = Files.size(zip)
        if (there != size) throw damaged("the zip has $there bytes, $size were announced: download it again")
        for ((name, digest) in listOf("md5" to md5, "sha256" to sha256)) {
            val said = if (name == "md5") "MD5" else "SHA-256"
            if (Bundle.digest(zip, said) != digest) {
                throw damaged("the zip is not the one that was announced (its $name differs): download it again")
            }
        }
    }

    companion object {
        private const val MOST_URL = 2048
        private val FORMS = mapOf(
            "md5" to Regex("[0-9a-f]{32}"),
            "sha256" to Regex("[0-9a-f]{64}"),
            "version" to Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        )

        fun read(content: ByteArray): Descriptor {
            val said = try {
                Bundle.json(content)
            } catch (error: IllegalArgumentException) {
                throw damaged("the descriptor is not JSON: ${error.message}", error)
            }
            if (said !is Map<*, *>) throw damaged("the descriptor is no JSON object")

            fun wrong(name: String) = damaged("the descriptor's $name is '${shown(said[name])}', which it cannot be")

            fun text(name: String): String = (said[name] as? String)?.takeIf(FORMS.getValue(name)::matches) ?: throw wrong(name)

            fun number(name: String, range: LongRange): Long {
                val found = (said[name] as? StrictJson.Written)?.toLong()
                if (found != null && found in range) return found
                val wrong = "the descriptor's $name is '${shown(said[name])}'"
                throw damaged("$wrong, not a number from ${range.first} to ${range.last}")
            }

            val (md5, sha256, version) = listOf("md5", "sha256", "version").map(::text)
            val url = (said["modelUrl"] as? String)?.takeIf { it.codePointCount(0, it.length) in 1..MOST_URL && '\n' !in it }
            val size = number("size", 1L..Bundle.MOST_BYTES)
            number("scene", 0L..(1L shl 31))
            val descriptor = Descriptor(url ?: throw wrong("modelUrl"), version, md5, sha256, size, minimum(said))
            Bundle.checkFormat(said, "bundle.json")
            return descriptor
        }

        private fun minimum(said: Map<*, *>): Map<String, String> {
            val minimum = if ("minimum" in said) said["minimum"] else emptyMap<String, String>()
            val found = LinkedHashMap<String, String>()
            for ((runtime, least) in minimum as? Map<*, *> ?: mapOf(0 to 0)) {
                if (runtime !is String || least !is String || !Bundle.RELEASE.matches(least)) {
                    throw damaged("the descriptor's minimum does not map runtimes to versions")
                }
                found[runtime] = least
            }
            return found
        }
    }
}

private fun shown(value: Any?): String = ((value as? StrictJson.Written)?.text ?: "$value").take(80)

/** A bundle's zip and what is unpacked of it: opened without believing it. */
internal object Bundle {
    const val MANIFEST = "model.json"
    const val GOLDEN = "golden.bin"
    const val GOLDEN_JSON = "golden.json"
    const val MOST_BYTES = 256L shl 20
    private const val MOST_FILES = 500
    private const val MOST_NAME = 200
    private const val MOST_MANIFEST = 16 shl 20
    private const val MOST_RATIO = 200 // weights do not compress, JSON does ten times; thousands are a bomb
    private const val MOST_PLAIN = 1L shl 20
    private const val FORMAT = 2L
    private const val ENTRY = 46
    private const val LOCAL = 30
    private const val END = 22
    private const val LATEST_NEEDED = 63
    private const val ENCRYPTED = 0x61 // flags of an entry: encrypted, a patch of another file, strongly encrypted
    private val NAME = Regex("[A-Za-z0-9._+ /-]{1,$MOST_NAME}")
    private val DEVICES = setOf("con", "prn", "aux", "nul") + listOf("com", "lpt").flatMap { port -> (0..9).map { "$port$it" } }
    val RELEASE = Regex("[0-9]{1,9}(\\.[0-9]{1,9}){0,3}")

    private class Entry(
        val name: String,
        val flags: Int,
        val method: Int,
        val crc: Long,
        val packed: Long,
        val size: Long,
        val external: Long,
        val offset: Long,
    ) {
        /** Of its content. */
        val place: Long get() = offset + LOCAL + name.length
    }

    /** What [content] holds: strict JSON in UTF-8 without a byte order mark, see [StrictJson]. */
    fun json(content: ByteArray, most: Int = Int.MAX_VALUE): Any? {
        require(content.size <= most) { "${content.size} bytes, at most $most are read" }
        val text = try {
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(content)).toString()
        } catch (error: CharacterCodingException) {
            throw IllegalArgumentException("not UTF-8", error)
        }
        return StrictJson.read(text, most)
    }

    fun checkFormat(said: Map<*, *>, name: String) {
        val format = if ("format" in said) said["format"] else null
        val number = (format as? StrictJson.Written)?.toLong()
        if ("format" !in said || number == 1L) throw damaged("$name was made by an earlier version: the bundle must be made anew")
        if (number != FORMAT) throw damaged("$name has the format '${shown(format)}', this app reads $FORMAT")
    }

    fun digest(file: Path, algorithm: String): String {
        val digest = MessageDigest.getInstance(algorithm)
        val block = ByteArray(1 shl 16)
        Files.newInputStream(file).use { content ->
            while (true) {
                val count = content.read(block)
                if (count < 0) break
                digest.update(block, 0, count)
            }
        }
        return digest.digest().joinToString("") { "%02x".format(Locale.ROOT, it) }
    }

    /** Write the content of a zip below [folder], which must not exist, after every entry has been checked. */
    fun unpack(zip: Path, folder: Path) {
        RandomAccessFile(zip.toFile(), "r").use { file ->
            val entries = entries(file)
            checkEntries(entries, file.length())
            Files.createDirectories(folder)
            for (entry in entries) {
                val path = folder.resolve(entry.name)
                Files.createDirectories(path.parent)
                FileChannel.open(path, WRITE, CREATE_NEW).use { write(entry, file, it) }
            }
        }
    }

    /** The entries of a zip, each beginning where the one before it ends, with two headers that say the same. */
    private fun entries(file: RandomAccessFile): List<Entry> {
        val end = file.length() - END
        val last = if (end >= 0) read(file, end, END) else throw damaged("the zip is damaged: it has ${file.length()} bytes")
        val (sign, disks) = last.int to last.int
        val (count, again) = last.short.toInt() and 0xFFFF to (last.short.toInt() and 0xFFFF)
        val (size, start) = unsigned(last) to unsigned(last)
        if (sign != 0x06054b50 || disks != 0 || count != again || start + size != end || last.short.toInt() != 0) {
            throw damaged("the zip has bytes after its last file that belong to nothing")
        }
        if (count !in 1..MOST_FILES) throw damaged("the zip has $count files, from 1 to $MOST_FILES make sense")
        if (size > count * (ENTRY + MOST_NAME).toLong()) throw damaged("the zip is damaged: its directory is too large")
        val directory = read(file, start, size.toInt())
        val entries = List(count) { entry(directory) }
        if (directory.hasRemaining()) throw damaged("the zip is damaged: its directory goes on after its last entry")
        var place = 0L
        for (entry in entries.sortedBy { it.offset }) {
            if (entry.offset != place) throw damaged("the zip has bytes before ${entry.name} that belong to no file, or to two")
            checkLocal(entry, file, start)
            place = entry.place + entry.packed
        }
        if (place != start) throw damaged("the zip has bytes after its last file that belong to nothing")
        return entries
    }

    private fun entry(directory: ByteBuffer): Entry {
        if (directory.remaining() < ENTRY || directory.int != 0x02014b50) throw damaged("the zip is damaged: its directory")
        directory.short // made by
        val needed = directory.short.toInt() and 255
        val (flags, method) = unsignedShort(directory) to unsignedShort(directory)
        directory.int // time and date
        val (crc, packed, size) = List(3) { unsigned(directory) }
        val (length, extra, comment) = List(3) { unsignedShort(directory) }
        directory.int // disk, and whether it is text
        val (external, offset) = List(2) { unsigned(directory) }
        if (directory.remaining() < length) throw damaged("the zip is damaged: its directory")
        val name = String(ByteArray(length).also(directory::get), Charsets.ISO_8859_1)
        if (!NAME.matches(name) || !name.split("/").all(::isPlain)) {
            val shown = name.take(80).map { if (it in ' '..'~') it else '?' }.joinToString("")
            throw damaged("the zip holds a file named '$shown', which a bundle never does")
        }
        if (extra != 0 || comment != 0) throw twoHeaders(name)
        if (needed > LATEST_NEEDED) throw damaged("the zip is damaged: $name needs what phones do not know")
        return Entry(name, flags, method, crc, packed, size, external, offset)
    }

    /** Whether a part of a path is a name everywhere: not hidden, no device of Windows, nothing that it cuts off. */
    private fun isPlain(part: String): Boolean {
        val odd = part.isEmpty() || part.trim(' ') != part || part.startsWith(".") || part.endsWith(".")
        return !odd && part.substringBefore(".").trimEnd(' ').lowercase(Locale.ROOT) !in DEVICES
    }

    private fun checkLocal(entry: Entry, file: RandomAccessFile, start: Long) {
        val length = LOCAL + entry.name.length
        if (entry.offset + length + entry.packed <= start) {
            val local = read(file, entry.offset, length)
            val sign = local.int
            local.short
            val (flags, method) = unsignedShort(local) to unsignedShort(local)
            local.int
            val said = List(3) { unsigned(local) }
            val (named, extra) = unsignedShort(local) to unsignedShort(local)
            val same = sign == 0x04034b50 && flags == entry.flags && method == entry.method &&
                said == listOf(entry.crc, entry.packed, entry.size) && named == entry.name.length && extra == 0
            if (same && String(ByteArray(named).also(local::get), Charsets.ISO_8859_1) == entry.name) return
        }
        throw twoHeaders(entry.name)
    }

    private fun twoHeaders(name: String) = damaged("$name has two headers in the zip, which say different things or too much")

    private fun checkEntries(entries: List<Entry>, size: Long) {
        val spelled = HashMap<String, String>() // of files and their folders, which some phones do not tell apart by case
        var total = 0L
        for (entry in entries) {
            val name = entry.name
            val parts = name.split("/")
            for (count in 1 until parts.size) {
                val folder = parts.take(count).joinToString("/")
                if (spelled.getOrPut(folder.lowercase(Locale.ROOT)) { "$folder/" } != "$folder/") {
                    throw damaged("the zip holds $folder twice, as a folder and otherwise or in another case")
                }
            }
            if (spelled.put(name.lowercase(Locale.ROOT), name) != null) throw damaged("the zip holds $name twice")
            val kind = (entry.external shr 16).toInt() and 0xF000
            if (kind != 0 && kind != 0x8000 || entry.flags and ENCRYPTED != 0) {
                throw damaged("$name in the zip is a link, a device or encrypted, not a plain file")
            }
            if (entry.method != 0 && entry.method != 8) {
                throw damaged("$name in the zip is compressed in a way that phones do not know")
            }
            if (entry.size > MOST_RATIO * maxOf(entry.packed, 1) && entry.size > MOST_PLAIN) {
                throw damaged("$name unfolds to ${entry.size} bytes from ${entry.packed}")
            }
            total += entry.size
        }
        if (total > MOST_BYTES || total > MOST_RATIO * size) {
            throw damaged("the zip unfolds to $total bytes from $size: at most $MOST_BYTES are unpacked")
        }
    }

    /** Write an entry's content, which must be exactly what its headers say. */
    private fun write(entry: Entry, file: RandomAccessFile, target: FileChannel) {
        val checksum = CRC32()
        var made = 0L

        fun put(block: ByteArray, count: Int) {
            made += count
            if (made > entry.size) throw damaged("${entry.name} is larger than its header says")
            checksum.update(block, 0, count)
            val part = ByteBuffer.wrap(block, 0, count)
            while (part.hasRemaining()) target.write(part)
        }
        file.seek(entry.place)
        val block = ByteArray(1 shl 16)
        var left = entry.packed

        fun take(): Int = minOf(left, block.size.toLong()).toInt().also {
            file.readFully(block, 0, it)
            left -= it
        }
        if (entry.method == 0) {
            while (left > 0) put(block, take())
        } else {
            inflate(entry, block, { if (left > 0) take() else 0 }, ::put)
            if (left > 0) throw damaged("${entry.name} has bytes in the zip after its end")
        }
        if (made != entry.size) throw damaged("${entry.name} is smaller than its header says")
        if (checksum.value != entry.crc) throw damaged("the zip is damaged: ${entry.name} has another checksum")
    }

    private fun inflate(entry: Entry, block: ByteArray, take: () -> Int, put: (ByteArray, Int) -> Unit) {
        val inflater = Inflater(true)
        try {
            val made = ByteArray(1 shl 16)
            while (true) {
                val count = inflater.inflate(made)
                if (count > 0) put(made, count)
                if (inflater.finished()) break
                if (count > 0) continue
                val given = if (inflater.needsInput()) take() else 0
                if (given == 0) throw damaged("the zip is damaged: ${entry.name} ends too soon")
                inflater.setInput(block, 0, given)
            }
            if (inflater.remaining > 0) throw damaged("${entry.name} has bytes in the zip after its end")
        } catch (error: DataFormatException) {
            throw damaged("the zip is damaged: ${entry.name}: ${error.message}", error)
        } finally {
            inflater.end()
        }
    }

    private fun read(file: RandomAccessFile, at: Long, size: Int): ByteBuffer {
        val content = ByteArray(size)
        file.seek(at)
        file.readFully(content)
        return ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    }

    private fun unsigned(buffer: ByteBuffer): Long = buffer.int.toLong() and 0xFFFFFFFFL

    private fun unsignedShort(buffer: ByteBuffer): Int = buffer.short.toInt() and 0xFFFF

    /** Compare every file of an unpacked bundle with its manifest. */
    fun check(folder: Path): Manifest {
        val manifest = Manifest.read(folder.resolve(MANIFEST), MOST_MANIFEST)
        val there = Files.walk(folder).use { paths ->
            val files = paths.iterator().asSequence().filter { !Files.isDirectory(it, NOFOLLOW_LINKS) }
            files.map { "${folder.relativize(it)}" }.toSet()
        } - MANIFEST
        for (name in (there - manifest.digests.keys).sorted()) {
            throw damaged("$name is not listed in $MANIFEST")
        }
        for (name in (manifest.digests.keys - there).sorted()) {
            throw damaged("$name is missing, although it is listed in $MANIFEST")
        }
        for ((name, digest) in manifest.digests) {
            val path = folder.resolve(name)
            if (!Files.isRegularFile(path, NOFOLLOW_LINKS)) throw damaged("$name is a link, a folder or no plain file")
            val found = try {
                digest(path, "SHA-256")
            } catch (error: IOException) {
                throw damaged("$name cannot be read: ${error.message}", error)
            }
            if (found != digest) throw damaged("$name is not the file that $MANIFEST lists (its SHA-256 differs)")
        }
        return manifest
    }
}

/** `model.json` of an unpacked bundle. */
internal class Manifest private constructor(
    val version: String,
    val digests: Map<String, String>,
    private val models: Map<*, *>,
    private val schema: Any?,
) {
    /** Refuse golden cases that are of other inputs, outputs, files or tolerances than this bundle. */
    fun check(golden: GoldenBinary) {
        val schema = try {
            Shapes.read(schema)
        } catch (error: IllegalArgumentException) {
            throw damaged("the schema in ${Bundle.MANIFEST} is damaged: ${error.message}", error)
        }
        for ((kind, found, wanted) in listOf(
            Triple("inputs", golden.inputs, schema.inputs),
            Triple("outputs", golden.outputs, schema.outputs),
        )) {
            if (found != wanted) {
                throw damaged("the golden cases are of $kind ${found.joinToString()}, the model has ${wanted.joinToString()}")
            }
        }
        if (schema.batch != null && golden.cases.any { it.rows != schema.batch }) {
            val rows = golden.cases.map { it.rows }.distinct().sorted()
            throw damaged("the golden cases have $rows rows, the model takes ${schema.batch} at a time")
        }
        if (golden.tolerance.keys != models.keys) {
            throw damaged("the golden cases are of ${golden.tolerance.keys.sorted()}, the bundle has ${models.keys}")
        }
        for ((file, allowed) in golden.tolerance) {
            val stated = (models[file] as? Map<*, *>)?.get("tolerance") as? Map<*, *>
            for ((output, value) in allowed) {
                val said = stated?.get(output)
                if ((said as? StrictJson.Written)?.toDouble() != value) {
                    val wrong = "the golden cases allow $file differences of $value in $output"
                    throw damaged("$wrong, ${Bundle.MANIFEST} says ${shown(said)}")
                }
            }
        }
    }

    companion object {
        fun read(path: Path, most: Int): Manifest {
            val name = Bundle.MANIFEST
            if (!Files.exists(path, NOFOLLOW_LINKS)) throw damaged("the bundle has no $name")
            val said = try {
                require(Files.isRegularFile(path, NOFOLLOW_LINKS)) { "it is no plain file" }
                require(Files.size(path) <= most) { "${Files.size(path)} bytes, at most $most are read" }
                Bundle.json(Files.readAllBytes(path), most)
            } catch (error: IllegalArgumentException) {
                throw damaged("$name is damaged: ${error.message}", error)
            } catch (error: IOException) {
                throw damaged("$name is damaged: ${error.message}", error)
            }
            val listed = (said as? Map<*, *>)?.get("sha256") as? Map<*, *>
            val models = (said as? Map<*, *>)?.get("files") as? Map<*, *>
            val isWhole = listed != null && !models.isNullOrEmpty() && listed.keys.containsAll(models.keys)
            if (listed == null || models == null || !isWhole || listed.values.any { it !is String }) {
                throw damaged("$name is damaged: it does not list files with their SHA-256")
            }
            Bundle.checkFormat(said, name)
            val version = said["version"]
            val digests = listed.entries.associate { "${it.key}" to "${it.value}" }
            return Manifest((version as? StrictJson.Written)?.text ?: version as? String ?: "", digests, models, said["schema"])
        }
    }
}

/** An input or output of golden cases: the shape is that of a row. */
internal data class Shaped(val name: String, val shape: List<Int>, val dtype: Dtype) {
    val width: Int get() = shape.fold(1, Int::times)

    override fun toString(): String = "$name ${dtype.name.lowercase(Locale.ROOT)} $shape"
}

/** What the golden cases must agree with of the schema in `model.json`. */
internal class Shapes private constructor(val inputs: List<Shaped>, val outputs: List<Shaped>, val batch: Int?) {
    companion object {
        const val MOST_TENSORS = 64
        const val MOST_SIZE = 1 shl 22
        const val MOST_AXES = 6
        private const val MOST_BATCH = 4096L

        fun read(schema: Any?): Shapes {
            val (inputs, outputs) = listOf("inputs", "outputs").map { kind ->
                val tensors = requireNotNull(member(schema, kind) as? List<*>) { "it has no $kind" }
                require(tensors.size in 1..MOST_TENSORS) { "${tensors.size} $kind" }
                tensors.map(::tensor)
            }
            val names = (inputs + outputs).map { it.name }
            require(names.toSet().size == names.size) { "two inputs or outputs have one name" }
            val first = axes((member(schema, "inputs") as List<*>).first()).first()
            require(first == -1L || first in 1..MOST_BATCH) { "a batch of $first rows" }
            return Shapes(inputs, outputs, first.takeIf { it > 0 }?.toInt())
        }

        private fun member(value: Any?, name: String): Any? = (value as? Map<*, *>)?.get(name)

        private fun axes(tensor: Any?): List<Long> {
            val axes = (member(tensor, "shape") as? List<*>)?.map { (it as? StrictJson.Written)?.toLong() ?: 0 }
            require(axes != null && axes.size in 2..MOST_AXES + 1) { "a shape" }
            return axes
        }

        private fun tensor(tensor: Any?): Shaped {
            val name = member(tensor, "name") as? String
            require(name != null && Regex("[A-Za-z][A-Za-z0-9_]{0,63}").matches(name)) { "the name of a tensor" }
            val row = axes(tensor).drop(1)
            val size = row.fold(1L) { a, b -> minOf(a * b, 1L shl 40) }
            require(row.all { it in 1..MOST_SIZE } && size <= MOST_SIZE) { "the shape of $name" }
            val dtype = Dtype.entries.firstOrNull { it.name.lowercase(Locale.ROOT) == member(tensor, "dtype") }
            return Shaped(name, row.map { it.toInt() }, requireNotNull(dtype) { "the type of $name" })
        }
    }
}

/**
 * `golden.bin`: inputs with the outputs that each model file gives for them on any device. It is mapped, not read: one case
 * at a time is in memory.
 */
internal class GoldenBinary private constructor(private val content: ByteBuffer) {
    /** Of each tensor, where its values begin. */
    class Case(
        val name: String,
        val rows: Int,
        val inputs: List<Int>,
        val trained: List<Int>,
        val expected: Map<String, List<Int>>,
    )

    val inputs: List<Shaped>
    val outputs: List<Shaped>
    val tolerance: Map<String, Map<String, Double>>
    val cases: List<Case>

    init {
        val magic = String(ByteArray(MAGIC.length).also { take(it.size); content.get(it) }, Charsets.ISO_8859_1)
        if (magic == "GOLDEN01") throw damaged("the golden cases were made by an earlier version: the bundle must be made anew")
        if (magic != MAGIC) throw damaged("these are no golden cases: they do not begin with $MAGIC")
        inputs = tensors()
        outputs = tensors()
        val allowed = LinkedHashMap<String, Map<String, Double>>()
        repeat(count(MOST_FILES)) { allowed[text()] = outputs.associate { take(8).let { _ -> it.name to content.double } } }
        tolerance = allowed
        cases = List(count(MOST_CASES)) {
            val (name, rows) = text() to count(MOST_ROWS)
            Case(name, rows, places(rows, inputs), places(rows, outputs), tolerance.mapValues { places(rows, outputs) })
        }
        if (content.hasRemaining()) throw damaged("the golden cases go on for ${content.remaining()} bytes after their end")
        check()
    }

    /** Number of rows and inputs of every case. */
    val given: List<Pair<Int, Map<String, Values>>> get() = cases.map { it.rows to inputs(it) }

    private fun inputs(case: Case): Map<String, Values> =
        inputs.zip(case.inputs).associate { (tensor, place) -> tensor.name to values(tensor, place, case.rows) }

    /** What a model file does not reproduce: a line a case and output, with its largest difference; empty if all pass. */
    fun failures(file: String, predict: Predict): List<String> {
        val allowed = tolerance.getValue(file)
        return cases.flatMap { case ->
            val found = predict(inputs(case))
            outputs.zip(case.expected.getValue(file)).mapNotNull { (output, place) ->
                val values = requireNotNull(found[output.name]) { "there is no output ${output.name}" }
                wrong(output, values, case, place, allowed.getValue(output.name))
            }
        }
    }

    private fun wrong(output: Shaped, found: Values, case: Case, place: Int, allowed: Double): String? {
        val which = if (outputs.size > 1) "${case.name}: ${output.name}, " else "${case.name}: "
        val size = case.rows * output.width
        if (found.size != size) return "$which${found.size} values for ${case.rows} rows"
        var worst = -1
        var most = 0.0
        for (at in 0 until size) {
            val difference = abs(number(found, at) - number(output, place, at))
            if (difference <= allowed) continue // written so that NaN fails
            val seen = if (difference.isNaN()) Double.POSITIVE_INFINITY else difference
            if (worst < 0 || seen > most) {
                worst = at
                most = seen
            }
        }
        if (worst < 0) return null
        return which + String.format(
            Locale.ROOT,
            "row %d scores %.6f and not %.6f (at most %.2g apart)",
            worst / output.width, number(found, worst), number(output, place, worst), allowed,
        )
    }

    private fun number(values: Values, at: Int): Double =
        when (values) {
            is Values.Floats -> values.data[at].toDouble()
            is Values.Ints -> values.data[at].toDouble()
            is Values.Longs -> values.data[at].toDouble()
            is Values.Bytes -> (values.data[at].toInt() and 255).toDouble()
        }

    private fun number(tensor: Shaped, place: Int, at: Int): Double =
        when (tensor.dtype) {
            Dtype.FLOAT32 -> content.getFloat(place + 4 * at).toDouble()
            Dtype.INT32 -> content.getInt(place + 4 * at).toDouble()
            Dtype.INT64 -> content.getLong(place + 8 * at).toDouble()
            Dtype.UINT8 -> (content.get(place + at).toInt() and 255).toDouble()
        }

    private fun values(tensor: Shaped, place: Int, rows: Int): Values {
        val size = rows * tensor.width
        val part = content.duplicate().apply { position(place) }.slice().order(ByteOrder.LITTLE_ENDIAN)
        return tensor.dtype.zeros(size).also {
            when (it) {
                is Values.Floats -> part.asFloatBuffer().get(it.data)
                is Values.Ints -> part.asIntBuffer().get(it.data)
                is Values.Longs -> part.asLongBuffer().get(it.data)
                is Values.Bytes -> part.get(it.data)
            }
        }
    }

    /** Refuse cases that prove nothing: none, no rows, a tolerance or outputs that anything would pass. */
    private fun check() {
        if (inputs.isEmpty() || outputs.isEmpty() || tolerance.isEmpty() || cases.isEmpty() || cases.any { it.rows == 0 }) {
            throw damaged("the golden cases are empty")
        }
        for (case in cases) {
            val arrays = inputs.zip(case.inputs) + (case.expected.values + listOf(case.trained)).flatMap { outputs.zip(it) }
            for ((tensor, place) in arrays.filter { it.first.dtype == Dtype.FLOAT32 }) {
                for (at in 0 until case.rows * tensor.width) {
                    if (!content.getFloat(place + 4 * at).isFinite()) {
                        throw damaged("golden case '${case.name}' holds values that are not finite")
                    }
                }
            }
        }
        val scales = outputs.mapIndexed { index, output -> output.name to scale(index, output) }.toMap()
        for ((file, allowed) in tolerance) {
            if (!allowed.all { (name, value) -> value >= 0 && value <= MOST_TOLERANCE * scales.getValue(name) }) {
                throw damaged("the golden cases allow $file differences that prove nothing: $allowed")
            }
            val spreads = outputs.mapIndexed { index, output -> spread(file, index, output) to 2 * allowed.getValue(output.name) }
            if (spreads.all { (spread, least) -> spread <= least }) {
                throw damaged("the golden cases of $file prove nothing: one score for everything would pass them all")
            }
        }
    }

    /** What differences of an output are measured by: 1, or the largest value of the trained model if that is larger. */
    private fun scale(index: Int, output: Shaped): Double {
        var scale = 1.0
        for (case in cases) {
            for (at in 0 until case.rows * output.width) scale = maxOf(scale, abs(number(output, case.trained[index], at)))
        }
        return scale
    }

    /** How far the values of an output at one place of a row are apart, at the place where they are the furthest. */
    private fun spread(file: String, index: Int, output: Shaped): Double {
        val low = DoubleArray(output.width) { Double.POSITIVE_INFINITY }
        val high = DoubleArray(output.width) { Double.NEGATIVE_INFINITY }
        for (case in cases) {
            val place = case.expected.getValue(file)[index]
            for (at in 0 until case.rows * output.width) {
                val value = number(output, place, at)
                val column = at % output.width
                low[column] = minOf(low[column], value)
                high[column] = maxOf(high[column], value)
            }
        }
        return low.indices.maxOf { high[it] - low[it] }
    }

    private fun take(size: Long) {
        if (size > content.remaining()) {
            throw damaged("the golden cases are cut short: $size bytes are needed and ${content.remaining()} are left")
        }
    }

    private fun take(size: Int) = take(size.toLong())

    private fun count(most: Int, least: Int = 0): Int {
        take(4)
        val number = content.int.toLong() and 0xFFFFFFFFL
        if (number !in least..most) {
            throw damaged("the golden cases are damaged: a number is $number, $least to $most makes sense there")
        }
        return number.toInt()
    }

    private fun text(): String {
        val bytes = ByteArray(count(MOST_NAME)).also { take(it.size); content.get(it) }
        try {
            return Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString()
        } catch (error: CharacterCodingException) {
            throw damaged("the golden cases are damaged: a name is not text", error)
        }
    }

    private fun tensors(): List<Shaped> {
        val found = List(count(Shapes.MOST_TENSORS)) {
            val (name, dtype) = text() to Dtype.entries[count(Dtype.entries.size - 1)]
            val shape = List(count(Shapes.MOST_AXES, 1)) { count(Shapes.MOST_SIZE, 1) }
            val size = shape.fold(1L) { a, b -> minOf(a * b, 1L shl 40) }
            if (size > Shapes.MOST_SIZE) throw damaged("the golden cases are damaged: '$name' has the shape $shape")
            Shaped(name, shape, dtype)
        }
        if (found.map { it.name }.toSet().size < found.size) {
            throw damaged("the golden cases are damaged: two inputs or outputs have one name")
        }
        return found
    }

    /** Where the values of each tensor begin; behind them it goes on. */
    private fun places(rows: Int, tensors: List<Shaped>): List<Int> = tensors.map {
        val size = rows.toLong() * it.width * it.dtype.bytes
        take(size)
        val place = content.position()
        content.position(place + size.toInt())
        place
    }

    companion object {
        private const val MAGIC = "GOLDEN02"
        private const val MOST_BYTES = 64L shl 20
        private const val MOST_TOLERANCE = 0.05 // as a part of the scale
        private const val MOST_FILES = 16
        private const val MOST_CASES = 1000
        private const val MOST_ROWS = 1 shl 20
        private const val MOST_NAME = 4096

        fun read(path: Path): GoldenBinary {
            val file: File = path.toFile()
            if (!file.isFile) throw damaged("${Bundle.GOLDEN} cannot be read: it is not there")
            FileChannel.open(path, READ).use { channel ->
                val size = channel.size()
                if (size > MOST_BYTES) throw damaged("the golden cases have $size bytes, at most $MOST_BYTES are read")
                return GoldenBinary(channel.map(FileChannel.MapMode.READ_ONLY, 0, size).order(ByteOrder.LITTLE_ENDIAN))
            }
        }
    }
}
