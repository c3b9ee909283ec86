package android.content.res;

import java.io.Closeable;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;

public class AssetFileDescriptor implements Closeable {
  private final FileInputStream stream;
  private final long start, length;

  AssetFileDescriptor(FileInputStream stream, long start, long length) {
    this.stream = stream;
    this.start = start;
    this.length = length;
  }

  public FileDescriptor getFileDescriptor() {
    try {
      return stream.getFD();
    } catch (IOException error) {
      throw new AssertionError(error);
    }
  }

  public long getStartOffset() {
    return start;
  }

  public long getDeclaredLength() {
    return length;
  }

  @Override
  public void close() throws IOException {
    stream.close();
  }
}
