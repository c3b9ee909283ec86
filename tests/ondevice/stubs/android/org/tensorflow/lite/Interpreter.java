package org.tensorflow.lite;

import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Signatures of {@code training.tflite} as TensorFlow Lite's Java gives them, computed by its C library with the two files
 * without signatures that lie beside it, where that library calls none. The state is held here. Refuses what the true class
 * refuses: no inputs, another type or shape, a buffer that is no input's size.
 */
public final class Interpreter implements AutoCloseable {
  static {
    System.load(System.getProperty("interpreter"));
  }

  public static class Options extends InterpreterApi.Options {
    @Override
    public Options setNumThreads(int numThreads) {
      super.setNumThreads(numThreads);
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

  private static final String AFTER = "_after";
  private final List<ByteBuffer> contents = new ArrayList<>(); // must live as long as the interpreters
  private final long train, infer;
  private final Map<String, Integer> trainInputs = new TreeMap<>(), trainOutputs = new TreeMap<>();
  private final Map<String, Integer> inferInputs = new TreeMap<>(), inferOutputs = new TreeMap<>();
  private final Map<String, float[]> state = new TreeMap<>();
  private boolean closed = false;

  public Interpreter(File modelFile, Options options) {
    train = open(new File(modelFile.getParent(), "train_step.tflite"), options, trainInputs, trainOutputs);
    infer = open(new File(modelFile.getParent(), "infer.tflite"), options, inferInputs, inferOutputs);
    try {
      ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(new File(modelFile.getParent(), "initial.state").toPath()));
      bytes.order(ByteOrder.LITTLE_ENDIAN).position(44);
      for (String name : signatureOutputs("save")) {
        state.put(name, new float[bytes.getInt()]);
        for (int i = 0; i < state.get(name).length; i++) state.get(name)[i] = bytes.getFloat();
      }
    } catch (IOException error) {
      throw new IllegalArgumentException(error);
    }
  }

  private long open(File file, Options options, Map<String, Integer> ins, Map<String, Integer> outs) {
    try (RandomAccessFile opened = new RandomAccessFile(file, "r")) {
      contents.add(opened.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, file.length()));
    } catch (IOException error) {
      throw new IllegalArgumentException(error);
    }
    ByteBuffer content = contents.get(contents.size() - 1);
    long handle = create(content, content.capacity(), options.numThreads);
    for (int i = 0; i < inputs(handle); i++) ins.put(name(handle, i), i);
    for (int i = 0; i < outputs(handle); i++) outs.put(name(handle, -1 - i), -1 - i);
    return handle;
  }

  private List<String> signatureInputs(String key) {
    if (key.equals("save")) return List.of("ignored");
    if (key.equals("restore")) return signatureOutputs("save");
    if (key.equals("infer")) return without(inferInputs, "weights");
    List<String> names = new ArrayList<>(trainInputs.keySet());
    names.removeAll(signatureOutputs("save"));
    if (key.equals("evaluate")) names.remove("learning_rate");
    return names;
  }

  private List<String> signatureOutputs(String key) {
    if (key.equals("restore")) return List.of("steps");
    if (key.equals("infer")) return new ArrayList<>(inferOutputs.keySet());
    if (!key.equals("save")) return List.of("correct", "loss");
    List<String> names = new ArrayList<>(trainInputs.keySet());
    names.removeIf(name -> !trainOutputs.containsKey(name + AFTER));
    return names;
  }

  private static List<String> without(Map<String, Integer> places, String name) {
    List<String> names = new ArrayList<>(places.keySet());
    names.remove(name);
    return names;
  }

  public String[] getSignatureInputs(String signatureKey) {
    return signatureInputs(signatureKey).toArray(new String[0]);
  }

  public String[] getSignatureOutputs(String signatureKey) {
    return signatureOutputs(signatureKey).toArray(new String[0]);
  }

  public Tensor getInputTensorFromSignature(String inputName, String signatureKey) {
    if (!signatureInputs(signatureKey).contains(inputName)) throw new IllegalArgumentException("no input " + inputName);
    return signatureKey.equals("infer") ? new Handle(infer, inferInputs.get(inputName)) : new Handle(train, trainInputs.get(inputName));
  }

  public Tensor getOutputTensorFromSignature(String outputName, String signatureKey) {
    if (!signatureOutputs(signatureKey).contains(outputName)) throw new IllegalArgumentException("no output " + outputName);
    if (signatureKey.equals("save")) return new Handle(train, trainInputs.get(outputName));
    return signatureKey.equals("infer") ? new Handle(infer, inferOutputs.get(outputName)) : new Handle(train, trainOutputs.get(outputName));
  }

