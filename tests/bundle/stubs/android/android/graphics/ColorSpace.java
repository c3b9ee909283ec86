package android.graphics;

public abstract class ColorSpace {
  public enum Named { SRGB, DISPLAY_P3 }

  private static final ColorSpace S = new ColorSpace() {};

  public static ColorSpace get(Named name) {
    return S;
  }
}
