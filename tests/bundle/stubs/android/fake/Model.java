package fake;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.zip.CRC32;

/**
 * A model whose file is text, a tensor a line: {@code input NAME DTYPE 12x12x3} or {@code output NAME DTYPE 1}, without the
 * batch; {@code batch 4} if it is fixed. Its outputs depend on the name and the place of every value, so that swapped inputs
 * show. test_android.py computes the same.
 */
public final class Model {
  public static final List<String> EVENTS = Collections.synchronizedList(new ArrayList<>());

  /** What goes wrong: nan, fixed (the batch stays), no session; empty for nothing. */
  public static volatile String fault = "";

  public static final class Tensor {
    public String name, dtype;
    public int[] axes;

    private Tensor(String[] words) {
      name = words[1];
      dtype = words[2];
      axes = Arrays.stream(words[3].split("x")).mapToInt(Integer::parseInt).toArray();
    }

    /** With the batch. */
    public int[] shape(int rows) {
      int[] shape = new int[1 + axes.length];
      shape[0] = rows;
      System.arraycopy(axes, 0, shape, 1, axes.length);
      return shape;
    }

    public int width() {
      return size(axes);
    }
  }

  public final List<Tensor> inputs = new ArrayList<>();
  public final List<Tensor> outputs = new ArrayList<>();

  /** Rows at a time; 0 is any number. */
  public int batch = 0;

  /** Null if the content is no such file. */
  public static Model parse(byte[] content) {
    Model model = new Model();
    for (String line : new String(content, StandardCharsets.UTF_8).split("\n")) {
      String[] words = line.split(" ");
      if (words[0].equals("input")) model.inputs.add(new Tensor(words));
      else if (words[0].equals("output")) model.outputs.add(new Tensor(words));
      else if (words[0].equals("batch")) model.batch = Integer.parseInt(words[1]);
    }
    return model.outputs.isEmpty() ? null : model;
  }

  public static int size(int[] shape) {
    return Arrays.stream(shape).reduce(1, (a, b) -> a * b);
  }

  private static long crc(Tensor tensor) {
    CRC32 crc = new CRC32();
    crc.update(tensor.name.getBytes(StandardCharsets.UTF_8));
    return crc.getValue();
  }

  /** Values of an output, row by row; {@code values} are in the order of {@link #inputs}. */
  public double[] compute(int rows, List<double[]> values, int which) {
    Tensor output = outputs.get(which);
    double[] result = new double[rows * output.width()];
    for (int row = 0; row < rows; row++) {
      double sum = 0;
      for (int i = 0; i < inputs.size(); i++) {
        Tensor input = inputs.get(i);
        int width = input.width();
        for (int column = 0; column < width; column++) {
          double value = values.get(i)[row * width + column];
          double scaled = input.dtype.equals("float32") ? value : Math.floorMod((long) value, 1009L) / 1009.0;
          sum += (crc(input) % 1000 + 37 * column % 1000) / 10000.0 * scaled;
        }
      }
      for (int column = 0; column < output.width(); column++) {
        double value = fault.equals("nan") ? Double.NaN : Math.sin(sum + 0.1 * (crc(output) % 10 + column));
        result[row * output.width() + column] = output.dtype.equals("float32") ? (float) value : Math.rint(100 + 100 * value);
      }
    }
    return result;
  }
}
