import Foundation
#if canImport(CryptoKit)
import CryptoKit
#endif

// What a zip and its descriptor are written in: deflate, CRC-32, MD5 and SHA-256.
//
// Inflating is code of its own on every platform: what a phone accepts is then what was tested, to the last bit, and nothing
// that follows the end of a stream is passed over. Digests are CryptoKit's where it is there, and of this file elsewhere.

@available(iOS 13.0, macOS 10.15, *)
nonisolated enum {{ name }}Codecs {

    struct Damage: LocalizedError {
        let reason: String
        var errorDescription: String? { return reason }

        init(_ reason: String) { self.reason = reason }
    }

    // MARK: - CRC-32

    struct Checksum {
        private static let table: [UInt32] = (0..<256).map { index in
            (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
        }

        private var state: UInt32 = 0xFFFF_FFFF
        var value: UInt32 { return ~state }

        mutating func update(_ bytes: UnsafeRawBufferPointer) {
            var current = state
            Self.table.withUnsafeBufferPointer { table in
                for byte in bytes { current = table[Int((current ^ UInt32(byte)) & 255)] ^ (current >> 8) }
            }
            state = current
        }
    }

    // MARK: - Digests

    #if canImport(CryptoKit)
    typealias MD5 = Insecure.MD5
    typealias SHA256 = CryptoKit.SHA256
    #endif

    /// MD5 and SHA-256 of a file, in hexadecimal, read once.
    static func digests(of path: String) throws -> (md5: String, sha256: String) {
        var md5 = MD5()
        var sha256 = SHA256()
        try read(path) {
            md5.update(data: $0)
            sha256.update(data: $0)
        }
        return (hex(md5.finalize()), hex(sha256.finalize()))
    }

    /// SHA-256 of a file, in hexadecimal.
    static func sha256(of path: String) throws -> String {
        var sha256 = SHA256()
        try read(path) { sha256.update(data: $0) }
        return hex(sha256.finalize())
    }

    private static func read(_ path: String, _ part: (Data) -> Void) throws {
        guard let file = FileHandle(forReadingAtPath: path) else { throw Damage("it cannot be read") }
        defer { file.closeFile() }
        var isMore = true
        while isMore {
            autoreleased {
                let content = file.readData(ofLength: 1 << 18)
                part(content)
                isMore = !content.isEmpty
            }
        }
    }

    /// SHA-256 of some bytes.
    static func sha256(_ content: Data) -> [UInt8] {
        var digest = SHA256()
        digest.update(data: content)
        return Array(digest.finalize())
    }

    private static func hex<Bytes: Sequence>(_ bytes: Bytes) -> String where Bytes.Element == UInt8 {
        return bytes.map { (UInt32($0) + 256).description(16) }.joined()
    }

    /// Free what Foundation made meanwhile, on Apple's platforms.
    static func autoreleased<Result>(_ body: () throws -> Result) rethrows -> Result {
        #if canImport(ObjectiveC)
        return try autoreleasepool(invoking: body)
        #else
        return try body()
        #endif
    }

    // MARK: - Deflate

    /// Inflates raw deflate (RFC 1951) and refuses what zlib refuses.
    struct Inflater {
        private static let lengthBase: [Int] = [
            3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
        ]
        private static let lengthExtra: [Int] = [
            0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
        ]
        private static let distanceBase: [Int] = [
            1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
            8193, 12289, 16385, 24577,
        ]
        private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        private static let window = 1 << 15
        private static let most = 15

        /// For each of the next bits, a symbol and its length; 0 where there is none.
        private struct Code {
            private(set) var bits = 0
            private(set) var entries: [UInt16] = [0]

            init(_ lengths: ArraySlice<UInt8>, mayBeIncomplete: Bool) throws {
                var counts = [Int](repeating: 0, count: Inflater.most + 1)
                for length in lengths { counts[Int(length)] += 1 }
                bits = (1...Inflater.most).last { counts[$0] > 0 } ?? 0
                guard bits > 0 else {
                    if !mayBeIncomplete { throw Damage("a code of nothing") }
                    return  // an error where it is used
                }
                var left = 1
                var next = [Int](repeating: 0, count: Inflater.most + 2)
                for length in 1...Inflater.most {
                    left = 2 * left - counts[length]
                    if left < 0 { throw Damage("a code with too many symbols") }
                    next[length + 1] = (next[length] + counts[length]) << 1
                }
                if left > 0 && !(mayBeIncomplete && bits == 1) { throw Damage("a code with too few symbols") }
                entries = [UInt16](repeating: 0, count: 1 << bits)
                for (symbol, length) in lengths.enumerated() where length > 0 {
                    var reversed = 0
                    for bit in 0..<Int(length) where next[Int(length)] >> bit & 1 == 1 { reversed |= 1 << (Int(length) - 1 - bit) }
                    next[Int(length)] += 1
                    for place in stride(from: reversed, to: 1 << bits, by: 1 << Int(length)) {
                        entries[place] = UInt16(symbol) << 4 | UInt16(length)
                    }
                }
            }
        }

        private let input: UnsafeRawBufferPointer
        private var place = 0
        private var held: UInt64 = 0
        private var heldCount = 0
        private var made: [UInt8] = []
        private var total = 0
        private let put: (UnsafeRawBufferPointer) throws -> Void

        private init(_ input: UnsafeRawBufferPointer, put: @escaping (UnsafeRawBufferPointer) throws -> Void) {
            self.input = input
            self.put = put
            made.reserveCapacity(4 * Self.window)
        }

        /// Hands over what `input` unfolds to, in parts; all of `input` belongs to it.
        static func inflate(_ input: UnsafeRawBufferPointer, put: (UnsafeRawBufferPointer) throws -> Void) throws {
            try withoutActuallyEscaping(put) { put in
                var inflater = Inflater(input, put: put)
                try inflater.run()
            }
        }

        private mutating func run() throws {
            var isLast = false
            while !isLast {
                isLast = try bits(1) == 1
                switch try bits(2) {
                case 0: try copyStored()
                case 1: try unfold(Self.fixed())
                case 2: try unfold(try codes())
                default: throw Damage("a block of no kind")
                }
            }
            try flush(keeping: 0)
            if input.count - place + heldCount / 8 > 0 { throw Damage("it has bytes in the zip after its end") }
        }

        private mutating func fill(_ count: Int) {
            while heldCount < count, place < input.count {
                held |= UInt64(input[place]) << UInt64(heldCount)
                place += 1
                heldCount += 8
            }
        }

        private mutating func bits(_ count: Int) throws -> Int {
            fill(count)
            guard heldCount >= count else { throw Damage("it ends too soon") }
            let value = Int(held & (1 << UInt64(count) - 1))
            held >>= UInt64(count)
            heldCount -= count
            return value
        }

        private mutating func symbol(_ code: Code) throws -> Int {
            fill(code.bits)
            let entry = code.entries[Int(held & (1 << UInt64(code.bits) - 1))]
            let length = Int(entry & 15)
            guard length > 0 else { throw Damage("bits that are no symbol") }
            guard length <= heldCount else { throw Damage("it ends too soon") }
            held >>= UInt64(length)
            heldCount -= length
            return Int(entry >> 4)
        }

        private mutating func flush(keeping count: Int) throws {
            let done = made.count - count
            guard done > 0 else { return }
            try made.withUnsafeBytes { try put(UnsafeRawBufferPointer(rebasing: $0[..<done])) }
            made.removeFirst(done)
        }

        private mutating func copyStored() throws {
            _ = try bits(heldCount % 8)
            let count = try bits(16)
            guard try bits(16) == count ^ 0xFFFF else { throw Damage("a stored block of two lengths") }
            place -= heldCount / 8  // read ahead
            (held, heldCount) = (0, 0)
            guard count <= input.count - place else { throw Damage("it ends too soon") }
            made.append(contentsOf: input[place..<(place + count)])
            place += count
            total += count
            if made.count > 3 * Self.window { try flush(keeping: Self.window) }
        }

        private static func fixed() throws -> (Code, Code) {
            let lengths = (0..<288).map { UInt8($0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8) }
            return (
                try Code(lengths[...], mayBeIncomplete: false),
                try Code([UInt8](repeating: 5, count: 32)[...], mayBeIncomplete: false)
            )
        }

        private mutating func codes() throws -> (Code, Code) {
            let (literals, distances) = (try bits(5) + 257, try bits(5) + 1)
            let given = try bits(4) + 4
            guard literals <= 286, distances <= 30 else { throw Damage("a code with too many symbols") }
            var small = [UInt8](repeating: 0, count: 19)
            for index in 0..<given { small[Self.order[index]] = UInt8(try bits(3)) }
            let code = try Code(small[...], mayBeIncomplete: false)
            var lengths: [UInt8] = []
            while lengths.count < literals + distances {
                let length = try symbol(code)
                if length < 16 {
                    lengths.append(UInt8(length))
                    continue
                }
                if length == 16 && lengths.isEmpty { throw Damage("a length that repeats nothing") }
                let repeated = length == 16 ? lengths[lengths.count - 1] : 0
                let count = length == 16 ? 3 + (try bits(2)) : length == 17 ? 3 + (try bits(3)) : 11 + (try bits(7))
                lengths += [UInt8](repeating: repeated, count: count)
            }
            guard lengths.count == literals + distances else { throw Damage("a code with too many symbols") }
            guard lengths[256] > 0 else { throw Damage("a block without an end") }
            return (
                try Code(lengths[..<literals], mayBeIncomplete: true), try Code(lengths[literals...], mayBeIncomplete: true)
            )
        }

        private mutating func unfold(_ codes: (Code, Code)) throws {
            while true {
                let literal = try symbol(codes.0)
                if literal == 256 { return }
                if literal < 256 {
                    made.append(UInt8(literal))
                    total += 1
                } else {
                    guard literal < 286 else { throw Damage("a length of no kind") }
                    let length = Self.lengthBase[literal - 257] + (try bits(Self.lengthExtra[literal - 257]))
                    let far = try symbol(codes.1)
                    guard far < 30 else { throw Damage("a distance of no kind") }
                    let distance = Self.distanceBase[far] + (try bits(far < 4 ? 0 : far / 2 - 1))
                    guard distance <= total else { throw Damage("a distance beyond the beginning") }
                    let start = made.count - distance
                    for index in 0..<length { made.append(made[start + index]) }
                    total += length
                }
                if made.count > 3 * Self.window { try flush(keeping: Self.window) }
            }
        }
    }
}

@available(iOS 13.0, macOS 10.15, *)
nonisolated private extension UInt32 {
    /// Two hexadecimal digits of the lowest byte.
    func description(_ radix: Int) -> String { return String(String(self, radix: radix).suffix(2)) }
}
#if !canImport(CryptoKit)

nonisolated extension {{ name }}Codecs {

    /// What MD5 and SHA-256 have in common: blocks of 64 bytes, the last of them with the number of bits.
    struct Blocks {
        private var rest: [UInt8] = []
        private var count: UInt64 = 0

        mutating func update(_ data: Data, block: (UnsafePointer<UInt8>) -> Void) {
            count += UInt64(data.count)
            rest.append(contentsOf: data)
            take(block)
        }

        mutating func finish(bigEndian: Bool, block: (UnsafePointer<UInt8>) -> Void) {
            rest.append(0x80)
            while rest.count % 64 != 56 { rest.append(0) }
            let bits = bigEndian ? (count * 8).bigEndian : (count * 8).littleEndian
            withUnsafeBytes(of: bits) { rest.append(contentsOf: $0) }
            take(block)
        }

        private mutating func take(_ block: (UnsafePointer<UInt8>) -> Void) {
            let whole = rest.count / 64 * 64
            rest.withUnsafeBufferPointer { bytes in
                for place in stride(from: 0, to: whole, by: 64) { block(bytes.baseAddress! + place) }
            }
            rest.removeFirst(whole)
        }
    }

    struct SHA256 {
        private static let constants: [UInt32] = [
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
            0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
            0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
            0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
            0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
            0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
            0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
            0xc67178f2,
        ]

        private var blocks = Blocks()
        private var state: [UInt32] = [
            0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
        ]

        mutating func update(data: Data) {
            var now = state
            blocks.update(data) { Self.mix(&now, $0) }
            state = now
        }

        mutating func finalize() -> [UInt8] {
            var now = state
            blocks.finish(bigEndian: true) { Self.mix(&now, $0) }
            return now.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
        }

        private static func mix(_ state: inout [UInt32], _ block: UnsafePointer<UInt8>) {
            func turned(_ value: UInt32, _ count: UInt32) -> UInt32 { return value >> count | value << (32 - count) }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { words in
                for index in 0..<16 {
                    words[index] = UnsafeRawPointer(block).loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self).bigEndian
                }
                for index in 16..<64 {
                    let (early, late) = (words[index - 15], words[index - 2])
                    let first = turned(early, 7) ^ turned(early, 18) ^ early >> 3
                    let second = turned(late, 17) ^ turned(late, 19) ^ late >> 10
                    words[index] = words[index - 16] &+ first &+ words[index - 7] &+ second
                }
                constants.withUnsafeBufferPointer { constants in
                    for index in 0..<64 {
                        let first = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)
                        let one = h &+ first &+ (e & f ^ ~e & g) &+ constants[index] &+ words[index]
                        let second = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)
                        let two = second &+ (a & b ^ a & c ^ b & c)
                        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ one, c, b, a, one &+ two)
                    }
                }
            }
            for (index, value) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= value }
        }
    }

    struct MD5 {
        private static let turns: [UInt32] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]
        private static let sines: [UInt32] = (1...64).map { UInt32(abs(sin(Double($0))) * 4_294_967_296) }

        private var blocks = Blocks()
        private var state: [UInt32] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]

        mutating func update(data: Data) {
            var now = state
            blocks.update(data) { Self.mix(&now, $0) }
            state = now
        }

        mutating func finalize() -> [UInt8] {
            var now = state
            blocks.finish(bigEndian: false) { Self.mix(&now, $0) }
            return now.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
        }

        private static func mix(_ state: inout [UInt32], _ block: UnsafePointer<UInt8>) {
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            sines.withUnsafeBufferPointer { sines in
                turns.withUnsafeBufferPointer { turns in
                    for index in 0..<64 {
                        let mixed: UInt32
                        let place: Int
                        switch index / 16 {
                        case 0: (mixed, place) = (b & c | ~b & d, index)
                        case 1: (mixed, place) = (d & b | ~d & c, (5 * index + 1) % 16)
                        case 2: (mixed, place) = (b ^ c ^ d, (3 * index + 5) % 16)
                        default: (mixed, place) = (c ^ (b | ~d), 7 * index % 16)
                        }
                        let word = UnsafeRawPointer(block).loadUnaligned(fromByteOffset: 4 * place, as: UInt32.self).littleEndian
                        let sum = a &+ mixed &+ sines[index] &+ word
                        let turn = turns[index / 16 * 4 + index % 4]
                        (a, d, c, b) = (d, c, b, b &+ (sum << turn | sum >> (32 - turn)))
                    }
                }
            }
            for (index, value) in [a, b, c, d].enumerated() { state[index] &+= value }
        }
    }
}
#endif
