package com.taobao.android.mnn;

import fake.Model;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The public methods of MNN's class of this name, scoring as {@link Model} does. Fails as silently as the true one, but for
 * what there corrupts memory: data of another size than the tensor's, a tensor written before it has memory, a use after the
 * release. As there, a run computes the output where the first input was and leaves nothing of the others.
 */
public class MNNNetInstance {
  private final Model model;
  private boolean released = false;

  private MNNNetInstance(Model model) {
    this.model = model;
  }

  public static MNNNetInstance createFromFile(String fileName) {
    try {
      return createFromBuffer(Files.readAllBytes(Paths.get(fileName)));
    } catch (IOException error) {
      return null;
    }
  }

  public static MNNNetInstance createFromBuffer(byte[] buffer) {
    Model model = Model.parse(buffer);
    return model == null ? null : new MNNNetInstance(model);
  }

  public static class Config {
    public int forwardType = MNNForwardType.FORWARD_CPU.type;
    public int numThread = 4;
    public String[] saveTensors = null;
    public String[] outputTensors = null;
  }

  public Session createSession(Config config) {
    checkValid();
    Model.EVENTS.add("session, threads " + config.numThread + ", type " + config.forwardType);
    return Model.fault.equals("no session") ? null : new Session();
  }

  public void release() {
    checkValid();
    Model.EVENTS.add("release net");
    released = true;
  }

  private void checkValid() {
    if (released) throw new RuntimeException("MNNNetInstance native pointer is null, it may has been released");
  }

  public class Session {
    /** What the native side holds; every {@link Tensor} is only a handle to it. */
    private class Native {
      final String dtype;
      int[] dims;
      int[] allocated = null;
      double[] host = new double[0];

      Native(Model.Tensor tensor) {
        dtype = tensor.dtype;
        dims = tensor.shape(Math.max(1, model.batch));
      }

      int size() {
        return Model.size(dims);
      }
    }

    public class Tensor {
      private final Native tensor;
      private float[] data = null;
      private int[] ints = null;
      private byte[] bytes = null;

      private Tensor(Native tensor) {
        this.tensor = tensor;
      }

      public void reshape(int[] dims) {
        checkValid();
        Model.EVENTS.add("reshape " + Arrays.toString(dims));
        tensor.dims = dims.clone();
        data = null;
      }

      /** As the true one, which writes integers over whatever the tensor holds: over bytes, four at a time. */
      public void setInputIntData(int[] data) {
        if (tensor.dtype.equals("float32")) throw new AssertionError("integers are written over floats");
        if (!tensor.dtype.equals("uint8")) {
          write(Arrays.stream(data).asDoubleStream().toArray());
          return;
        }
        double[] values = new double[4 * data.length];
        for (int i = 0; i < values.length; i++) values[i] = data[i / 4] >>> 8 * (i % 4) & 255;
        write(values);
      }

      public void setInputFloatData(float[] data) {
        if (!tensor.dtype.equals("float32")) throw new AssertionError("floats are written over integers");
        double[] wide = new double[data.length];
        for (int i = 0; i < data.length; i++) wide[i] = data[i];
        write(wide);
      }

      private void write(double[] given) {
        checkValid();
        if (!Arrays.equals(tensor.allocated, tensor.dims)) throw new AssertionError("a tensor without memory is written");
        if (given.length != tensor.size())
          throw new AssertionError(given.length + " values are written over " + tensor.size());
        System.arraycopy(given, 0, tensor.host, 0, given.length);
        data = null;
      }

      public int[] getDimensions() {
        return tensor.dims.clone();
      }

      public float[] getFloatData() {
        if (data == null) data = new float[tensor.size()]; // kept for as long as this handle, as in the true one
        for (int i = 0; i < data.length; i++) data[i] = (float) tensor.host[i];
        return data;
      }

      public int[] getIntData() {
        if (ints == null) ints = new int[tensor.size()];
        for (int i = 0; i < ints.length; i++) ints[i] = (int) tensor.host[i];
        return ints;
      }

      public byte[] getUINT8Data() {
        if (bytes == null) bytes = new byte[tensor.size()];
        for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) tensor.host[i];
        return bytes;
      }
    }

    private final Map<String, Native> inputs = new HashMap<>();
    private final Map<String, Native> outputs = new HashMap<>();
    private boolean resized = false;

    private Session() {
      for (Model.Tensor input : model.inputs) inputs.put(input.name, new Native(input));
      for (Model.Tensor output : model.outputs) outputs.put(output.name, new Native(output));
      reshape();
    }

    public void reshape() {
      checkValid();
      Model.EVENTS.add("reshape session");
      resized = !Model.fault.equals("fixed");
      if (!resized) return; // the output keeps its shape
      for (Native tensor : inputs.values()) {
        tensor.allocated = tensor.dims.clone();
        tensor.host = new double[tensor.size()];
      }
      Native first = inputs.get(model.inputs.get(0).name);
      for (int i = 0; i < model.outputs.size(); i++) {
        Native output = outputs.get(model.outputs.get(i).name);
        output.dims = output.allocated = model.outputs.get(i).shape(first.dims[0]);
        output.host = i == 0 && first.size() >= output.size() ? first.host : new double[output.size()];
      }
    }

    public void run() {
      checkValid();
      Model.EVENTS.add("run");
      if (!resized) return;
      List<double[]> values = new ArrayList<>();
      for (Model.Tensor input : model.inputs) values.add(inputs.get(input.name).host);
      int rows = inputs.get(model.inputs.get(0).name).dims[0];
      List<double[]> results = new ArrayList<>();
      for (int i = 0; i < model.outputs.size(); i++) results.add(model.compute(rows, values, i));
      for (Native tensor : inputs.values()) Arrays.fill(tensor.host, Double.NaN);
      for (int i = 0; i < results.size(); i++)
        System.arraycopy(results.get(i), 0, outputs.get(model.outputs.get(i).name).host, 0, results.get(i).length);
    }

    public Tensor getInput(String name) {
      checkValid();
      return inputs.containsKey(name) ? new Tensor(inputs.get(name)) : null;
    }

    public Tensor getOutput(String name) {
      checkValid();
      return outputs.containsKey(name) ? new Tensor(outputs.get(name)) : null;
    }

    public void release() {
      checkValid();
      Model.EVENTS.add("release session");
    }
  }
}
