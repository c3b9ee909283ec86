package android.app;

import android.content.Context;
import android.content.res.AssetManager;
import android.os.Bundle;
import android.view.View;
import java.io.File;

/** A screen: properties say where its assets and its files are; the main thread is whichever has `MAIN`. */
public class Activity extends Context {
  public static final Object MAIN = new Object();
  public View content;
  private final AssetManager assets = new AssetManager(new File(System.getProperty("assets")));

  @Override
  public AssetManager getAssets() {
    return assets;
  }

  @Override
  public File getFilesDir() {
    return new File(System.getProperty("files"));
  }

  protected void onCreate(Bundle savedInstanceState) {}

  protected void onDestroy() {}

  public void setContentView(View view) {
    content = view;
  }

  public final void runOnUiThread(Runnable action) {
    synchronized (MAIN) {
      action.run();
    }
  }

  /** What Android does. */
  public void open() {
    synchronized (MAIN) {
      onCreate(null);
    }
  }

  public void leave() {
    synchronized (MAIN) {
      onDestroy();
    }
  }
}
