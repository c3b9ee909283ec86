// What Training.swift calls of CryptoKit, which no Linux has: SHA-256 after FIPS 180-4.
import Foundation

public enum SHA256 {
    public static func hash<D: DataProtocol>(data: D) -> [UInt8] {
        let primes = (2...311).filter { n in !(2..<n).contains { n % $0 == 0 } }
        func bits(_ root: Double) -> UInt32 { return UInt32((root - root.rounded(.down)) * 4_294_967_296) }
        let k = primes.prefix(64).map { bits(cbrt(Double($0))) }
        var h = primes.prefix(8).map { bits(Double($0).squareRoot()) }
        func turned(_ x: UInt32, _ by: UInt32) -> UInt32 { return x >> by | x << (32 - by) }
        var content = Array(data) + [0x80]
        while content.count % 64 != 56 { content.append(0) }
        content += (0..<8).reversed().map { UInt8(truncatingIfNeeded: (UInt64(data.count) * 8) >> (8 * UInt64($0))) }
        for start in stride(from: 0, to: content.count, by: 64) {
            var w = (0..<16).map { i in content[(start + 4 * i)..<(start + 4 * i + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } }
            for i in 16..<64 {
                let one = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3
                let two = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10
                w.append(w[i - 16] &+ one &+ w[i - 7] &+ two)
            }
            var v = h
            for i in 0..<64 {
                let sum = turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)
                let one = v[7] &+ sum &+ ((v[4] & v[5]) ^ (~v[4] & v[6])) &+ k[i] &+ w[i]
                let other = turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)
                let two = other &+ ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]))
                v = [one &+ two, v[0], v[1], v[2], v[3] &+ one, v[4], v[5], v[6]]
            }
            h = zip(h, v).map { $0 &+ $1 }
        }
        return h.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
    }
}
