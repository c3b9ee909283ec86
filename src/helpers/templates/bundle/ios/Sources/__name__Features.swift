{% if encoding %}
{% import "ios/Sources/json.swift" as reader %}
import Foundation

/// Raw behaviour to the integer inputs of `{{ files[0] }}` ({{ model | comment }}), as its `features.json` says.
///
///     let features = try {{ name }}Features(contentsOf: folder.appendingPathComponent("features.json"))
///     let infoIds = try await features.rerank(rawJSON, with: model)
///
/// A session is `{"last_click": {"info_id": "7", "feature": {"800026": "887"}}, "resort_list": [{"info_id": ...,
/// "feature": ...}]}`. A field's value is text. A whole number is an optional minus and 1 to 20 digits within int64, a
/// number may go on with a point and 1 to 20 digits; anything else, a field that is not there, and the sentinel -2147483648
/// are missing. What has a number gets a position: `bucketize`, the first j with value < boundaries[j]; `label_encode`,
/// where it first occurs in the vocabulary; `plain`, itself if below count; `equal`, whether both fields hold the same. In
/// mode `published` the id is the position, and 0 for missing and unknown; in mode `separate` 0 is missing, then 1 unknown
/// (`label_encode`, `plain`), then come the positions.
///
/// Ids never pass through a `Double`. It holds nothing that changes: tasks may share it.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public struct {{ name }}Features: Sendable {

    /// The candidates in delivered order; of each input, an id a candidate.
    public struct Session: Sendable {
        /// Half of a surrogate pair, which JSON can escape and Swift cannot hold, is U+FFFD here.
        public let infoIds: [String]
        public let ids: [String: [Int64]]

        /// What the model takes: int64 `[n, 1]` each.
        public var inputs: [String: {{ name }}.Values] {
            return ids.mapValues { {{ name }}.Values.int64($0) }
        }
    }

    /// Why there are no inputs, or no order: what is wrong, and where.
    public struct Refusal: LocalizedError, Equatable, Sendable {
        public let reason: String
        public var errorDescription: String? { return reason }

        init(_ reason: String) { self.reason = reason }
    }

    private static let missing: Int64 = -2_147_483_648
    private static let mostIds: Int64 = 2_147_483_645
    private static let mostBytes = 1 << 28
    private static let mostRaw = 1 << 26

    private let isSeparate: Bool
    private let encoders: [Encoder]

    // MARK: - Sessions

    /// The info_ids by descending score; equal scores keep the delivered order.
    ///
    /// - Throws: `Refusal` as `assemble`, or what the model throws. Keep the delivered order then.
    public func rerank(_ rawJSON: Data, with model: any {{ name }}Scorer{{ " = " ~ name ~ ".shared" if "model.tflite" in files else "" }}) async throws -> [String] {
        let session = try assemble(rawJSON)
        if session.infoIds.isEmpty { return [] }  // nothing to score: the model refuses a batch of none
        let scores = try await model.score(session.inputs)
        return try Self.order(of: scores, rows: session.infoIds.count).map { session.infoIds[$0] }
    }

    /// The same for text.
    public func rerank(_ rawJSON: String, with model: any {{ name }}Scorer{{ " = " ~ name ~ ".shared" if "model.tflite" in files else "" }}) async throws -> [String] {
        return try await rerank(Data(rawJSON.utf8), with: model)
    }

    /// Rows by descending score, equal ones in delivered order. (Swift does not promise that its sort is stable.)
    static func order(of scores: [Float], rows: Int) throws -> [Int] {
        guard scores.count == rows, scores.allSatisfy({ $0.isFinite }) else {
            throw Refusal("\(rows) finite scores are needed, not \(scores): keep the delivered order")
        }
        return scores.indices.sorted { a, b in scores[a] == scores[b] ? a < b : scores[a] > scores[b] }
    }

    /// The inputs of a session's JSON, which is UTF-8.
    ///
    /// - Throws: `Refusal`: no JSON; a key twice in one object; no `last_click` or `resort_list`; a post without an
    ///   `info_id` (text) and a `feature` (object); an `info_id` twice; a field that an encoder reads and that is no text.
    public func assemble(_ rawJSON: Data) throws -> Session {
        guard case .object(let session) = try {{ name }}JSON.read(rawJSON, most: Self.mostRaw) else {
            throw Refusal("the session must be an object with last_click and resort_list")
        }
        guard let last = session["last_click"] else { throw Refusal("the session has no last_click") }
        guard let list = session["resort_list"] else { throw Refusal("the session has no resort_list") }
        guard case .array(let posts) = list else { throw Refusal("resort_list must be a list of posts") }
        let lastClick = try Post(last, at: "last_click")
        var candidates: [Post] = []
        var rows: [{{ name }}JSON.Text: Int] = [:]
        for (row, value) in posts.enumerated() {
            let post = try Post(value, at: "resort_list[\(row)]")
            if let before = rows.updateValue(row, forKey: post.infoId) {
                throw Refusal("resort_list[\(before)] and resort_list[\(row)] have the same info_id: list each post once")
            }
            candidates.append(post)
        }
        var ids: [String: [Int64]] = [:]
        for encoder in encoders {
            let text = try lastClick.text(of: encoder.lastClick)
            ids[encoder.name] = try candidates.map { candidate -> Int64 in
                let own = try candidate.text(of: encoder.candidate)
                return id(of: encoder.position(text, own), canBeUnknown: encoder.canBeUnknown)
            }
        }
        return Session(infoIds: candidates.map { $0.infoId.string }, ids: ids)
    }

    private func id(of position: Position, canBeUnknown: Bool) -> Int64 {
        switch position {
        case .missing: return 0
        case .unknown: return isSeparate ? 1 : 0
        case .at(let place): return isSeparate ? place + (canBeUnknown ? 2 : 1) : place
        }
    }

    private struct Post {
        let place: String
        let infoId: {{ name }}JSON.Text
        let feature: [{{ name }}JSON.Text: {{ name }}JSON.Value]

        init(_ value: {{ name }}JSON.Value, at place: String) throws {
            guard case .object(let post) = value else {
                throw Refusal("\(place) must be an object with info_id and feature")
            }
            guard case .text(let infoId)? = post["info_id"], !infoId.bytes.isEmpty else {
                throw Refusal("\(place).info_id must be text that is not empty")
            }
            guard case .object(let feature)? = post["feature"] else {
                throw Refusal("\(place).feature must be an object, which may be empty")
            }
            self.place = place
            self.infoId = infoId
            self.feature = feature
        }

        /// Nil if the field is not there, or if there is none to look for.
        func text(of field: {{ name }}JSON.Text?) throws -> {{ name }}JSON.Text? {
            guard let field = field, let value = feature[field] else { return nil }
            guard case .text(let text) = value else {
                throw Refusal(
                    "\(place).feature[\"\(field.string)\"] is no text: write numbers as text, leave out what is not there")
            }
            return text
        }
    }

    // MARK: - Encoders

    private enum Position {
        case missing
        case unknown
        case at(Int64)
    }

    private enum Rule: Sendable {
        case bucketize([Double])
        case labelEncode(Vocabulary)
        case plain(Int64)
        case equal
    }

    private struct Encoder: Sendable {
        let name: String
        let lastClick: {{ name }}JSON.Text?
        let candidate: {{ name }}JSON.Text?
        let rule: Rule

        var canBeUnknown: Bool {
            switch rule {
            case .labelEncode, .plain: return true
            case .bucketize, .equal: return false
            }
        }

        /// Of the texts of the last click's field and the candidate's: of `equal` both, of the others the one it reads.
        func position(_ last: {{ name }}JSON.Text?, _ own: {{ name }}JSON.Text?) -> Position {
            let text = lastClick == nil ? own : last
            switch rule {
            case .bucketize(let boundaries):
                guard let x = text?.number, x != Double({{ name }}Features.missing) else { return .missing }
                return .at(Int64(Self.firstIndex(in: boundaries.count) { boundaries[$0] > x }))
            case .labelEncode(let vocabulary):
                guard let x = text?.wholeNumber, x != {{ name }}Features.missing else { return .missing }
                return vocabulary.position(of: x)
            case .plain(let count):
                guard let x = text?.wholeNumber, x != {{ name }}Features.missing else { return .missing }
                return x >= 0 && x < count ? .at(x) : .unknown
            case .equal:
                guard let x = last?.wholeNumber, x != {{ name }}Features.missing else { return .missing }
                guard let y = own?.wholeNumber, y != {{ name }}Features.missing else { return .missing }
                return .at(x == y ? 1 : 0)
            }
        }

        /// The first index from which on `isBehind` holds; `count` if it never does.
        static func firstIndex(in count: Int, where isBehind: (Int) -> Bool) -> Int {
            var low = 0
            var high = count
            while low < high {
                let middle = low + (high - low) / 2
                if isBehind(middle) {
                    high = middle
                } else {
                    low = middle + 1
                }
            }
            return low
        }
    }

    /// Distinct entries in ascending order, each with where it first occurs.
    private struct Vocabulary: Sendable {
        private var values: [Int64] = []
        private var places: [Int64] = []

        init(_ entries: [Int64]) {
            let sorted = entries.indices.sorted { a, b in entries[a] == entries[b] ? a < b : entries[a] < entries[b] }
            for place in sorted where values.last != entries[place] {
                values.append(entries[place])
                places.append(Int64(place))
            }
        }

        func position(of value: Int64) -> Position {
            let index = Encoder.firstIndex(in: values.count) { values[$0] >= value }
            return index < values.count && values[index] == value ? .at(places[index]) : .unknown
        }
    }

    // MARK: - features.json

    /// Reads a file.
    public init(contentsOf url: URL) throws {
        do {
            try self.init(Data(contentsOf: url))
        } catch {
            throw Refusal("\(url.lastPathComponent): \(error.localizedDescription)")
        }
    }

    /// Reads the content of `features.json`.
    public init(_ content: Data) throws {
        guard case .object(let encoding) = try {{ name }}JSON.read(content, most: Self.mostBytes) else {
            throw Refusal("the encoding must be an object")
        }
        guard encoding["format"]?.wholeNumber == 1 else {  // first: another format may have other keys
            throw Refusal("the encoding's format is another one, this version reads 1")
        }
        try Self.checkKeys(of: encoding, ["format", "missing", "mode", "encoders"], "the encoding")
        guard encoding["missing"]?.wholeNumber == Self.missing else {
            throw Refusal("the encoding's missing is not \(Self.missing)")
        }
        switch encoding["mode"] {
        case .text("separate")?: isSeparate = true
        case .text("published")?: isSeparate = false
        default: throw Refusal("mode must be separate or published")
        }
        guard case .array(let values)? = encoding["encoders"], !values.isEmpty else {
            throw Refusal("encoders must be a list of at least one")
        }
        encoders = try values.enumerated().map { try Self.encoder("encoder number \($0.offset)", $0.element) }
        var names = Set<String>()
        for encoder in encoders where !names.insert(encoder.name).inserted {
            throw Refusal("encoder \(encoder.name) is there more than once")
        }
    }

    private static func encoder(_ place: String, _ value: {{ name }}JSON.Value) throws -> Encoder {
        guard case .object(let one) = value else { throw Refusal("\(place) must be an object") }
        let rules: [{{ name }}JSON.Text: [{{ name }}JSON.Text]] = [
            "bucketize": ["kind", "name", "source", "field", "boundaries"],
            "label_encode": ["kind", "name", "source", "field", "vocabulary"],
            "plain": ["kind", "name", "source", "field", "count"],
            "equal": ["kind", "name", "source", "last_click", "candidate"],
        ]
        guard case .text(let kind)? = one["kind"], let keys = rules[kind] else {
            throw Refusal("\(place): kind must be bucketize, label_encode, plain or equal")
        }
        try checkKeys(of: one, keys, place)
        guard case .text(let text)? = one["name"], text.isName else {
            throw Refusal("\(place): its name cannot name a tensor")
        }
        let name = text.string
        if kind == "equal" {
            guard case .text("cross")? = one["source"] else { throw Refusal("encoder \(name): source must be cross") }
            return Encoder(
                name: name,
                lastClick: try field(of: name, one["last_click"]),
                candidate: try field(of: name, one["candidate"]),
                rule: .equal
            )
        }
        guard case .text(let source)? = one["source"], source == "last_click" || source == "candidate" else {
            throw Refusal("encoder \(name): source must be last_click or candidate")
        }
        let own = try field(of: name, one["field"])
        return Encoder(
            name: name,
            lastClick: source == "last_click" ? own : nil,
            candidate: source == "candidate" ? own : nil,
            rule: try rule(kind, of: name, one)
        )
    }

    private static func rule(
        _ kind: {{ name }}JSON.Text, of name: String, _ one: [{{ name }}JSON.Text: {{ name }}JSON.Value]
    ) throws -> Rule {
        switch kind {
        case "bucketize":
            return .bucketize(try boundaries(of: name, one["boundaries"]))
        case "label_encode":
            return .labelEncode(Vocabulary(try entries(of: name, one["vocabulary"])))
        default:
            guard let count = one["count"]?.wholeNumber, count >= 1, count <= mostIds else {
                throw Refusal("encoder \(name): count must be a whole number from 1 to \(mostIds)")
            }
            return .plain(count)
        }
    }

    private static func checkKeys(
        of object: [{{ name }}JSON.Text: {{ name }}JSON.Value], _ keys: [{{ name }}JSON.Text], _ place: String
    ) throws {
        for key in keys where object[key] == nil {
            throw Refusal("\(place) has no \(key.string)")
        }
        guard object.count == keys.count else { throw Refusal("\(place) has an unknown key") }
    }

    private static func field(of name: String, _ value: {{ name }}JSON.Value?) throws -> {{ name }}JSON.Text {
        guard case .text(let field)? = value, field.codePoints >= 1, field.codePoints <= 100 else {
            throw Refusal("encoder \(name): a field id is text of 1 to 100 characters")
        }
        return field
    }

    private static func boundaries(of name: String, _ value: {{ name }}JSON.Value?) throws -> [Double] {
        guard case .array(let values)? = value, values.count >= 2 else {
            throw Refusal("encoder \(name): boundaries must be a list of at least two numbers")
        }
        var boundaries: [Double] = []
        for (place, value) in values.enumerated() {
            guard let boundary = value.number else {
                throw Refusal("encoder \(name): boundary \(place) is no finite number")
            }
            if let last = boundaries.last, last >= boundary {
                throw Refusal("encoder \(name): boundary \(place) is not larger than the one before")
            }
            boundaries.append(boundary)
        }
        return boundaries
    }

    private static func entries(of name: String, _ value: {{ name }}JSON.Value?) throws -> [Int64] {
        guard case .array(let values)? = value, !values.isEmpty else {
            throw Refusal("encoder \(name): the vocabulary must be a list of at least one whole number")
        }
        return try values.enumerated().map { place, value -> Int64 in
            guard let entry = value.wholeNumber, entry != missing else {
                throw Refusal(
                    "encoder \(name): vocabulary entry \(place) is no whole number within int64, or means missing")
            }
            return entry
        }
    }
}

{{ reader.json(name, name ~ "Features.Refusal") -}}
{% endif %}
