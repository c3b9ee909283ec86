import Foundation

/// Installs bundles of `{{ model | comment }}` without the app store: download, check, score the golden cases in this app,
/// switch, keep the version before.
///
///     let folder = support.appendingPathComponent("{{ name }}")
///     let delivery = {{ name }}Delivery(folder: folder, runtimes: ["{{ runtime }}": "{{ releases[runtime] }}"]{{ ", open: " ~ scorer ~ ".opened" if "model.tflite" not in files else "" }})
///     try await delivery.install(URL(string: "https://models.example.org/bundle.json")!)
///     let model = {{ scorer }}(modelPath: try delivery.current?.appendingPathComponent("{{ files[0] }}").path)
///
/// Whatever is wrong with a bundle is found before `current` changes; a kill or a power cut at any moment leaves the old or
/// the new version whole. A version is an opaque id (also of an A/B test, see `assign`): which one a phone has is the
/// server's decision, so an older one may follow a newer one. The folder is that of `workbench bundle install`:
///
///     .workbench-bundles    says that the folder is an installation; locked while it is changed
///     versions/V-HASH/      unpacked bundles: the current one and the one before
///     current               link to the version in use; replaced in one step
///     previous              link to the version before, for rollback
///     downloads/V-HASH.zip  what has arrived of a zip; continued after an interruption
///
/// It works on a background queue, and ends soon after its task is cancelled. Needs Swift 6.1 (Xcode 16.3) or later.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}Delivery: Sendable {

    /// Scores rows, as `predict` of an open model.
    public typealias Predict = @Sendable ([String: {{ name }}.Values]) async throws -> [String: {{ name }}.Values]

    /// Why nothing was installed: what is wrong, and what helps. What was installed before is still in use.
    public struct Refusal: LocalizedError, Equatable, Sendable {
        public enum Kind: Sendable {
            /// The descriptor or the zip cannot be fetched: try again later. What has arrived of the zip stays.
            case fetch
            /// The folder is somebody else's, or holds nothing to go back to.
            case folder
            /// The bundle needs a later runtime than the app has: an update of the app brings it.
            case runtime
            /// The bundle is not what was announced, is not safe to unpack, or does not score as it should.
            case damaged
        }

        public let kind: Kind
        public let reason: String
        let status: Int?
        public var errorDescription: String? { return reason }

        init(_ kind: Kind, _ reason: String, status: Int? = nil) {
            (self.kind, self.reason, self.status) = (kind, reason, status)
        }
    }

    /// How long a server may take: so many seconds, and as long as what has arrived takes at the slowest rate.
    public struct Patience: Equatable, Sendable {
        public var seconds: Double
        /// Bytes a second.
        public var slowest: Int

        public init(seconds: Double = 30, slowest: Int = 8 << 10) {
            (self.seconds, self.slowest) = (seconds, slowest)
        }
    }

    /// A version in use.
    public struct Delivered: Equatable, Sendable {
        public let version: String
        public let folder: URL
        /// How many golden cases each model file has scored.
        public let cases: [String: Int]
        /// The version that was in use before, if this is another one.
        public let replaced: String?
    }

    private let into: String
    private let runtimes: [String: String]
    private let files: [String]
    private let patience: Patience
    private let opened: @Sendable (URL) throws -> Predict

    /// - Parameters:
    ///   - folder: In the app's own container, empty or not there at first; exclude it from backup.
    ///   - runtimes: Versions that the app has, by `tflite` or `litert`, and `mnn`: a bundle that needs a later one is refused.
    ///   - files: Names of the model files that the app scores with.
    ///   - open: Opens a model file as the app does{{ ", on one CPU thread by default" if "model.tflite" in files else "" }}{{ "; for MNN it is `" ~ name ~ "Mnn.opened`" if "model.mnn" in files else "" }}.
    public init(
        folder: URL,
        runtimes: [String: String],
        files: [String] = ["{{ files[0] }}"],
        patience: Patience = Patience(),
{% if "model.tflite" in files %}
        open: @escaping @Sendable (URL) throws -> Predict = { url in
            let model = {{ name }}(modelPath: url.path)
            return { try await model.predict($0) }
        }
{% else %}
        open: @escaping @Sendable (URL) throws -> Predict
{% endif %}
    ) {
        into = folder.standardizedFileURL.path
        (self.runtimes, self.files, self.patience, opened) = (runtimes, files, patience, open)
    }

    /// Folder of the version in use; nil if there is none. Its files stay readable for who has them open when another version
    /// takes its place.
    ///
    /// - Throws: `Refusal` if something else has the name `current`.
    public var current: URL? {
        get throws {
            return try Installation.linked("\(into)/current").map { URL(fileURLWithPath: $0, isDirectory: true) }
        }
    }

    /// The version in use, as its descriptor named it; nil if there is none. Throws as `current`.
    public var version: String? {
        get throws { return try current.map { Installation.versionOf($0.path) } }
    }

    /// Inputs of golden cases, to try a model with, or to warm it up.
    ///
    /// - Parameter file: `golden.bin` of an installed version, or of the app's own resources.
    /// - Throws: `Refusal` if it is not there, or damaged.
    public static func goldenInputs(of file: URL) throws -> [(rows: Int, inputs: [String: {{ name }}.Values])] {
        return try Golden(file.path).given
    }

    /// Installs the bundle that a descriptor announces.
    ///
    /// - Parameters:
    ///   - descriptor: URL (http, https, file) of `bundle.json`.
    ///   - switched: Called with the new version's folder after it has become current, for an app's own check; if it throws,
    ///     the version before is current again.
    /// - Throws: `Refusal`, with what was installed before still in use; `POSIXError` if the folder cannot be written.
    @discardableResult
    public func install(
        _ descriptor: URL,
        switched: @escaping @Sendable (URL) throws -> Void = { _ in }
    ) async throws -> Delivered {
        return try await inBackground { try self.installNow(descriptor, switched, $0) }
    }

    /// Makes the version before current again; returns its folder. Done twice, it is as before.
    ///
    /// - Throws: `Refusal` if there is none, or it does not score as it should any more; the current one stays in use.
    @discardableResult
    public func rollback() async throws -> URL {
        return try await inBackground { try self.rollbackNow($0) }
    }

    /// The version that a user gets, by weighted rendezvous hashing, as the server's `helpers.bundle.rollout` says.
    ///
    /// When the weight of a version changes, users move to it or away from it, and nobody between two others.
    ///
    /// - Parameters:
    ///   - user: Any stable id.
    ///   - weights: By version, not negative; they need not sum to 1.
    ///   - test: Name of the experiment: the same user is drawn anew for another one.
    /// - Returns: Nil if no version has a weight, or one is negative or not finite.
    public static func assign(_ user: String, weights: [String: Double], test: String = "") -> String? {
        guard weights.values.allSatisfy({ $0.isFinite && $0 >= 0 }) else { return nil }
        let drawn = weights.filter { $0.value > 0 }.map { ($0.key, draw(user, $0.key, test) / $0.value) }
        let least = drawn.map { $0.1 }.min()
        return drawn.filter { $0.1 == least }.map { $0.0 }.min { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Standard exponential, from a hash: the smallest by its weight wins in proportion to it.
    private static func draw(_ user: String, _ version: String, _ test: String) -> Double {
        let hash = Codecs.sha256(Data([test, version, user].joined(separator: "\0").utf8))
        let number = hash.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return -log((Double(number) + 0.5) / 18_446_744_073_709_551_616)
    }

    // MARK: - In the background

    private func inBackground<Result: Sendable>(_ work: @escaping @Sendable (Flag) throws -> Result) async throws -> Result {
        let cancelled = Flag()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                DispatchQueue.global(qos: .utility).async {
                    continuation.resume(with: Swift.Result { try work(cancelled) })
                }
            }
        } onCancel: {
            cancelled.set()
        }
    }

    private func installNow(_ source: URL, _ switched: (URL) throws -> Void, _ cancelled: Flag) throws -> Delivered {
        let download = Download(patience: patience, cancelled: cancelled)
        let place = try download.descriptorPlace(source)
        let announced = try Descriptor(try download.small(place))
        try checkRuntimes(announced.minimum)
        return try Installation.opened(into, make: true, cancelled) { installed in
            var (version, checked) = try self.place(installed, announced)
            if checked == nil {
                let zip = "\(installed.downloads)/\(announced.name).zip"
                try download.zip(try download.zipPlace(place, announced), to: zip, announced)
                checked = try put(installed, zip, announced, version)
            }
            let (before, older) = (try installed.current, try installed.previous)
            do {
                if before != version {
                    // first: killed here, the version before is not forgotten; not a damaged copy of the same
                    if let before = before, !Installation.isOf(before, announced) { try installed.link("previous", to: before) }
                    try installed.link("current", to: version)
                }
                try switched(URL(fileURLWithPath: version, isDirectory: true))
            } catch {
                if before != version {
                    try installed.link("current", to: before)
                    try installed.link("previous", to: older)
                }
                try installed.pruneVersions()
                throw error
            }
            try installed.pruneVersions()
            try installed.pruneDownloads()
            return Delivered(
                version: announced.version, folder: URL(fileURLWithPath: version, isDirectory: true), cases: checked ?? [:],
                replaced: before == version ? nil : before.map(Installation.versionOf))
        }
    }

    private func rollbackNow(_ cancelled: Flag) throws -> URL {
        return try Installation.opened(into, make: false, cancelled) { installed in
            let (older, now) = (try installed.previous, try installed.current)
            guard let older = older, older != now else {
                let only = now.map { "only version \(Installation.versionOf($0))" } ?? "nothing in use"
                throw Refusal(
                    .folder, "\(into) has \(only) and no version before it to go back to: install another one first")
            }
            _ = try verify(older)
            try installed.link("current", to: older)
            if let now = now { try installed.link("previous", to: now) }
            return URL(fileURLWithPath: older, isDirectory: true)
        }
    }

    private func checkRuntimes(_ minimum: [String: String]) throws {
        for (runtime, least) in minimum {
            let has = runtimes[runtime]
            // LiteRT is TensorFlow Lite's later name: it meets every least version of tflite, which meets none of litert
            let earlier = runtime == "litert" && has == nil ? runtimes["tflite"] : nil
            let isOlder = has.map { one in
                (Self.release(one) ?? []).lexicographicallyPrecedes(Self.release(least) ?? [])
            }
            if earlier != nil || isOlder == true {
                throw Refusal(
                    .runtime,
                    "the bundle needs \(runtime) \(least) or later, this app has \(has ?? "tflite \(earlier ?? "")"): "
                        + "update the app first")
            }
        }
    }

    /// The folder for a bundle, and how many cases it scored if it is there already, whole. A folder that is there and damaged
    /// may be in use, so it is not touched: another takes its place.
    private func place(_ installed: Installation, _ announced: Descriptor) throws -> (String, [String: Int]?) {
        var number = 1
        while true {
            let folder = "\(installed.versions)/\(announced.name)" + (number == 1 ? "" : "-\(number)")
            guard let kind = Disk.kind(of: folder) else { return (folder, nil) }
            if kind == .folder {
                do {
                    return (folder, try verify(folder).cases)
                } catch let refusal as Refusal where refusal.kind == .damaged {}
            }
            number += 1
        }
    }

    /// Unpack beside `version`, check, and rename: a version's folder is whole or not there.
    private func put(
        _ installed: Installation, _ zip: String, _ announced: Descriptor, _ version: String
    ) throws -> [String: Int] {
        let fresh = Disk.partial(version)
        try Disk.remove(fresh)  // of a killed process
        defer { try? Disk.remove(fresh) }  // the error that led here says more
        try Bundled.unpack(zip, into: fresh)
        let (said, cases) = try verify(fresh)
        guard said == announced.version else {
            throw Self.damaged("the bundle says it is version '\(said)', announced was '\(announced.version)'")
        }
        try installed.put(fresh, as: version)
        return cases
    }

    /// Compare an unpacked bundle with its manifest and score its golden cases.
    private func verify(_ folder: String) throws -> (version: String, cases: [String: Int]) {
        let manifest = try Bundled.check(folder)
        let golden = try Golden("\(folder)/\(Bundled.golden)")
        try manifest.check(golden)
        for file in files {
            let wrong: [String]
            do {
                let predict = try opened(URL(fileURLWithPath: "\(folder)/\(file)"))
                wrong = try Self.wait { try await golden.failures(file, predict: predict) }
            } catch let refusal as Refusal {
                throw refusal
            } catch {
                throw Self.damaged("the bundle cannot be scored: \(error.localizedDescription)")
            }
            if let first = wrong.first {
                throw Self.damaged(
                    "\(file) does not score as it should, \(wrong.count) times in \(golden.cases.count) cases: \(first)")
            }
        }
        return (manifest.version, Dictionary(files.map { ($0, golden.cases.count) }) { $1 })
    }

    private final class Box<Result>: @unchecked Sendable {  // unchecked: a semaphore stands between its two uses
        var result: Swift.Result<Result, Error>?
    }

    /// Wait for what is asynchronous, on a thread that may wait.
    private static func wait<Result: Sendable>(_ work: @escaping @Sendable () async throws -> Result) throws -> Result {
        let (box, done) = (Box<Result>(), DispatchSemaphore(value: 0))
        Task.detached {
            do {
                box.result = .success(try await work())
            } catch {
                box.result = .failure(error)
            }
            done.signal()
        }
        done.wait()
        return try box.result!.get()
    }
}

