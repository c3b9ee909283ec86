{% if "model.tflite" in files %}
{% set call = "score" if single else "predict" %}
import XCTest

#if canImport({{ name }}Kit)
@testable import {{ name }}Kit
#endif

/// Golden cases of the bundle: `model.tflite` must give the same scores on this device as where it was made.
///
/// In the package nothing is to be done. A target of the app's own needs a folder `{{ name }}` with the bundle's files among
/// its resources (as a folder, which stays one in the app).
@available(iOS 13.0, macOS 10.15, *)
nonisolated final class {{ name }}GoldenTests: XCTestCase {

    private struct Case {
        let name: String
        let rows: Int
        let inputs: [String: {{ name }}.Values]
        let expected: [String: {{ name }}.Values]
    }

    private struct Unreadable: Error {
        let what: String
    }

    private static let file = "model.tflite"

    private var model: {{ name }}!
    private var cases: [Case] = []
    private var tolerance: [String: Double] = [:]  // by output

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
        let expected = try await model.{{ call }}(one.inputs)
        let called = expectation(description: "completion")
        model.{{ call }}(one.inputs) { result in
            XCTAssertTrue(Thread.isMainThread)
            XCTAssertEqual(try? result.get(), expected)
            called.fulfill()
        }
        await fulfillment(of: [called], timeout: 10)
    }

    func testCallersAtOnceDoNotDisturbEachOther() async throws {
        let scorer: {{ name }} = model
        let alone = try await outputs(of: cases)
        try await withThrowingTaskGroup(of: (Int, [String: {{ name }}.Values]).self) { group in
            for (index, one) in cases.enumerated() {
                let inputs = one.inputs
                group.addTask { (index, try await scorer.predict(inputs)) }
            }
            for try await (index, together) in group {
                XCTAssertEqual(together, alone[index])
            }
        }
    }

{% if batch %}
    func testAnotherNumberOfRowsIsRefused() async throws {
        let more = try XCTUnwrap(cases.first).inputs.mapValues { Self.twice($0) }
        await checkRefused(more, naming: "the model takes {{ batch }} at a time")
    }

    private static func twice(_ values: {{ name }}.Values) -> {{ name }}.Values {
        switch values {
        case .float32(let numbers): return .float32(numbers + numbers)
        case .int32(let numbers): return .int32(numbers + numbers)
        case .int64(let numbers): return .int64(numbers + numbers)
        case .uint8(let numbers): return .uint8(numbers + numbers)
        }
    }

{% else %}
    func testAFixedNumberOfRowsGivesTheSame() async throws {
        let path = try url("model", "tflite").path
        let fixed = {{ name }}(modelPath: path, fixedRows: 8)
        for one in cases {
            let expected = try await model.predict(one.inputs)
            let wrong = difference(try await fixed.predict(one.inputs), expected)
            XCTAssertNil(wrong, "\(one.name), \(wrong ?? "")")
        }
    }

