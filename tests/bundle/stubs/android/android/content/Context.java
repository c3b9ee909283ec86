package android.content;

import android.content.res.AssetManager;
import java.io.File;

public abstract class Context {
  public abstract AssetManager getAssets();

  public File getFilesDir() {
    throw new UnsupportedOperationException("no files here");
  }
}
