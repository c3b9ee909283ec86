{# What Features and Pictures have in common: a reader of JSON, whose refusals are their own. #}
{% macro json(name, refusal) %}
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
            throw {{ refusal }}("\(content.count) bytes, at most \(most) are read")
        }
        var reader = {{ name }}JSON([UInt8](content))
        let value = try reader.value(depth: mostDepth)
        reader.skipSpace()
        guard reader.place == reader.bytes.count else { throw reader.failure("more after the value") }
        return value
    }

    private func failure(_ why: String) -> {{ refusal }} {
        return {{ refusal }}("not JSON: \(why) at byte \(place)")
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
{% endmacro %}