{% endif %}

    func testModelsAreExchangedWhileScoresAreAskedFor() async throws {
        let path = try url("model", "tflite").path
        let counts = Counts()
        let live = {{ name }}LiveScorer(
            model,
            events: .init(scored: { rows, _ in counts.add(rows, 0) }, refused: { _ in counts.add(0, 1) }))
        let alone = try await outputs(of: cases)
        let inputs = cases.map { $0.inputs }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for turn in 0..<40 {
                let (given, wanted) = (inputs[turn % inputs.count], alone[turn % inputs.count])
                group.addTask { try await live.predict(given) == wanted }
                group.addTask {
                    if turn % 3 == 0 { live.swap({{ name }}(modelPath: path)) } else { await live.unload() }
                    return true
                }
            }
            for try await isRight in group { XCTAssertTrue(isRight) }
        }
        XCTAssertEqual(counts.rows, (0..<40).reduce(0) { $0 + cases[$1 % cases.count].rows })
        live.swap(nil)
        do {
            _ = try await live.predict(inputs[0])
            XCTFail("was scored")
        } catch {
            XCTAssertTrue(error.localizedDescription.contains("no model is loaded"), error.localizedDescription)
        }
        XCTAssertEqual(counts.refusals, 1)
    }

    private final class Counts: @unchecked Sendable {  // unchecked: under `lock`
        private let lock = NSLock()
        private(set) var rows = 0
        private(set) var refusals = 0

        func add(_ rows: Int, _ refusals: Int) {
            lock.lock()
            defer { lock.unlock() }
            self.rows += rows
            self.refusals += refusals
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
        inputs[{{ input.name | quoted }}] = .float32([Float](repeating: .nan, count: one.rows * {{ input.size }}))
        await checkRefused(inputs, naming: {{ input.name | quoted }})
    }

{% endif %}
{% else %}
    /// No input is a float that could be NaN, so NaN comes as another type.
    func testNaNIsRefused() async throws {
        let one = try XCTUnwrap(cases.first)
        var inputs = one.inputs
        inputs[{{ inputs[0].name | quoted }}] = .float32([Float](repeating: .nan, count: one.rows * {{ inputs[0].size }}))
        await checkRefused(inputs, naming: {{ inputs[0].name | quoted }})
    }

{% endfor %}
{% for input in inputs if input.outside %}
{% if loop.first %}
    func testAnIntegerOutsideItsRangeIsRefused() async throws {
        var inputs = try XCTUnwrap(cases.first).inputs
        let rows = try XCTUnwrap(cases.first).rows
        for wrong: {{ input.dtype | replace("uint", "UInt") | replace("int", "Int") }} in [{{ input.outside | join(", ") }}] {
            inputs[{{ input.name | quoted }}] = .{{ input.dtype }}([{{ input.dtype | replace("uint", "UInt") | replace("int", "Int") }}](repeating: wrong, count: rows * {{ input.size }}))
            await checkRefused(inputs, naming: "{{ input.name }} is \(wrong)")
        }
    }

{% endif %}
{% endfor %}
    // MARK: - Checks

    private func check(_ one: Case) async throws {
        if let wrong = difference(try await model.predict(one.inputs), one.expected) {
            XCTFail("\(one.name), \(wrong)")
        }
    }

    /// The first value that is further from the expected one than its output may be; nil if none is.
    private func difference(
        _ found: [String: {{ name }}.Values], _ expected: [String: {{ name }}.Values]
    ) -> String? {
        guard Set(found.keys) == Set(expected.keys) else { return "the outputs are \(found.keys.sorted())" }
        for (name, wanted) in expected {
            let (values, allowed) = (Self.numbers(wanted), tolerance[name] ?? 0)
            let given = found[name].map { Self.numbers($0) } ?? []
            guard given.count == values.count else { return "\(name): \(given.count) values, not \(values.count)" }
            for (place, pair) in zip(given, values).enumerated() where !(abs(pair.0 - pair.1) <= allowed) {  // NaN fails
                return "\(name), value \(place): \(pair.0), not \(pair.1), at most \(allowed) apart"
            }
        }
        return nil
    }

    private static func numbers(_ values: {{ name }}.Values) -> [Double] {
        switch values {
        case .float32(let numbers): return numbers.map { Double($0) }
        case .int32(let numbers): return numbers.map { Double($0) }
        case .int64(let numbers): return numbers.map { Double($0) }
        case .uint8(let numbers): return numbers.map { Double($0) }
        }
    }

    private func url(_ name: String, _ type: String) throws -> URL {
        return try XCTUnwrap(Self.resource("\(name).\(type)"), "add {{ name }}/\(name).\(type) to the test target")
    }

    /// A file of the bundle, among the resources of the tests.
    static func resource(_ file: String) -> URL? {
        #if SWIFT_PACKAGE
        return Bundle.module.url(forResource: file, withExtension: nil)
        #else
        return Bundle(for: Self.self).url(forResource: file, withExtension: nil, subdirectory: {{ name | quoted }})
        #endif
    }

    private func outputs(of cases: [Case]) async throws -> [[String: {{ name }}.Values]] {
        var result: [[String: {{ name }}.Values]] = []
        for one in cases {
            result.append(try await model.predict(one.inputs))
        }
        return result
    }

    private func checkRefused(_ inputs: [String: {{ name }}.Values], naming name: String) async {
        do {
            _ = try await model.predict(inputs)
            XCTFail("was scored")
        } catch {
            XCTAssertTrue(error.localizedDescription.contains(name), error.localizedDescription)
        }
    }

    // MARK: - golden.json

    private func read(_ content: Data) throws {
        let golden = try Self.cast(JSONSerialization.jsonObject(with: content), as: [String: Any].self, "golden.json")
        guard try Self.cast(golden["format"], as: NSNumber.self, "format").intValue == 2 else {
            throw Unreadable(what: "golden.json of another version")
        }
        let tolerances = try Self.cast(golden["tolerance"], as: [String: [String: NSNumber]].self, "tolerance")
        tolerance = try Self.cast(tolerances[Self.file], as: [String: NSNumber].self, "tolerance of \(Self.file)")
            .mapValues { $0.doubleValue }
        var types: [String: String] = [:]
        for part in ["inputs", "outputs"] {
            for tensor in try Self.cast(golden[part], as: [[String: Any]].self, part) {
                types[try Self.cast(tensor["name"], as: String.self, "name of a tensor")] =
                    try Self.cast(tensor["dtype"], as: String.self, "dtype of a tensor")
            }
        }
        cases = try Self.cast(golden["cases"], as: [[String: Any]].self, "cases").map { one in
            let expected = try Self.cast(one["expected"], as: [String: Any].self, "expected outputs of a case")
            return Case(
                name: try Self.cast(one["name"], as: String.self, "name of a case"),
                rows: try Self.cast(one["rows"], as: NSNumber.self, "rows of a case").intValue,
                inputs: try readAll(one["inputs"], types: types),
                expected: try readAll(expected[Self.file], types: types)
            )
        }
    }

    private func readAll(_ named: Any?, types: [String: String]) throws -> [String: {{ name }}.Values] {
        var result: [String: {{ name }}.Values] = [:]
        for (name, values) in try Self.cast(named, as: [String: Any].self, "values of a case") {
            let type = try Self.cast(types[name], as: String.self, "dtype of \(name)")
            if let numbers = values as? [NSNumber] {
                result[name] = try Self.readValues(numbers, type: type)
            } else {
                result[name] = try readStored(Self.cast(values, as: [String: NSNumber].self, name), type: type)
            }
        }
        return result
    }

    private static func readValues(_ numbers: [NSNumber], type: String) throws -> {{ name }}.Values {
        switch type {
        case "float32": return .float32(numbers.map { $0.floatValue })
        case "int32": return .int32(numbers.map { $0.int32Value })
        case "int64": return .int64(numbers.map { $0.int64Value })
        case "uint8": return .uint8(numbers.map { $0.uint8Value })
        default: throw Unreadable(what: "values of type \(type)")
        }
    }

    /// Many values, which lie in `golden.bin` only: add it to the folder.
    private func readStored(_ place: [String: NSNumber], type: String) throws -> {{ name }}.Values {
        let content = try Data(contentsOf: url("golden", "bin"))
        let start = try Self.cast(place["at"], as: NSNumber.self, "place of values").intValue
        let count = try Self.cast(place["count"], as: NSNumber.self, "number of values").intValue
        func numbers<Number: Numeric>() throws -> [Number] {
            var numbers = [Number](repeating: 0, count: count)
            let end = start + count * MemoryLayout<Number>.stride
            guard start >= 0, count >= 0, end <= content.count else { throw Unreadable(what: "values of golden.bin") }
            _ = numbers.withUnsafeMutableBytes { content[start..<end].copyBytes(to: $0) }
            return numbers
        }
        switch type {
        case "float32": return .float32(try numbers())
        case "int32": return .int32(try numbers())
        case "int64": return .int64(try numbers())
        case "uint8": return .uint8(try numbers())
        default: throw Unreadable(what: "values of type \(type)")
        }
    }

    private static func cast<T>(_ value: Any?, as type: T.Type, _ what: String) throws -> T {
        guard let result = value as? T else { throw Unreadable(what: what) }
        return result
    }
}
{% endif %}
