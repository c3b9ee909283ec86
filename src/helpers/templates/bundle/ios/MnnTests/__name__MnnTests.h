{% if "model.mnn" in files %}
/* Tests of model.mnn, see {{ name }}MnnTests.mm. */
#import <Foundation/Foundation.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs every check, prints a line for each, and returns how many failed: 0 is good. Blocks; keep it off the main thread
 * of an app. Needs an autorelease pool, which XCTest and main() have.
 *
 * modelPath: model.mnn. goldenPath: golden.bin of the same bundle. */
int {{ name }}MnnTestsRun(NSString *modelPath, NSString *goldenPath);

#ifdef __cplusplus
}
#endif
{% endif %}
