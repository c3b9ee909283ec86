// {{ name }}MnnTests.mm under XCTest. Add a folder {{ name }} with model.mnn and
// golden.bin to the resources of the test target (as a folder, which stays one in the app), and the bundle's folder c to its
// header search paths; every check is a line in the test's log.
#import <XCTest/XCTest.h>

#import "{{ name }}MnnTests.h"

@interface {{ name }}MnnXCTests : XCTestCase
@end

@implementation {{ name }}MnnXCTests

- (void)testEveryCheckOfTheModel {
  NSBundle *bundle = [NSBundle bundleForClass:[self class]];
  NSString *model = [bundle pathForResource:@"model" ofType:@"mnn" inDirectory:@{{ name | quoted }}];
  NSString *golden = [bundle pathForResource:@"golden" ofType:@"bin" inDirectory:@{{ name | quoted }}];
  XCTAssertNotNil(model, @"add {{ name }}/model.mnn to the resources of the test target");
  XCTAssertNotNil(golden, @"add {{ name }}/golden.bin to the resources of the test target");
  if (!model || !golden) return;
  XCTAssertEqual({{ name }}MnnTestsRun(model, golden), 0, @"see the lines that begin with FAIL");
}

@end
