{% if "model.tflite" in files %}
package {{ name | lower }}

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.channels.FileChannel
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

/**
 * Scores items with `{{ model | comment }}` through TensorFlow Lite.
 * See [{{ name }}Inputs] for what it takes.
 *
 * ```
 * {{ name }}.open(File(installed, "model.tflite")).use { model ->
 *     val scores = model.score(mapOf({{ inputs[0].name | kotlin | comment }} to values, ...))
 * }
 * ```
 *
 * An interpreter belongs to one thread at a time: calls from several threads wait for each other. Open one for each
 * thread that must not wait.
 */
class {{ name }} private constructor(
    private val interpreter: Interpreter,
    private val fixedRows: Int?,
) : AutoCloseable {
    /** In the interpreter's order, which need not be the declared one: swapped inputs score wrongly in silence. */
    private val order: List<Input> = bind(interpreter)
    private var rows = 0
    /** The largest so far: the memory of direct buffers is freed late, and lists of many lengths would pile it up. */
    private val memory: Array<ByteBuffer> = Array(order.size + 1) { direct(0) }
    private var buffers: Array<ByteBuffer> = emptyArray()
    private var scores: FloatBuffer = FloatBuffer.allocate(0)
    private var closed = false

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
        if (fixedRows == null) return run(inputs, count)
        return {{ name }}Inputs.inParts(inputs, count, fixedRows) { run(it, fixedRows) }
    }

    private fun run(inputs: Map<String, Values>, count: Int): FloatArray {
        if (count != rows) resize(count)
        for ((input, buffer) in order.zip(buffers)) {
            when (val values = inputs.getValue(input.name)) {
                is Values.Floats -> buffer.asFloatBuffer().put(values.data)
                is Values.Ints -> buffer.asIntBuffer().put(values.data)
                is Values.Longs -> buffer.asLongBuffer().put(values.data)
            }
        }
        scores.rewind() // the interpreter writes where the last answer ended
        interpreter.runForMultipleInputsOutputs(arrayOf<Any>(*buffers), mapOf<Int, Any>(0 to scores))
        scores.rewind()
        val result = FloatArray(rows).also { scores.get(it) }
        val bad = result.indexOfFirst { !it.isFinite() }
        check(bad < 0) { "the score of row $bad is ${result[bad]}: the model file is damaged, install it again" }
        return result
    }

    /** Free the interpreter; closing twice does nothing. */
    @Synchronized
    override fun close() {
        if (!closed) interpreter.close()
        closed = true
    }

    /**
     * Buffers carry no shape: it is set here, before any is read. (Arrays do, but one of `n` values is taken for `[n]`,
     * not `[n, 1]`, and scores NaN or zero.)
     */
    private fun resize(count: Int) {
        rows = 0 // nothing is right until everything is
        for ((index, input) in order.withIndex()) interpreter.resizeInput(index, intArrayOf(count, input.width))
        interpreter.allocateTensors()
        val shape = interpreter.getOutputTensor(0).shape()
        check(shape.contentEquals(intArrayOf(count, 1))) {
            "{{ "${" }}{{ name }}Inputs.OUTPUT} has shape ${shape.contentToString()} for $count rows and not " +
                "[$count, 1]: convert the model again with a free batch dimension"
        }
        buffers = Array(order.size) { part(it, count * order[it].width * order[it].dtype.bytes) }
        scores = part(order.size, count * Float.SIZE_BYTES).asFloatBuffer()
        rows = count
    }

    /** The first [bytes] of a part of [memory]; the interpreter takes buffers of the tensor's size only. */
    private fun part(index: Int, bytes: Int): ByteBuffer {
        if (memory[index].capacity() < bytes) memory[index] = direct(bytes)
        val whole = memory[index].duplicate()
        whole.limit(bytes)
        return whole.slice().order(ByteOrder.nativeOrder())
    }

    companion object {
        /**
         * Open an installed model file. It is mapped into memory, so it must not be overwritten while it is open:
         * install into a folder for each version.
         *
         * @param threads that one call may use. One is fastest for small models: they end before a second has begun.
         * @param fixedRows score every list in parts of so many rows, the last filled up. Another number of rows costs next to
         *     nothing on the CPU; a delegate (GPU, NNAPI) builds its graph again for each, which takes longer than the scores.
         * @throws IllegalArgumentException not the file of this model.
         */
        fun open(file: File, threads: Int = 1, fixedRows: Int? = null): {{ name }} =
            try {
                FileInputStream(file).use { stream -> open(stream, 0, file.length(), threads, fixedRows) }
            } catch (error: FileNotFoundException) {
                throw IllegalArgumentException("there is no model at $file: install the bundle first", error)
            }

        /** Open a model file that is part of the app. */
        fun open(
            context: Context,
            asset: String = "{{ name }}/model.tflite",
            threads: Int = 1,
            fixedRows: Int? = null,
        ): {{ name }} =
            try {
                context.assets.openFd(asset).use { part ->
                    FileInputStream(part.fileDescriptor).use {
                        open(it, part.startOffset, part.declaredLength, threads, fixedRows)
                    }
                }
            } catch (error: IOException) {
                throw IllegalArgumentException(
                    "the asset $asset cannot be mapped: it is missing, or compressed for want of " +
                        "androidResources { noCompress += \"tflite\" } in build.gradle.kts",
                    error,
                )
            }

        private fun open(
            stream: FileInputStream,
            start: Long,
            length: Long,
            threads: Int,
            fixedRows: Int?,
        ): {{ name }} {
            require(threads >= 1) { "threads is $threads: one or more" }
            require(fixedRows == null || fixedRows >= 1) { "fixedRows is $fixedRows: one or more" }
            val content = stream.channel.map(FileChannel.MapMode.READ_ONLY, start, length)
            val interpreter = Interpreter(content, Interpreter.Options().setNumThreads(threads))
            try {
                return {{ name }}(interpreter, fixedRows)
            } catch (error: Throwable) {
                interpreter.close()
                throw error
            }
        }

        /** Direct and in native order: any other buffer is copied as its bytes stand, or more slowly. */
        private fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

        private fun bind(interpreter: Interpreter): List<Input> {
            val tensors = (0 until interpreter.inputTensorCount).map { interpreter.getInputTensor(it) }
            val declared = {{ name }}Inputs.all.associateBy { it.name }
            {{ name }}Inputs.checkNames(tensors.map { it.name() }.toSet()) { "this is another model's file" }
            require(tensors.size == declared.size) { "the model file names an input twice: convert it again" }
            val order = tensors.map { declared.getValue(it.name()) }
            for ((input, tensor) in order.zip(tensors)) {
                val shape = tensor.shape()
                require(tensor.dataType() == typeOf(input.dtype) && shape.size == 2 && shape[1] == input.width) {
                    "${input.name} is ${tensor.dataType()} ${shape.contentToString()} in the model file and not " +
                        "${input.dtype} [n, ${input.width}]: use the sources that came with it"
                }
            }
            val outputs = (0 until interpreter.outputTensorCount).map { interpreter.getOutputTensor(it).name() }
            require(outputs == listOf({{ name }}Inputs.OUTPUT)) {
                "the model file answers with $outputs and not with {{ "${" }}{{ name }}Inputs.OUTPUT} alone: " +
                    "use the sources that came with it"
            }
            return order
        }

        private fun typeOf(dtype: Dtype): DataType =
            when (dtype) {
                Dtype.FLOAT32 -> DataType.FLOAT32
                Dtype.INT32 -> DataType.INT32
                Dtype.INT64 -> DataType.INT64
            }
    }
}
{% endif %}
