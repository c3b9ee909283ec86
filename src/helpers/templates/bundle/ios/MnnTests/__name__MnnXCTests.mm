{% if "model.mnn" in files %}
// {{ name }}MnnTests.mm under XCTest; every check is a line in the test's log. In the package nothing is to be done. A target
// of the app's own needs a folder {{ name }} with model.mnn and golden.bin among its resources (as a folder, which stays one
// in the app), and the bundle's folder c among its header search paths.
#import <XCTest/XCTest.h>

#import "{{ name }}MnnTests.h"

@interface {{ name }}MnnXCTests : XCTestCase
@end

@implementation {{ name }}MnnXCTests

- (void)testEveryCheckOfTheModel {
#ifdef SWIFT_PACKAGE
  NSBundle *bundle = SWIFTPM_MODULE_BUNDLE;
  NSString *folder = nil;
#else
  NSBundle *bundle = [NSBundle bundleForClass:[self class]];
  NSString *folder = @{{ name | quoted }};
#endif
  NSString *model = [bundle pathForResource:@"model" ofType:@"mnn" inDirectory:folder];
  NSString *golden = [bundle pathForResource:@"golden" ofType:@"bin" inDirectory:folder];
  XCTAssertNotNil(model, @"add {{ name }}/model.mnn to the resources of the test target");
  XCTAssertNotNil(golden, @"add {{ name }}/golden.bin to the resources of the test target");
  if (!model || !golden) return;
  XCTAssertEqual({{ name }}MnnTestsRun(model, golden), 0, @"see the lines that begin with FAIL");
}

@end
{% endif %}
