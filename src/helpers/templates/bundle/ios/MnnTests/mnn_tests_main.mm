{% if "model.mnn" in files %}
/* The tests of {{ name }}MnnTests.mm on a command line, on macOS or under GNUstep:
 *
 *     mnn_tests model.mnn golden.bin
 *
 * Exit status 0 if every check passes, 1 if one fails, 2 if called in another way. To build it in the bundle's folder:
 *
 *     clang++ -std=c++14 -I c -F <folder of MNN.framework> ios/MnnTests/{{ name }}MnnTests.mm
 *         ios/MnnTests/mnn_tests_main.mm -framework Foundation -framework MNN -o mnn_tests
 *
 * or, with the flags of gnustep-config --objc-flags and the libraries of gnustep-config --base-libs,
 *
 *     g++ -std=c++14 <flags> -I c -I <MNN>/include ios/MnnTests/{{ name }}MnnTests.mm
 *         ios/MnnTests/mnn_tests_main.mm <MNN>/build/libMNN.so <libraries> -o mnn_tests */
#include <cstdio>

#import "{{ name }}MnnTests.h"

static int run(const char *model, const char *golden) {
  const int failures =
      {{ name }}MnnTestsRun([NSString stringWithUTF8String:model], [NSString stringWithUTF8String:golden]);
  printf("%d failed\n", failures);
  fflush(stdout);
  return failures ? 1 : 0;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: mnn_tests model.mnn golden.bin\n");
    return 2;
  }
#ifdef __clang__
  @autoreleasepool {
    return run(argv[1], argv[2]);
  }
#else  // GCC has no @autoreleasepool
  NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];
  const int status = run(argv[1], argv[2]);
  [pool drain];
  return status;
#endif
}
{% endif %}
