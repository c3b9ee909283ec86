package fake;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.zip.CRC32;

/**
 * A model whose file is text, a tensor a line: {@code input NAME DTYPE WIDTH} or {@code output NAME}. Its score depends on the
 * name and the column of every value, so that swapped inputs show. test_android.py computes the same.
 */
public final class Model {
  public static final List<String> EVENTS = Collections.synchronizedList(new ArrayList<>());

  /** What goes wrong: nan, fixed (the batch stays), no session; empty for nothing. */
  public static volatile String fault = "";

  public static final class Input {
    public String name, dtype;
    public int width;
  }

  public final List<Input> inputs = new ArrayList<>();
  public String output;

  /** Null if the content is no such file. */
  public static Model parse(byte[] content) {
    Model model = new Model();
    for (String line : new String(content, StandardCharsets.UTF_8).split("\n")) {
      String[] words = line.split(" ");
      if (words[0].equals("input")) {
        Input input = new Input();
        input.name = words[1];
        input.dtype = words[2];
        input.width = Integer.parseInt(words[3]);
        model.inputs.add(input);
      } else if (words[0].equals("output")) {
        model.output = words[1];
      }
    }
    return model.output == null ? null : model;
  }

  /** Scores of rows; {@code values} are in the order of {@link #inputs}. */
  public float[] score(int rows, List<double[]> values) {
    float[] scores = new float[rows];
    for (int row = 0; row < rows; row++) {
      double sum = 0;
      for (int i = 0; i < inputs.size(); i++) {
        Input input = inputs.get(i);
        CRC32 crc = new CRC32();
        crc.update(input.name.getBytes(StandardCharsets.UTF_8));
        for (int column = 0; column < input.width; column++) {
          double value = values.get(i)[row * input.width + column];
          double scaled = input.dtype.equals("float32") ? value : Math.floorMod((long) value, 1009L) / 1009.0;
          sum += (crc.getValue() % 1000 + 37 * column) / 10000.0 * scaled;
        }
      }
      scores[row] = fault.equals("nan") ? Float.NaN : (float) Math.tanh(sum);
    }
    return scores;
  }
}
