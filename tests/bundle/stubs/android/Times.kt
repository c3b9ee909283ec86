// Re-ranks one raw session. For each line of seconds that it reads it says the shortest mean of blocks of calls, in
// microseconds; before that, the order. NAME and PACKAGE are replaced.
package PACKAGE

import java.io.File

fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val raw = File(folder, "session.json").readText()
    val features = Features.read(File(folder, "features.json"))
    NAME.open(File(folder, "model.tflite")).use { model ->
        println(features.rerank(raw, model::score).joinToString("\t"))
        while (true) {
            val seconds = readlnOrNull()?.toDouble() ?: return
            var calls = 1
            var best = Double.POSITIVE_INFINITY
            val start = now()
            while (now() - start < seconds || best.isInfinite()) {
                val from = now()
                repeat(calls) { features.rerank(raw, model::score) }
                val taken = now() - from
                if (taken < 0.004) calls *= 2 else best = minOf(best, taken / calls)
            }
            println(best * 1e6)
        }
    }
}

private fun now(): Double = System.nanoTime() / 1e9
