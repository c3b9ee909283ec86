package org.junit;

import org.junit.function.ThrowingRunnable;

public class Assert {
  protected Assert() {}

  public static void assertTrue(String message, boolean condition) {
    if (!condition) throw new AssertionError(message);
  }

  public static void assertEquals(Object expected, Object actual) {
    if (!expected.equals(actual)) throw new AssertionError("expected:<" + expected + "> but was:<" + actual + ">");
  }

  public static <T extends Throwable> T assertThrows(Class<T> expectedThrowable, ThrowingRunnable runnable) {
    try {
      runnable.run();
    } catch (Throwable thrown) {
      if (expectedThrowable.isInstance(thrown)) return expectedThrowable.cast(thrown);
      throw new AssertionError("unexpected exception type thrown: " + thrown, thrown);
    }
    throw new AssertionError("expected " + expectedThrowable.getName() + " to be thrown, but nothing was thrown");
  }
}
