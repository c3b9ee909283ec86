import XCTest

/// Golden cases of the bundle: `model.tflite` must give the same scores on this device as where it was made.
///
/// Add a folder `{{ name }}` with `model.tflite` and `golden.json` to the resources of the test target (as a folder, which
/// stays one in the app), and `{{ name }}.swift` to its sources, or `@testable import` the app that has it.
@available(iOS 13.0, macOS 10.15, *)
nonisolated final class {{ name }}GoldenTests: XCTestCase {

    private struct Case {
        let name: String
        let rows: Int
        let inputs: [String: {{ name }}.Values]
        let expected: [Float]
    }

    private struct Unreadable: Error {
        let what: String
    }

    private static let file = "model.tflite"

    private var model: {{ name }}!
    private var cases: [Case] = []
    private var tolerance: Float = 0

    override func setUpWithError() throws {
        model = {{ name }}(modelPath: try url("model", "tflite").path)
        try read(Data(contentsOf: url("golden", "json")))
    }

    func testEveryCaseIsReproduced() async throws {
        XCTAssertFalse(cases.isEmpty)
        for one in cases {
            try await check(one)
        }
    }

    func testTheCompletionFormGivesTheSame() async throws {
        let one = try XCTUnwrap(cases.first)
        let expected = try await model.score(one.inputs)
        let called = expectation(description: "completion")
        model.score(one.inputs) { result in
            XCTAssertTrue(Thread.isMainThread)
            XCTAssertEqual(try? result.get(), expected)
            called.fulfill()
        }
        await fulfillment(of: [called], timeout: 10)
    }

    func testCallersAtOnceDoNotDisturbEachOther() async throws {
        let scorer: {{ name }} = model
        let alone = try await scores(of: cases)
        try await withThrowingTaskGroup(of: (Int, [Float]).self) { group in
            for (index, one) in cases.enumerated() {
                let inputs = one.inputs
                group.addTask { (index, try await scorer.score(inputs)) }
            }
            for try await (index, together) in group {
                XCTAssertEqual(together, alone[index])
            }
        }
    }

    func testAFixedNumberOfRowsGivesTheSame() async throws {
        let path = try url("model", "tflite").path
        let fixed = {{ name }}(modelPath: path, fixedRows: 8)
        for one in cases {
            let expected = try await model.score(one.inputs)
            let scores = try await fixed.score(one.inputs)
            XCTAssertEqual(scores.count, expected.count)
            XCTAssertTrue(zip(scores, expected).allSatisfy { abs($0 - $1) <= tolerance }, one.name)
        }
    }

    func testAnUnknownInputIsRefused() async throws {
        var inputs = try XCTUnwrap(cases.first).inputs
        inputs["no such input"] = .float32([0])
        await checkRefused(inputs, naming: "no such input")
    }

    func testAMissingInputIsRefused() async throws {
        var inputs = try XCTUnwrap(cases.first).inputs
        inputs[{{ inputs[0].name | quoted }}] = nil
        await checkRefused(inputs, naming: {{ inputs[0].name | quoted }})
    }

    func testAnIncompleteRowIsRefused() async throws {
        var inputs = try XCTUnwrap(cases.first).inputs
        inputs[{{ inputs[-1].name | quoted }}] = .{{ inputs[-1].dtype }}([])
        await checkRefused(inputs, naming: {{ inputs[-1].name | quoted }})
    }

{% for input in inputs if input.dtype == "float32" %}
{% if loop.first %}
    func testNaNIsRefused() async throws {
        let one = try XCTUnwrap(cases.first)
        var inputs = one.inputs
        inputs[{{ input.name | quoted }}] = .float32([Float](repeating: .nan, count: one.rows * {{ input.width }}))
        await checkRefused(inputs, naming: {{ input.name | quoted }})
    }

{% endif %}
{% else %}
    /// No input is a float that could be NaN, so NaN comes as another type.
    func testNaNIsRefused() async throws {
        let one = try XCTUnwrap(cases.first)
        var inputs = one.inputs
        inputs[{{ inputs[0].name | quoted }}] = .float32([Float](repeating: .nan, count: one.rows * {{ inputs[0].width }}))
        await checkRefused(inputs, naming: {{ inputs[0].name | quoted }})
    }

{% endfor %}
{% for input in inputs if input.outside %}
{% if loop.first %}
    func testAnIntegerOutsideItsRangeIsRefused() async throws {
        var inputs = try XCTUnwrap(cases.first).inputs
        let rows = try XCTUnwrap(cases.first).rows
        for wrong: {{ input.dtype | capitalize }} in [{{ input.outside | join(", ") }}] {
            inputs[{{ input.name | quoted }}] = .{{ input.dtype }}([{{ input.dtype | capitalize }}](repeating: wrong, count: rows * {{ input.width }}))
            await checkRefused(inputs, naming: "{{ input.name }} is \(wrong)")
        }
    }

{% endif %}
{% endfor %}
    // MARK: - Checks

    private func check(_ one: Case) async throws {
        let scores = try await model.score(one.inputs)
        XCTAssertEqual(scores.count, one.expected.count, one.name)
        for (row, pair) in zip(scores, one.expected).enumerated() {
            let difference = abs(pair.0 - pair.1)
            if !(difference <= tolerance) {  // written so that NaN fails
                XCTFail("\(one.name), row \(row): \(pair.0), not \(pair.1), at most \(tolerance) apart")
                return
            }
        }
    }

    private func url(_ name: String, _ type: String) throws -> URL {
        return try XCTUnwrap(
            Bundle(for: Self.self).url(forResource: name, withExtension: type, subdirectory: {{ name | quoted }}),
            "add {{ name }}/\(name).\(type) to the test target")
    }

    private func scores(of cases: [Case]) async throws -> [[Float]] {
        var result: [[Float]] = []
        for one in cases {
            result.append(try await model.score(one.inputs))
        }
        return result
    }

    private func checkRefused(_ inputs: [String: {{ name }}.Values], naming name: String) async {
        do {
            _ = try await model.score(inputs)
            XCTFail("was scored")
        } catch {
            XCTAssertTrue(error.localizedDescription.contains(name), error.localizedDescription)
        }
    }

    // MARK: - golden.json

    private func read(_ content: Data) throws {
        let golden = try Self.cast(JSONSerialization.jsonObject(with: content), as: [String: Any].self, "golden.json")
        let tolerances = try Self.cast(golden["tolerance"], as: [String: NSNumber].self, "tolerance")
        tolerance = try Self.cast(tolerances[Self.file], as: NSNumber.self, "tolerance of \(Self.file)").floatValue
        var types: [String: String] = [:]
        for input in try Self.cast(golden["inputs"], as: [[String: Any]].self, "inputs") {
            types[try Self.cast(input["name"], as: String.self, "name of an input")] =
                try Self.cast(input["dtype"], as: String.self, "dtype of an input")
        }
        cases = try Self.cast(golden["cases"], as: [[String: Any]].self, "cases").map { one in
            try Self.readCase(one, types: types)
        }
    }

    private static func readCase(_ one: [String: Any], types: [String: String]) throws -> Case {
        let numbers = try cast(one["inputs"], as: [String: [NSNumber]].self, "inputs of a case")
        let expected = try cast(one["expected"], as: [String: [NSNumber]].self, "expected scores of a case")
        let scores = try cast(expected[file], as: [NSNumber].self, "expected scores of \(file)")
        var inputs: [String: {{ name }}.Values] = [:]
        for (name, values) in numbers {
            inputs[name] = try readValues(values, type: cast(types[name], as: String.self, "dtype of \(name)"))
        }
        return Case(
            name: try cast(one["name"], as: String.self, "name of a case"),
            rows: try cast(one["rows"], as: NSNumber.self, "rows of a case").intValue,
            inputs: inputs,
            expected: scores.map { $0.floatValue }
        )
    }

    private static func readValues(_ numbers: [NSNumber], type: String) throws -> {{ name }}.Values {
        switch type {
        case "float32": return .float32(numbers.map { $0.floatValue })
        case "int32": return .int32(numbers.map { $0.int32Value })
        case "int64": return .int64(numbers.map { $0.int64Value })
        default: throw Unreadable(what: "values of type \(type)")
        }
    }

    private static func cast<T>(_ value: Any?, as type: T.Type, _ what: String) throws -> T {
        guard let result = value as? T else { throw Unreadable(what: what) }
        return result
    }
}
