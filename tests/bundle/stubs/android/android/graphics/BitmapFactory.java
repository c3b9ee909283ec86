package android.graphics;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;

/** Decodes by javax.imageio, which leaves a picture as it is stored; null where it cannot, as the true one. */
public class BitmapFactory {
  public static class Options {
    public boolean inJustDecodeBounds;
    public boolean inPremultiplied = true;
    public boolean inScaled = true;
    public int inSampleSize;
    public Bitmap.Config inPreferredConfig = Bitmap.Config.ARGB_8888;
    public int outWidth = -1;
    public int outHeight = -1;
  }

  public static Bitmap decodeByteArray(byte[] data, int offset, int length, Options options) {
    try (ImageInputStream stream = ImageIO.createImageInputStream(new ByteArrayInputStream(data, offset, length))) {
      Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
      if (!readers.hasNext()) return null;
      ImageReader reader = readers.next();
      reader.setInput(stream);
      options.outWidth = reader.getWidth(0);
      options.outHeight = reader.getHeight(0);
      if (options.inJustDecodeBounds) return null;
      if (options.inPremultiplied || options.inScaled || options.inSampleSize > 1)
        throw new AssertionError("pixels would not be as stored");
      BufferedImage image = reader.read(0);
      return image == null ? null : new Bitmap(image);
    } catch (IOException | RuntimeException error) {
      return null;
    }
  }
}
