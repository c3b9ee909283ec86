package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Map;

/** TensorFlow Lite itself, through its C API: takes the place of the stub of this name. */
public final class Interpreter implements InterpreterApi {
  static {
    System.load(System.getProperty("interpreter"));
  }

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

  private static native long create(ByteBuffer content, long size, int threads);

  private static native void delete(long handle);

  private static native int inputs(long handle);

  private static native int outputs(long handle);

  private static native String name(long handle, int index);

  private static native int type(long handle, int index);

  private static native int[] shape(long handle, int index);

  private static native int resize(long handle, int index, int[] dims);

  private static native int allocate(long handle);

  private static native int invoke(long handle);

  private static native int write(long handle, int index, ByteBuffer bytes);

  private static native ByteBuffer read(long handle, int index);

  private final class Handle implements Tensor {
    private final int index;

    Handle(int index) {
      this.index = index;
    }

    @Override
    public DataType dataType() {
      return Map.of(1, DataType.FLOAT32, 2, DataType.INT32, 3, DataType.UINT8, 4, DataType.INT64).get(type(handle, index));
    }

    @Override
    public int numBytes() {
      return numElements() * dataType().byteSize();
    }

    @Override
    public int numElements() {
      return Arrays.stream(shape()).reduce(1, (a, b) -> a * b);
    }

    @Override
    public int[] shape() {
      return Interpreter.shape(handle, index);
    }

    @Override
    public String name() {
      return Interpreter.name(handle, index);
    }
  }

  private final ByteBuffer content; // must live as long as the interpreter
  private final long handle;

  public Interpreter(ByteBuffer byteBuffer, Options options) {
    content = byteBuffer;
    handle = create(content, content.capacity(), options.numThreads);
    if (handle == 0) throw new IllegalArgumentException("ByteBuffer is not a valid TensorFlow Lite model flatbuffer");
  }

  @Override
  public void resizeInput(int idx, int[] dims) {
    check(resize(handle, idx, dims), "resize");
  }

  @Override
  public void allocateTensors() {
    check(allocate(handle), "allocate");
  }

  @Override
  public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
    for (int i = 0; i < inputs.length; i++) check(write(handle, i, (ByteBuffer) inputs[i]), "write");
    check(invoke(handle), "invoke");
    outputs.forEach((index, bytes) -> ((ByteBuffer) bytes).put(read(handle, -1 - index)));
  }

  private static void check(int status, String step) {
    if (status != 0) throw new IllegalStateException(step + " gave status " + status);
  }

  @Override
  public int getInputTensorCount() {
    return inputs(handle);
  }

  @Override
  public Tensor getInputTensor(int inputIndex) {
    return new Handle(inputIndex);
  }

  @Override
  public int getOutputTensorCount() {
    return outputs(handle);
  }

  @Override
  public Tensor getOutputTensor(int outputIndex) {
    return new Handle(-1 - outputIndex);
  }

  @Override
  public void close() {
    delete(handle);
  }
}
