// What test_training_android.py runs of Training.kt. Arguments: the bundle's folder, the store, and what to do.
package ondevice

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

private fun expect(condition: Boolean, said: () -> String = { "not as it should be" }) {
    if (!condition) throw AssertionError(said())
}

private inline fun <reified E : Throwable> refused(why: String, action: () -> Any?) {
    try {
        action()
    } catch (error: Throwable) {
        expect(error is E && why in error.message.orEmpty()) { "refused with $error" }
        return
    }
    throw AssertionError("not refused: $why")
}

private class Golden(val batch: Training.Batch, val loss: Float, val after: FloatArray)

/** golden_steps.bin of one input of three axes whose name has five letters. */
private fun golden(folder: File): List<Golden> {
    val bytes = ByteBuffer.wrap(File(folder, "golden_steps.bin").readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    bytes.position(60 + 4 + 4 + 5 + 8)
    val size = bytes.getInt() * bytes.getInt() * bytes.getInt()
    fun floats(count: Int) = FloatArray(count) { bytes.getFloat() }
    val n = bytes.getInt()
    floats(n)
    return List(bytes.getInt()) {
        val rows = bytes.getInt()
        val inputs = mapOf("image" to floats(rows * size))
        Golden(Training.Batch(inputs, IntArray(rows) { bytes.getInt() }), bytes.getFloat(), floats(n))
    }
}

private fun same(one: Map<String, FloatArray>, other: Map<String, FloatArray>): Boolean =
    one.keys == other.keys && one.all { (name, values) -> values.contentEquals(other.getValue(name)) }

private val checks = mapOf<String, (Training, File, File) -> Unit>(
    "golden" to { training, folder, _ ->
        training.step(golden(folder)[0].batch)
        val start = training.state()
        val steps = training.golden()
        expect(steps.size == golden(folder).size && steps.all { it.loss <= 1e-5 && it.weights <= 1e-5 })
        expect(same(training.state(), start)) { "golden steps changed the state" }
    },
    "rehearsed" to { training, folder, _ -> // what it learns, Python compares
        val batches = golden(folder).map { it.batch }
        training.round(batches.iterator()) { true }
        training.save()
    },
    "round" to { training, folder, store ->
        val batch = golden(folder)[0].batch
        val start = training.state()
        val endless = generateSequence { batch }.iterator()
        var asked = 0
        val all = training.round(endless, rehearsed = false) { ++asked > 0 }
        expect(all.steps == training.plan.steps && asked == all.steps && all.losses.size == all.steps) { "${all.steps}, $asked" }
        expect(all.counts == Training.counts(training.plan.shipped, all.accuracy, training.plan.margin))
        expect(all.counts == store.isFile) { "saved ${store.isFile}, counts ${all.counts}" }
        if (!all.counts) expect(same(training.state(), start)) { "not rolled back" }
        training.reset()
        expect(training.round(endless, rehearsed = false) { ++asked % 3 != 0 }.steps < 3)
        expect(training.round(endless, rehearsed = false) { false }.let { it.steps == 0 && !it.counts })
        expect(training.round(listOf(batch).iterator(), rehearsed = false) { true }.steps == 1)
    },
    "worse" to { training, folder, store ->
        val batch = golden(folder)[0].batch
        val wrong = Training.Batch(batch.inputs, IntArray(batch.labels.size) { (batch.labels[it] + 1) % 3 })
        val start = training.state()
        repeat(200) { training.step(wrong, 0.05f) }
        val bad = training.rehearse()
        expect(bad < training.plan.shipped - training.plan.margin) { "it did not get worse: $bad" }
        val worst = training.state()
        val outcome = training.round(generateSequence { wrong }.iterator(), rehearsed = false) { true }
        expect(!outcome.counts && !store.exists() && same(training.state(), worst)) { "${outcome.accuracy}" }
        training.restore(start)
        expect(training.rehearse() == training.plan.shipped) { "${training.rehearse()} and not ${training.plan.shipped}" }
    },
    "refuses" to { training, folder, store ->
        val batch = golden(folder)[0].batch
        val image = batch.inputs.getValue("image")
        val start = training.state()
        fun of(values: FloatArray, labels: IntArray = batch.labels) = listOf(Training.Batch(mapOf("image" to values), labels)).iterator()
        refused<IllegalArgumentException>("image has 383 values: a row has 64") { training.round(of(image.copyOf(383))) { true } }
        refused<IllegalArgumentException>("6 rows and 5 labels") { training.round(of(image, batch.labels.copyOf(5))) { true } }
        refused<IllegalArgumentException>("labels are from 0 to 2") { training.round(of(image, IntArray(6) { 3 })) { true } }
        refused<IllegalArgumentException>("not finite") { training.round(of(image.copyOf().also { it[7] = Float.NaN })) { true } }
        val late = listOf(batch, Training.Batch(batch.inputs, IntArray(6) { -1 })).iterator()
        refused<IllegalArgumentException>("labels are from 0 to 2") { training.round(late) { true } }
        expect(same(training.state(), start)) { "a round that failed at its second step was not undone" }
        refused<IllegalArgumentException>("the model takes [image], not [picture]") { training.infer(mapOf("picture" to image)) }
        refused<IllegalStateException>("lower the learning rate") {
            training.step(batch, 3e38f)
            training.step(batch, 3e38f)
            training.rehearse()
        }
        training.restore(start)
        expect(same(training.state(), start) && !store.exists())
        refused<IllegalArgumentException>("there is no version before") { training.rollBack() }
        refused<IllegalArgumentException>("the model has the state") { training.restore(start - "step") }
        training.close()
        training.close()
        refused<IllegalStateException>("closed") { training.state() }
    },
    "versions" to { training, folder, store ->
        val batch = golden(folder)[0].batch
        val before = File(store.path + ".before")
        training.step(batch)
        training.save()
        val first = store.readBytes()
        val state = training.state()
        training.step(batch)
        training.save()
        expect(before.readBytes().contentEquals(first) && !store.readBytes().contentEquals(first))
        training.rollBack()
        expect(store.readBytes().contentEquals(first) && same(training.state(), state) && !before.exists())
        store.writeBytes(first.copyOf(first.size - 1))
        refused<IllegalArgumentException>("not whole") { training.resume() }
        expect(same(training.state(), state)) { "a refused state changed something" }
        training.save()
        expect(!before.exists()) { "a damaged version was kept" }
        training.reset()
        expect(!store.exists() && !training.resume())
        expect(same(training.state(), training.state()) && !same(training.state(), state))
    },
    "again" to { training, _, _ -> // restores what is there and saves it
        expect(training.resume())
        training.save()
    },
    "accuracy" to { training, _, _ ->
        training.resume()
        println(training.rehearse())
    },
    "loop" to { training, folder, _ ->
        val step = golden(folder)[0].batch
        val states = List(2) { training.step(step).let { training.state() } }
        while (true) for (state in states) {
            training.restore(state)
            training.save()
            print('.').also { System.out.flush() }
        }
    },
)

fun main(arguments: Array<String>) {
    val (folder, store) = arguments.take(2).map(::File)
    Training.open(folder, store).use { checks.getValue(arguments[2])(it, folder, store) }
    println("ok ${arguments[2]}")
}
