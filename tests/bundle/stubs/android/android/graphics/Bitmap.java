package android.graphics;

import java.awt.image.BufferedImage;

/** Pixels of a BufferedImage. As the true one it gives colours that are not multiplied by alpha, and none once recycled. */
public final class Bitmap {
  public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE, RGBA_1010102 }

  /** How many of them are in memory, and how many were at most. */
  public static int open, most;

  private BufferedImage image;

  public Bitmap(BufferedImage image) {
    this.image = image;
    synchronized (Bitmap.class) {
      most = Math.max(most, ++open);
    }
  }

  public int getWidth() {
    return image.getWidth();
  }

  public int getHeight() {
    return image.getHeight();
  }

  public void setColorSpace(ColorSpace colorSpace) {
    if (Integer.getInteger("sdk", 35) < 29) throw new NoSuchMethodError("setColorSpace");
  }

  public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
    if (image == null) throw new IllegalStateException("Can't call getPixels() on a recycled bitmap");
    if (x < 0 || y < 0 || x + width > image.getWidth() || y + height > image.getHeight())
      throw new IllegalArgumentException("x + width must be <= bitmap.width()");
    if (image.getType() == BufferedImage.TYPE_BYTE_GRAY) { // getRGB would change their gamma
      for (int i = 0; i < width * height; i++)
        pixels[offset + i / width * stride + i % width] =
            0xff000000 | 0x010101 * image.getRaster().getSample(x + i % width, y + i / width, 0);
    } else {
      image.getRGB(x, y, width, height, pixels, offset, stride);
    }
  }

  public void recycle() {
    if (image == null) return;
    image = null;
    synchronized (Bitmap.class) {
      open--;
    }
  }
}
