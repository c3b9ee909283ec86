// {{ name }}MnnTests.mm under XCTest. Add model.mnn and golden.bin to the resources of the
// test target, and the bundle's folder c to its header search paths; every check is a line in the test's log.
#import <XCTest/XCTest.h>

#import "{{ name }}MnnTests.h"

@interface {{ name }}MnnXCTests : XCTestCase
@end

@implementation {{ name }}MnnXCTests

- (void)testEveryCheckOfTheModel {
  NSBundle *bundle = [NSBundle bundleForClass:[self class]];
  NSString *model = [bundle pathForResource:@"model" ofType:@"mnn"];
  NSString *golden = [bundle pathForResource:@"golden" ofType:@"bin"];
  XCTAssertNotNil(model, @"add model.mnn to the resources of the test target");
  XCTAssertNotNil(golden, @"add golden.bin to the resources of the test target");
  if (!model || !golden) return;
  XCTAssertEqual({{ name }}MnnTestsRun(model, golden), 0, @"see the lines that begin with FAIL");
}

@end
