import CryptoKit
import Foundation
import TensorFlowLite

/// Trains a model on the phone with the files of a training bundle, through TensorFlow Lite.
///
/// The pod `TensorFlowLiteSwift` calls no signatures: this class uses `train_step.tflite` and `infer.tflite`, whose state goes in
/// and comes out, and holds the state itself.
///
///     let training = try Training(bundle: folder, store: support.appendingPathComponent("personal.state"))
///     _ = try training.resume()
///     let outcome = try await training.round(next: { collected.popLast() }, mayContinue: { charging() && !hot() })
///     if !outcome.counts { log("a round of \(outcome.steps) steps was undone: \(outcome.accuracy)") }
///
/// A round ends after the bundle's limits, or when the app's hook says so, which is asked before each step: the battery, heat and
/// a user who comes back are the app's to watch. A personal version counts only if it is not worse on the rehearsal rows than the
/// shipped model by more than the margin; else the state before the round is back. Everything runs on a serial background queue
/// of this object's own; calls from several threads wait for each other. Needs Swift 6.1 (Xcode 16.3) or later.
@available(iOS 13.4, macOS 10.15.4, *)
nonisolated public final class Training: @unchecked Sendable {  // unchecked: what changes is touched on `queue` only

    /// How the bundle says to train. `anyBatchSize`: a step may have another number of rows than `batchSize`; `shipped` is the part of the rehearsal rows that the shipped model decides as labelled.
    public struct Plan: Sendable {
        public let learningRate: Float
        public let batchSize: Int
        public let anyBatchSize: Bool
        public let steps: Int
        public let seconds: Double
        public let margin: Double
        public let shipped: Double
    }

    /// Rows: of each input its values row by row, and a class a row.
    public struct Batch: Sendable {
        public let inputs: [String: [Float]]
        public let labels: [Int32]

        public init(inputs: [String: [Float]], labels: [Int32]) {
            self.inputs = inputs
            self.labels = labels
        }
    }

    /// How far a golden step leads from Keras' own: the loss before it, and the furthest of the weights after it.
    public struct Difference: Sendable {
        public let loss: Float
        public let weights: Float
    }

    /// What came of a round; `accuracy` on the rehearsal rows, `losses` of each step before it.
    public struct Outcome: Sendable {
        public let steps: Int
        public let losses: [Float]
        public let accuracy: Double
        public let counts: Bool
    }

    /// Why nothing was trained: what is wrong, and what helps.
    public enum TrainingError: LocalizedError, Equatable, Sendable {
        /// The caller's rows or state do not fit the model.
        case input(String)
        /// A file of the bundle or a saved state is missing, damaged, or of another bundle.
        case file(String)
        /// The numbers overflow, as with too high a learning rate; the state is as it was before the step.
        case overflow(String)
        /// This device does not learn as Keras does.
        case golden(String)

        public var errorDescription: String? {
            switch self {
            case .input(let reason): return reason
            case .file(let reason): return reason
            case .overflow(let reason): return reason
            case .golden(let reason): return reason
            }
        }
    }

    public let plan: Plan

    /// An open file with the places of its inputs and the number of rows it is set to.
    private final class Opened {
        let interpreter: Interpreter
        let places: [String: Int]
        var rows = 0

        init(_ file: URL) throws {
            var options = Interpreter.Options()
            options.threadCount = 1
            interpreter = try Interpreter(modelPath: file.path, options: options)
            try interpreter.allocateTensors()
            var found: [String: Int] = [:]
            for index in 0..<interpreter.inputTensorCount { found[try interpreter.input(at: index).name] = index }
            places = found
        }

        func run(_ values: [String: Data], shapes: [String: [Int]], rows: Int) throws -> [String: [Float]] {
            if rows != self.rows {
                self.rows = 0  // nothing is right until everything is
                for (name, shape) in shapes {
                    guard let place = places[name] else { throw TrainingError.file("the model has no input \(name)") }
                    try interpreter.resizeInput(at: place, to: Tensor.Shape([rows] + shape))
                }
                try interpreter.allocateTensors()
                self.rows = rows
            }
            for (name, data) in values {
                guard let place = places[name] else { throw TrainingError.file("the model has no input \(name)") }
                try interpreter.copy(data, toInputAt: place)
            }
            try interpreter.invoke()
            var outputs: [String: [Float]] = [:]
            for index in 0..<interpreter.outputTensorCount {
                let output = try interpreter.output(at: index)
                outputs[output.name] = Training.floats(output.data)
            }
            return outputs
        }
    }

    /// What is read of `training.json`.
    private struct Described: Decodable {
        struct Limits: Decodable {
            let steps: Int
            let seconds: Double
        }
        struct Rehearsal: Decodable {
            let accuracy: Double
        }
        struct Input: Decodable {
            let name: String
            let shape: [Int]
        }
        struct Vector: Decodable {
            let name: String
            let values: Int
        }
        let learning_rate: Float
        let batch_size: Int
        let any_batch_size: Bool
        let limits: Limits
        let margin: Double
        let rehearsal: Rehearsal
        let inputs: [Input]
        let output: String
        let classes: [String]
        let state: [Vector]
        let sha256: [String: String]
    }

    private static let magic = Data("WBTRAIN1".utf8)
    private static let digest = 32

    private let queue = DispatchQueue(label: "ondevice.training", qos: .utility)
    private let folder: URL
    private let store: URL
    private let before: URL
    private let identity: Data
    private let shapes: [String: [Int]]
    private let output: String
    private let classes: Int
    private let vectors: [(name: String, length: Int)]  // in alphabetical order, as in a saved state
    private let step: Opened
    private let scorer: Opened
    private var values: [String: [Float]] = [:]

    /// Open an unpacked training bundle at its initial state; `resume` goes on from the store.
    ///
    /// - Parameter store: Where the personal version is saved, in a folder that is there.
    /// - Throws: `TrainingError.file`, or `InterpreterError` of TensorFlow Lite.
    public init(bundle folder: URL, store: URL) throws {
        let described = try Self.content(folder.appendingPathComponent("training.json"))
        guard let told = try? JSONDecoder().decode(Described.self, from: described) else {
            throw TrainingError.file("training.json is of another form: install the bundle again")
        }
        for name in ["training.tflite", "train_step.tflite", "infer.tflite"] {
            let found = Self.sha256(try Self.content(folder.appendingPathComponent(name)))
            guard told.sha256[name] == found.map({ String(format: "%02x", $0) }).joined() else {
                throw TrainingError.file("\(name) is not the file that training.json lists: install the bundle again")
            }
        }
        identity = Self.sha256(try Self.content(folder.appendingPathComponent("training.tflite")))
        plan = Plan(
            learningRate: told.learning_rate, batchSize: told.batch_size, anyBatchSize: told.any_batch_size,
            steps: told.limits.steps, seconds: told.limits.seconds, margin: told.margin, shipped: told.rehearsal.accuracy)
        shapes = Dictionary(uniqueKeysWithValues: told.inputs.map { ($0.name, $0.shape) })
        output = told.output
        classes = told.classes.count
        vectors = told.state.map { ($0.name, $0.values) }
        self.folder = folder
        self.store = store
        before = store.appendingPathExtension("before")
        step = try Opened(folder.appendingPathComponent("train_step.tflite"))
        scorer = try Opened(folder.appendingPathComponent("infer.tflite"))
        values = try decoded(folder.appendingPathComponent("initial.state"))
    }

    // MARK: - Training

    /// Trains on batches within the limits, and saves what came of it if it counts.
    ///
    /// - Parameters:
    ///   - next: The next batch; nil ends the round.
    ///   - rehearsed: Whether each batch is followed by as many of the bundle's rehearsal rows, in turn, so that what everybody
    ///     needs is not forgotten: in the same step or, where the model takes a fixed number of rows, in one of its own, which
    ///     is not counted.
    ///   - mayContinue: The app's own limits, asked before each step.
    /// - Throws: `TrainingError`, `InterpreterError`, or what writing the store throws; the state before the round is back.
    public func round(
        next: @escaping @Sendable () -> Batch?, rehearsed: Bool = true, mayContinue: @escaping @Sendable () -> Bool
    ) async throws -> Outcome {
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { try self.roundOnQueue(next, rehearsed, mayContinue) })
            }
        }
    }

    /// One step on a batch; the loss before it.
    @discardableResult
    public func train(_ batch: Batch, learningRate: Float? = nil) throws -> Float {
        return try queue.sync { try stepOnQueue(batch, learningRate ?? plan.learningRate) }
    }

    /// The model's output for rows, row by row.
    public func infer(_ inputs: [String: [Float]]) throws -> [Float] {
        return try queue.sync { try inferOnQueue(inputs) }
    }

    /// Makes the bundle's golden steps, which are Keras', and goes back to the state before: whether this device learns as it
    /// should.
    ///
    /// - Throws: `TrainingError.golden` if it does not: do not train on it. `TrainingError.file` if `golden_steps.bin` is missing,
    ///   damaged or of another bundle.
    public func golden() throws -> [Difference] {
        return try queue.sync { try goldenOnQueue() }
    }

    /// Part of the bundle's rehearsal rows that is decided as labelled.
    public func rehearse() throws -> Double {
        return try queue.sync { try share(rehearsal()) }
    }

    /// Whether a personal version counts: not worse than the shipped model by more than the margin.
    public static func counts(before: Double, after: Double, margin: Double) -> Bool {
        return before - after <= margin + 1e-9  // the last is less than one row, and more than rounding
    }

    // MARK: - The state

    /// The weights, the optimiser's vectors and the steps made, by name.
    public var state: [String: [Float]] { return queue.sync { values } }

    /// Goes on from another state.
    public func restore(_ state: [String: [Float]]) throws {
        try queue.sync {
            let wanted = Dictionary(uniqueKeysWithValues: vectors.map { ($0.name, $0.length) })
            guard state.mapValues({ $0.count }) == wanted else {
                throw TrainingError.input("the model has the state \(wanted), this is \(state.mapValues { $0.count })")
            }
            values = state
        }
    }

    /// Saves the state to the store; a kill at any moment leaves the old or the new one. The version before stays beside it.
    public func save() throws {
        try queue.sync { try saveOnQueue() }
    }

    /// Goes on from the store; false if there is none yet.
    ///
    /// - Throws: `TrainingError.file` if it is damaged or of another bundle: call `rollBack`, or `reset`.
    public func resume() throws -> Bool {
        return try queue.sync {
            guard FileManager.default.fileExists(atPath: store.path) else { return false }
            values = try decoded(store)
            return true
        }
    }

    /// Makes the version before the current one, in the store and here.
    public func rollBack() throws {
        try queue.sync {
            values = try decoded(before)
            try Self.rename(before, to: store)
        }
    }

    /// Begins anew from the shipped model; the store is removed.
    public func reset() throws {
        try queue.sync {
            values = try decoded(folder.appendingPathComponent("initial.state"))
            for file in [store, before] where FileManager.default.fileExists(atPath: file.path) {
                try FileManager.default.removeItem(at: file)
            }
        }
    }

    // MARK: - On the queue

    private func roundOnQueue(_ next: () -> Batch?, _ rehearsed: Bool, _ mayContinue: () -> Bool) throws -> Outcome {
        let start = values
        let rehearsal = try self.rehearsal()
        let end = DispatchTime.now().uptimeNanoseconds + UInt64(min(plan.seconds, 1e9) * 1e9)
        var losses: [Float] = []
        do {
            while losses.count < plan.steps, DispatchTime.now().uptimeNanoseconds < end, mayContinue(), let batch = next() {
                let shipped = rehearsed ? inTurn(try checkedRows(of: batch), of: rehearsal) : nil
                let whole = plan.anyBatchSize ? shipped.map { Self.joined(batch, $0) } : nil
                losses.append(try stepOnQueue(whole ?? batch, plan.learningRate))
                if let shipped, !plan.anyBatchSize { _ = try stepOnQueue(shipped, plan.learningRate) }
            }
            let accuracy = try share(rehearsal)
            let counts = !losses.isEmpty && Self.counts(before: plan.shipped, after: accuracy, margin: plan.margin)
            if counts { try saveOnQueue() } else { values = start }
            return Outcome(steps: losses.count, losses: losses, accuracy: accuracy, counts: counts)
        } catch {
            values = start
            throw error
        }
    }

    private func stepOnQueue(_ batch: Batch, _ learningRate: Float) throws -> Float {
        let rows = try checkedRows(of: batch)
        guard learningRate > 0, Self.isFinite(learningRate) else {
            throw TrainingError.input("the learning rate is \(learningRate)")
        }
        var given = batch.inputs.mapValues { Self.data($0) }
        for (name, vector) in values { given[name] = Self.data(vector) }
        given["labels"] = batch.labels.withUnsafeBytes { Data($0) }
        given["learning_rate"] = Self.data([learningRate])
        let found = try step.run(given, shapes: shapes.merging(["labels": []]) { $1 }, rows: rows)
        guard let loss = found["loss"]?.first, Self.isFinite(loss) else {
            throw TrainingError.overflow("the loss is \(found["loss"]?.first ?? .nan): lower the learning rate")
        }
        var after: [String: [Float]] = [:]
        for (name, length) in vectors {
            guard let vector = found["\(name)_after"], vector.count == length, vector.allSatisfy(Self.isFinite) else {
                throw TrainingError.overflow("\(name) overflows in the step, which was not made: lower the learning rate")
            }
            after[name] = vector
        }
        values = after
        return loss
    }

    private func inferOnQueue(_ inputs: [String: [Float]]) throws -> [Float] {
        let rows = try checkedRows(of: inputs)
        var given = inputs.mapValues { Self.data($0) }
        given["weights"] = Self.data(values["weights"] ?? [])
        let found = try scorer.run(given, shapes: shapes, rows: rows)
        guard let outputs = found[output], outputs.count % rows == 0, outputs.allSatisfy({ $0.isFinite }) else {
            throw TrainingError.overflow("\(output) is not finite: roll back")
        }
        return outputs
    }

    private func share(_ rows: Batch) throws -> Double {
        var right = 0
        for first in stride(from: 0, to: rows.labels.count, by: plan.batchSize) {
            let end = min(first + plan.batchSize, rows.labels.count)
            let outputs = try inferOnQueue(
                rows.inputs.reduce(into: [:]) { part, input in
                    let size = input.value.count / rows.labels.count
                    part[input.key] = Array(input.value[(first * size)..<(end * size)])
                })
            let width = outputs.count / (end - first)
            for row in first..<end {
                let scores = outputs[((row - first) * width)..<((row - first + 1) * width)]
                if Self.decided(Array(scores)) == Int(rows.labels[row]) { right += 1 }
            }
        }
        return Double(right) / Double(rows.labels.count)
    }

    /// The first of the largest, or of one probability whether it is above a half.
    private static func decided(_ scores: [Float]) -> Int {
        if scores.count == 1 { return scores[0] > 0.5 ? 1 : 0 }
        return scores.indices.reduce(0) { scores[$1] > scores[$0] ? $1 : $0 }
    }

    private func checkedRows(of batch: Batch) throws -> Int {
        let rows = try checkedRows(of: batch.inputs)
        let last = Int32(classes - 1)
        guard batch.labels.count == rows else {
            throw TrainingError.input("there are \(rows) rows and \(batch.labels.count) labels")
        }
        guard batch.labels.allSatisfy({ (0...last).contains($0) }) else {
            throw TrainingError.input("labels are from 0 to \(last)")
        }
        return rows
    }

    private func checkedRows(of inputs: [String: [Float]]) throws -> Int {
        guard Set(inputs.keys) == Set(shapes.keys), let first = inputs.first else {
            throw TrainingError.input("the model takes \(shapes.keys.sorted()), not \(inputs.keys.sorted())")
        }
        let rows = first.value.count / shapes[first.key, default: []].reduce(1, *)
        for (name, given) in inputs {
            let size = shapes[name, default: []].reduce(1, *)
            guard rows > 0, given.count == rows * size else {
                throw TrainingError.input(
                    "\(name) has \(given.count) values: a row has \(size), and every input the same number of rows")
            }
            guard given.allSatisfy({ $0.isFinite }) else {
                throw TrainingError.input("\(name) has values that are not finite")
            }
        }
        return rows
    }

    // MARK: - Files

    private func saveOnQueue() throws {
        if let old = try? Self.content(store), (try? decoded(store)) != nil {  // a damaged one is not kept
            try Self.replace(before, with: old)
        }
        try Self.replace(store, with: encoded())
    }

    /// A head, by name in alphabetical order a vector each, and the SHA-256 of everything before it.
    private func encoded() -> Data {
        var content = Self.magic + identity + Self.data([UInt32(vectors.count)])
        for (name, length) in vectors {
            content += Self.data([UInt32(length)]) + Self.data(values[name] ?? [])
        }
        return content + Self.sha256(content)
    }

    private func decoded(_ file: URL) throws -> [String: [Float]] {
        let content = try Self.content(file)
        let name = file.lastPathComponent
        let head = Self.magic.count + Self.digest + 4
        let end = content.count - Self.digest
        guard end >= head, content.starts(with: Self.magic) else { throw TrainingError.file("\(name) is no saved state") }
        guard Self.sha256(content[..<end]) == content[end...] else {
            throw TrainingError.file("\(name) is not whole: its SHA-256 is another")
        }
        var reader = Reader(content: content[..<end], place: Self.magic.count)
        let size = vectors.reduce(head) { $0 + 4 + 4 * $1.length }
        guard try reader.take(Self.digest) == identity, try reader.number() == vectors.count, size == end else {
            throw TrainingError.file("\(name) was saved by another bundle")
        }
        var state: [String: [Float]] = [:]
        for (vector, length) in vectors {
            guard try reader.number() == length else { throw TrainingError.file("\(name) has another \(vector)") }
            let values = Self.floats(try reader.take(4 * length))
            guard values.allSatisfy({ $0.isFinite }) else { throw TrainingError.file("\(vector) of \(name) is not finite") }
            state[vector] = values
        }
        return state
    }

    private func rehearsal() throws -> Batch {
        var reader = try opened("rehearsal.bin", "REHEARS1")
        let names = try inputs(&reader)
        return try batch(&reader, names)
    }

    private func opened(_ file: String, _ magic: String) throws -> Reader {
        var reader = Reader(content: try Self.content(folder.appendingPathComponent(file)), place: 0)
        guard try reader.take(magic.utf8.count) == Data(magic.utf8) else {
            throw TrainingError.file("\(file) does not begin with \(magic): install the bundle again")
        }
        return reader
    }

    /// The names of inputs, which must be those of the model.
    private func inputs(_ reader: inout Reader) throws -> [String] {
        return try (0..<(try reader.number())).map { _ in
            let name = String(decoding: try reader.take(try reader.number()), as: UTF8.self)
            let dtype = try reader.number()
            let shape = try (0..<(try reader.number())).map { _ in try reader.number() }
            guard dtype == 0, shapes[name] == shape else { throw TrainingError.file("\(name) is of another model") }
            return name
        }
    }

    private func batch(_ reader: inout Reader, _ names: [String]) throws -> Batch {
        let rows = try reader.number()
        guard rows > 0 else { throw TrainingError.file("a file has no rows: install the bundle again") }
        var inputs: [String: [Float]] = [:]
        for name in names {
            inputs[name] = Self.floats(try reader.take(4 * rows * shapes[name, default: []].reduce(1, *)))
        }
        return Batch(inputs: inputs, labels: try (0..<rows).map { _ in Int32(truncatingIfNeeded: try reader.number()) })
    }

    /// So many of the rows, which come in turn as the state's steps go on.
    private func inTurn(_ count: Int, of rows: Batch) -> Batch {
        let made = Int(values["step"]?.first ?? 0)
        let places = (0..<count).map { (made * count + $0) % rows.labels.count }
        let inputs = rows.inputs.mapValues { given in
            let width = given.count / rows.labels.count
            return places.flatMap { given[($0 * width)..<(($0 + 1) * width)] }
        }
        return Batch(inputs: inputs, labels: places.map { rows.labels[$0] })
    }

    private static func joined(_ one: Batch, _ other: Batch) -> Batch {
        return Batch(inputs: one.inputs.merging(other.inputs) { $0 + $1 }, labels: one.labels + other.labels)
    }

    private func goldenOnQueue() throws -> [Difference] {
        var reader = try opened("golden_steps.bin", "GSTEPS01")
        guard try reader.take(Self.digest) == identity else {
            throw TrainingError.file("golden_steps.bin is of another bundle: install the bundle again")
        }
        let rate = Self.floats(try reader.take(4))[0]
        let most = Difference(loss: Float(try reader.double()), weights: Float(try reader.double()))
        let names = try inputs(&reader)
        let count = try reader.number()
        let start = values
        defer { values = start }
        for (name, length) in vectors { values[name] = [Float](repeating: 0, count: length) }
        guard count == start["weights"]?.count else { throw TrainingError.file("golden_steps.bin has other weights") }
        values["weights"] = Self.floats(try reader.take(4 * count))
        return try (1...(try reader.number())).map { number in
            let given = try batch(&reader, names)
            let loss = try stepOnQueue(given, rate)
            let wanted = Self.floats(try reader.take(4))[0]
            let after = Self.floats(try reader.take(4 * count))
            let weights = zip(values["weights"] ?? [], after).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
            let found = Difference(loss: abs(loss - wanted), weights: weights)
            guard found.loss <= most.loss, found.weights <= most.weights else {
                throw TrainingError.golden(
                    "golden step \(number) is \(found.loss) and \(found.weights) from Keras': do not train on this device")
            }
            return found
        }
    }

    /// Reads from bytes that may be damaged.
    private struct Reader {
        let content: Data
        var place: Int

        mutating func take(_ count: Int) throws -> Data {
            guard count >= 0, count <= content.count - place else { throw TrainingError.file("a file is cut short") }
            defer { place += count }
            return content.subdata(in: (content.startIndex + place)..<(content.startIndex + place + count))
        }

        mutating func number() throws -> Int {
            return try take(4).reversed().reduce(0) { $0 << 8 | Int($1) }
        }

        mutating func double() throws -> Double {
            return Double(bitPattern: try take(8).reversed().reduce(0) { $0 << 8 | UInt64($1) })
        }
    }

    private static func content(_ file: URL) throws -> Data {
        do {
            return try Data(contentsOf: file)
        } catch {
            throw TrainingError.file("\(file.path) cannot be read: \(error.localizedDescription)")
        }
    }

    /// Writes beside a file, makes the disk hold it, and only then lets it take the name.
    private static func replace(_ file: URL, with content: Data) throws {
        let partial = file.appendingPathExtension("partial")
        try content.write(to: partial)
        let handle = try FileHandle(forUpdating: partial)
        try handle.synchronize()
        try handle.close()
        try rename(partial, to: file)
    }

    /// `FileManager` refuses a name that is taken; rename(2) replaces it in one step.
    private static func rename(_ from: URL, to: URL) throws {
        guard Foundation.rename(from.path, to.path) == 0 else {
            throw TrainingError.file("\(from.path) cannot be renamed to \(to.path): \(String(cString: strerror(errno)))")
        }
    }

    private static func sha256(_ content: Data) -> Data {
        return Data(SHA256.hash(data: content))
    }

    private static func data<Number>(_ values: [Number]) -> Data {
        return values.withUnsafeBytes { Data($0) }
    }

    /// Copied, because the bytes of `Data` need not be aligned for a number.
    private static func floats(_ data: Data) -> [Float] {
        var values = [Float](repeating: 0, count: data.count / 4)
        _ = values.withUnsafeMutableBytes { data.copyBytes(to: $0) }
        return values
    }

    /// TensorFlow Lite may cut what overflows to the largest float: no model gives that one otherwise.
    private static func isFinite(_ value: Float) -> Bool {
        return abs(value) < .greatestFiniteMagnitude
    }
}
