// What test_delivery.py runs of the rendered delivery client: one process that takes calls on its input, a line each with
// tabs between its words, and answers each with a line.
package PACKAGE

import java.io.File

private fun oneLine(text: String?) = "$text".replace(Regex("\\s+"), " ")

private fun answer(words: List<String>): String {
    val (call, folder) = words
    if (call == "assign") {
        val weights = words.drop(4).associate { it.substringBeforeLast("=") to it.substringAfterLast("=").toDouble() }
        return "assigned\t${Rollout.assign(words[2], weights, words[3])}"
    }
    val seconds = words.getOrElse(3) { "30" }.toDouble()
    val slowest = words.getOrElse(4) { "8192" }.toInt()
    val runtimes = words.drop(5).associate { it.substringBefore("=") to it.substringAfter("=") }
    val delivery = ModelDelivery(File(folder), runtimes, patience = Patience(seconds, slowest)) { file, score ->
        NAME.open(file).use { score(it::predict) }
    }
    return when (call) {
        "install" -> delivery.install(words[2]).let { "accepted\t${it.version}\t${it.replaced.orEmpty()}\t${it.cases}" }
        "switch" -> delivery.install(words[2], switched = { error("the app does not like it") }).version
        "rollback" -> "accepted\t${delivery.rollback().name}"
        "current" -> "current\t${delivery.current?.name.orEmpty()}"
        else -> error("no call $call")
    }
}

fun main() {
    for (line in generateSequence(::readlnOrNull)) {
        val said = try {
            answer(line.split("\t"))
        } catch (refusal: DeliveryRefusal) {
            "${refusal.kind}\t${oneLine(refusal.message)}"
        } catch (error: Exception) {
            "error\t${oneLine("$error")}"
        }
        println(said)
        System.out.flush()
    }
}
