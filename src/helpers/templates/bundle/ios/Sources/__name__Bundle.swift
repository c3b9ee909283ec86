{% import "ios/Sources/json.swift" as reader %}
import Foundation

// A bundle as it comes: its descriptor, its zip, its manifest and its golden cases, none of which is believed.

@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}Delivery {

    typealias JSON = {{ name }}JSON
    typealias Codecs = {{ name }}Codecs

    static func damaged(_ reason: String) -> Refusal { return Refusal(.damaged, reason) }

    /// A version of a runtime: 1 to 4 numbers with points between them.
    static func release(_ text: String) -> [Int]? {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard (1...4).contains(parts.count) else { return nil }
        var numbers: [Int] = []
        for part in parts {
            guard (1...9).contains(part.count), part.allSatisfy(JSON.isDigit), let number = Int(String(part)!) else { return nil }
            numbers.append(number)
        }
        return numbers + [Int](repeating: 0, count: 4 - numbers.count)
    }

    fileprivate static func object(_ value: JSON.Value?) -> [JSON.Text: JSON.Value]? {
        guard case .object(let members)? = value else { return nil }
        return members
    }

    fileprivate static func list(_ value: JSON.Value?) -> [JSON.Value]? {
        guard case .array(let elements)? = value else { return nil }
        return elements
    }

    fileprivate static func text(_ value: JSON.Value?) -> JSON.Text? {
        guard case .text(let text)? = value else { return nil }
        return text
    }

    fileprivate static func shown(_ value: JSON.Value?) -> String {
        switch value {
        case .text(let text)?: return "'" + String(text.string.prefix(80)) + "'"
        case .number(let written, isWhole: _)?: return String(written.prefix(80))
        case nil: return "nothing"
        case .some(let other): return String("\(other)".prefix(80))
        }
    }

    fileprivate static func checkFormat(_ said: [JSON.Text: JSON.Value], of name: String) throws {
        let number = said["format"]?.wholeNumber
        if said["format"] == nil || number == 1 {
            throw damaged("\(name) was made by an earlier version: the bundle must be made anew")
        }
        guard number == 2 else { throw damaged("\(name) has the format '\(shown(said["format"]))', this app reads 2") }
    }

    /// What a server says of a bundle, `bundle.json`: every field is checked.
    struct Descriptor: Sendable {
        let modelURL: String
        let version: String
        let md5: String
        let sha256: String
        let size: Int
        let minimum: [String: String]

        /// Of the bundle's folder, but for a number after it.
        var name: String { return "\(version)-\(sha256)" }

        init(_ content: Data) throws {
            let value: JSON.Value
            do {
                value = try JSON.read(content, most: Int.max)
            } catch {
                throw damaged("the descriptor is not JSON: \(error.localizedDescription)")
            }
            guard let said = object(value) else { throw damaged("the descriptor is no JSON object") }
            func field(_ name: JSON.Text, _ fits: ([UInt8]) -> Bool) throws -> String {
                guard let text = text(said[name]), fits(text.bytes) else {
                    throw damaged("the descriptor's \(name.string) is \(shown(said[name])), which it cannot be")
                }
                return text.string
            }
            func number(_ name: JSON.Text, _ range: ClosedRange<Int64>) throws -> Int {
                guard let number = said[name]?.wholeNumber, range.contains(number) else {
                    throw damaged(
                        "the descriptor's \(name.string) is \(shown(said[name])), not a number from \(range.lowerBound) to "
                            + "\(range.upperBound)")
                }
                return Int(number)
            }
            md5 = try field("md5") { $0.count == 32 && Names.isHex($0[...]) }
            sha256 = try field("sha256") { $0.count == 64 && Names.isHex($0[...]) }
            version = try field("version") { Names.isVersion($0[...]) }
            modelURL = try field("modelUrl") { bytes in
                let characters = JSON.Text(bytes: bytes).codePoints
                return (1...2048).contains(characters) && !bytes.contains(UInt8(ascii: "\n"))
            }
            size = try number("size", 1...Int64(Bundled.mostBytes))
            _ = try number("scene", 0...(1 << 31))
            var least: [String: String] = [:]
            if let given = said["minimum"] {
                guard let members = object(given) else { throw Self.noVersions }
                for (runtime, value) in members {
                    guard let text = text(value)?.string, release(text) != nil else { throw Self.noVersions }
                    least[runtime.string] = text
                }
            }
            minimum = least
            try checkFormat(said, of: "bundle.json")
        }

        private static var noVersions: Refusal { return damaged("the descriptor's minimum does not map runtimes to versions") }

        /// Refuse a file that is not the one that was described.
        func check(_ zip: String) throws {
            let there = try Disk.size(of: zip)
            guard there == size else {
                throw damaged("the zip has \(there) bytes, \(size) were announced: download it again")
            }
            let found = try Codecs.digests(of: zip)
            for (name, isSame) in [("md5", found.md5 == md5), ("sha256", found.sha256 == sha256)] where !isSame {
                throw damaged("the zip is not the one that was announced (its \(name) differs): download it again")
            }
        }
    }

    // MARK: - Names

    enum Names {
        static func isHex(_ bytes: ArraySlice<UInt8>) -> Bool {
            return bytes.allSatisfy {
                JSON.isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
        }

        private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
            return JSON.isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }

        /// A letter or digit, then letters, digits and . _ -, at most 64.
        static func isVersion(_ bytes: ArraySlice<UInt8>) -> Bool {
            guard let first = bytes.first, bytes.count <= 64, isLetterOrDigit(first) else { return false }
            return bytes.allSatisfy { isLetterOrDigit($0) || "._-".utf8.contains($0) }
        }

        /// V-HASH, or V-HASH-N: the version and the hash.
        static func versionFolder(_ name: String) -> (version: String, hash: String)? {
            let bytes = Array(name.utf8)
            if let found = bundle(bytes[...]) { return found }
            guard let dash = bytes.lastIndex(of: UInt8(ascii: "-")) else { return nil }
            let number = bytes[(dash + 1)...]
            guard (1...4).contains(number.count), number.first != UInt8(ascii: "0"),
                number.allSatisfy({ JSON.isDigit($0) })
            else { return nil }
            return bundle(bytes[..<dash])
        }

        /// V-HASH; 12 digits are of earlier clients.
        static func bundle(_ bytes: ArraySlice<UInt8>) -> (version: String, hash: String)? {
            guard let dash = bytes.lastIndex(of: UInt8(ascii: "-")) else { return nil }
            let (version, hash) = (bytes[..<dash], bytes[(dash + 1)...])
            guard hash.count == 64 || hash.count == 12, isHex(hash), isVersion(version) else { return nil }
            return (String(decoding: version, as: UTF8.self), String(decoding: hash, as: UTF8.self))
        }

        private static let devices: Set<String> = Set(
            ["con", "prn", "aux", "nul"] + (0..<10).flatMap { ["com\($0)", "lpt\($0)"] })

        /// Whether bytes are a path that a bundle may hold.
        static func isPlain(_ bytes: [UInt8]) -> Bool {
            guard (1...200).contains(bytes.count), bytes.allSatisfy({ isLetterOrDigit($0) || "._+ /-".utf8.contains($0) })
            else { return false }
            return bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy(isPlainPart)
        }

        /// A name everywhere: not hidden, no device of Windows, nothing that it cuts off.
        private static func isPlainPart(_ part: ArraySlice<UInt8>) -> Bool {
            let (blank, point) = (UInt8(ascii: " "), UInt8(ascii: "."))
            guard let first = part.first, let last = part.last else { return false }
            if [first, last].contains(blank) || [first, last].contains(point) { return false }
            var stem = part.prefix { $0 != point }
            while stem.last == blank { stem = stem.dropLast() }
            return !devices.contains(String(decoding: stem, as: UTF8.self).lowercased())
        }
    }

    // MARK: - The zip

    enum Bundled {
        static let manifest = "model.json"
        static let golden = "golden.bin"
        static let mostBytes = 256 << 20
        static let mostManifest = 16 << 20
        private static let mostFiles = 500
        private static let mostName = 200
        private static let mostRatio = 200  // weights do not compress, JSON does ten times; thousands are a bomb
        private static let mostPlain = 1 << 20
        private static let (entryBytes, localBytes, endBytes) = (46, 30, 22)
        private static let latestNeeded = 63
        private static let encrypted = 0x61  // flags of an entry: encrypted, a patch of another file, strongly encrypted

        private struct Entry {
            let name: String
            let flags: Int
            let method: Int
            let crc: Int
            let packed: Int
            let size: Int
            let external: Int
            let offset: Int
            /// Of its content.
            var place: Int { return offset + localBytes + name.utf8.count }
        }

        /// Numbers as a zip has them, little-endian.
        private struct Reader {
            let bytes: UnsafeRawBufferPointer
            var place: Int

            mutating func number(_ count: Int) -> Int {
                var value = 0
                for index in 0..<count { value |= Int(bytes[place + index]) << (8 * index) }
                place += count
                return value
            }

            mutating func take(_ count: Int) -> [UInt8] {
                place += count
                return Array(bytes[(place - count)..<place])
            }
        }

        /// Write the content of a zip below a folder, which must not exist, after every entry has been checked.
        static func unpack(_ zip: String, into folder: String) throws {
            let content = try Data(contentsOf: URL(fileURLWithPath: zip), options: .alwaysMapped)
            try content.withUnsafeBytes { bytes in
                let entries = try entries(bytes)
                try check(entries, size: bytes.count)
                try Disk.makeFolder(folder)
                for entry in entries {
                    let path = "\(folder)/\(entry.name)"
                    try Disk.makeFolder((path as NSString).deletingLastPathComponent)
                    try write(entry, of: bytes, to: path)
                }
            }
        }

        /// The entries of a zip, each beginning where the one before it ends, with two headers that say the same.
        private static func entries(_ bytes: UnsafeRawBufferPointer) throws -> [Entry] {
            let end = bytes.count - endBytes
            guard end >= 0 else { throw damaged("the zip is damaged: it has \(bytes.count) bytes") }
            var last = Reader(bytes: bytes, place: end)
            let sign = last.number(4)
            let disks = last.number(4)
            let (count, again) = (last.number(2), last.number(2))
            let (size, start) = (last.number(4), last.number(4))
            guard sign == 0x0605_4b50, disks == 0, count == again, start + size == end, last.number(2) == 0 else {
                throw damaged("the zip has bytes after its last file that belong to nothing")
            }
            guard (1...mostFiles).contains(count) else {
                throw damaged("the zip has \(count) files, from 1 to \(mostFiles) make sense")
            }
            guard size <= count * (entryBytes + mostName) else {
                throw damaged("the zip is damaged: its directory is too large")
            }
            var directory = Reader(bytes: bytes, place: start)
            let entries = try (0..<count).map { _ in try entry(&directory, end: end) }
            guard directory.place == end else {
                throw damaged("the zip is damaged: its directory goes on after its last entry")
            }
            var place = 0
            for entry in entries.sorted(by: { $0.offset < $1.offset }) {
                guard entry.offset == place else {
                    throw damaged("the zip has bytes before \(entry.name) that belong to no file, or to two")
                }
                try checkLocal(entry, of: bytes, start: start)
                place = entry.place + entry.packed
            }
            guard place == start else { throw damaged("the zip has bytes after its last file that belong to nothing") }
            return entries
        }

        private static func entry(_ directory: inout Reader, end: Int) throws -> Entry {
            let noEntry = damaged("the zip is damaged: its directory")
            guard end - directory.place >= entryBytes, directory.number(4) == 0x0201_4b50 else { throw noEntry }
            _ = directory.number(2)  // made by
            let needed = directory.number(2) & 255
            let (flags, method) = (directory.number(2), directory.number(2))
            _ = directory.number(4)  // time and date
            let (crc, packed, size) = (directory.number(4), directory.number(4), directory.number(4))
            let (length, extra, comment) = (directory.number(2), directory.number(2), directory.number(2))
            _ = directory.number(4)  // disk, and whether it is text
            let (external, offset) = (directory.number(4), directory.number(4))
            guard end - directory.place >= length else { throw noEntry }
            let bytes = directory.take(length)
            guard Names.isPlain(bytes) else {
                let shown = String(decoding: bytes.prefix(80).map { (32..<127).contains($0) ? $0 : 63 }, as: UTF8.self)
                throw damaged("the zip holds a file named '\(shown)', which a bundle never does")
            }
            let name = String(decoding: bytes, as: UTF8.self)
            guard extra == 0, comment == 0 else {
                throw damaged("\(name) has two headers in the zip, which say different things or too much")
            }
            guard needed <= latestNeeded else { throw damaged("the zip is damaged: \(name) needs what phones do not know") }
            return Entry(
                name: name, flags: flags, method: method, crc: crc, packed: packed, size: size, external: external,
                offset: offset)
        }

        private static func checkLocal(_ entry: Entry, of bytes: UnsafeRawBufferPointer, start: Int) throws {
            let length = localBytes + entry.name.utf8.count
            if entry.offset + length + entry.packed <= start {
                var local = Reader(bytes: bytes, place: entry.offset)
                let sign = local.number(4)
                _ = local.number(2)
                let said = [local.number(2), local.number(2)]
                _ = local.number(4)
                let sizes = [local.number(4), local.number(4), local.number(4)]
                let (named, extra) = (local.number(2), local.number(2))
                if sign == 0x0403_4b50, said == [entry.flags, entry.method], sizes == [entry.crc, entry.packed, entry.size],
                    named == entry.name.utf8.count, extra == 0, local.take(named) == Array(entry.name.utf8)
                {
                    return
                }
            }
            throw damaged("\(entry.name) has two headers in the zip, which say different things or too much")
        }

        private static func check(_ entries: [Entry], size: Int) throws {
            var spelled: [String: String] = [:]  // of files and their folders, which some phones do not tell apart by case
            var total = 0
            for entry in entries {
                let name = entry.name
                for place in name.indices where name[place] == "/" {
                    let folder = String(name[..<place])
                    let known = spelled[folder.lowercased()] ?? folder + "/"
                    guard known == folder + "/" else {
                        throw damaged("the zip holds \(folder) twice, as a folder and otherwise or in another case")
                    }
                    spelled[folder.lowercased()] = known
                }
                guard spelled.updateValue(name, forKey: name.lowercased()) == nil else {
                    throw damaged("the zip holds \(name) twice")
                }
                let kind = entry.external >> 16 & 0xF000
                guard kind == 0 || kind == 0x8000, entry.flags & encrypted == 0 else {
                    throw damaged("\(name) in the zip is a link, a device or encrypted, not a plain file")
                }
                guard entry.method == 0 || entry.method == 8 else {
                    throw damaged("\(name) in the zip is compressed in a way that phones do not know")
                }
                if entry.size > mostRatio * max(entry.packed, 1), entry.size > mostPlain {
                    throw damaged("\(name) unfolds to \(entry.size) bytes from \(entry.packed)")
                }
                total += entry.size
            }
            guard total <= mostBytes, total <= mostRatio * size else {
                throw damaged("the zip unfolds to \(total) bytes from \(size): at most \(mostBytes) are unpacked")
            }
        }

        /// Write an entry's content, which must be exactly what its headers say.
        private static func write(_ entry: Entry, of bytes: UnsafeRawBufferPointer, to path: String) throws {
            let file = try Disk.File(creating: path)
            defer { file.close() }
            var checksum = Codecs.Checksum()
            var made = 0
            func put(_ part: UnsafeRawBufferPointer) throws {
                made += part.count
                guard made <= entry.size else { throw damaged("\(entry.name) is larger than its header says") }
                checksum.update(part)
                try file.write(part)
            }
            let packed = UnsafeRawBufferPointer(rebasing: bytes[entry.place..<(entry.place + entry.packed)])
            do {
                if entry.method == 0 {
                    try put(packed)
                } else {
                    try Codecs.Inflater.inflate(packed, put: put)
                }
            } catch let damage as Codecs.Damage {
                throw damaged("the zip is damaged: \(entry.name): \(damage.reason)")
            }
            guard made == entry.size else { throw damaged("\(entry.name) is smaller than its header says") }
            guard checksum.value == UInt32(entry.crc) else {
                throw damaged("the zip is damaged: \(entry.name) has another checksum")
            }
        }

        /// Compare every file of an unpacked bundle with its manifest.
        static func check(_ folder: String) throws -> Manifest {
            let manifest = try Manifest("\(folder)/\(self.manifest)")
            let there = Set(try Disk.files(below: folder).map { JSON.Text(bytes: Array($0.utf8)) })
                .subtracting([JSON.Text(bytes: Array(self.manifest.utf8))])
            let listed = Set(manifest.digests.keys)
            if let name = there.subtracting(listed).map({ $0.string }).sorted().first {
                throw damaged("\(name) is not listed in \(self.manifest)")
            }
            if let name = listed.subtracting(there).map({ $0.string }).sorted().first {
                throw damaged("\(name) is missing, although it is listed in \(self.manifest)")
            }
            for (name, digest) in manifest.digests {
                let path = "\(folder)/\(name.string)"
                guard Disk.kind(of: path) == .file else { throw damaged("\(name.string) is a link, a folder or no plain file") }
                guard let found = try? Codecs.sha256(of: path) else {
                    throw damaged("\(name.string) cannot be read")
                }
                guard Array(found.utf8) == digest.bytes else {
                    throw damaged("\(name.string) is not the file that \(self.manifest) lists (its SHA-256 differs)")
                }
            }
            return manifest
        }
    }

    // MARK: - The manifest

    /// `model.json` of an unpacked bundle.
    struct Manifest {
        let version: String
        let digests: [JSON.Text: JSON.Text]
        private let models: [JSON.Text: JSON.Value]
        private let schema: JSON.Value?

        init(_ path: String) throws {
            let name = Bundled.manifest
            guard let kind = Disk.kind(of: path) else { throw damaged("the bundle has no \(name)") }
            guard kind == .file else { throw damaged("\(name) is damaged: it is no plain file") }
            let value: JSON.Value
            do {
                let size = try Disk.size(of: path)
                guard size <= Bundled.mostManifest else {
                    throw damaged("\(size) bytes, at most \(Bundled.mostManifest) are read")
                }
                value = try JSON.read(Data(contentsOf: URL(fileURLWithPath: path)), most: Bundled.mostManifest)
            } catch {
                throw damaged("\(name) is damaged: \(error.localizedDescription)")
            }
            guard let said = object(value), let listed = object(said["sha256"]), let models = object(said["files"]),
                !models.isEmpty, models.keys.allSatisfy({ listed[$0] != nil }), listed.values.allSatisfy({ text($0) != nil })
            else { throw damaged("\(name) is damaged: it does not list files with their SHA-256") }
            try checkFormat(said, of: name)
            if case .number(let written, isWhole: _)? = said["version"] {
                version = written
            } else {
                version = text(said["version"])?.string ?? ""
            }
            digests = listed.compactMapValues { text($0) }
            self.models = models
            schema = said["schema"]
        }

        /// Refuse golden cases that are of other inputs, outputs, files or tolerances than this bundle.
        func check(_ golden: Golden) throws {
            let shapes: Shapes
            do {
                shapes = try Shapes(schema)
            } catch let damage as Codecs.Damage {
                throw damaged("the schema in \(Bundled.manifest) is damaged: \(damage.reason)")
            }
            let kinds = [("inputs", golden.inputs, shapes.inputs), ("outputs", golden.outputs, shapes.outputs)]
            for (kind, found, wanted) in kinds where found != wanted {
                throw damaged("the golden cases are of \(kind) \(found), the model has \(wanted)")
            }
            if let batch = shapes.batch, golden.cases.contains(where: { $0.rows != batch }) {
                let rows = Set(golden.cases.map { $0.rows }).sorted()
                throw damaged("the golden cases have \(rows) rows, the model takes \(batch) at a time")
            }
            guard Set(golden.tolerance.map { $0.file }) == Set(models.keys) else {
                let (found, wanted) = (golden.tolerance.map { $0.file.string }, models.keys.map { $0.string })
                throw damaged("the golden cases are of \(found.sorted()), the bundle has \(wanted.sorted())")
            }
            for (file, allowed) in golden.tolerance {
                let stated = object(object(models[file])?["tolerance"])
                for (output, value) in zip(golden.outputs, allowed) where stated?[output.name]?.number != value {
                    throw damaged(
                        "the golden cases allow \(file.string) differences of \(value) in \(output.name.string), "
                            + "\(Bundled.manifest) says \(shown(stated?[output.name]))")
                }
            }
        }
    }

    /// An input or output of golden cases: the shape is that of a row.
    struct Shaped: Equatable, CustomStringConvertible {
        enum Kind: Int {
            case float32, int32, int64, uint8

            var bytes: Int { return [4, 4, 8, 1][rawValue] }
        }

        let name: JSON.Text
        let shape: [Int]
        let kind: Kind
        var width: Int { return shape.reduce(1, *) }
        var description: String { return "\(name.string) \(kind) \(shape)" }
    }

    /// What the golden cases must agree with of the schema in `model.json`.
    struct Shapes {
        static let mostTensors = 64
        static let mostSize = 1 << 22
        static let mostAxes = 6

        let inputs: [Shaped]
        let outputs: [Shaped]
        let batch: Int?

        init(_ schema: JSON.Value?) throws {
            let kinds = try ["inputs", "outputs"].map { kind -> [JSON.Value] in
                guard let tensors = list(object(schema)?[JSON.Text(bytes: Array(kind.utf8))]) else {
                    throw Codecs.Damage("it has no \(kind)")
                }
                guard (1...Self.mostTensors).contains(tensors.count) else {
                    throw Codecs.Damage("\(tensors.count) \(kind)")
                }
                return tensors
            }
            inputs = try kinds[0].map(Self.tensor)
            outputs = try kinds[1].map(Self.tensor)
            guard Set((inputs + outputs).map { $0.name }).count == inputs.count + outputs.count else {
                throw Codecs.Damage("two inputs or outputs have one name")
            }
            let first = try Self.axes(of: kinds[0][0])[0]
            guard first == -1 || (1...4096).contains(first) else { throw Codecs.Damage("a batch of \(first) rows") }
            batch = first == -1 ? nil : first
        }

        private static func axes(of tensor: JSON.Value) throws -> [Int] {
            guard let axes = list(object(tensor)?["shape"])?.map({ Int($0.wholeNumber ?? 0) }),
                (2...(mostAxes + 1)).contains(axes.count)
            else { throw Codecs.Damage("a shape") }
            return axes
        }

        private static func tensor(_ tensor: JSON.Value) throws -> Shaped {
            guard let name = text(object(tensor)?["name"]), name.isName else {
                throw Codecs.Damage("the name of a tensor")
            }
            let row = Array(try axes(of: tensor).dropFirst())
            guard row.allSatisfy({ (1...mostSize).contains($0) }), row.reduce(1, { min($0 * $1, 1 << 40) }) <= mostSize else {
                throw Codecs.Damage("the shape of \(name.string)")
            }
            let kinds: [JSON.Text: Shaped.Kind] = [
                "float32": .float32, "int32": .int32, "int64": .int64, "uint8": .uint8,
            ]
            guard let dtype = text(object(tensor)?["dtype"]), let kind = kinds[dtype] else {
                throw Codecs.Damage("the type of \(name.string)")
            }
            return Shaped(name: name, shape: row, kind: kind)
        }
    }

    // MARK: - Golden cases

    /// `golden.bin`: inputs with the outputs that each model file gives for them on any device. It is mapped, not read: one
    /// case at a time is in memory.
    final class Golden: @unchecked Sendable {  // unchecked: nothing changes once it is read
        struct Case {
            let name: String
            let rows: Int
            let inputs: [Int]  // where the values of each begin
            let trained: [Int]
            let expected: [[Int]]  // of each file of `tolerance`
        }

        private static let mostBytes = 64 << 20
        private static let mostTolerance = 0.05  // as a part of the scale
        private static let (mostFiles, mostCases, mostRows, mostName) = (16, 1000, 1 << 20, 4096)

        private(set) var inputs: [Shaped] = []
        private(set) var outputs: [Shaped] = []
        private(set) var tolerance: [(file: JSON.Text, allowed: [Double])] = []
        private(set) var cases: [Case] = []
        private let content: Data
        private var place = 0

        init(_ path: String) throws {
            guard Disk.kind(of: path) == .file else { throw damaged("\(Bundled.golden) cannot be read: it is not there") }
            let size = try Disk.size(of: path)
            guard size <= Self.mostBytes else {
                throw damaged("the golden cases have \(size) bytes, at most \(Self.mostBytes) are read")
            }
            content = try Data(contentsOf: URL(fileURLWithPath: path), options: size > 0 ? .alwaysMapped : [])
            let magic = String(decoding: try take(8), as: UTF8.self)
            if magic == "GOLDEN01" {
                throw damaged("the golden cases were made by an earlier version: the bundle must be made anew")
            }
            guard magic == "GOLDEN02" else {
                throw damaged("these are no golden cases: they do not begin with GOLDEN02")
            }
            inputs = try tensors()
            outputs = try tensors()
            for _ in 0..<(try count(Self.mostFiles)) {
                let file = try text()
                let allowed = try outputs.map { _ in
                    try take(8).withUnsafeBytes { Double(bitPattern: UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))) }
                }
                if let index = tolerance.firstIndex(where: { $0.file == file }) {
                    tolerance[index].allowed = allowed
                } else {
                    tolerance.append((file, allowed))
                }
            }
            for _ in 0..<(try count(Self.mostCases)) {
                let (name, rows) = (try text().string, try count(Self.mostRows))
                cases.append(
                    Case(
                        name: name, rows: rows, inputs: try places(rows, inputs), trained: try places(rows, outputs),
                        expected: try tolerance.map { _ in try places(rows, outputs) }))
            }
            guard place == content.count else {
                throw damaged("the golden cases go on for \(content.count - place) bytes after their end")
            }
            try check()
        }

        private func cutShort(_ size: Int) -> Refusal {
            return damaged("the golden cases are cut short: \(size) bytes are needed and \(content.count - place) are left")
        }

        private func take(_ size: Int) throws -> Data {
            guard size <= content.count - place else {
                throw cutShort(size)
            }
            place += size
            return content.subdata(in: (place - size)..<place)
        }

        private func count(_ most: Int, least: Int = 0) throws -> Int {
            let number = try take(4).withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
            guard (least...most).contains(number) else {
                throw damaged("the golden cases are damaged: a number is \(number), \(least) to \(most) makes sense there")
            }
            return number
        }

        private func text() throws -> JSON.Text {
            let bytes = Array(try take(count(Self.mostName)))
            guard Array(String(decoding: bytes, as: UTF8.self).utf8) == bytes else {
                throw damaged("the golden cases are damaged: a name is not text")
            }
            return JSON.Text(bytes: bytes)
        }

        private func tensors() throws -> [Shaped] {
            let found = try (0..<(try count(Shapes.mostTensors))).map { _ -> Shaped in
                let name = try text()
                let kind = Shaped.Kind(rawValue: try count(3))!
                let shape = try (0..<(try count(Shapes.mostAxes, least: 1))).map { _ in try count(Shapes.mostSize, least: 1) }
                guard shape.reduce(1, { min($0 * $1, 1 << 40) }) <= Shapes.mostSize else {
                    throw damaged("the golden cases are damaged: '\(name.string)' has the shape \(shape)")
                }
                return Shaped(name: name, shape: shape, kind: kind)
            }
            guard Set(found.map { $0.name }).count == found.count else {
                throw damaged("the golden cases are damaged: two inputs or outputs have one name")
            }
            return found
        }

        /// Where the values of each tensor begin; behind them it goes on.
        private func places(_ rows: Int, _ tensors: [Shaped]) throws -> [Int] {
            return try tensors.map { tensor in
                let size = rows * tensor.width * tensor.kind.bytes
                guard size <= content.count - place else {
                    throw cutShort(size)
                }
                place += size
                return place - size
            }
        }

        /// Calls `body` with each value of a tensor and its place.
        private func each(_ tensor: Shaped, _ place: Int, _ rows: Int, _ body: (Int, Double) -> Void) {
            content.withUnsafeBytes { bytes in
                for index in 0..<(rows * tensor.width) {
                    switch tensor.kind {
                    case .float32:
                        let bits = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place + 4 * index, as: UInt32.self))
                        body(index, Double(Float(bitPattern: bits)))
                    case .int32:
                        let value = bytes.loadUnaligned(fromByteOffset: place + 4 * index, as: Int32.self)
                        body(index, Double(Int32(littleEndian: value)))
                    case .int64:
                        let value = bytes.loadUnaligned(fromByteOffset: place + 8 * index, as: Int64.self)
                        body(index, Double(Int64(littleEndian: value)))
                    case .uint8:
                        body(index, Double(bytes[place + index]))
                    }
                }
            }
        }

        private func values(_ tensor: Shaped, _ place: Int, _ rows: Int) -> {{ name }}.Values {
            func numbers<Number: FixedWidthInteger>(_: Number.Type) -> [Number] {
                return content.withUnsafeBytes { bytes in
                    (0..<(rows * tensor.width)).map {
                        let offset = place + $0 * MemoryLayout<Number>.size
                        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
                    }
                }
            }
            switch tensor.kind {
            case .float32: return .float32(numbers(UInt32.self).map { Float(bitPattern: $0) })
            case .int32: return .int32(numbers(Int32.self))
            case .int64: return .int64(numbers(Int64.self))
            case .uint8: return .uint8(numbers(UInt8.self))
            }
        }

        /// Refuse cases that prove nothing: none, no rows, a tolerance or outputs that anything would pass.
        private func check() throws {
            guard !inputs.isEmpty, !outputs.isEmpty, !tolerance.isEmpty, !cases.isEmpty, !cases.contains(where: { $0.rows == 0 })
            else { throw damaged("the golden cases are empty") }
            for one in cases {
                let arrays = zip(inputs, one.inputs).map { $0 } + ([one.trained] + one.expected).flatMap { zip(outputs, $0) }
                for (tensor, place) in arrays where tensor.kind == .float32 {
                    var isFinite = true
                    each(tensor, place, one.rows) { _, value in isFinite = isFinite && value.isFinite }
                    guard isFinite else { throw damaged("golden case '\(one.name)' holds values that are not finite") }
                }
            }
            let scales = outputs.indices.map(scale)
            for (file, (name, allowed)) in tolerance.enumerated() {
                guard zip(allowed, scales).allSatisfy({ $0 >= 0 && $0 <= Self.mostTolerance * $1 }) else {
                    throw damaged("the golden cases allow \(name.string) differences that prove nothing: \(allowed)")
                }
                guard outputs.indices.contains(where: { !(spread(file, $0) <= 2 * allowed[$0]) }) else {
                    throw damaged(
                        "the golden cases of \(name.string) prove nothing: one score for everything would pass them all")
                }
            }
        }

        /// What differences of an output are measured by: 1, or the largest value of the trained model if that is larger.
        private func scale(_ output: Int) -> Double {
            var scale = 1.0
            for one in cases {
                each(outputs[output], one.trained[output], one.rows) { _, value in scale = max(scale, abs(value)) }
            }
            return scale
        }

        /// How far the values of an output at one place of a row are apart, at the place where they are the furthest.
        private func spread(_ file: Int, _ output: Int) -> Double {
            let width = outputs[output].width
            var low = [Double](repeating: .infinity, count: width)
            var high = [Double](repeating: -.infinity, count: width)
            for one in cases {
                each(outputs[output], one.expected[file][output], one.rows) { index, value in
                    low[index % width] = min(low[index % width], value)
                    high[index % width] = max(high[index % width], value)
                }
            }
            return zip(low, high).map { $1 - $0 }.max() ?? 0
        }

        /// Number of rows and inputs of every case.
        var given: [(rows: Int, inputs: [String: {{ name }}.Values])] { return cases.map { ($0.rows, inputs(of: $0)) } }

        private func inputs(of one: Case) -> [String: {{ name }}.Values] {
            var given: [String: {{ name }}.Values] = [:]
            for (input, place) in zip(inputs, one.inputs) { given[input.name.string] = values(input, place, one.rows) }
            return given
        }

        /// What a model file does not reproduce: a line a case and output, with its largest difference; empty if all pass.
        func failures(_ file: String, predict: Predict) async throws -> [String] {
            guard let index = tolerance.firstIndex(where: { $0.file.bytes == Array(file.utf8) }) else {
                throw damaged("the bundle has no \(file), with which this app scores")
            }
            var said: [String] = []
            for one in cases {
                let found = try await predict(inputs(of: one))
                for (number, output) in outputs.enumerated() {
                    guard let values = found[output.name.string] else {
                        throw Codecs.Damage("there is no output \(output.name.string)")
                    }
                    let place = one.expected[index][number]
                    let allowed = tolerance[index].allowed[number]
                    if let wrong = wrong(output, Self.numbers(values), place, one, allowed) { said.append(wrong) }
                }
            }
            return said
        }

        private static func numbers(_ values: {{ name }}.Values) -> [Double] {
            switch values {
            case .float32(let numbers): return numbers.map { Double($0) }
            case .int32(let numbers): return numbers.map { Double($0) }
            case .int64(let numbers): return numbers.map { Double($0) }
            case .uint8(let numbers): return numbers.map { Double($0) }
            }
        }

        private func wrong(_ output: Shaped, _ found: [Double], _ place: Int, _ one: Case, _ allowed: Double) -> String? {
            let which = outputs.count > 1 ? "\(one.name): \(output.name.string), " : "\(one.name): "
            guard found.count == one.rows * output.width else { return "\(which)\(found.count) values for \(one.rows) rows" }
            var worst: (index: Int, difference: Double, wanted: Double)?
            each(output, place, one.rows) { index, wanted in
                let difference = abs(found[index] - wanted)
                if difference <= allowed { return }  // written so that NaN fails
                let seen = difference.isNaN ? Double.infinity : difference
                if seen > worst?.difference ?? -1 { worst = (index, seen, wanted) }
            }
            guard let worst = worst else { return nil }
            return which
                + String(
                    format: "row %d scores %.6f and not %.6f (at most %.2g apart)", worst.index / output.width,
                    found[worst.index], worst.wanted, allowed)
        }
    }
}
{% if not encoding and not pictures %}

{{ reader.json(name, name ~ "Codecs.Damage") }}
{% endif %}
