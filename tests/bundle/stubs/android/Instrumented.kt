// What test_android.py runs of the rendered instrumented tests; it replaces NAME, the package, and what depends on the
// schema. Prints a line a check.
package PACKAGE

import java.lang.reflect.InvocationTargetException
import org.junit.After
import org.junit.Test

/** Run the rendered instrumented tests as JUnit would. */
internal fun instrumented(tests: Class<*>) {
    for (method in tests.methods.filter { it.isAnnotationPresent(Test::class.java) }) report("${tests.simpleName}.${method.name}") {
        val instance = tests.getDeclaredConstructor().newInstance()
        try {
            method.invoke(instance)
        } catch (error: InvocationTargetException) {
            throw error.targetException
        } finally {
            tests.methods.filter { it.isAnnotationPresent(After::class.java) }.forEach { it.invoke(instance) }
        }
    }
}

internal fun report(name: String, action: () -> Unit) =
    println(runCatching(action).fold({ "ok   $name" }, { "FAIL $name: $it at ${it.stackTrace.first { frame -> "Kt" in frame.className }}" }))

/** Every output of every case comes by its name, whole; the first of them as a score. */
private fun outputs(file: String, predict: (Map<String, Values>) -> Map<String, Values>, score: ((Map<String, Values>) -> FloatArray)?) =
    report("$file gives every output") {
        for (case in GoldenCases.read(file).cases) {
            val found = predict(case.inputs)
            check(found.keys.toList() == NAMEInputs.outputs.map { it.name }) { "${found.keys}" }
            for (output in NAMEInputs.outputs) {
                val values = found.getValue(output.name)
                check(values.dtype == output.dtype && values.size == case.rows * output.width) { output.name }
            }
            if (score != null) check((found.getValue(NAMEInputs.OUTPUT) as Values.Floats).data.contentEquals(score(case.inputs)))
        }
    }

/** A value that is not as expected is told, whichever output it is of. */
private fun wrong(file: String, predict: (Map<String, Values>) -> Map<String, Values>) =
    report("$file is held to every output") {
        for (output in NAMEInputs.outputs) {
            val told = GoldenCases.read(file).failures { given ->
                predict(given).onEach { (name, values) ->
                    if (name == output.name) when (values) {
                        is Values.Floats -> values.data[values.size - 1] += 0.01f
                        is Values.Ints -> values.data[values.size - 1] += 1
                        is Values.Longs -> values.data[values.size - 1] += 1L
                        is Values.Bytes -> values.data[values.size - 1]++
                    }
                }
            }
            check(told.size == GoldenCases.read(file).cases.size && told.all { "apart" in it }) { "$told" }
        }
    }

/** With an argument, only what needs TensorFlow Lite: its stub may then be the true one. */
fun main(arguments: Array<String>) {
    NAME.open(GoldenCases.context).use { model ->
        outputs("model.tflite", model::predict, SCORE)
        wrong("model.tflite", model::predict)
    }
    report("parts of eight rows, or the batch") {
        NAME.open(GoldenCases.context, threads = 1FIXED).use { model ->
            val told = GoldenCases.read("model.tflite").failures(model::predict)
            check(told.isEmpty()) { "$told" }
        }
    }
    instrumented(NAMEGoldenTest::class.java)
    if (arguments.isNotEmpty()) return
    NAMEMnn.open(GoldenCases.context).use { model ->
        outputs("model.mnn", model::predict, SCORE)
        wrong("model.mnn", model::predict)
    }
    instrumented(NAMEMnnGoldenTest::class.java)
}
