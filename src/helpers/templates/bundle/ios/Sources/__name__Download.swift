import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

// Fetches a descriptor and its zip from a server that may be slow, wrong or hostile, going on where it stopped.

@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}Delivery {

    /// Set once, by whoever does not want to wait any longer.
    final class Flag: @unchecked Sendable {  // unchecked: `lock` guards it
        private let lock = NSLock()
        private var isSet = false

        func set() {
            lock.lock()
            defer { lock.unlock() }
            isSet = true
        }

        func check() throws {
            lock.lock()
            defer { lock.unlock() }
            if isSet { throw CancellationError() }
        }
    }

    struct Download {
        let patience: Patience
        let cancelled: Flag

        private static let schemes: Set<String> = ["http", "https", "file"]
        private static let mostDescriptor = 1 << 16
        private static let (partialContent, noSuchRange) = (206, 416)

        /// The descriptor's URL.
        func descriptorPlace(_ source: URL) throws -> URL {
            guard let scheme = source.scheme?.lowercased(), Self.schemes.contains(scheme) else {
                throw Refusal(.fetch, "\(source) is neither http, https nor a file")
            }
            let text = source.absoluteString
            guard text.hasSuffix(".zip") else { return source }
            guard let named = URL(string: text.dropLast(4) + ".json") else { throw Refusal(.fetch, "\(source) is no URL") }
            return named
        }

        /// The zip's URL, from the descriptor's.
        func zipPlace(_ place: URL, _ descriptor: Descriptor) throws -> URL {
            let given = descriptor.modelURL
            let scheme = Self.scheme(given)
            if scheme == "file", place.scheme?.lowercased() != "file" {
                throw damaged("the descriptor from \(place) names a file of this machine, \(given)")
            }
            if let scheme = scheme, !Self.schemes.contains(scheme) {
                throw damaged("\(given) is neither http, https nor a file")
            }
            guard let url = URL(string: Self.quoted(given), relativeTo: place)?.absoluteURL else {
                throw damaged("'\(given)' is no URL")
            }
            return url
        }

        /// The descriptor's bytes.
        func small(_ place: URL) throws -> Data {
            var content = Data()
            try Answer(place, most: Self.mostDescriptor + 1, patience, cancelled).read { content.append($0) }
            guard content.count <= Self.mostDescriptor else {
                throw damaged("\(place) is no descriptor: it is larger than \(Self.mostDescriptor) bytes")
            }
            return content
        }

        /// Fetch what is missing of a zip, never more than was announced, and check it.
        func zip(_ url: URL, to path: String, _ announced: Descriptor) throws {
            let target = try Disk.File(plain: path)
            do {
                defer { target.close() }
                let there = try target.size()
                if there != announced.size {
                    let have = there < announced.size ? there : 0
                    do {
                        try proceed(url, target, announced.size, from: have)
                    } catch let refusal as Refusal where have > 0 && refusal.status == Self.noSuchRange {
                        try proceed(url, target, announced.size, from: 0)
                    }
                }
            }
            do {
                try announced.check(path)
            } catch let refusal as Refusal {
                if try Disk.size(of: path) >= announced.size { try Disk.remove(path) }  // continuing would not make it right
                throw refusal
            }
        }

        /// Fetch a zip from a byte on, to at most one byte more than its size.
        private func proceed(_ url: URL, _ target: Disk.File, _ size: Int, from: Int) throws {
            let answer = Answer(url, most: size + 1, from: from, patience, cancelled)
            var have: Int?
            func begin(_ status: Int) throws -> Int {
                let start = status == Self.partialContent ? from : 0
                try target.truncate(start)
                have = start
                return start
            }
            let status = try answer.read { part in
                let there = try have ?? begin(answer.status)
                guard there <= size else { return }
                let taken = part.prefix(size + 1 - there)
                try taken.withUnsafeBytes { try target.write($0) }
                have = there + taken.count
            }
            if have == nil { _ = try begin(status) }
        }

        /// Nil if a URL is relative.
        static func scheme(_ url: String) -> String? {
            guard let colon = url.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
            let name = url.utf8[..<colon]
            guard let first = name.first, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first | 0x20),
                name.allSatisfy({
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || JSON.isDigit($0)
                        || "+.-".utf8.contains($0)
                })
            else { return nil }
            return String(name)?.lowercased()
        }

        /// Blanks, letters of other alphabets and the like as %XX.
        static func quoted(_ url: String) -> String {
            return url.utf8.map { byte -> String in
                let isPlain =
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) && byte < 128 || JSON.isDigit(byte)
                    || "_.-%/:=&?~#+!$,;'@()*[]".utf8.contains(byte)
                return isPlain ? String(UnicodeScalar(byte)) : String(format: "%%%02X", Int(byte))
            }.joined()
        }
    }

    /// What is at a URL.
    ///
    /// A timeout of the system is for one read, and a server that sends a byte now and then never meets it. So whoever reads
    /// has one deadline over all: redirections, headers and content.
    final class Answer {
        private static let redirected: Set<Int> = [301, 302, 303, 307, 308]
        private static let mostRedirections = 10
        private static let (mostHeader, mostHeaders) = (65536 - 4, 100)
        private static let tooSlowly = "the server sends too slowly, try again later"

        private let url: URL
        private let most: Int
        private let from: Int
        private let patience: Patience
        private let cancelled: Flag
        private let started = DispatchTime.now().uptimeNanoseconds
        private var received = 0
        private(set) var status = 0
        private var exchange: Exchange?

        init(_ url: URL, most: Int, from: Int = 0, _ patience: Patience, _ cancelled: Flag) {
            (self.url, self.most, self.from, self.patience, self.cancelled) = (url, most, from, patience, cancelled)
        }

        /// Hand over the content in parts, at most `most` bytes of it; returns the status, 0 of a file.
        @discardableResult
        func read(_ part: (Data) throws -> Void) throws -> Int {
            do {
                if url.isFileURL {
                    try readFile(part)
                } else {
                    try readAnswer(part)
                }
                return status
            } catch let failure as Failure {
                throw Refusal(.fetch, "cannot fetch \(url): \(failure.reason)", status: failure.status)
            }
        }

        private struct Failure: Error {
            let reason: String
            let status: Int?

            init(_ reason: String, status: Int? = nil) { (self.reason, self.status) = (reason, status) }
        }

        private func readFile(_ part: (Data) throws -> Void) throws {
            guard Disk.kind(of: url.path) == .file, let file = FileHandle(forReadingAtPath: url.path) else {
                throw Failure("there is no file \(url.path)")
            }
            defer { file.closeFile() }
            while received < most {
                try cancelled.check()
                let block = file.readData(ofLength: min(1 << 16, most - received))
                if block.isEmpty { return }
                received += block.count
                try part(block)
            }
        }

        private func readAnswer(_ part: (Data) throws -> Void) throws {
            defer { exchange?.giveUp() }
            let answer = try final()
            let length = answer.expectedContentLength
            while received < most {
                guard let block = try next(length) else { break }
                let taken = block.prefix(most - received)
                received += taken.count
                try part(taken)
            }
        }

        /// The answer at the end of all redirections, which lead to http and https only, and from https to https.
        private func final() throws -> HTTPURLResponse {
            var place = url
            for _ in 0...Self.mostRedirections {
                var request = URLRequest(url: place)
                request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")  // else sizes are of another thing
                if from > 0 { request.setValue("bytes=\(from)-", forHTTPHeaderField: "Range") }
                exchange = Exchange(request, timeout: patience.seconds + 1)
                let answer = try opened()
                try Self.checkHeaders(answer)
                guard Self.redirected.contains(answer.statusCode), let target = Self.header("Location", of: answer) else {
                    guard (200...299).contains(answer.statusCode) else { 
                        let code = answer.statusCode
                        throw Failure("the server answers with the status \(code)", status: code)
                    }
                    if let encoding = Self.header("Content-Encoding", of: answer), encoding.lowercased() != "identity" {
                        throw Failure("the server sends it compressed (\(encoding)), which was not asked for")
                    }
                    status = answer.statusCode
                    return answer
                }
                exchange?.giveUp()
                place = try Self.redirected(place, target)
            }
            throw Failure("more than \(Self.mostRedirections) redirections")
        }

        private static func redirected(_ place: URL, _ target: String) throws -> URL {
            guard let url = URL(string: Download.quoted(target), relativeTo: place)?.absoluteURL, let scheme = url.scheme else {
                throw Failure("it redirects to \(target), which is no URL")
            }
            guard ["http", "https"].contains(scheme.lowercased()) else {
                throw Failure("it redirects to \(target), which is neither http nor https")
            }
            if place.scheme?.lowercased() == "https", scheme.lowercased() != "https" {
                throw Failure("it redirects from https to \(target), where anybody on the way can change it")
            }
            return url
        }

        private static func header(_ name: String, of answer: HTTPURLResponse) -> String? {
            let found = answer.allHeaderFields.first { "\($0.key)".lowercased() == name.lowercased() }
            return found.map { "\($0.value)" }
        }

        private static func checkHeaders(_ answer: HTTPURLResponse) throws {
            let sizes = answer.allHeaderFields.map { "\($0.key)".utf8.count + "\($0.value)".utf8.count }
            guard sizes.count <= mostHeaders, sizes.max() ?? 0 <= mostHeader else { throw Failure("headers that are too long") }
        }

        // MARK: - Waiting

        /// Wait until an exchange is ready; for as long as the deadline allows.
        private func wait<Result>(_ ready: (Exchange) throws -> Result?) throws -> Result {
            guard let exchange = exchange else { throw Failure("nothing was asked for") }
            exchange.lock.lock()
            defer { exchange.lock.unlock() }
            while true {
                if let result = try ready(exchange) { return result }
                try cancelled.check()
                let patient = patience.seconds + Double(received) / Double(patience.slowest)
                let left = patient - Double(DispatchTime.now().uptimeNanoseconds - started) / 1e9
                guard left > 0 else { throw Failure(Self.tooSlowly) }
                _ = exchange.lock.wait(until: Date(timeIntervalSinceNow: min(left, 0.1)))
            }
        }

        private func opened() throws -> HTTPURLResponse {
            return try wait {
                if let response = $0.response { return response }
                guard let ended = $0.ended else { return nil }
                throw Self.failure(ended)
            }
        }

        /// The next part of the content; nil at the end.
        private func next(_ length: Int64) throws -> Data? {
            return try wait { exchange -> Data?? in
                if let part = exchange.taken() { return .some(part) }
                guard let ended = exchange.ended else { return nil }
                if length >= 0, received < length {
                    throw Failure("the connection was cut after \(received) of \(length) bytes: try again, a zip goes on there")
                }
                if ended != nil { throw Self.failure(ended) }
                return .some(nil)
            }
        }

        private static func failure(_ error: Error?) -> Failure {
            if let error = error as? URLError, error.code == .timedOut { return Failure(tooSlowly) }
            return Failure(error.map { "\($0.localizedDescription)" } ?? "no answer in HTTP")
        }
    }

    /// One request and what has come of its answer; its session calls it on a queue of its own.
    final class Exchange: NSObject, URLSessionDataDelegate, @unchecked Sendable {  // unchecked: `lock` guards what changes
        private static let mostHeld = 1 << 22

        let lock = NSCondition()
        private(set) var response: HTTPURLResponse?
        private(set) var ended: Error??
        private var parts: [Data] = []
        private var held = 0
        private var isGivenUp = false
        private var session: URLSession?

        init(_ request: URLRequest, timeout: Double) {
            super.init()
            let configuration = URLSessionConfiguration.ephemeral
            configuration.urlCache = nil
            configuration.httpCookieStorage = nil
            configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
            configuration.timeoutIntervalForRequest = timeout
            let callbacks = OperationQueue()
            callbacks.maxConcurrentOperationCount = 1
            let session = URLSession(configuration: configuration, delegate: self, delegateQueue: callbacks)
            self.session = session
            session.dataTask(with: request).resume()
        }

        /// End it, whatever it is doing. What comes later is passed over.
        func giveUp() {
            note { isGivenUp = true }
            session?.invalidateAndCancel()
            session = nil
        }

        /// A part of the content that has come; locked.
        func taken() -> Data? {
            guard !parts.isEmpty else { return nil }
            let part = parts.removeFirst()
            held -= part.count
            lock.broadcast()
            return part
        }

        func urlSession(
            _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
            newRequest request: URLRequest, completionHandler: @escaping @Sendable (URLRequest?) -> Void
        ) {
            completionHandler(nil)  // first: a task that is cancelled must not be asked any more
            note { self.response = response }
        }

        func urlSession(
            _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
            completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
        ) {
            note { self.response = self.response ?? response as? HTTPURLResponse }
            completionHandler(.allow)
        }

        func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
            lock.lock()
            defer { lock.unlock() }
            while held > Self.mostHeld, !isGivenUp { lock.wait() }  // until what is there has been taken
            guard !isGivenUp else { return }
            parts.append(data)
            held += data.count
            lock.broadcast()
        }

        func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
            note { self.ended = .some(error) }
        }

        private func note(_ change: () -> Void) {
            lock.lock()
            defer { lock.unlock() }
            change()
            lock.broadcast()
        }
    }
}
