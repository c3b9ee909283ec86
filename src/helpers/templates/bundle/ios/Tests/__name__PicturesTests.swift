{% if pictures and "model.tflite" in files %}
import XCTest

#if canImport({{ name }}Kit)
@testable import {{ name }}Kit
#endif

/// Golden pictures of the bundle: `features.json` and `model.tflite` must make the same pixels and the same classes of them on
/// this device as where they were made.
@available(iOS 13.0, macOS 10.15, *)
nonisolated final class {{ name }}PicturesTests: XCTestCase {

    private struct Unreadable: Error {
        let what: String
    }

    private struct Case {
        let file: URL
        let says: String
        let prepared: ArraySlice<UInt8>
        let expected: [Double]
    }

    private static let file: {{ name }}JSON.Text = "model.tflite"
    private static let lead = 0.1

    private var classifier: {{ name }}Classifier!
    private var cases: [Case] = []
    private var labels: [String] = []
    private var tolerance = 0.0

    override func setUpWithError() throws {
        let folder = try XCTUnwrap({{ name }}GoldenTests.resource("pictures.json"), "add {{ name }} to the test target")
            .deletingLastPathComponent()
        classifier = {{ name }}Classifier(folder: folder)
        let golden = try {{ name }}JSON.read(
            Data(contentsOf: folder.appendingPathComponent("pictures.json")), most: 1 << 24)
        tolerance = try number(member(member(golden, "tolerance"), Self.file))
        labels = try array(member(golden, "labels")).map { try text($0) }
        let pictures = try array(member(golden, "pictures"))
        let prepared = try [UInt8](Data(contentsOf: folder.appendingPathComponent("pictures.bin")))
        let size = prepared.count / max(pictures.count, 1)
        cases = try pictures.enumerated().map { index, picture in
            Case(
                file: folder.appendingPathComponent(try text(member(picture, "file"))),
                says: try text(member(picture, "says")),
                prepared: prepared[(index * size)..<((index + 1) * size)],
                expected: try array(member(member(picture, "expected"), Self.file)).map { try number($0) })
        }
    }

    func testEveryPictureIsReproduced() async throws {
        XCTAssertFalse(cases.isEmpty)
        for one in cases {
            let wrong = try await check(one)
            XCTAssertNil(wrong, "\(one.file.lastPathComponent) (\(one.says)): \(wrong ?? "")")
        }
    }

    func testTheLabelsAreThoseOfTheBundle() async throws {
        let found = try await classifier.labels()
        XCTAssertEqual(found, labels)
    }

    func testManyPicturesAtOnceAreAsEachAlone() async throws {
        let many = (0..<11).map { {{ name }}Classifier.Picture.url(cases[$0 % cases.count].file) }
        let together = try await classifier.classify(many, top: 2)
        XCTAssertEqual(together.count, many.count)
        for (picture, found) in zip(many, together) {
            let alone = try await classifier.classify(picture, top: 2)
            XCTAssertEqual(found.count, 2)
            for (one, other) in zip(alone, found) {
                XCTAssertEqual(one.probability, other.probability, accuracy: 1e-5)
            }
        }
    }

    func testTheMostProbableLabelsComeFirst() async throws {
        let picture = {{ name }}Classifier.Picture.data(try Data(contentsOf: XCTUnwrap(cases.first).file))
        let all = try await classifier.classify(picture, top: 1000)
        XCTAssertEqual(Set(all.map { $0.name }), Set(labels))
        XCTAssertEqual(all.map { $0.probability }, all.map { $0.probability }.sorted(by: >))
        let first = try await classifier.classify(picture, top: 1)
        XCTAssertEqual(first, Array(all.prefix(1)))
    }

    func testTheCompletionFormGivesTheSame() async throws {
        let picture = {{ name }}Classifier.Picture.url(try XCTUnwrap(cases.first).file)
        let expected = try await classifier.classify(picture)
        let called = expectation(description: "completion")
        classifier.classify(picture) { result in
            XCTAssertTrue(Thread.isMainThread)
            XCTAssertEqual(try? result.get(), expected)
            called.fulfill()
        }
        await fulfillment(of: [called], timeout: 10)
    }

    func testWhatIsNoPictureIsRefused() async throws {
        let good = {{ name }}Classifier.Picture.url(try XCTUnwrap(cases.first).file)
        do {
            _ = try await classifier.classify([good, .data(Data(count: 100))])
            XCTFail("not refused")
        } catch let refusal as {{ name }}Pictures.Refusal {
            XCTAssertTrue(refusal.reason.hasPrefix("picture 1: "), refusal.reason)
        }
    }

    // MARK: - Checks

    /// What is wrong with a picture, nil if nothing is.
    private func check(_ one: Case) async throws -> String? {
        let prepared = try await classifier.prepare(.url(one.file))
        guard prepared.count == one.prepared.count else { return "\(prepared.count) bytes and not \(one.prepared.count)" }
        let apart = zip(prepared, one.prepared).map { abs(Int($0) - Int($1)) }
        let furthest = apart.max() ?? 0
        guard furthest <= 1 else {
            return "\(apart.filter { $0 > 1 }.count) of \(apart.count) bytes are more than 1 apart, at most \(furthest)"
        }
        let found = try await classifier.probabilities(of: [prepared])[0].map { Double($0) }
        guard found.count == one.expected.count else { return "\(found.count) probabilities" }
        if furthest == 0 {
            // so written that NaN fails
            let place = found.indices.first { !(abs(found[$0] - one.expected[$0]) <= tolerance) }
            return place.map { "\(labels[$0]) has \(found[$0]) and not \(one.expected[$0])" }
        }
        let sorted = one.expected.sorted(by: >)
        let wanted = one.expected.firstIndex(of: sorted[0])
        let got = found.indices.max { found[$0] < found[$1] }
        return sorted[0] - sorted[1] > Self.lead && got != wanted ? "it is of another class" : nil
    }

    // MARK: - pictures.json

    private func member(_ value: {{ name }}JSON.Value, _ key: {{ name }}JSON.Text) throws -> {{ name }}JSON.Value {
        guard case .object(let members) = value, let member = members[key] else { throw Unreadable(what: key.string) }
        return member
    }

    private func array(_ value: {{ name }}JSON.Value) throws -> [{{ name }}JSON.Value] {
        guard case .array(let elements) = value else { throw Unreadable(what: "a list is expected") }
        return elements
    }

    private func text(_ value: {{ name }}JSON.Value) throws -> String {
        guard case .text(let text) = value else { throw Unreadable(what: "text is expected") }
        return text.string
    }

    private func number(_ value: {{ name }}JSON.Value) throws -> Double {
        guard let number = value.number else { throw Unreadable(what: "a number is expected") }
        return number
    }
}
{% endif %}
