{% if pictures and "model.tflite" in files %}
{% import "ios/Sources/json.swift" as reader %}
import Foundation

/// A decoded picture to the input of `model.tflite` ({{ model | comment }}), as its `features.json` says: the same bytes as
/// where the model was trained.
///
/// In integers: alpha over the background; turned as EXIF says; the shorter side resized to `shorter`, the longer one to
/// shorter * long / short rounded down; the middle `size` x `size` cut out. A resized pixel is the mean of those below the
/// filter, which is as wide as a step between pixels of the result (antialias), with weights of 22 binary places, first
/// along rows and then along columns, rounded to 8 bits each time; a pass that changes no size is left out. Core Graphics,
/// vImage and Core Image resize in ways of their own: the model would see other pixels.
///
/// Beside the picture there are in memory the rows of the cut at its width: 3 bytes * size * the picture's rows, at most a
/// few MB. It holds nothing that changes: tasks may share it.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public struct {{ name }}Pictures: Sendable {

    /// A decoded picture, which lies as its file stores it.
    public protocol Pixels: Sendable {
        var width: Int { get }
        var height: Int { get }

        /// Whether the colours were multiplied by alpha.
        var isPremultiplied: Bool { get }

        /// Writes a rectangle row by row, without gaps: red, green, blue and alpha of each pixel.
        func read(x: Int, y: Int, width: Int, height: Int, into bytes: UnsafeMutableBufferPointer<UInt8>) throws
    }

    /// Why a picture is not prepared, or `features.json` not read: what is wrong.
    public struct Refusal: LocalizedError, Equatable, Sendable {
        public let reason: String
        public var errorDescription: String? { return reason }

        init(_ reason: String) { self.reason = reason }
    }

    private static let mostSide = 20_000
    private static let mostPixels = 64_000_000
    private static let mostShorter: Int64 = 1024
    private static let mostNumber = 1e6
    private static let mostBytes = 1 << 16
    private static let places: Int32 = 22
    private static let half: Int32 = 1 << 21
    private static let band = 1 << 17  // pixels that are read at a time

    public let input: String
    public let shorter: Int
    public let size: Int
    private let isCubic: Bool
    private let isBGR: Bool
    private let low: Float
    private let high: Float
    private let background: UInt32

    /// Numbers of a picture in the model's input.
    public var count: Int { return size * size * 3 }

    // MARK: - Pictures

    /// The prepared picture: `count` bytes, red, green and blue row by row.
    ///
    /// - Parameter orientation: EXIF tag 274; what is not 1 to 8 is 1.
    /// - Throws: `Refusal` if it has no pixels, or too many; what `pixels` throws.
    public func prepare<Source: Pixels>(_ pixels: Source, orientation: Int = 1) throws -> [UInt8] {
        try Self.checkSize(pixels.width, pixels.height)
        let turn = Turn(orientation)
        let width = turn.isLying ? pixels.height : pixels.width
        let height = turn.isLying ? pixels.width : pixels.height
        let across = pass(width, to: width <= height ? shorter : shorter * width / height)
        let down = pass(height, to: width <= height ? shorter * height / width : shorter)
        return resized(try rows(of: pixels, turn, across, down), down)
    }

    /// The model's numbers of a prepared picture, in its order of colours and range.
    public func tensor(_ prepared: [UInt8]) -> [Float] {
        return prepared.indices.map { index in
            let colour = index % 3
            let byte = prepared[isBGR ? index - colour + (2 - colour) : index]
            return low + (high - low) * Float(byte) / 255
        }
    }

    /// Refuses a picture that would not be prepared, before it is decoded.
    static func checkSize(_ width: Int, _ height: Int) throws {
        guard width >= 1, height >= 1 else { throw Refusal("the picture has no pixels") }
        guard width <= mostSide, height <= mostSide, width * height <= mostPixels else {
            throw Refusal(
                "the picture has \(width) x \(height) pixels: at most \(mostSide) a side and "
                    + "\(mostPixels) together are taken")
        }
    }

    /// How a stored picture is turned.
    private struct Turn {
        let isLying: Bool  // its rows are columns
        let isFromRight: Bool  // its rows are read from their end
        let isFromBottom: Bool  // its last row comes first

        init(_ orientation: Int) {
            isLying = (5...8).contains(orientation)
            isFromRight = [2, 3, 7, 8].contains(orientation)
            isFromBottom = [3, 4, 6, 7].contains(orientation)
        }
    }

    /// Of pixel i of a resized line: `counts[i]` pixels from `firsts[i]` on, with weights from `i * most` on, each of them in
    /// parts of 2^22.
    private struct Pass {
        var firsts: [Int] = []
        var counts: [Int] = []
        var weights: [Int32]
        let most: Int

        var start: Int { return firsts[0] }
        var end: Int { return firsts[firsts.count - 1] + counts[counts.count - 1] }
    }

    /// The middle `size` pixels of a line. One that keeps its length is copied.
    private func pass(_ length: Int, to resized: Int) -> Pass {
        let middle = (resized - size) / 2
        let margin = (resized - size) % 2 == 0 ? middle : middle + middle % 2  // a half goes to the even one
        guard length != resized else {
            return Pass(
                firsts: (0..<size).map { margin + $0 },
                counts: [Int](repeating: 1, count: size),
                weights: [Int32](repeating: 1 << Self.places, count: size),
                most: 1
            )
        }
        let scale = Double(length) / Double(resized)
        let wide = max(scale, 1)
        let support = (isCubic ? 2 : 1) * wide
        let most = Int(support.rounded(.up)) * 2 + 1
        var pass = Pass(weights: [Int32](repeating: 0, count: size * most), most: most)
        for index in 0..<size {
            let center = (Double(margin + index) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let count = min(Int(center + support + 0.5), length) - first
            let exact = (0..<count).map { weight((Double($0 + first) - center + 0.5) * (1 / wide)) }
            let sum = exact.reduce(0, +)
            for (place, weight) in exact.enumerated() {
                let part = (sum != 0 ? weight / sum : weight) * Double(1 << Self.places)
                pass.weights[index * most + place] = Int32(part < 0 ? part - 0.5 : part + 0.5)
            }
            pass.firsts.append(first)
            pass.counts.append(count)
        }
        return pass
    }

    private func weight(_ place: Double) -> Double {
        let x = abs(place)
        if !isCubic { return x < 1 ? 1 - x : 0 }
        if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
    }

    /// The rows that `down` needs, at the width of the cut. They are read in bands: rows of a picture that lies are columns.
    private func rows<Source: Pixels>(of pixels: Source, _ turn: Turn, _ across: Pass, _ down: Pass) throws -> [UInt8] {
        let n = across.end - across.start
        let most = min(max(Self.band / n, 1), down.end - down.start)
        var buffer = [UInt8](repeating: 0, count: n * most * 4)
        var row = [Int32](repeating: 0, count: n * 3)
        var rows = [UInt8](repeating: 0, count: (down.end - down.start) * size * 3)
        for start in stride(from: down.start, to: down.end, by: most) {
            let count = min(most, down.end - start)
            let columns = turn.isLying ? count : n
            let lines = turn.isLying ? n : count
            let x = turn.isLying ? start : across.start
            let y = turn.isLying ? across.start : start
            try buffer.withUnsafeMutableBufferPointer { bytes in
                try pixels.read(
                    x: turn.isFromRight ? pixels.width - x - columns : x,
                    y: turn.isFromBottom ? pixels.height - y - lines : y,
                    width: columns, height: lines,
                    into: UnsafeMutableBufferPointer(rebasing: bytes[..<(columns * lines * 4)]))
            }
            let beside = turn.isFromRight ? -4 : 4
            let below = (turn.isFromBottom ? -4 : 4) * columns
            let corner = (turn.isFromRight ? (columns - 1) * 4 : 0) + (turn.isFromBottom ? (lines - 1) * columns * 4 : 0)
            for line in 0..<count {
                flatten(
                    buffer, from: corner + line * (turn.isLying ? beside : below), step: turn.isLying ? below : beside,
                    isPremultiplied: pixels.isPremultiplied, into: &row)
                resize(row, across, into: &rows, at: (start - down.start + line) * size * 3)
            }
        }
        return rows
    }

    /// A row of pixels, each `step` bytes behind the one before, over the background: red, green, blue.
    private func flatten(
        _ pixels: [UInt8], from: Int, step: Int, isPremultiplied: Bool, into row: inout [Int32]
    ) {
        pixels.withUnsafeBufferPointer { pixels in
            row.withUnsafeMutableBufferPointer { row in
                var place = from
                for index in stride(from: 0, to: row.count, by: 3) {
                    let alpha = UInt32(pixels[place + 3])
                    let rest = background * (255 - alpha) + 127
                    for colour in 0..<3 {
                        let value = UInt32(pixels[place + colour])
                        let over = isPremultiplied ? value + rest / 255 : (value * alpha + rest) / 255
                        row[index + colour] = Int32(min(over, 255))
                    }
                    place += step
                }
            }
        }
    }

    private func resize(_ row: [Int32], _ pass: Pass, into rows: inout [UInt8], at start: Int) {
        row.withUnsafeBufferPointer { row in
            pass.weights.withUnsafeBufferPointer { weights in
                for index in 0..<size {
                    var place = (pass.firsts[index] - pass.start) * 3
                    var (red, green, blue) = (Self.half, Self.half, Self.half)
                    for weight in weights[(index * pass.most)..<(index * pass.most + pass.counts[index])] {
                        red &+= row[place] &* weight
                        green &+= row[place + 1] &* weight
                        blue &+= row[place + 2] &* weight
                        place += 3
                    }
                    rows[start + index * 3] = Self.byte(red)
                    rows[start + index * 3 + 1] = Self.byte(green)
                    rows[start + index * 3 + 2] = Self.byte(blue)
                }
            }
        }
    }

    private func resized(_ rows: [UInt8], _ pass: Pass) -> [UInt8] {
        let line = size * 3
        var prepared: [UInt8] = []
        prepared.reserveCapacity(count)
        rows.withUnsafeBufferPointer { rows in
            for index in 0..<size {
                var sums = [Int32](repeating: Self.half, count: line)
                sums.withUnsafeMutableBufferPointer { sums in
                    for place in 0..<pass.counts[index] {
                        let weight = pass.weights[index * pass.most + place]
                        let from = (pass.firsts[index] - pass.start + place) * line
                        for column in 0..<line { sums[column] &+= Int32(rows[from + column]) &* weight }
                    }
                }
                prepared += sums.map { Self.byte($0) }
            }
        }
        return prepared
    }

    private static func byte(_ sum: Int32) -> UInt8 {
        return UInt8(min(max(sum >> places, 0), 255))
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
        let keys: [{{ name }}JSON.Text] = [
            "format", "kind", "input", "shorter", "size", "filter", "colours", "low", "high", "background",
        ]
        guard case .object(let preparation) = try {{ name }}JSON.read(content, most: Self.mostBytes) else {
            throw Refusal("the preparation must be an object")
        }
        guard preparation["format"]?.wholeNumber == 1 else {  // first: another format may have other keys
            throw Refusal("the preparation's format is another one, this version reads 1")
        }
        for key in keys where preparation[key] == nil { throw Refusal("the preparation has no \(key.string)") }
        guard preparation.count == keys.count else { throw Refusal("the preparation has an unknown key") }
        guard case .text("pictures")? = preparation["kind"] else { throw Refusal("kind must be pictures") }
        guard case .text(let input)? = preparation["input"], (1...256).contains(input.bytes.count), !input.bytes.contains(0)
        else { throw Refusal("input must be the name of a tensor") }
        guard let shorter = preparation["shorter"]?.wholeNumber, (1...Self.mostShorter).contains(shorter) else {
            throw Refusal("shorter must be a whole number from 1 to \(Self.mostShorter)")
        }
        guard let size = preparation["size"]?.wholeNumber, (1...shorter).contains(size) else {
            throw Refusal("size must be a whole number from 1 to shorter, \(shorter)")
        }
        guard case .text(let filter)? = preparation["filter"], filter == "triangle" || filter == "cubic" else {
            throw Refusal("filter must be triangle or cubic")
        }
        guard case .text(let colours)? = preparation["colours"], colours == "RGB" || colours == "BGR" else {
            throw Refusal("colours must be RGB or BGR")
        }
        guard let low = preparation["low"]?.number, let high = preparation["high"]?.number,
            abs(low) <= Self.mostNumber, abs(high) <= Self.mostNumber, Float(low) < Float(high)
        else { throw Refusal("low and high must be numbers within a million, low the smaller one") }
        guard let background = preparation["background"]?.wholeNumber, (0...255).contains(background) else {
            throw Refusal("background must be a whole number from 0 to 255")
        }
        self.input = input.string
        self.shorter = Int(shorter)
        self.size = Int(size)
        isCubic = filter == "cubic"
        isBGR = colours == "BGR"
        self.low = Float(low)
        self.high = Float(high)
        self.background = UInt32(background)
    }
}

{{ reader.json(name, name ~ "Pictures.Refusal") -}}
{% endif %}
