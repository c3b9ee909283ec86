{% if "model.mnn" in files %}
package {{ name | lower }}

import android.content.Context
import com.taobao.android.mnn.MNNForwardType
import com.taobao.android.mnn.MNNNetInstance
import java.io.File
import java.io.IOException

/**
 * Scores items with `{{ model | comment }}` through MNN.
 * See [{{ name }}Inputs] for what it takes.
 *
 * MNN's Java classes return null, or nothing at all, where a step fails, and write past the end of a tensor that is
 * smaller than its data. Every step is therefore checked here, shapes before data: where the shapes of a model do not
 * fit, the output keeps its own, and a run does nothing. What else could fail in `run()` cannot be seen from Java.
 *
 * A session belongs to one thread at a time: calls from several threads wait for each other.
 */
class {{ name }}Mnn private constructor(private val net: MNNNetInstance, threads: Int) : AutoCloseable {
    private val session: MNNNetInstance.Session
    private var rows = 0
    private var tensors: List<MNNNetInstance.Session.Tensor> = emptyList()
    private var output: MNNNetInstance.Session.Tensor? = null
    private var closed = false

    init {
        val config = MNNNetInstance.Config()
        config.forwardType = MNNForwardType.FORWARD_CPU.type // the only one whose tensors can be written in place
        config.numThread = threads
        session = checkNotNull(net.createSession(config)) {
            "MNN made no session: the file needs a later version of MNN"
        }
        for (input in {{ name }}Inputs.all) {
            val shape: IntArray? = input(input.name).dimensions
            require(shape != null && shape.size == 2 && shape[1] == input.width) {
                "${input.name} has shape ${shape.contentToString()} in the model file and not [n, ${input.width}]: " +
                    "use the sources that came with it"
            }
        }
        resize(2) // a session starts with one row: a batch that is fixed shows here
    }

    /**
     * One score a row.
     *
     * @throws IllegalArgumentException [inputs] do not fit, see [{{ name }}Inputs.check].
     * @throws IllegalStateException the model is closed, or does not answer with one finite score a row.
     */
    @Synchronized
    fun score(inputs: Map<String, Values>): FloatArray {
        check(!closed) { "this model is closed: open it again" }
        val count = {{ name }}Inputs.check(inputs)
        if (count != rows) resize(count)
        // All of them, every time: a run computes in their memory.
        for ((input, tensor) in {{ name }}Inputs.all.zip(tensors)) {
            when (val values = inputs.getValue(input.name)) {
                is Values.Floats -> tensor.setInputFloatData(values.data)
                is Values.Ints -> tensor.setInputIntData(values.data)
                is Values.Longs -> tensor.setInputIntData(narrow(values.data))
            }
        }
        session.run()
        val result = checkNotNull(output?.floatData) { "MNN gave no scores" }.copyOf()
        check(result.size == count) { "MNN gave ${result.size} scores for $count rows: install the model again" }
        val bad = result.indexOfFirst { !it.isFinite() }
        check(bad < 0) { "the score of row $bad is ${result[bad]}: the model file is damaged, install it again" }
        return result
    }

    /** Free the session and the model; closing twice does nothing. */
    @Synchronized
    override fun close() {
        if (closed) return
        closed = true
        session.release()
        net.release()
    }

    private fun resize(count: Int) {
        rows = 0 // nothing is right until everything is
        for (input in {{ name }}Inputs.all) input(input.name).reshape(intArrayOf(count, input.width))
        session.reshape()
        tensors = {{ name }}Inputs.all.map { input ->
            input(input.name).also { checkShape(input.name, it, intArrayOf(count, input.width)) }
        }
        output = output().also { checkShape({{ name }}Inputs.OUTPUT, it, intArrayOf(count, 1)) }
        rows = count
    }

    private fun input(name: String): MNNNetInstance.Session.Tensor =
        requireNotNull(session.getInput(name)) {
            "the model file has no input $name: use the sources that came with it"
        }

    private fun output(): MNNNetInstance.Session.Tensor =
        requireNotNull(session.getOutput({{ name }}Inputs.OUTPUT)) {
            "the model file has no output {{ "${" }}{{ name }}Inputs.OUTPUT}: use the sources that came with it"
        }

    private fun checkShape(name: String, tensor: MNNNetInstance.Session.Tensor, wanted: IntArray) {
        val shape: IntArray? = tensor.dimensions
        check(shape != null && shape.contentEquals(wanted)) {
            "$name has shape ${shape.contentToString()} and not ${wanted.contentToString()}: MNN could not resize the " +
                "model, convert it again with a free batch dimension"
        }
    }

    companion object {
        /**
         * Open an installed model file.
         *
         * @param threads that one call may use. One is fastest for small models: they end before a second has begun.
         * @throws IllegalArgumentException not the file of this model.
         * @throws IllegalStateException MNN cannot compute it, or not for any number of rows.
         */
        fun open(file: File, threads: Int = 1): {{ name }}Mnn {
            require(file.isFile) { "there is no model at $file: install the bundle first" }
            return open(MNNNetInstance.createFromFile(file.path), file.path, threads)
        }

        /** Open a model file that is part of the app. */
        fun open(context: Context, asset: String = "{{ name }}/model.mnn", threads: Int = 1): {{ name }}Mnn {
            val content = try {
                context.assets.open(asset).use { it.readBytes() }
            } catch (error: IOException) {
                throw IllegalArgumentException("there is no asset $asset: copy it into src/main/assets", error)
            }
            return open(MNNNetInstance.createFromBuffer(content), asset, threads)
        }

        private fun open(created: MNNNetInstance?, source: String, threads: Int): {{ name }}Mnn {
            val net = requireNotNull(created) { "$source is no MNN model: install the bundle again" }
            try {
                require(threads >= 1) { "threads is $threads: one or more" }
                return {{ name }}Mnn(net, threads)
            } catch (error: Throwable) {
                net.release()
                throw error
            }
        }

        /** MNN computes with 32-bit integers; the ranges of [{{ name }}Inputs] lie within, and were checked. */
        private fun narrow(values: LongArray) = IntArray(values.size) { values[it].toInt() }
    }
}
{% endif %}
