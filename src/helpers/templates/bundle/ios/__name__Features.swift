{% if encoding and "model.tflite" in files %}
import Foundation

/// Raw behaviour to the integer inputs of `model.tflite` ({{ model | comment }}), as its `features.json` says.
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
    public func rerank(_ rawJSON: Data, with model: {{ name }} = .shared) async throws -> [String] {
        let session = try assemble(rawJSON)
        if session.infoIds.isEmpty { return [] }  // nothing to score: the model refuses a batch of none
        let scores = try await model.score(session.inputs)
        return try Self.order(of: scores, rows: session.infoIds.count).map { session.infoIds[$0] }
    }

    /// The same for text.
    public func rerank(_ rawJSON: String, with model: {{ name }} = .shared) async throws -> [String] {
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

// MARK: - JSON

/// Reads JSON (RFC 8259, UTF-8) and refuses what parsers disagree about, as the server and the training do: a key twice in
/// one object (`JSONSerialization` keeps one), NaN, a number with a leading zero, a byte order mark, deep nesting. Numbers
/// stay as they are written: `NSNumber` would round ids. Texts are compared byte by byte: to `String`, é and e with an
/// accent are the same.
@available(iOS 13.0, macOS 10.15, *)
nonisolated struct {{ name }}JSON {

    /// Text as its UTF-8; an escaped half of a surrogate pair is three bytes that no UTF-8 has.
    struct Text: Hashable, ExpressibleByStringLiteral, Sendable {
        var bytes: [UInt8]

        init(bytes: [UInt8]) { self.bytes = bytes }
        init(stringLiteral value: String) { bytes = Array(value.utf8) }

        var string: String { return String(decoding: bytes, as: UTF8.self) }

        /// Bytes that continue no other.
        var codePoints: Int { return bytes.reduce(0) { $1 & 0xC0 == 0x80 ? $0 : $0 + 1 } }

        /// A letter, then letters, digits and _, at most 64.
        var isName: Bool {
            guard let first = bytes.first, bytes.count <= 64, Self.isLetter(first) else { return false }
            return bytes.allSatisfy { Self.isLetter($0) || {{ name }}JSON.isDigit($0) || $0 == UInt8(ascii: "_") }
        }

        private static func isLetter(_ byte: UInt8) -> Bool {
            return (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
        }

        /// An int64 of an optional minus and 1 to 20 digits. The form is checked first: `Int64` also reads +5.
        var wholeNumber: Int64? {
            return form == .whole ? Int64(string) : nil
        }

        /// The nearest double of the same, with a point and 1 to 20 digits or without. `Double` also reads 1e3, 0x1p3, nan.
        var number: Double? {
            return form == .another ? nil : Double(string)
        }

        private enum Form {
            case another
            case whole
            case fraction
        }

        private var form: Form {
            var rest = bytes[...]
            if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
            let whole = rest.prefix { {{ name }}JSON.isDigit($0) }
            rest = rest.dropFirst(whole.count)
            guard whole.count >= 1, whole.count <= 20 else { return .another }
            if rest.isEmpty { return .whole }
            guard rest.first == UInt8(ascii: ".") else { return .another }
            rest = rest.dropFirst()
            guard rest.count >= 1, rest.count <= 20, rest.allSatisfy({ {{ name }}JSON.isDigit($0) }) else { return .another }
            return .fraction
        }
    }

    enum Value: Sendable {
        case null
        case bool(Bool)
        /// As it is written.
        case number(String, isWhole: Bool)
        case text(Text)
        case array([Value])
        case object([Text: Value])

        /// Nil if it is no whole number, or beyond int64.
        var wholeNumber: Int64? {
            guard case .number(let written, isWhole: true) = self else { return nil }
            return Int64(written)
        }

        /// The nearest double; nil if it is none, not finite, or written with more digits than any needs.
        var number: Double? {
            guard case .number(let written, isWhole: _) = self, written.utf8.count <= 400 else { return nil }
            guard let number = Double(written), number.isFinite else { return nil }
            return number
        }
    }

    private static let mostDepth = 64
    private static let mostDigits = 4300

    private let bytes: [UInt8]
    private var place = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    static func read(_ content: Data, most: Int) throws -> Value {
        guard content.count <= most else {
            throw {{ name }}Features.Refusal("\(content.count) bytes, at most \(most) are read")
        }
        var reader = {{ name }}JSON([UInt8](content))
        let value = try reader.value(depth: mostDepth)
        reader.skipSpace()
        guard reader.place == reader.bytes.count else { throw reader.failure("more after the value") }
        return value
    }

    private func failure(_ why: String) -> {{ name }}Features.Refusal {
        return {{ name }}Features.Refusal("not JSON: \(why) at byte \(place)")
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        return byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    private var byte: UInt8? { return place < bytes.count ? bytes[place] : nil }

    private mutating func skipSpace() {
        while let byte = byte, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { place += 1 }
    }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard byte == UInt8(ascii: character) else { return false }
        place += 1
        return true
    }

    private mutating func value(depth: Int) throws -> Value {
        skipSpace()
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .text(try text())
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        default: return try number()
        }
    }

    private mutating func word(_ word: String, _ value: Value) throws -> Value {
        guard bytes[place...].starts(with: word.utf8) else { throw failure("no value") }
        place += word.utf8.count
        return value
    }

    private mutating func object(depth: Int) throws -> Value {
        guard depth > 0 else { throw failure("too deeply nested") }
        var members: [Text: Value] = [:]
        place += 1
        skipSpace()
        if skip("}") { return .object(members) }
        while true {
            skipSpace()
            guard byte == UInt8(ascii: "\"") else { throw failure("text is expected") }
            let key = try text()
            skipSpace()
            guard skip(":") else { throw failure("a colon is expected") }
            guard members[key] == nil else { throw failure("a key that is twice in one object") }
            members[key] = try value(depth: depth - 1)
            skipSpace()
            if skip("}") { return .object(members) }
            guard skip(",") else { throw failure("a comma is expected") }
        }
    }

    private mutating func array(depth: Int) throws -> Value {
        guard depth > 0 else { throw failure("too deeply nested") }
        var elements: [Value] = []
        place += 1
        skipSpace()
        if skip("]") { return .array(elements) }
        while true {
            elements.append(try value(depth: depth - 1))
            skipSpace()
            if skip("]") { return .array(elements) }
            guard skip(",") else { throw failure("a comma is expected") }
        }
    }

    private mutating func digits() -> Int {
        let start = place
        while let byte = byte, Self.isDigit(byte) { place += 1 }
        return place - start
    }

    private mutating func number() throws -> Value {
        let start = place
        var isWhole = true
        _ = skip("-")
        let whole = skip("0") ? 1 : digits()
        guard whole > 0 else { throw failure("no value") }
        if skip(".") {
            isWhole = false
            guard digits() > 0 else { throw failure("a number without digits after its point") }
        }
        if skip("e") || skip("E") {
            isWhole = false
            if !skip("+") { _ = skip("-") }
            guard digits() > 0 else { throw failure("a number without digits in its exponent") }
        }
        guard !isWhole || whole <= Self.mostDigits else { throw failure("a number that is too long") }
        return .number(String(decoding: bytes[start..<place], as: UTF8.self), isWhole: isWhole)
    }

    private mutating func text() throws -> Text {
        var made: [UInt8] = []
        place += 1
        while let byte = byte {
            if byte == UInt8(ascii: "\"") {
                place += 1
                return Text(bytes: made)
            }
            if byte < 0x20 { throw failure("a control character") }
            if byte == UInt8(ascii: "\\") {
                place += 1
                made += try escape()
                continue
            }
            let length = sequenceLength()
            guard length > 0 else { throw failure("bytes that are no UTF-8") }
            made += bytes[place..<place + length]
            place += length
        }
        throw failure("text without an end")
    }

    /// Length of the UTF-8 sequence at `place`, 0 if there is none: not longer than needed, no surrogates, below 0x110000.
    private func sequenceLength() -> Int {
        let first = bytes[place]
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch first {
        case 0x00...0x7F: return 1
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if first == 0xE0 { second = 0xA0...0xBF }
            if first == 0xED { second = 0x80...0x9F }
        case 0xF0...0xF4:
            length = 4
            if first == 0xF0 { second = 0x90...0xBF }
            if first == 0xF4 { second = 0x80...0x8F }
        default: return 0
        }
        guard place + length <= bytes.count, second.contains(bytes[place + 1]) else { return 0 }
        return bytes[(place + 2)..<(place + length)].allSatisfy { $0 & 0xC0 == 0x80 } ? length : 0
    }

    /// What an escape stands for, from behind its backslash.
    private mutating func escape() throws -> [UInt8] {
        guard let byte = byte else { throw failure("text without an end") }
        place += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): break
        default: throw failure("no such escape")
        }
        guard var code = hex(at: place) else { throw failure("no such escape") }
        place += 4
        if (0xD800...0xDBFF).contains(code), place + 6 <= bytes.count, bytes[place] == UInt8(ascii: "\\"),
            bytes[place + 1] == UInt8(ascii: "u"), let low = hex(at: place + 2), (0xDC00...0xDFFF).contains(low)
        {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            place += 6
        }
        return Self.encoded(code)
    }

    private func hex(at start: Int) -> UInt32? {
        guard start + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[start..<start + 4] {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: return nil
            }
            value = value * 16 + UInt32(digit)
        }
        return value
    }

    private static func encoded(_ code: UInt32) -> [UInt8] {
        func continuing(_ shift: UInt32) -> UInt8 { return 0x80 | UInt8(code >> shift & 0x3F) }
        if code < 0x80 { return [UInt8(code)] }
        if code < 0x800 { return [0xC0 | UInt8(code >> 6), continuing(0)] }
        if code < 0x10000 { return [0xE0 | UInt8(code >> 12), continuing(6), continuing(0)] }
        return [0xF0 | UInt8(code >> 18), continuing(12), continuing(6), continuing(0)]
    }
}
{% endif %}
