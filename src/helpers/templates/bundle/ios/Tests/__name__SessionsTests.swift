{% if encoding and "model.tflite" in files %}
import XCTest

#if canImport({{ name }}Kit)
@testable import {{ name }}Kit
#endif

/// Golden sessions of the bundle: `features.json` and `model.tflite` must make the same ids and the same order of raw
/// sessions on this device as where they were made.
@available(iOS 13.0, macOS 10.15, *)
nonisolated final class {{ name }}SessionsTests: XCTestCase {

    private struct Unreadable: Error {
        let what: String
    }

    private static let file: {{ name }}JSON.Text = "model.tflite"

    private var model: {{ name }}!
    private var features: {{ name }}Features!
    private var sessions: [{{ name }}JSON.Value] = []
    private var tolerance = 0.0

    override func setUpWithError() throws {
        let path = try url("model", "tflite").path
        model = {{ name }}(modelPath: path)
        features = try {{ name }}Features(contentsOf: url("features", "json"))
        let golden = try {{ name }}JSON.read(Data(contentsOf: url("sessions", "json")), most: 1 << 28)
        tolerance = try number(member(member(golden, "tolerance"), Self.file))
        sessions = try array(member(golden, "sessions"))
    }

    func testEverySessionIsReproduced() async throws {
        XCTAssertFalse(sessions.isEmpty)
        for session in sessions {
            let name = try text(member(session, "name")).string
            let wrong = try await check(session)
            XCTAssertNil(wrong, "\(name): \(wrong ?? "")")
        }
    }

    func testScoresThatAreNoNumbersAreRefused() {
        XCTAssertThrowsError(try {{ name }}Features.order(of: [0, .nan], rows: 2))
        XCTAssertThrowsError(try {{ name }}Features.order(of: [0], rows: 2))
        XCTAssertEqual(try? {{ name }}Features.order(of: [0, -0.0, 1, 0], rows: 4), [2, 0, 1, 3])
    }

    // MARK: - Checks

    /// What is wrong with a session, nil if nothing is.
    private func check(_ golden: {{ name }}JSON.Value) async throws -> String? {
        let raw = try Data(text(member(golden, "raw")).bytes)
        let session = try features.assemble(raw)
        for (name, ids) in session.ids {
            let expected = try array(member(member(golden, "inputs"), {{ name }}JSON.Text(stringLiteral: name)))
            if ids != expected.compactMap({ $0.wholeNumber }) { return "input \(name) is \(ids)" }
        }
        let expected = try array(member(member(golden, "expected"), Self.file)).map { try number($0) }
        let scores = try await session.infoIds.isEmpty ? [] : model.score(session.inputs)
        guard scores.count == expected.count else { return "\(scores.count) scores and not \(expected.count)" }
        for (row, score) in scores.enumerated() {
            let isClose = abs(Double(score) - expected[row]) <= tolerance  // so written that NaN fails
            if !isClose { return "row \(row) scores \(score) and not \(expected[row])" }
        }
        let order = try {{ name }}Features.order(of: scores, rows: scores.count)
        let wanted = try array(member(member(golden, "order"), Self.file)).map { try text($0).string }
        guard wanted.count == order.count else { return "\(order.count) candidates and not \(wanted.count)" }
        for (place, infoId) in wanted.enumerated() {
            // compared as bytes; in another order only where the tolerance cannot tell the expected scores apart
            let found = session.infoIds.firstIndex { Array($0.utf8) == Array(infoId.utf8) }
            guard let row = found, abs(expected[row] - expected[order[place]]) <= 2 * tolerance else {
                return "place \(place): resort_list[\(order[place])]"
            }
        }
        let reranked = try await features.rerank(raw, with: model)
        return reranked == order.map { session.infoIds[$0] } ? nil : "rerank gives another order"
    }

    // MARK: - sessions.json

    private func url(_ name: String, _ type: String) throws -> URL {
        return try XCTUnwrap(
            {{ name }}GoldenTests.resource("\(name).\(type)"), "add {{ name }}/\(name).\(type) to the test target")
    }

    private func member(_ value: {{ name }}JSON.Value, _ key: {{ name }}JSON.Text) throws -> {{ name }}JSON.Value {
        guard case .object(let members) = value, let member = members[key] else { throw Unreadable(what: key.string) }
        return member
    }

    private func array(_ value: {{ name }}JSON.Value) throws -> [{{ name }}JSON.Value] {
        guard case .array(let elements) = value else { throw Unreadable(what: "a list is expected") }
        return elements
    }

    private func text(_ value: {{ name }}JSON.Value) throws -> {{ name }}JSON.Text {
        guard case .text(let text) = value else { throw Unreadable(what: "text is expected") }
        return text
    }

    private func number(_ value: {{ name }}JSON.Value) throws -> Double {
        guard let number = value.number else { throw Unreadable(what: "a number is expected") }
        return number
    }
}
{% endif %}
