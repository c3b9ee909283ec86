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
      int[] dims;
      int[] allocated = null;
      double[] host = new double[0];

      int size() {
        return dims[0] * dims[1];
      }
    }

    public class Tensor {
      private final Native tensor;
      private float[] data = null;

      private Tensor(Native tensor) {
        this.tensor = tensor;
      }

      public void reshape(int[] dims) {
        checkValid();
        Model.EVENTS.add("reshape " + Arrays.toString(dims));
        tensor.dims = dims.clone();
        data = null;
      }

      public void setInputIntData(int[] data) {
        write(Arrays.stream(data).asDoubleStream().toArray());
      }

      public void setInputFloatData(float[] data) {
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
    }

    private final Map<String, Native> inputs = new HashMap<>();
    private final Native output = new Native();
    private boolean resized = false;

    private Session() {
      for (Model.Input input : model.inputs) {
        Native tensor = new Native();
        tensor.dims = new int[] {1, input.width};
        inputs.put(input.name, tensor);
      }
      output.dims = new int[] {1, 1};
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
      output.dims = output.allocated = new int[] {first.dims[0], 1};
      output.host = first.host;
    }

    public void run() {
      checkValid();
      Model.EVENTS.add("run");
      if (!resized) return;
      List<double[]> values = new ArrayList<>();
      for (Model.Input input : model.inputs) values.add(inputs.get(input.name).host);
      float[] scores = model.score(output.dims[0], values);
      for (Native tensor : inputs.values()) Arrays.fill(tensor.host, Double.NaN);
      for (int row = 0; row < scores.length; row++) output.host[row] = scores[row];
    }

    public Tensor getInput(String name) {
      checkValid();
      return inputs.containsKey(name) ? new Tensor(inputs.get(name)) : null;
    }

    public Tensor getOutput(String name) {
      checkValid();
      return name.equals(model.output) ? new Tensor(output) : null;
    }

    public void release() {
      checkValid();
      Model.EVENTS.add("release session");
    }
  }
}
