package org.tensorflow.lite;

import fake.Model;
import java.io.File;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.MappedByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;

/** Scores as {@link Model} does. Refuses what the true one refuses, and also what that one does slowly or takes wrongly. */
public final class Interpreter implements InterpreterApi {
  public static class Options extends InterpreterApi.Options {
    @Override
    public Options setNumThreads(int numThreads) {
      super.setNumThreads(numThreads);
      return this;
    }

    @Override
    public Options setUseXNNPACK(boolean useXNNPACK) {
      super.setUseXNNPACK(useXNNPACK);
      return this;
    }

    @Override
    public Options addDelegate(Delegate delegate) {
      super.addDelegate(delegate);
      return this;
    }
  }

  private static final class FakeTensor implements Tensor {
    private final String name;
    private final DataType type;
    private int[] shape;

    FakeTensor(String name, DataType type, int[] shape) {
      this.name = name;
      this.type = type;
      this.shape = shape;
    }

    @Override
    public DataType dataType() {
      return type;
    }

    @Override
    public int numBytes() {
      return numElements() * type.byteSize();
    }

    @Override
    public int numElements() {
      return Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    }

    @Override
    public int[] shape() {
      return shape;
    }

    @Override
    public String name() {
      return name;
    }
  }

  private final Model model;
  private final List<FakeTensor> inputs = new ArrayList<>();
  private final List<FakeTensor> outputs = new ArrayList<>();
  private final AtomicBoolean busy = new AtomicBoolean();
  private boolean allocated = true;
  private boolean closed = false;

  public Interpreter(File modelFile, Options options) {
    throw new AssertionError("the bundle's classes map the file themselves");
  }

  public Interpreter(ByteBuffer byteBuffer, Options options) {
    if (!(byteBuffer instanceof MappedByteBuffer) && !good(byteBuffer, byteBuffer.order()))
      throw new IllegalArgumentException("Model ByteBuffer should be either a MappedByteBuffer or direct and native");
    byte[] content = new byte[byteBuffer.remaining()];
    byteBuffer.duplicate().get(content); // the true one reads at its address, and does not move it
    model = Model.parse(content);
    if (model == null) throw new IllegalArgumentException("ByteBuffer is not a valid TensorFlow Lite model flatbuffer");
    for (Model.Tensor input : model.inputs) inputs.add(fake(input));
    for (Model.Tensor output : model.outputs) outputs.add(fake(output));
    Model.EVENTS.add("open, threads " + options.numThreads + (options.useXNNPACK ? "" : ", without XNNPACK"));
    for (Delegate delegate : options.delegates) {
      Model.EVENTS.add("delegate " + delegate.getNativeHandle());
      if (Model.fault.equals("delegate")) throw new IllegalArgumentException("Failed to apply delegate");
    }
  }

  private FakeTensor fake(Model.Tensor tensor) {
    return new FakeTensor(tensor.name, DataType.valueOf(tensor.dtype.toUpperCase()), tensor.shape(Math.max(1, model.batch)));
  }

  @Override
  public void resizeInput(int idx, int[] dims) {
    checkOpen();
    Model.EVENTS.add("resize " + inputs.get(idx).name + " " + Arrays.toString(dims));
    inputs.get(idx).shape = dims.clone();
    allocated = false;
  }

  @Override
  public void allocateTensors() {
    checkOpen();
    Model.EVENTS.add("allocate");
    for (FakeTensor output : outputs)
      if (!Model.fault.equals("fixed")) output.shape[0] = inputs.get(0).shape[0];
    allocated = true;
  }

  @Override
  public void runForMultipleInputsOutputs(Object[] given, Map<Integer, Object> results) {
    checkOpen();
    if (!busy.compareAndSet(false, true)) throw new AssertionError("two threads at once");
    Model.EVENTS.add("run");
    if (!allocated) throw new AssertionError("resized and not allocated");
    if (given.length != inputs.size()) throw new AssertionError(given.length + " inputs");
    List<double[]> values = new ArrayList<>();
    for (int i = 0; i < given.length; i++) values.add(read(inputs.get(i), given[i]));
    Thread.yield();
    if (results.size() != outputs.size()) throw new AssertionError(results.size() + " outputs");
    for (int i = 0; i < outputs.size(); i++) {
      ByteBuffer target = (ByteBuffer) results.get(i);
      if (!good(target, target.order())) throw new AssertionError("the output is not direct or not in native order");
      if (target.capacity() < outputs.get(i).numBytes())
        throw new IllegalArgumentException("Cannot copy to a buffer with " + target.capacity() + " bytes");
      for (double value : model.compute(outputs.get(i).shape[0], values, i)) // where it stands, as the true one
        switch (outputs.get(i).type) {
          case FLOAT32: target.putFloat((float) value); break;
          case INT32: target.putInt((int) value); break;
          case INT64: target.putLong((long) value); break;
          default: target.put((byte) value);
        }
    }
    busy.set(false);
  }

  private static double[] read(FakeTensor tensor, Object given) {
    DataType own = given instanceof FloatBuffer ? DataType.FLOAT32
        : given instanceof IntBuffer ? DataType.INT32
        : given instanceof LongBuffer ? DataType.INT64
        : given instanceof ByteBuffer ? tensor.type
        : null;
    if (own == null) throw new AssertionError(tensor.name + " is no buffer: its shape would be guessed");
    if (own != tensor.type)
      throw new IllegalArgumentException("Cannot convert between a tensor with type " + tensor.type + " and " + given);
    if (!(given instanceof ByteBuffer)) throw new AssertionError("only byte buffers are exercised here");
    ByteBuffer bytes = (ByteBuffer) given;
    if (!good(bytes, bytes.order())) throw new AssertionError(tensor.name + " is not direct or not in native order");
    if (bytes.capacity() != tensor.numBytes())
      throw new IllegalArgumentException(
          "Cannot copy to a tensor with " + tensor.numBytes() + " bytes from a buffer with " + bytes.capacity());
    double[] values = new double[tensor.numElements()];
    for (int i = 0; i < values.length; i++)
      values[i] = own == DataType.FLOAT32 ? bytes.getFloat(4 * i)
          : own == DataType.INT32 ? bytes.getInt(4 * i)
          : own == DataType.UINT8 ? bytes.get(i) & 255
          : bytes.getLong(8 * i);
    return values;
  }

  private static boolean good(Buffer buffer, ByteOrder order) {
    return buffer.isDirect() && order == ByteOrder.nativeOrder();
  }

  @Override
  public int getInputTensorCount() {
    return inputs.size();
  }

  @Override
  public Tensor getInputTensor(int inputIndex) {
    return inputs.get(inputIndex);
  }

  @Override
  public int getOutputTensorCount() {
    return outputs.size();
  }

  @Override
  public Tensor getOutputTensor(int outputIndex) {
    return outputs.get(outputIndex);
  }

  @Override
  public void close() {
    checkOpen();
    Model.EVENTS.add("close");
    closed = true;
  }

  private void checkOpen() {
    if (closed) throw new IllegalStateException("Internal error: The Interpreter has already been closed.");
  }
}
