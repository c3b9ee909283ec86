{% if "model.tflite" in files %}
package {{ name | lower }}

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.Interpreter

/**
 * Scores items with `{{ model | comment }}` through TensorFlow Lite.
 * See [{{ name }}Inputs] for what it takes.
 *
 * ```
 * {{ name }}.open(File(installed, "model.tflite")).use { model ->
{% if output.dtype == "float32" %}
 *     val scores = model.score(mapOf({{ inputs[0].name | kotlin | comment }} to values, ...))
{% endif %}
{% if not single %}
 *     val outputs = model.predict(mapOf({{ inputs[0].name | kotlin | comment }} to values, ...))
{% endif %}
 * }
 * ```
 *
 * An interpreter belongs to one thread at a time: calls from several threads wait for each other. Open one for each
 * thread that must not wait.
 */
class {{ name }} private constructor(
    private val interpreter: Interpreter,
    private val delegate: Delegate?,
{% if not batch %}
    private val fixedRows: Int?,
{% endif %}
) : Scorer {
    /** In the interpreter's order, which need not be the declared one: swapped inputs score wrongly in silence. */
    private val order: List<Input> = bind(interpreter)
    private val places: List<Int> = bindOutputs(interpreter)
    private var rows = 0
    /** The largest so far: the memory of direct buffers is freed late, and lists of many lengths would pile it up. */
    private val memory: Array<ByteBuffer> = Array(order.size + {{ name }}Inputs.outputs.size) { direct(0) }
    private var buffers: Array<ByteBuffer> = emptyArray()
    private var results: Array<ByteBuffer> = emptyArray()
    private var closed = false

    @Synchronized
    override fun predict(inputs: Map<String, Values>): Map<String, Values> {
        check(!closed) { "this model is closed: open it again" }
        val count = {{ name }}Inputs.check(inputs)
{% if batch %}
        return run(inputs, count)
{% else %}
        if (fixedRows == null) return run(inputs, count)
        return {{ name }}Inputs.inParts(inputs, count, fixedRows) { run(it, fixedRows) }
{% endif %}
    }

    private fun run(inputs: Map<String, Values>, count: Int): Map<String, Values> {
        if (count != rows) resize(count)
        for ((input, buffer) in order.zip(buffers)) {
            when (val values = inputs.getValue(input.name)) {
                is Values.Floats -> buffer.asFloatBuffer().put(values.data)
                is Values.Ints -> buffer.asIntBuffer().put(values.data)
                is Values.Longs -> buffer.asLongBuffer().put(values.data)
                is Values.Bytes -> buffer.duplicate().put(values.data)
            }
        }
        for (buffer in results) buffer.rewind() // the interpreter writes where the last answer ended
        interpreter.runForMultipleInputsOutputs(arrayOf<Any>(*buffers), places.zip(results).toMap<Int, Any>())
        checkWhole(count)
        return {{ name }}Inputs.outputs.zip(results).associate { (output, buffer) -> output.name to read(output, buffer) }
    }

    /** Some outputs have their shape only after a run, so that is when each must have filled its buffer. */
    private fun checkWhole(count: Int) {
        val short = results.indexOfFirst { it.hasRemaining() }
        if (short < 0) return
        rows = 0
        val output = {{ name }}Inputs.outputs[short]
        val shape = interpreter.getOutputTensor(places[short]).shape().contentToString()
        error(
            "${output.name} has shape $shape for $count rows and not ${listOf(count) + output.shape}: " +
                "convert the model again{{ "" if batch else " with a free batch dimension" }}",
        )
    }

    private fun read(output: Output, buffer: ByteBuffer): Values {
        buffer.rewind()
        val values = output.dtype.zeros(rows * output.width)
        when (values) {
            is Values.Floats -> buffer.asFloatBuffer().get(values.data)
            is Values.Ints -> buffer.asIntBuffer().get(values.data)
            is Values.Longs -> buffer.asLongBuffer().get(values.data)
            is Values.Bytes -> buffer.duplicate().get(values.data)
        }
        {{ name }}Inputs.checkFinite(output, values)
        return values
    }

    /** Free the interpreter; closing twice does nothing. */
    @Synchronized
    override fun close() {
        if (!closed) {
            interpreter.close()
            delegate?.close() // after the interpreter that runs on it
        }
        closed = true
    }

    /**
     * Buffers carry no shape: it is {{ "checked" if batch else "set" }} here, before any is read. (Arrays do, but one of `n` values is taken for `[n]`,
     * not `[n, 1]`, and scores NaN or zero.)
     */
    private fun resize(count: Int) {
        rows = 0 // nothing is right until everything is
{% if not batch %}
        for ((index, input) in order.withIndex()) interpreter.resizeInput(index, intArrayOf(count, *input.shape.toIntArray()))
{% endif %}
        interpreter.allocateTensors()
        val outputs = {{ name }}Inputs.outputs
        buffers = Array(order.size) { part(it, count * order[it].width * order[it].dtype.bytes) }
        results = Array(outputs.size) { part(order.size + it, count * outputs[it].width * outputs[it].dtype.bytes) }
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
{% if not batch %}
         * @param fixedRows score every list in parts of so many rows, the last filled up. Another number of rows costs next to
         *     nothing on the CPU; a delegate (GPU, NNAPI) builds its graph again for each, which takes longer than the scores.
{% endif %}
         * @param xnnpack whether XNNPACK computes what is float32: faster for dense and convolutional layers, and holds its weights
         *     a second time.
         * @param delegate makes what the model runs on instead of the CPU, e.g. `{ GpuDelegate() }` of `litert-gpu`; it is closed with the
         *     model.{{ "" if batch else " It needs [fixedRows]." }} Where it fails, the model runs on the CPU, and [events] are told.
         * @throws IllegalArgumentException not the file of this model.
         */
        fun open(
            file: File,
            threads: Int = 1,
{% if not batch %}
            fixedRows: Int? = null,
{% endif %}
            xnnpack: Boolean = true,
            delegate: (() -> Delegate)? = null,
            events: ScoringEvents? = null,
        ): {{ name }} =
            try {
                FileInputStream(file).use { stream ->
                    val content = stream.channel.map(FileChannel.MapMode.READ_ONLY, 0, file.length())
                    open(content, threads, {{ "" if batch else "fixedRows, " }}xnnpack, delegate, events)
                }
            } catch (error: FileNotFoundException) {
                throw IllegalArgumentException("there is no model at $file: install the bundle first", error)
            }

        /** Open a model file that is part of the app. */
        fun open(
            context: Context,
            asset: String = "{{ name }}/model.tflite",
            threads: Int = 1,
{% if not batch %}
            fixedRows: Int? = null,
{% endif %}
            xnnpack: Boolean = true,
            delegate: (() -> Delegate)? = null,
            events: ScoringEvents? = null,
        ): {{ name }} =
            try {
                context.assets.openFd(asset).use { part ->
                    FileInputStream(part.fileDescriptor).use { stream ->
                        val map = FileChannel.MapMode.READ_ONLY
                        val content = stream.channel.map(map, part.startOffset, part.declaredLength)
                        open(content, threads, {{ "" if batch else "fixedRows, " }}xnnpack, delegate, events)
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
            content: ByteBuffer,
            threads: Int,
{% if not batch %}
            fixedRows: Int?,
{% endif %}
            xnnpack: Boolean,
            delegate: (() -> Delegate)?,
            events: ScoringEvents?,
        ): {{ name }} {
            require(threads >= 1) { "threads is $threads: one or more" }
{% if not batch %}
            require(fixedRows == null || fixedRows >= 1) { "fixedRows is $fixedRows: one or more" }
            require(delegate == null || fixedRows != null) { "a delegate builds its graph for each number of rows: give fixedRows" }
{% endif %}
            val options = { Interpreter.Options().setNumThreads(threads).apply { if (!xnnpack) setUseXNNPACK(false) } }
            if (delegate != null) {
                var made: Delegate? = null
                var model: {{ name }}? = null
                try {
                    made = delegate()
                    model = open(content, options().addDelegate(made), made{{ "" if batch else ", fixedRows" }})
                    model.resize({{ name ~ "Inputs.BATCH" if batch else "checkNotNull(fixedRows)" }}) // builds its graph
                    return model
                } catch (error: Exception) { // of the delegate's own kinds, which differ by device
                    events?.fellBack(error)
                } catch (error: LinkageError) { // its library is not in the app, or not for this device
                    events?.fellBack(IllegalStateException(error))
                }
                if (model != null) model.close() else made?.close()
            }
            return open(content, options(), null{{ "" if batch else ", fixedRows" }})
        }

        private fun open(
            content: ByteBuffer,
            options: Interpreter.Options,
            delegate: Delegate?,
{% if not batch %}
            fixedRows: Int?,
{% endif %}
        ): {{ name }} {
            val interpreter = Interpreter(content, options)
            try {
                return {{ name }}(interpreter, delegate{{ "" if batch else ", fixedRows" }})
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
{% if batch %}
                val fits = shape.toList() == listOf({{ name }}Inputs.BATCH) + input.shape
{% else %}
                val fits = shape.drop(1) == input.shape
{% endif %}
                require(tensor.dataType() == typeOf(input.dtype) && fits) {
                    "${input.name} is ${tensor.dataType()} ${shape.contentToString()} in the model file and not " +
                        "${input.dtype} [{{ batch or "n" }}, ${input.shape.joinToString()}]: use the sources that came with it"
                }
            }
            return order
        }

        /** Where each output is, in declared order. */
        private fun bindOutputs(interpreter: Interpreter): List<Int> {
            val tensors = (0 until interpreter.outputTensorCount).map { interpreter.getOutputTensor(it) }
            val found = tensors.map { it.name() to it.dataType() }
            val wanted = {{ name }}Inputs.outputs.map { it.name to typeOf(it.dtype) }
            require(found.size == wanted.size && found.toSet() == wanted.toSet()) {
                "the model file answers with $found and not with $wanted alone: use the sources that came with it"
            }
            return wanted.map { found.indexOf(it) }
        }

        private fun typeOf(dtype: Dtype): DataType =
            when (dtype) {
                Dtype.FLOAT32 -> DataType.FLOAT32
                Dtype.INT32 -> DataType.INT32
                Dtype.INT64 -> DataType.INT64
                Dtype.UINT8 -> DataType.UINT8
            }
    }
}
{% endif %}
