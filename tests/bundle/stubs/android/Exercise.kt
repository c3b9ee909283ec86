// What test_android.py runs of the rendered classes; it replaces NAME and the package. Prints a line a check.
package PACKAGE

import fake.Model
import java.io.File
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlin.coroutines.Continuation
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine
import kotlin.math.abs
import org.tensorflow.lite.Delegate

private val assets = File(System.getProperty("assets"), "NAME")
private val inputs = NAMEInputs.all
private val cases by lazy { GoldenCases.read("model.tflite").cases }

private val GoldenCases.Case.expected get() = (outputs.getValue(NAMEInputs.OUTPUT) as Values.Floats).data

private class Opened(val score: (Map<String, Values>) -> FloatArray, private val closing: () -> Unit) : AutoCloseable {
    override fun close() = closing()
}

private fun tflite(file: File = File(assets, "model.tflite")) = NAME.open(file).let { Opened(it::score, it::close) }

private fun mnn(file: File = File(assets, "model.mnn")) = NAMEMnn.open(file).let { Opened(it::score, it::close) }

private fun written(text: String) = File.createTempFile("model", null).also { it.deleteOnExit(); it.writeText(text) }

private val text = File(assets, "model.tflite").readText()

private fun expect(condition: Boolean, said: () -> String = { "not as it should be" }) {
    if (!condition) throw AssertionError(said())
}

private inline fun <reified E : Throwable> refused(vararg why: String, action: () -> Any?) {
    try {
        action()
    } catch (error: Throwable) {
        expect(error is E && why.all { it in error.message.orEmpty() }) { "refused with $error" }
        return
    }
    throw AssertionError("not refused")
}

private fun events(action: () -> Unit): List<String> {
    Model.EVENTS.clear()
    action()
    return Model.EVENTS.toList()
}

private fun <T> failing(fault: String, action: () -> T): T {
    Model.fault = fault
    try {
        return action()
    } finally {
        Model.fault = ""
    }
}

private fun changed(values: Values, size: (Int) -> Int): Values =
    when (values) {
        is Values.Floats -> Values.Floats(values.data.copyOf(size(values.data.size)))
        is Values.Ints -> Values.Ints(values.data.copyOf(size(values.data.size)))
        is Values.Longs -> Values.Longs(values.data.copyOf(size(values.data.size)))
        is Values.Bytes -> Values.Bytes(values.data.copyOf(size(values.data.size)))
    }

/** What a coroutine gives, which nothing but the standard library runs. */
private fun <T> waited(call: suspend () -> T): Result<T> {
    val answer = java.util.concurrent.LinkedBlockingQueue<Result<T>>()
    call.startCoroutine(object : Continuation<T> {
        override val context = EmptyCoroutineContext
        override fun resumeWith(result: Result<T>) = answer.put(result)
    })
    return answer.take()
}

private fun ofRows(rows: Int) = cases.first { it.expected.size == rows }

private fun scored(scores: FloatArray) = mapOf<String, Values>(NAMEInputs.OUTPUT to Values.Floats(scores))

