/* Microseconds of a call: the smallest mean over blocks of at least 4 ms, which a clock of 40 ns steps can time. C99. */
#ifndef TIMING_H
#define TIMING_H

#include <time.h>

static inline double timing_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double timing_microseconds(int (*call)(void *), void *state, double seconds) {
  double best = 1e300, start = timing_now();
  long calls = 1;
  do {
    double from = timing_now(), taken;
    long i;
    for (i = 0; i < calls; i++)
      if (!call(state)) return -1;
    taken = timing_now() - from;
    if (taken < 0.004)
      calls *= 2;
    else if (taken / (double)calls < best)
      best = taken / (double)calls;
  } while (timing_now() - start < seconds || best > 1e299);
  return best * 1e6;
}

#endif