// MARK: - The folder

@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}Delivery {

    /// The folder of an installation, locked; what has another name or kind in it is not touched.
    struct Installation {
        private static let mark = ".workbench-bundles"
        private static let text = """
            This folder is an installation of `workbench bundle install`, which makes, replaces and
            removes here:
            versions/, downloads/, current and previous. Other files are left alone.

            """

        let folder: String
        var versions: String { return "\(folder)/versions" }
        var downloads: String { return "\(folder)/downloads" }
        var current: String? { get throws { return try Self.linked("\(folder)/current") } }
        var previous: String? { get throws { return try Self.linked("\(folder)/previous") } }

        /// Point `current` or `previous` to a version, in one step; remove it if there is none.
        func link(_ name: String, to version: String?) throws {
            let link = "\(folder)/\(name)"
            if let version = version {
                let fresh = Disk.partial(link)
                try Disk.remove(fresh)
                try Disk.call(fresh) { symlink("versions/\(Disk.name(version))", fresh) }
                try Disk.call(link) { rename(fresh, link) }
            } else {
                try Disk.remove(link)
            }
            try Disk.flush(folder)
        }

        /// Give an unpacked bundle its name, when the disk holds all of it.
        func put(_ fresh: String, as version: String) throws {
            for path in try Disk.everything(below: fresh) { try Disk.flush("\(fresh)/\(path)") }
            try Disk.flush(fresh)
            try Disk.call(version) { rename(fresh, version) }
            try Disk.flush(versions)
        }

        /// Remove versions that are neither current nor previous, and what killed processes left of one.
        func pruneVersions() throws {
            let kept = [try current, try previous].compactMap { $0.map(Disk.name) }
            // what cannot be removed nobody depends on: it is tried again
            for name in try Disk.names(in: versions) {
                if let left = Disk.left(name), Names.versionFolder(left) != nil { try? Disk.remove("\(versions)/\(name)") }
            }
            for name in try Disk.names(in: versions) where !kept.contains(name) && Self.isVersion("\(versions)/\(name)") {
                let gone = Disk.partial("\(versions)/\(name)")
                // first: killed halfway, no version is left that lacks files
                if rename("\(versions)/\(name)", gone) == 0 { try? Disk.remove(gone) }
            }
            for link in ["\(folder)/current", "\(folder)/previous"].map(Disk.partial) where Disk.kind(of: link) == .link {
                try Disk.remove(link)
            }
        }

        /// Remove what has arrived of zips.
        func pruneDownloads() throws {
            for name in try Disk.names(in: downloads) where name.hasSuffix(".zip") {
                let path = "\(downloads)/\(name)"
                if Names.bundle(Array(name.utf8.dropLast(4))[...]) != nil, Disk.kind(of: path) == .file { unlink(path) }
            }
        }

        /// Do something with an installation while nobody else does; it is made if it is not there and may be.
        static func opened<Result>(
            _ into: String, make: Bool, _ cancelled: Flag, _ action: (Installation) throws -> Result
        ) throws -> Result {
            if make {
                try Disk.makeFolder(into)
            } else if Disk.kind(of: "\(into)/\(mark)") == nil {
                throw Refusal(.folder, "nothing is installed in \(into)")
            }
            let folder = try Disk.real(into)  // links relative to it must not depend on how it is reached
            try claim(folder)
            let file = try Disk.File(plain: "\(folder)/\(mark)")
            defer { file.close() }
            try file.lock(cancelled)
            if try file.size() == 0 { try Data(text.utf8).withUnsafeBytes { try file.write($0) } }
            let installation = Installation(folder: folder)
            for part in [installation.versions, installation.downloads] {
                if let kind = Disk.kind(of: part), kind != .folder {
                    throw Refusal(.folder, "\(part) is a link or a file, an installation has a folder there: move it away")
                }
                try Disk.makeFolder(part)
            }
            _ = (try installation.previous, try installation.current)  // refused before anything is done
            return try action(installation)
        }

        /// The version that `current` or `previous` leads to; nil if there is none.
        static func linked(_ link: String) throws -> String? {
            guard let kind = Disk.kind(of: link) else { return nil }
            let target = kind == .link ? try FileManager.default.destinationOfSymbolicLink(atPath: link) : ""
            let name = Disk.name(target)
            guard target == "versions/\(name)", Names.versionFolder(name) != nil else {
                let leads = target.isEmpty ? "is no link" : "leads to \(target)"
                throw Refusal(
                    .folder, "\(link) \(leads), an installation has a link to one of its versions there: move it away")
            }
            let folder = "\(try Disk.real((link as NSString).deletingLastPathComponent))/\(target)"
            return isVersion(folder) ? folder : nil
        }

        /// Whether a version's folder is of a bundle, damaged or not.
        static func isOf(_ version: String, _ announced: Descriptor) -> Bool {
            guard let found = Names.versionFolder(Disk.name(version)) else { return false }
            return announced.name.hasPrefix("\(found.version)-\(found.hash)")
        }

        static func versionOf(_ folder: String) -> String {
            return Names.versionFolder(Disk.name(folder))?.version ?? Disk.name(folder)
        }

        private static func isVersion(_ path: String) -> Bool {
            return Names.versionFolder(Disk.name(path)) != nil && Disk.kind(of: path) == .folder
        }

        /// Refuse a folder that is somebody else's: not marked and not empty.
        private static func claim(_ folder: String) throws {
            if Disk.kind(of: "\(folder)/\(mark)") != nil { return }
            guard let foreign = try Disk.names(in: folder).min() else { return }
            if Disk.kind(of: "\(folder)/\(mark)") != nil { return }  // another process has marked it just now
            throw Refusal(
                .folder,
                "\(folder) is not empty (it holds '\(foreign)') and was not made by `workbench bundle install`: "
                    + "give a new or an empty folder, as \(folder)/models")
        }
    }

    /// Files and folders, by the system's own calls: what is followed, flushed and replaced is then said exactly.
    enum Disk {
        enum Kind {
            case file, folder, link, other
        }

        private static let partialPrefix = ".partial-phone-"

        /// Nil if there is nothing.
        static func kind(of path: String) -> Kind? {
            var info = stat()
            guard lstat(path, &info) == 0 else { return nil }
            switch info.st_mode & S_IFMT {
            case S_IFREG: return .file
            case S_IFDIR: return .folder
            case S_IFLNK: return .link
            default: return .other
            }
        }

        static func size(of path: String) throws -> Int {
            var info = stat()
            try call(path) { stat(path, &info) }
            return Int(info.st_size)
        }

        static func name(_ path: String) -> String { return (path as NSString).lastPathComponent }

        /// A temporary name beside `path`: who has the lock owns it.
        static func partial(_ path: String) -> String {
            return "\((path as NSString).deletingLastPathComponent)/\(partialPrefix)\(name(path))"
        }

        /// The name that a killed process was writing under `name`.
        static func left(_ name: String) -> String? {
            return name.hasPrefix(partialPrefix) ? String(name.dropFirst(partialPrefix.count)) : nil
        }

        @discardableResult
        static func call(_ path: String, _ body: () -> Int32) throws -> Int32 {
            let result = body()
            guard result >= 0 else {
                throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO, userInfo: [NSFilePathErrorKey: path])
            }
            return result
        }

        static func makeFolder(_ path: String) throws {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }

        static func real(_ path: String) throws -> String {
            guard let found = realpath(path, nil) else {
                throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO, userInfo: [NSFilePathErrorKey: path])
            }
            defer { free(found) }
            return String(cString: found)
        }

        static func names(in folder: String) throws -> [String] {
            return try FileManager.default.contentsOfDirectory(atPath: folder)
        }

        /// Paths of all that is in a folder and in those in it, relative to it; folders after what they hold.
        static func everything(below folder: String) throws -> [String] {
            return try names(in: folder).flatMap { name -> [String] in
                let isFolder = kind(of: "\(folder)/\(name)") == .folder
                return (isFolder ? try everything(below: "\(folder)/\(name)").map { "\(name)/\($0)" } : []) + [name]
            }
        }

        /// The same of what is no folder.
        static func files(below folder: String) throws -> [String] {
            return try everything(below: folder).filter { kind(of: "\(folder)/\($0)") != .folder }
        }

        /// Remove a file, a link (not what it leads to) or a folder, if it is there.
        static func remove(_ path: String) throws {
            guard let kind = kind(of: path) else { return }
            if kind == .folder {
                for name in try names(in: path) { try remove("\(path)/\(name)") }
            }
            try call(path) { kind == .folder ? rmdir(path) : unlink(path) }
        }

        /// Make the disk hold a file, or a folder's list of names, before what follows.
        static func flush(_ path: String) throws {
            let number = try call(path) { open(path, O_RDONLY | O_CLOEXEC) }
            defer { _ = closeNumber(number) }
            #if canImport(Darwin)
            if fcntl(number, F_FULLFSYNC) == 0 { return }  // fsync leaves it in the drive's own memory
            #endif
            try call(path) { fsync(number) }
        }

        private static func closeNumber(_ number: Int32) -> Int32 { return close(number) }

        /// An open file.
        final class File {
            private let number: Int32
            private let path: String

            /// A file that is not there yet.
            init(creating path: String) throws {
                self.path = path
                number = try Disk.call(path) { open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644) }
            }

            /// A file for reading and writing, made if it is not there; what is no plain file is refused: what is written
            /// would land elsewhere, or wait for ever.
            init(plain path: String) throws {
                self.path = path
                let reason = Refusal(.folder, "\(path) is no plain file: move it away")
                let number = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o644)
                if number < 0, [ELOOP, EISDIR, ENXIO, ENODEV].contains(errno) { throw reason }
                self.number = try Disk.call(path) { number }
                var info = stat()
                guard fstat(number, &info) == 0, info.st_mode & S_IFMT == S_IFREG, info.st_nlink == 1 else {
                    _ = Disk.closeNumber(number)
                    throw reason
                }
            }

            func close() { _ = Disk.closeNumber(number) }

            func size() throws -> Int {
                var info = stat()
                try Disk.call(path) { fstat(number, &info) }
                return Int(info.st_size)
            }

            /// Cut it off, and go on writing there.
            func truncate(_ size: Int) throws {
                try Disk.call(path) { ftruncate(number, off_t(size)) }
                try Disk.call(path) { lseek(number, off_t(size), SEEK_SET) < 0 ? -1 : 0 }
            }

            func write(_ bytes: UnsafeRawBufferPointer) throws {
                var rest = bytes
                while !rest.isEmpty {
                    let count = Disk.writeNumber(number, rest)
                    if count < 0, errno == EINTR { continue }
                    try Disk.call(path) { count < 0 ? -1 : 0 }
                    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                }
            }

            /// Wait until nobody else has it.
            func lock(_ cancelled: Flag) throws {
                while flock(number, LOCK_EX | LOCK_NB) != 0 {
                    guard errno == EWOULDBLOCK || errno == EINTR else {
                        try Disk.call(path) { -1 }
                        return
                    }
                    try cancelled.check()
                    Thread.sleep(forTimeInterval: 0.05)
                }
            }
        }

        private static func writeNumber(_ number: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
            return write(number, bytes.baseAddress, bytes.count)
        }
    }
}
