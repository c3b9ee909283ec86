package ondevice

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.security.MessageDigest
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/**
 * Trains a model on the phone with the files of a training bundle, through TensorFlow Lite's signatures (2.7 or later).
 *
 * ```
 * Training.open(File(installed, "bundle"), File(context.filesDir, "personal.state")).use { training ->
 *     val outcome = training.round(batches.iterator()) { battery.isCharging && !hot }
 *     if (!outcome.counts) log("round of ${outcome.steps} steps was undone: ${outcome.accuracy}")
 * }
 * ```
 *
 * A round ends after the bundle's limits, or when the app's hook says so, which is asked before each step: the battery, heat and
 * a user who comes back are the app's to watch. A personal version counts only if it is not worse on the rehearsal rows than the
 * shipped model by more than the margin; else the state before the round is back. Calls from several threads wait for each
 * other; train on none that draws.
 */
class Training private constructor(
    private val interpreter: Interpreter,
    private val identity: ByteArray,
    private val folder: File,
    private val store: File,
    val plan: Plan,
) : AutoCloseable {
    /** How the bundle says to train. [anyBatchSize]: a step may have another number of rows than [batchSize]; [shipped] is the part of the rehearsal rows that the shipped model decides as labelled. */
    class Plan(
        val learningRate: Float,
        val batchSize: Int,
        val anyBatchSize: Boolean,
        val steps: Int,
        val seconds: Double,
        val margin: Double,
        val shipped: Double,
    )

    /** Rows: of each input its values row by row, and a class a row. */
    class Batch(val inputs: Map<String, FloatArray>, val labels: IntArray)

    /** How far a golden step leads from Keras' own: the loss before it, and the furthest of the weights after it. */
    class Difference(val loss: Float, val weights: Float)

    /** What came of a round; [accuracy] on the rehearsal rows, [losses] of each step before it. */
    class Outcome(val steps: Int, val losses: List<Float>, val accuracy: Double, val counts: Boolean)

    private val axes: Map<String, List<Int>> =
        interpreter.getSignatureInputs("infer").associateWith {
            interpreter.getInputTensorFromSignature(it, "infer").shape().drop(1)
        }
    private val lengths: Map<String, Int> =
        interpreter.getSignatureOutputs("save").sorted().associateWith {
            interpreter.getOutputTensorFromSignature(it, "save").numElements()
        }
    private val output: String = interpreter.getSignatureOutputs("infer").single()
    private val width: Int = interpreter.getOutputTensorFromSignature(output, "infer").shape().last()
    private val before = File(store.path + ".before")
    private var closed = false

    /**
     * Train on batches within the limits, and save what came of it if it counts.
     *
     * @param rehearsed whether each batch is followed by as many of the bundle's rehearsal rows, in turn, so that what everybody
     *   needs is not forgotten: in the same step or, where the model takes a fixed number of rows, in one of its own, which is
     *   not counted.
     * @param mayContinue the app's own limits, asked before each step.
     * @throws IllegalArgumentException a batch does not fit the model; the state before the round is back.
     * @throws IllegalStateException the numbers overflow, as with too high a learning rate; likewise.
     * @throws IOException it cannot be saved; likewise.
     */
    @Synchronized
    fun round(batches: Iterator<Batch>, rehearsed: Boolean = true, mayContinue: () -> Boolean): Outcome {
        val start = state()
        val rehearsal = rehearsal()
        val losses = ArrayList<Float>()
        val end = System.nanoTime() + (plan.seconds * 1e9).toLong()
        try {
            while (losses.size < plan.steps && System.nanoTime() < end && mayContinue() && batches.hasNext()) {
                val batch = batches.next()
                val shipped = if (rehearsed) inTurn(rows(batch), rehearsal) else null
                losses += step(if (shipped != null && plan.anyBatchSize) joined(batch, shipped) else batch)
                if (shipped != null && !plan.anyBatchSize) step(shipped)
            }
            val accuracy = share(rehearsal)
            val counts = losses.isNotEmpty() && counts(plan.shipped, accuracy, plan.margin)
            if (counts) save() else restore(start)
            return Outcome(losses.size, losses, accuracy, counts)
        } catch (error: Throwable) {
            restore(start)
            throw error
        }
    }

    /**
     * One step on a batch; the loss before it.
     *
     * @throws IllegalArgumentException the batch does not fit the model.
     * @throws IllegalStateException the loss is not finite.
     */
    @Synchronized
    fun step(batch: Batch, learningRate: Float = plan.learningRate): Float {
        require(learningRate > 0 && learningRate < Float.MAX_VALUE) { "the learning rate is $learningRate" }
        val found = call("train", labelled(batch) + ("learning_rate" to learningRate), mapOf("loss" to 1))
        val loss = found.getValue("loss")[0]
        check(isFinite(loss)) { "the loss is $loss: lower the learning rate" }
        return loss
    }

    /** The model's output for rows, row by row. */
    @Synchronized
    fun infer(inputs: Map<String, FloatArray>): FloatArray {
        val rows = rows(inputs)
        return call("infer", shaped(inputs, rows), mapOf(output to rows * width)).getValue(output)
    }

    /** Part of the rows that is decided as labelled. */
    @Synchronized
    fun evaluate(batch: Batch): Double {
        val found = call("evaluate", labelled(batch), mapOf("correct" to 1))
        return found.getValue("correct")[0].toDouble() / batch.labels.size
    }

    /** Part of the bundle's rehearsal rows that is decided as labelled. */
    @Synchronized
    fun rehearse(): Double = share(rehearsal())

    private fun share(rows: Batch): Double {
        state() // which refuses one that overflowed
        var right = 0.0
        for (first in rows.labels.indices step plan.batchSize) {
            val part = part(rows, first, minOf(first + plan.batchSize, rows.labels.size))
            right += evaluate(part) * part.labels.size
        }
        return Math.rint(right) / rows.labels.size
    }

    /**
     * Save the state to the store; a kill at any moment leaves the old or the new one. The version before is kept beside it.
     *
     * @throws IOException it cannot be written; the old one stays.
     */
    @Synchronized
    fun save() {
        val content = encoded(state())
        if (store.isFile) {
            val old = store.readBytes()
            if (runCatching { decoded(old, store) }.isSuccess) replace(before, old) // a damaged one is not kept
        }
        replace(store, content)
    }

    /**
     * Go on from the store; false if there is none yet.
     *
     * @throws IllegalArgumentException it is damaged, or of another bundle: call [rollBack], or [reset].
     */
    @Synchronized
    fun resume(): Boolean {
        if (!store.isFile) return false
        restore(decoded(store.readBytes(), store))
        return true
    }

    /**
     * Make the version before the current one, in the store and here.
     *
     * @throws IllegalArgumentException there is none, or it is damaged.
     * @throws IOException it cannot be renamed.
     */
    @Synchronized
    fun rollBack() {
        require(before.isFile) { "there is no version before: call reset" }
        restore(decoded(before.readBytes(), before))
        rename(before, store)
    }

    /** Begin anew from the shipped model; the store is removed. */
    @Synchronized
    fun reset() {
        val initial = File(folder, "initial.state")
        restore(decoded(initial.readBytes(), initial))
        for (file in listOf(store, before)) if (file.exists() && !file.delete()) throw IOException("$file cannot be removed")
    }

    /** The weights, the optimiser's vectors and the steps made, by name. */
    @Synchronized
    fun state(): Map<String, FloatArray> {
        val found = call("save", mapOf("ignored" to 0f), lengths) // a signature without inputs is refused
        for ((name, values) in found) check(values.all(::isFinite)) { "$name overflowed: lower the learning rate" }
        return found
    }

    /**
     * Go on from another state.
     *
     * @throws IllegalArgumentException it is of another model or optimiser.
     */
    @Synchronized
    fun restore(state: Map<String, FloatArray>) {
        val found = state.mapValues { it.value.size }
        require(found == lengths) { "the model has the state $lengths, this is $found" }
        val inputs = state.mapValues { (name, values) ->
            if (interpreter.getInputTensorFromSignature(name, "restore").shape().isEmpty()) values[0] else values
        }
        call("restore", inputs, mapOf("steps" to 1))
    }

    /** Free the interpreter; closing twice does nothing. */
    @Synchronized
    override fun close() {
        if (!closed) interpreter.close()
        closed = true
    }

    private fun call(signature: String, inputs: Map<String, Any>, wanted: Map<String, Int>): Map<String, FloatArray> {
        check(!closed) { "this training is closed: open it again" }
        val outputs = wanted.mapValues { FloatBuffer.allocate(it.value) }
        interpreter.runSignature(inputs, outputs as Map<String, Any>, signature)
        return outputs.mapValues { it.value.array() }
    }

    private fun rows(inputs: Map<String, FloatArray>): Int {
        require(inputs.keys == axes.keys) { "the model takes ${axes.keys}, not ${inputs.keys}" }
        val (name, values) = inputs.entries.first()
        val rows = values.size / size(name)
        for ((each, given) in inputs) {
            require(rows > 0 && given.size == rows * size(each)) {
                "$each has ${given.size} values: a row has ${size(each)}, and every input the same number of rows"
            }
            require(given.all(::isFinite)) { "$each has values that are not finite" }
        }
        return rows
    }

    private fun size(input: String): Int = axes.getValue(input).fold(1, Int::times)

    /** Arrays within arrays, whose shape the interpreter sees: a buffer has none, and the batch would stay as it was. */
    private fun shaped(inputs: Map<String, FloatArray>, rows: Int): Map<String, Any> =
        inputs.mapValues { (name, values) -> nested(values, listOf(rows) + axes.getValue(name), 0) }

    private fun nested(values: FloatArray, shape: List<Int>, first: Int): Any {
        if (shape.size == 1) return values.copyOfRange(first, first + shape[0])
        val width = shape.drop(1).fold(1, Int::times)
        val parts = List(shape[0]) { nested(values, shape.drop(1), first + it * width) }
        val array = java.lang.reflect.Array.newInstance(parts[0].javaClass, parts.size)
        for ((place, part) in parts.withIndex()) java.lang.reflect.Array.set(array, place, part)
        return array
    }

    private fun labelled(batch: Batch): Map<String, Any> = shaped(batch.inputs, rows(batch)) + ("labels" to batch.labels)

    private fun rows(batch: Batch): Int {
        val rows = rows(batch.inputs)
        require(batch.labels.size == rows) { "there are $rows rows and ${batch.labels.size} labels" }
        val last = maxOf(width, 2) - 1
        require(batch.labels.all { it in 0..last }) { "labels are from 0 to $last" }
        return rows
    }

    private fun part(rows: Batch, first: Int, end: Int): Batch =
        Batch(
            rows.inputs.mapValues { (name, values) -> values.copyOfRange(first * size(name), end * size(name)) },
            rows.labels.copyOfRange(first, end),
        )

    /** So many of the rows, which come in turn as the state's steps go on. */
    private fun inTurn(count: Int, of: Batch): Batch {
        val made = call("save", mapOf("ignored" to 0f), mapOf("step" to 1)).getValue("step")[0].toLong()
        val each = List(count) { (((made * count + it) % of.labels.size).toInt()).let { place -> part(of, place, place + 1) } }
        return each.reduce(::joined)
    }

    private fun joined(one: Batch, other: Batch): Batch =
        Batch(one.inputs.mapValues { (name, values) -> values + other.inputs.getValue(name) }, one.labels + other.labels)

    private fun rehearsal(): Batch = read(File(folder, "rehearsal.bin"), "REHEARS1") { bytes -> batch(bytes, inputs(bytes)) }

    /**
     * Make the bundle's golden steps, which are Keras', and go back to the state before: whether this device learns as it should.
     *
     * @throws IllegalStateException it does not: do not train on it.
     * @throws IllegalArgumentException `golden_steps.bin` is missing, damaged or of another bundle.
     */
    @Synchronized
    fun golden(): List<Difference> {
        val start = state()
        try {
            return read(File(folder, "golden_steps.bin"), "GSTEPS01") { bytes ->
                val own = ByteArray(DIGEST).also { bytes.get(it) }
                require(own.contentEquals(identity)) { "it is of another bundle" }
                val rate = bytes.getFloat()
                val most = Difference(bytes.getDouble().toFloat(), bytes.getDouble().toFloat())
                val names = inputs(bytes)
                val count = bytes.getInt()
                restore(lengths.mapValues { FloatArray(it.value) } + ("weights" to floats(bytes, count)))
                List(bytes.getInt()) { number ->
                    val loss = step(batch(bytes, names), rate)
                    val wanted = bytes.getFloat()
                    val weights = state().getValue("weights")
                    val after = floats(bytes, count)
                    val found = Difference(Math.abs(loss - wanted), weights.indices.maxOf { Math.abs(weights[it] - after[it]) })
                    check(found.loss <= most.loss && found.weights <= most.weights) {
                        "golden step ${number + 1} is ${found.loss} and ${found.weights} from Keras': do not train on this device"
                    }
                    found
                }
            }
        } finally {
            restore(start)
        }
    }

    private fun <T> read(file: File, magic: String, content: (ByteBuffer) -> T): T {
        require(file.isFile) { "$file is missing: install the bundle again" }
        val bytes = little(file.readBytes())
        try {
            require(text(bytes, magic.length) == magic) { "it does not begin with $magic" }
            return content(bytes)
        } catch (error: IllegalStateException) {
            throw error
        } catch (error: RuntimeException) {
            throw IllegalArgumentException("$file is damaged (${error.message}): install the bundle again", error)
        }
    }

    /** The names of inputs, which must be those of the model. */
    private fun inputs(bytes: ByteBuffer): List<String> =
        List(bytes.getInt()) {
            val name = text(bytes, bytes.getInt())
            require(bytes.getInt() == 0) { "$name is not float32" }
            val shape = List(bytes.getInt()) { bytes.getInt() }
            require(axes[name] == shape) { "$name has the shape $shape: it is of another model" }
            name
        }

    private fun batch(bytes: ByteBuffer, names: List<String>): Batch {
        val rows = bytes.getInt()
        require(rows > 0) { "it has no rows" }
        val inputs = names.associateWith { floats(bytes, rows * size(it)) }
        return Batch(inputs, IntArray(rows) { bytes.getInt() })
    }

    /** A saved state: a head, by name in alphabetical order a vector each, and the SHA-256 of everything before it. */
    private fun encoded(state: Map<String, FloatArray>): ByteArray {
        val body = little(ByteArray(HEAD + lengths.values.sumOf { 4 + 4 * it }))
        body.put(MAGIC.toByteArray()).put(identity).putInt(lengths.size)
        for (name in lengths.keys) {
            val values = state.getValue(name)
            body.putInt(values.size)
            for (value in values) body.putFloat(value)
        }
        return body.array() + sha256(body.array())
    }

    private fun decoded(content: ByteArray, file: File): Map<String, FloatArray> {
        val end = content.size - DIGEST
        require(end >= HEAD && String(content, 0, MAGIC.length, Charsets.ISO_8859_1) == MAGIC) { "$file is no saved state" }
        require(sha256(content.copyOf(end)).contentEquals(content.copyOfRange(end, content.size))) {
            "$file is not whole: its SHA-256 is another"
        }
        val bytes = little(content)
        bytes.position(MAGIC.length)
        val own = ByteArray(DIGEST).also { bytes.get(it) }
        val whole = HEAD + lengths.values.sumOf { 4 + 4 * it } == end
        require(own.contentEquals(identity) && bytes.getInt() == lengths.size && whole) { "$file was saved by another bundle" }
        return lengths.mapValues { (name, length) ->
            require(bytes.getInt() == length) { "$file has another $name" }
            floats(bytes, length).also { require(it.all(Float::isFinite)) { "$name of $file is not finite" } }
        }
    }

    companion object {
        private const val MAGIC = "WBTRAIN1"
        private const val DIGEST = 32
        private const val HEAD = 8 + DIGEST + 4

        /** Less than one row, and more than subtracting two accuracies loses. */
        private const val ROUNDING = 1e-9

        /**
         * Open an unpacked training bundle at its initial state; [resume] goes on from the store.
         *
         * @param store where the personal version is saved, in a folder that is there.
         * @throws IllegalArgumentException [folder] is no training bundle, or its files are of two.
         */
        fun open(folder: File, store: File, threads: Int = 1): Training {
            val model = File(folder, "training.tflite")
            val described = File(folder, "training.json")
            require(model.isFile && described.isFile) { "there is no training bundle in $folder: install it first" }
            val told = JSONObject(described.readText())
            val identity = sha256(model.readBytes())
            val listed = told.getJSONObject("sha256").getString("training.tflite")
            require(identity.joinToString("") { "%02x".format(it) } == listed) { "$model is not the file that $described lists" }
            val limits = told.getJSONObject("limits")
            val plan = Plan(
                told.getDouble("learning_rate").toFloat(),
                told.getInt("batch_size"),
                told.getBoolean("any_batch_size"),
                limits.getInt("steps"),
                limits.getDouble("seconds"),
                told.getDouble("margin"),
                told.getJSONObject("rehearsal").getDouble("accuracy"),
            )
            val interpreter = Interpreter(model, Interpreter.Options().setNumThreads(threads))
            try {
                return Training(interpreter, identity, folder, store, plan)
            } catch (error: Throwable) {
                interpreter.close()
                throw error
            }
        }

        /** Whether a personal version counts: not worse than the shipped model by more than the margin. */
        fun counts(before: Double, after: Double, margin: Double): Boolean = before - after <= margin + ROUNDING

        /** TensorFlow Lite may cut what overflows to the largest float: no model gives that one otherwise. */
        private fun isFinite(value: Float): Boolean = Math.abs(value) < Float.MAX_VALUE

        private fun little(content: ByteArray): ByteBuffer = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)

        private fun text(bytes: ByteBuffer, length: Int): String =
            String(ByteArray(minOf(length, bytes.remaining())).also { bytes.get(it) }, Charsets.UTF_8)

        private fun floats(bytes: ByteBuffer, count: Int): FloatArray = FloatArray(count) { bytes.getFloat() }

        private fun sha256(content: ByteArray): ByteArray = MessageDigest.getInstance("SHA-256").digest(content)

        /** Write beside a file, make the disk hold it, and only then let it take the name. */
        private fun replace(file: File, content: ByteArray) {
            val partial = File(file.path + ".partial")
            FileOutputStream(partial).use {
                it.write(content)
                it.fd.sync()
            }
            rename(partial, file)
        }

        private fun rename(from: File, to: File) {
            if (!from.renameTo(to)) throw IOException("$from cannot be renamed to $to")
        }
    }
}
