package android.app;

import android.content.Context;
import android.content.res.AssetManager;
import java.io.File;

public class Instrumentation {
  /** Its assets are the folder that the system property {@code assets} names. */
  public Context getContext() {
    return new Context() {
      @Override
      public AssetManager getAssets() {
        return new AssetManager(new File(System.getProperty("assets")));
      }
    };
  }
}
