{% if "model.mnn" in files %}
package {{ name | lower }}

import android.content.Context
import com.taobao.android.mnn.MNNForwardType
import com.taobao.android.mnn.MNNNetInstance
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

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
class {{ name }}Mnn private constructor(private val net: MNNNetInstance, threads: Int) : Scorer {
    private val session: MNNNetInstance.Session
    private var rows = 0
    private var tensors: List<MNNNetInstance.Session.Tensor> = emptyList()
    private var outputs: List<MNNNetInstance.Session.Tensor> = emptyList()
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
{% if batch %}
            require(shape != null && shape.toList() == listOf({{ name }}Inputs.BATCH) + input.shape) {
{% else %}
            require(shape != null && shape.drop(1) == input.shape) {
{% endif %}
                "${input.name} has shape ${shape.contentToString()} in the model file and not " +
                    "[{{ batch or "n" }}, ${input.shape.joinToString()}]: use the sources that came with it"
            }
        }
{% if batch %}
        resize({{ name }}Inputs.BATCH)
{% else %}
        resize(2) // a session starts with one row: a batch that is fixed shows here
{% endif %}
    }

    @Synchronized
    override fun predict(inputs: Map<String, Values>): Map<String, Values> {
        check(!closed) { "this model is closed: open it again" }
        val count = {{ name }}Inputs.check(inputs)
        if (count != rows) resize(count)
        // All of them, every time: a run computes in their memory.
        for ((input, tensor) in {{ name }}Inputs.all.zip(tensors)) {
            when (val values = inputs.getValue(input.name)) {
                is Values.Floats -> tensor.setInputFloatData(values.data)
                is Values.Ints -> tensor.setInputIntData(values.data)
                is Values.Longs -> tensor.setInputIntData(narrow(values.data))
                is Values.Bytes -> tensor.setInputIntData(packed(input, values.data))
            }
        }
        session.run()
        return {{ name }}Inputs.outputs.zip(outputs).associate { (output, tensor) -> output.name to read(output, tensor) }
    }

    /** MNN has no 64-bit integers; what it gives is copied, because its own array is filled anew by the next run. */
    private fun read(output: Output, tensor: MNNNetInstance.Session.Tensor): Values {
        val given: Values? = when (output.dtype) {
            Dtype.FLOAT32 -> tensor.floatData?.let { Values.Floats(it.copyOf()) }
            Dtype.INT32 -> tensor.intData?.let { Values.Ints(it.copyOf()) }
            Dtype.INT64 -> tensor.intData?.let { data -> Values.Longs(LongArray(data.size) { data[it].toLong() }) }
            Dtype.UINT8 -> tensor.getUINT8Data()?.let { Values.Bytes(it.copyOf()) }
        }
        val values = checkNotNull(given) { "MNN gave no ${output.name}" }
        check(values.size == rows * output.width) {
            "MNN gave ${values.size} values of ${output.name} for $rows rows: install the model again"
        }
        {{ name }}Inputs.checkFinite(output, values)
        return values
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
{% if not batch %}
        for (input in {{ name }}Inputs.all) input(input.name).reshape(intArrayOf(count, *input.shape.toIntArray()))
        session.reshape()
{% endif %}
        tensors = {{ name }}Inputs.all.map { input ->
            input(input.name).also { checkShape(input.name, it, listOf(count) + input.shape) }
        }
        outputs = {{ name }}Inputs.outputs.map { output ->
            output(output.name).also { checkShape(output.name, it, listOf(count) + output.shape) }
        }
        rows = count
    }

    private fun input(name: String): MNNNetInstance.Session.Tensor =
        requireNotNull(session.getInput(name)) {
            "the model file has no input $name: use the sources that came with it"
        }

    private fun output(name: String): MNNNetInstance.Session.Tensor =
        requireNotNull(session.getOutput(name)) {
            "the model file has no output $name: use the sources that came with it"
        }

    private fun checkShape(name: String, tensor: MNNNetInstance.Session.Tensor, wanted: List<Int>) {
        val shape: IntArray? = tensor.dimensions
        check(shape != null && shape.toList() == wanted) {
            "$name has shape ${shape.contentToString()} and not $wanted: MNN could not resize the " +
                "model, convert it again{{ "" if batch else " with a free batch dimension" }}"
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

        /**
         * Bytes as the integers that lie in memory as they do: MNN's Java classes write no others.
         *
         * @throws IllegalArgumentException they do not fill up the last integer, which would be written past the end.
         */
        private fun packed(input: Input, values: ByteArray): IntArray {
            require(values.size % 4 == 0) {
                "${input.name} has ${values.size} bytes: MNN's Java classes write them in fours, score another number of " +
                    "rows, or with TensorFlow Lite"
            }
            return IntArray(values.size / 4).also {
                ByteBuffer.wrap(values).order(ByteOrder.nativeOrder()).asIntBuffer().get(it)
            }
        }
    }
}
{% endif %}
