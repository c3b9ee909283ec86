package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;

/** Assets are the files of a folder. As in an APK, one that is mapped does not start at the beginning of what holds it. */
public final class AssetManager {
  private static final int START = 64;
  private final File folder;

  public AssetManager(File folder) {
    this.folder = folder;
  }

  public InputStream open(String fileName) throws IOException {
    return new FileInputStream(new File(folder, fileName));
  }

  public String[] list(String path) throws IOException {
    return new File(folder, path).list();
  }

  public AssetFileDescriptor openFd(String fileName) throws IOException {
    if (fileName.contains("compressed"))
      throw new FileNotFoundException("This file can not be opened as a file descriptor; it is probably compressed");
    byte[] content = open(fileName).readAllBytes();
    File holder = File.createTempFile("apk", null);
    holder.deleteOnExit();
    byte[] all = new byte[START + content.length + START];
    System.arraycopy(content, 0, all, START, content.length);
    Files.write(holder.toPath(), all);
    return new AssetFileDescriptor(new FileInputStream(holder), START, content.length);
  }
}
