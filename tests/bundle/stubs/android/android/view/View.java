package android.view;

import android.app.Activity;
import android.content.Context;

public class View {
  public interface OnClickListener {
    void onClick(View v);
  }

  private OnClickListener listener;
  private volatile boolean enabled = true;

  public View(Context context) {}

  public void setOnClickListener(OnClickListener l) {
    listener = l;
  }

  public boolean performClick() {
    synchronized (Activity.MAIN) {
      listener.onClick(this);
    }
    return true;
  }

  public boolean isEnabled() {
    return enabled;
  }

  public void setEnabled(boolean enabled) {
    this.enabled = enabled;
  }

  public int getId() {
    return 0;
  }

  public void setId(int id) {}

  public boolean getFitsSystemWindows() {
    return false;
  }

  public void setFitsSystemWindows(boolean fitSystemWindows) {}
}