  public void runSignature(Map<String, Object> given, Map<String, Object> wanted, String signatureKey) {
    if (closed) throw new IllegalStateException("Internal error: The Interpreter has already been closed.");
    if (given == null || given.isEmpty()) throw new IllegalArgumentException("Input error: Inputs should not be null or empty.");
    if (!new HashSet<>(signatureInputs(signatureKey)).equals(given.keySet()))
      throw new IllegalArgumentException(signatureKey + " takes " + signatureInputs(signatureKey) + ", not " + given.keySet());
    if (signatureKey.equals("restore")) {
      for (String name : given.keySet()) {
        float[] values = new float[state.get(name).length];
        ByteBuffer bytes = bytes(given.get(name), DataType.FLOAT32, new Handle(train, trainInputs.get(name)).shape());
        bytes.asFloatBuffer().get(values);
        state.put(name, values);
      }
      put(wanted, "steps", state.get("step"));
    } else if (signatureKey.equals("save")) {
      for (String name : wanted.keySet()) put(wanted, name, state.get(name));
    } else if (signatureKey.equals("infer")) {
      run(infer, inferInputs, given);
      for (String name : wanted.keySet()) put(wanted, name, floats(infer, inferOutputs.get(name)));
    } else {
      run(train, trainInputs, given);
      for (String name : wanted.keySet()) put(wanted, name, floats(train, trainOutputs.get(name)));
      if (signatureKey.equals("train")) state.replaceAll((name, old) -> floats(train, trainOutputs.get(name + AFTER)));
    }
  }

  private void run(long handle, Map<String, Integer> places, Map<String, Object> given) {
    for (String name : given.keySet())
      check(resize(handle, places.get(name), shapeOf(given.get(name))), "resize");
    check(allocate(handle), "allocate");
    for (String name : places.keySet()) {
      Handle tensor = new Handle(handle, places.get(name));
      Object value = given.containsKey(name) ? given.get(name) : state.get(name);
      if (value == null) value = 0f; // the learning rate of evaluate
      if (value instanceof float[] && tensor.shape().length == 0) value = ((float[]) value)[0];
      check(write(handle, places.get(name), bytes(value, tensor.dataType(), tensor.shape())), "write");
    }
    check(invoke(handle), "invoke");
  }

  private static float[] floats(long handle, int place) {
    FloatBuffer bytes = read(handle, place).order(ByteOrder.nativeOrder()).asFloatBuffer();
    float[] values = new float[bytes.remaining()];
    bytes.get(values);
    return values;
  }

  private static void put(Map<String, Object> wanted, String name, float[] values) {
    Object target = wanted.get(name);
    if (target == null) return;
    if (!(target instanceof FloatBuffer)) throw new AssertionError("only float buffers are exercised here: " + name);
    if (((FloatBuffer) target).capacity() < values.length)
      throw new IllegalArgumentException("Cannot copy from a tensor with " + values.length + " values to a smaller buffer");
    ((FloatBuffer) target).put(values);
  }

  private static int[] shapeOf(Object value) {
    List<Integer> shape = new ArrayList<>();
    for (Object part = value; part.getClass().isArray(); part = Array.get(part, 0)) shape.add(Array.getLength(part));
    return shape.stream().mapToInt(Integer::intValue).toArray();
  }

  private static ByteBuffer bytes(Object value, DataType type, int[] shape) {
    if (!Arrays.equals(shapeOf(value), shape))
      throw new IllegalArgumentException("a tensor of shape " + Arrays.toString(shape) + " from " + Arrays.toString(shapeOf(value)));
    int count = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    ByteBuffer made = ByteBuffer.allocateDirect(count * type.byteSize()).order(ByteOrder.nativeOrder());
    fill(made, value, type);
    return made.rewind();
  }

  private static void fill(ByteBuffer made, Object value, DataType type) {
    if (value.getClass().isArray()) {
      for (int i = 0; i < Array.getLength(value); i++) fill(made, Array.get(value, i), type);
    } else if (value instanceof Float && type == DataType.FLOAT32) {
      made.putFloat((Float) value);
    } else if (value instanceof Integer && type == DataType.INT32) {
      made.putInt((Integer) value);
    } else {
      throw new IllegalArgumentException("Cannot convert between a tensor with type " + type + " and " + value.getClass());
    }
  }

  private static void check(int status, String step) {
    if (status != 0) throw new IllegalStateException(step + " gave status " + status);
  }

  @Override
  public void close() {
    if (closed) throw new IllegalStateException("Internal error: The Interpreter has already been closed.");
    closed = true;
    delete(train);
    delete(infer);
  }

  private static final class Handle implements Tensor {
    private final long handle;
    private final int index;

    Handle(long handle, int index) {
      this.handle = handle;
      this.index = index;
    }

    @Override
    public DataType dataType() {
      return Map.of(1, DataType.FLOAT32, 2, DataType.INT32).get(type(handle, index));
    }

    @Override
    public int numBytes() {
      return 4 * numElements();
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
}