private val checks = mapOf<String, () -> Unit>(
    "the batch is set before buffers are read, and only when it changes" to {
        tflite().use { model ->
            val order = Regex("input (\\S+) \\S+ (\\d+)").findAll(text).map { it.groupValues[1] to it.groupValues[2] }.toList()
            fun resized(rows: Int) = order.map { (name, width) -> "resize $name [$rows, $width]" } + "allocate" + "run"
            val seen = events { for (rows in listOf(20, 20, 1, 257)) model.score(ofRows(rows).inputs) }
            val wanted = resized(20) + "run" + resized(1) + resized(257)
            expect(seen == wanted) { "$seen and not $wanted" }
        }
    },
    "the model lists its inputs in another order than they are declared in" to {
        expect(Regex("input (\\S+)").findAll(text).map { it.groupValues[1] }.toList() != inputs.map { it.name })
    },
    "the order in which inputs are given does not matter" to {
        val case = ofRows(20)
        val reversed = case.inputs.entries.reversed().associate { it.key to it.value }
        for (open in listOf(::tflite, ::mnn)) {
            open(File(assets, "model.tflite")).use { expect(it.score(reversed).contentEquals(it.score(case.inputs))) }
        }
    },
    "answers do not share memory" to {
        for (open in listOf(::tflite, ::mnn)) open(File(assets, "model.tflite")).use { model ->
            val first = model.score(ofRows(20).inputs)
            val kept = first.copyOf()
            model.score(cases.last { it.expected.size == 20 }.inputs)
            expect(first.contentEquals(kept))
        }
    },
    "threads, one unless asked for" to {
        expect(events { tflite().close() }.first() == "open, threads 1")
        expect(events { NAME.open(File(assets, "model.tflite"), threads = 2).close() }.first() == "open, threads 2")
        expect("session, threads 1, type 0" in events { mnn().close() })
        refused<IllegalArgumentException>("threads is 0") { NAME.open(File(assets, "model.tflite"), threads = 0) }
        refused<IllegalArgumentException>("threads is 0") { NAMEMnn.open(File(assets, "model.mnn"), threads = 0) }
    },
    "calls from several threads wait for each other" to {
        for (open in listOf(::tflite, ::mnn)) open(File(assets, "model.tflite")).use { model ->
            val wrong = java.util.concurrent.ConcurrentLinkedQueue<String>()
            (0 until 4).map { number ->
                thread {
                    for (turn in 0 until 100) {
                        val case = cases[(number + turn) % cases.size]
                        val scores = runCatching { model.score(case.inputs) }
                        if (!scores.map { it.zip(case.expected).all { (a, b) -> abs(a - b) < 1e-5 } }.getOrDefault(false)) {
                            wrong += "${case.name}: $scores"
                        }
                    }
                }
            }.forEach { it.join() }
            expect(wrong.isEmpty()) { wrong.first() }
        }
    },
    "closed once, and not used after" to {
        expect(events { tflite().let { it.close(); it.close() } }.count { it == "close" } == 1)
        expect(events { mnn().let { it.close(); it.close() } }.filter { "release" in it } == listOf("release session", "release net"))
        for (open in listOf(::tflite, ::mnn)) {
            val model = open(File(assets, "model.tflite")).also { it.close() }
            refused<IllegalStateException>("open it again") { model.score(ofRows(1).inputs) }
        }
    },
    "inputs that do not fit are refused, and the next that fit are scored" to {
        val given = ofRows(20).inputs
        val name = inputs.last().name
        val values = given.getValue(name)
        val wrongType = if (values is Values.Ints) Values.Longs(LongArray(20)) else Values.Ints(IntArray(20 * inputs.last().width))
        for (open in listOf(::tflite, ::mnn)) open(File(assets, "model.tflite")).use { model ->
            refused<IllegalArgumentException>("missing $name", "it takes") { model.score(given - name) }
            refused<IllegalArgumentException>("unknown nobody") { model.score(given + ("nobody" to values)) }
            refused<IllegalArgumentException>("missing $name; unknown $name ") { model.score(given - name + ("$name " to values)) }
            refused<IllegalArgumentException>(name, "give it as Values.") { model.score(given + (name to wrongType)) }
            refused<IllegalArgumentException>(name, "0 values") { model.score(given + (name to changed(values) { 0 })) }
            val one = inputs.last().width
            refused<IllegalArgumentException>("$name has 19 rows", "has 20") {
                model.score(given + (name to changed(values) { it - one }))
            }
            for (input in inputs) {
                val own = given.getValue(input.name)
                if (own is Values.Floats) for (bad in listOf(Float.NaN, Float.POSITIVE_INFINITY)) {
                    val data = own.data.copyOf().also { it[input.width + 1] = bad }
                    refused<IllegalArgumentException>("${input.name} is $bad at row 1, ${input.columns[1]}") {
                        model.score(given + (input.name to Values.Floats(data)))
                    }
                }
                if (input.width > 1) refused<IllegalArgumentException>(input.name, "rows of ${input.width}") {
                    model.score(given + (input.name to changed(own) { it - 1 }))
                }
            }
            val scores = model.score(given)
            expect(scores.zip(ofRows(20).expected).all { (a, b) -> abs(a - b) < 1e-5 })
        }
    },
    "integers outside their range are refused by both runtimes" to {
        for (input in inputs.filter { it.dtype != Dtype.FLOAT32 }) for (column in 0 until input.width) {
            val range = input.ranges[column]
            for (bad in listOf(range.start.toLong() - 1, range.endInclusive.toLong() + 1, 1_000_000_000_000L)) {
                if (input.dtype == Dtype.INT32 && bad != bad.toInt().toLong()) continue
                val at = 3 * input.width + column
                val wrong = when (val values = ofRows(20).inputs.getValue(input.name)) {
                    is Values.Ints -> Values.Ints(values.data.copyOf().also { it[at] = bad.toInt() })
                    is Values.Longs -> Values.Longs(values.data.copyOf().also { it[at] = bad })
                    is Values.Floats, is Values.Bytes -> values
                }
                for (open in listOf(::tflite, ::mnn)) open(File(assets, "model.tflite")).use { model ->
                    refused<IllegalArgumentException>("${input.name} is $bad at row 3, ${input.columns[column]}: it takes") {
                        model.score(ofRows(20).inputs + (input.name to wrong))
                    }
                }
            }
        }
    },
    "a fixed number of rows is set once and gives the same scores" to {
        NAME.open(File(assets, "model.tflite"), fixedRows = 64).use { model ->
            val seen = events {
                for (case in cases) {
                    val scores = model.score(case.inputs)
                    expect(scores.size == case.expected.size && scores.zip(case.expected).all { (a, b) -> abs(a - b) < 1e-5 })
                }
            }
            expect(seen.count { it == "allocate" } == 1) { "$seen" }
            expect(seen.count { it == "run" } == cases.sumOf { (it.expected.size + 63) / 64 }) { "$seen" }
        }
        refused<IllegalArgumentException>("fixedRows is 0") { NAME.open(File(assets, "model.tflite"), fixedRows = 0) }
    },
    "another model's file is refused and freed" to {
        val first = inputs.first()
        val line = "input ${first.name} ${first.dtype.name.lowercase()} ${first.width}"
        val type = if (first.dtype == Dtype.INT32) "int64" else "int32"
        expect(line in text)
        val wrong = mapOf(
            text.replace("input ${first.name} ", "input other ") to "missing ${first.name}; unknown other",
            text.replace(line, "input ${first.name} $type ${first.width}") to "${first.name} is ${type.uppercase()}",
            text.replace(line, "$line\ninput more float32 3") to "unknown more",
            text.replace(line, "$line\n$line") to "twice",
            text.replace(line, line + "0") to "[n, ${first.width}]",
            text.replace("output ", "output other") to NAMEInputs.OUTPUT,
        )
        for ((content, why) in wrong) {
            val seen = events { refused<IllegalArgumentException>(why) { tflite(written(content)) } }
            expect(seen.last() == "close") { "$why: $seen" }
        }
        for (content in listOf(wrong.keys.first(), wrong.keys.elementAt(wrong.size - 2), wrong.keys.last())) {
            val seen = events { refused<IllegalArgumentException>("use the sources that came with it") { mnn(written(content)) } }
            expect(seen.last() == "release net") { "$seen" }
        }
        refused<IllegalArgumentException> { tflite(written("nonsense")) }
        refused<IllegalArgumentException>("is no MNN model") { mnn(written("nonsense")) }
        for (open in listOf(::tflite, ::mnn)) refused<IllegalArgumentException>("install the bundle") { open(File("/nowhere")) }
    },
    "an asset that is missing or compressed is refused with the way out" to {
        File(assets, "compressed.tflite").writeText(text)
        refused<IllegalArgumentException>("noCompress") { NAME.open(GoldenCases.context, "NAME/compressed.tflite") }
        refused<IllegalArgumentException>("missing") { NAME.open(GoldenCases.context, "nothing.tflite") }
        refused<IllegalArgumentException>("no asset") { NAMEMnn.open(GoldenCases.context, "nothing.mnn") }
    },
    "scores that are no numbers are refused" to {
        for (open in listOf(::tflite, ::mnn)) open(File(assets, "model.tflite")).use { model ->
            refused<IllegalStateException>("NaN") { failing("nan") { model.score(ofRows(20).inputs) } }
        }
    },
    "a model that keeps its batch is refused, by MNN when it is opened" to {
        tflite().use { model ->
            refused<IllegalStateException>("[1, 1]", "[20, 1]") { failing("fixed") { model.score(ofRows(20).inputs) } }
            model.score(ofRows(20).inputs)
        }
        refused<IllegalStateException>("made no session") { failing("no session") { mnn() } }
        refused<IllegalStateException> { failing("fixed") { mnn() } }
        mnn().use { model ->
            refused<IllegalStateException>("[2, 1]", "[20, 1]") { failing("fixed") { model.score(ofRows(20).inputs) } }
            expect(model.score(ofRows(20).inputs).zip(ofRows(20).expected).all { (a, b) -> abs(a - b) < 1e-5 })
        }
    },
    "MNN is resized before it is fed, every time the batch changes" to {
        mnn().use { model ->
            for (rows in listOf(20, 20, 1, 257, 20)) {
                val seen = events { model.score(ofRows(rows).inputs) }
                expect(seen.last() == "run" && ("reshape session" in seen) == (seen.size > 1)) { "$seen" }
                expect(seen.size == 1 || inputs.all { "reshape [$rows, ${it.width}]" in seen }) { "$seen" }
            }
        }
    },
    "a delegate runs the model, and the CPU where it fails" to {
        val file = File(assets, "model.tflite")
        var closed = 0
        val gpu = { object : Delegate { override fun getNativeHandle() = 7L; override fun close() { closed++ } } }
        val told = mutableListOf<String>()
        val events = object : ScoringEvents { override fun fellBack(reason: Exception) { told += "$reason" } }
        refused<IllegalArgumentException>("give fixedRows") { NAME.open(file, delegate = gpu, events = events) }
        val seen = events { NAME.open(file, fixedRows = 8, delegate = gpu, events = events).close() }
        expect("delegate 7" in seen && "allocate" in seen && seen.last() == "close" && closed == 1 && told.isEmpty()) { "$seen $closed" }
        for (fault in listOf("delegate", "")) {
            closed = 0
            val open = { NAME.open(file, fixedRows = 8, delegate = gpu, events = events) }
            failing(fault, open).use { model ->
                expect(model.score(ofRows(20).inputs).zip(ofRows(20).expected).all { (a, b) -> abs(a - b) < 1e-5 })
            }
            expect(closed == 1) { "$closed" }
        }
        expect(told.size == 1 && "Failed to apply delegate" in told[0]) { "$told" }
        NAME.open(file, fixedRows = 8, delegate = { throw NoClassDefFoundError("GpuDelegate") }, events = events).use { it.score(ofRows(1).inputs) }
        expect(told.size == 2 && "GpuDelegate" in told[1]) { "$told" }
        expect("open, threads 1, without XNNPACK" in events { NAME.open(file, xnnpack = false).close() })
    },
    "one interface over both runtimes, and for coroutines" to {
        val executor = java.util.concurrent.Executors.newSingleThreadExecutor()
        for (model in listOf<Scorer>(NAME.open(File(assets, "model.tflite")), NAMEMnn.open(File(assets, "model.mnn")))) model.use {
            val inputs = ofRows(20).inputs
            val found = waited { model.score(inputs, executor) }.getOrThrow()
            expect(found.contentEquals(model.score(inputs)))
            expect((waited { model.predict(inputs, executor) }.getOrThrow().getValue(NAMEInputs.OUTPUT) as Values.Floats).data.contentEquals(found))
            expect(waited { model.score(emptyMap(), executor) }.exceptionOrNull() is IllegalArgumentException)
        }
        executor.shutdown()
    },
    "models are exchanged and unloaded while scores are asked for" to {
        val (scored, refusals) = AtomicInteger() to AtomicInteger()
        val live = LiveScorer(NAME.open(File(assets, "model.tflite")), object : ScoringEvents {
            override fun scored(rows: Int, nanos: Long) { if (rows > 0 && nanos > 0) scored.incrementAndGet() }
            override fun refused(reason: Exception) { refusals.incrementAndGet() }
        })
        val wrong = java.util.concurrent.ConcurrentLinkedQueue<String>()
        val (calls, none) = AtomicInteger() to AtomicInteger()
        val ended = AtomicBoolean()
        val seen = events {
            val callers = (0 until 4).map { number ->
                thread {
                    var turn = 0
                    while (!ended.get()) {
                        turn++
                        val case = cases[(number + turn) % cases.size]
                        val answer = runCatching { live.score(case.inputs) }
                        calls.incrementAndGet()
                        val error = answer.exceptionOrNull()
                        if (error?.message.orEmpty().startsWith("no model is loaded")) none.incrementAndGet()
                        else if (!answer.map { it.zip(case.expected).all { (a, b) -> abs(a - b) < 1e-5 } }.getOrDefault(false)) wrong += "$error"
                    }
                }
            }
            for (exchange in 0 until 30) {
                live.swap(if (exchange % 3 == 2) null else if (exchange % 3 == 0) NAMEMnn.open(File(assets, "model.mnn")) else NAME.open(File(assets, "model.tflite")))
                val before = calls.get()
                while (calls.get() < before + 4 && callers.any { it.isAlive }) Thread.sleep(1)
            }
            ended.set(true)
            callers.forEach { it.join() }
            live.close()
        }
        expect(wrong.isEmpty()) { wrong.first() }
        expect(none.get() > 0 && scored.get() + none.get() == calls.get() && refusals.get() == none.get()) { "$scored $none $calls" }
        val opened = seen.count { it.startsWith("open, ") } to seen.count { it.startsWith("session, ") }
        expect(seen.count { it == "close" } == opened.first + 1 && seen.count { it == "release net" } == opened.second) { "$opened" }
        refused<IllegalStateException>("no model is loaded: keep the delivered order") { live.score(ofRows(1).inputs) }
        val late = NAME.open(File(assets, "model.tflite"))
        expect("close" in events { refused<IllegalStateException>("make another") { live.swap(late) } })
        val model = NAME.open(File(assets, "model.tflite"))
        LiveScorer(model).use { refused<IllegalArgumentException>("in use already") { it.swap(model) } }
    },
    "golden scores that differ are told" to {
        for (wrong in listOf(0.01f, Float.NaN)) {
            val told = GoldenCases.read("model.tflite").failures { given ->
                scored(tflite().use { it.score(given) }.also { it[it.size - 1] += wrong })
            }
            expect(told.size == cases.size && "apart" in told[0]) { "$told" }
        }
        val short = GoldenCases.read("model.mnn").failures { given -> scored(tflite().use { it.score(given) }.copyOf(1)) }
        expect(short.any { "1 scores for 20 rows" in it }) { "$short" }
    },
)

