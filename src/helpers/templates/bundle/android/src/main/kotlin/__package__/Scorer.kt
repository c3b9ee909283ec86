package {{ name | lower }}

import java.util.concurrent.Executor
import kotlin.coroutines.suspendCoroutine

/** An open model, whichever runtime it is of. Calls from several threads wait for each other. */
interface Scorer : AutoCloseable {
    /**
     * Every output by its name, row by row.
     *
     * @throws IllegalArgumentException [inputs] do not fit, see [{{ name }}Inputs.check].
     * @throws IllegalStateException the model is closed, or does not answer with finite numbers for each row.
     */
    fun predict(inputs: Map<String, Values>): Map<String, Values>
{% if output.dtype == "float32" %}

    /** {{ "One score a row" if single else "The first output alone, `" ~ (output.name | comment) ~ "`, row by row" }}; see [predict]. */
    fun score(inputs: Map<String, Values>): FloatArray =
        (predict(inputs).getValue({{ name }}Inputs.OUTPUT) as Values.Floats).data
{% endif %}

    /** Free the runtime's memory; closing twice does nothing. */
    override fun close()
}

/**
 * [Scorer.predict] on a thread of [executor], for coroutines. It needs no library; one that is cancelled meanwhile still
 * ends, as a runtime cannot be interrupted.
 */
suspend fun Scorer.predict(inputs: Map<String, Values>, executor: Executor): Map<String, Values> =
    suspendCoroutine { caller -> executor.execute { caller.resumeWith(runCatching { predict(inputs) }) } }
{% if output.dtype == "float32" %}

/** [Scorer.score] on a thread of [executor], as [predict]. */
suspend fun Scorer.score(inputs: Map<String, Values>, executor: Executor): FloatArray =
    suspendCoroutine { caller -> executor.execute { caller.resumeWith(runCatching { score(inputs) }) } }
{% endif %}

/** What an app counts; each is called on the thread that scores, and must return soon. */
interface ScoringEvents {
    /** [rows] were scored in so many [nanos], waiting for other callers included. */
    fun scored(rows: Int, nanos: Long) {}

    /** Nothing was scored: inputs that do not fit, answers that are not finite, no model. The delivered order stays. */
    fun refused(reason: Exception) {}

    /** The model runs on the CPU, because what was asked for cannot: a device or a build without it. */
    fun fellBack(reason: Exception) {}
}

/**
 * The model in use, to be exchanged or unloaded while scores are asked for: a call ends with the model that it began with,
 * which is closed after the last of them.
 *
 * ```
 * val model = LiveScorer({{ name }}.open(context))
 * model.swap({{ name }}.open(File(delivery.current, "model.tflite"))) // after an installation
 * model.swap(null) // in onTrimMemory; scores are refused until the next swap
 * ```
 */
class LiveScorer(first: Scorer?, private val events: ScoringEvents = object : ScoringEvents {}) : Scorer {
    private class Lease(val scorer: Scorer) {
        var holders = 1 // this object, and calls that run
    }

    private val lock = Any()
    private var lease: Lease? = first?.let { Lease(it) }
    private var closed = false

    override fun predict(inputs: Map<String, Values>): Map<String, Values> {
        val start = System.nanoTime()
        try {
            val outputs = leased { it.predict(inputs) }
            val output = {{ name }}Inputs.outputs.first()
            events.scored(outputs.getValue(output.name).size / output.width, System.nanoTime() - start)
            return outputs
        } catch (error: IllegalArgumentException) {
            events.refused(error)
            throw error
        } catch (error: IllegalStateException) {
            events.refused(error)
            throw error
        }
    }

    /** Use [next] from now on, or nothing if it is null. The one before is closed when no call needs it any more. */
    fun swap(next: Scorer?) {
        val before = synchronized(lock) {
            require(next == null || next !== lease?.scorer) { "this model is in use already: open the next one" }
            if (closed) {
                next?.close()
                error("this model is closed: make another")
            }
            lease.also { lease = next?.let { Lease(it) } }
        }
        before?.let { release(it) }
    }

    override fun close() {
        val before = synchronized(lock) {
            closed = true
            lease.also { lease = null }
        }
        before?.let { release(it) }
    }

    private fun <T> leased(call: (Scorer) -> T): T {
        val held = synchronized(lock) {
            checkNotNull(lease?.also { it.holders++ }) { "no model is loaded: keep the delivered order" }
        }
        try {
            return call(held.scorer)
        } finally {
            release(held)
        }
    }

    private fun release(held: Lease) {
        val last = synchronized(lock) { --held.holders == 0 }
        if (last) held.scorer.close()
    }
}