private fun firstRows(values: Values, rows: Int): Values = changed(values) { it / 257 * rows }

/** Megabytes that the process has in memory, before and after many lists of changing length. */
private fun memory() {
    fun resident() = File("/proc/self/status").readLines().first { "VmRSS" in it }.filter { it.isDigit() }.toInt() / 1024
    val lists = (1..257).map { rows -> ofRows(257).inputs.mapValues { firstRows(it.value, rows) } }
    val random = kotlin.random.Random(1)
    tflite().use { model ->
        repeat(5_000) { model.score(lists[random.nextInt(257)]) }
        val before = resident()
        repeat(60_000) { model.score(lists[random.nextInt(257)]) }
        val after = resident()
        println("${if (after - before <= 20) "ok  " else "FAIL"} from $before to $after MB")
    }
}

/** With an argument, only the instrumented tests of TensorFlow Lite: its stub may then be the true one. */
fun main(arguments: Array<String>) {
    if (arguments.contentEquals(arrayOf("memory"))) return memory()
    if (arguments.isNotEmpty()) return instrumented(NAMEGoldenTest::class.java)
    checks.forEach { (name, check) -> report(name, check) }
    instrumented(NAMEGoldenTest::class.java)
    instrumented(NAMEMnnGoldenTest::class.java)
}
