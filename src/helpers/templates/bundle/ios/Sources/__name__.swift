import Foundation
{% if "model.tflite" in files %}
import TensorFlowLite
{% endif %}

{% if "model.tflite" in files %}
/// Scores rows with `model.tflite` ({{ model | comment }}) through TensorFlow Lite.
///
/// One interpreter that the whole app shares: an interpreter is not thread-safe, so this object runs it on a serial
/// background queue of its own. The model is opened there too, at the first score, so that neither ever blocks the
/// caller. Make one object and keep it, or use `shared`. Needs Swift 6.1 (Xcode 16.3) or later, in either language mode;
/// it is on no actor, also in a target whose default is the main actor.
///
///     let {{ "scores" if single else "outputs" }} = try await {{ name }}.shared.{{ "score" if single else "predict" }}([
{% for input in inputs[:3] %}
///         {{ input.name | quoted | comment }}: .{{ input.dtype }}({{ input.name | comment }}),
{% endfor %}
{% if inputs | length > 3 %}
///         // ... and so on, see the table
{% endif %}
///     ])
///
{% else %}
/// What `model.mnn` ({{ model | comment }}) takes and gives: the app scores with `{{ name }}Mnn`, of the module `{{ name }}KitMnn`.
///
{% endif %}
{% if batch %}
/// Every input is a tensor of {{ batch }} rows, given row by row: the model takes so many at a time. All of these are needed:
{% elif single %}
/// Every input is a tensor `[rows, width]`, given row by row; all have the same number of rows, and another number may
/// follow at any call. All of these are needed:
{% else %}
/// Every input is given row by row; all have the same number of rows, and another number may follow at any call. All of
/// these are needed:
{% endif %}
///
/// | Input | Type | Column | Meaning | Range |
/// |---|---|---|---|---|
{% for input in inputs %}
{% for dimension in input.dimensions %}
/// | `{{ input.name | comment }}` | {{ input.dtype }}, width {{ input.size }} | {{ loop.index0 }} `{{ dimension.name | comment }}` | {{ (dimension.meaning or "-") | comment }} | {{ dimension.low }}...{{ dimension.high }} |
{% else %}
/// | `{{ input.name | comment }}` | {{ input.dtype }}, {{ input.shape | join(" x ") }} a row | all | {{ (input.meaning or "-") | comment }} | {{ input.low }}...{{ input.high }} |
{% endfor %}
{% endfor %}
///
{% for output in outputs %}
/// The output `{{ output.name | comment }}` has {{ output.size }} value{{ "" if output.size == 1 else "s" }} a row: {{ (output.dimensions | map(attribute="meaning") | join("; ") or output.meaning or "-") | comment }}.
{% endfor %}
{% if "model.tflite" not in files %}
public enum {{ name }} {}
{% else %}
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}: {{ name }}Scorer, @unchecked Sendable {
    // unchecked: what changes is touched on `queue` only

    /// Where the model runs. A device or a build without it runs the model on the CPU, see `onFallback`.
    public enum Acceleration: Equatable, Sendable {
        case cpu(threads: Int)
        /// The Neural Engine, through TensorFlowLiteCCoreML.
        case coreML
        /// The GPU, through TensorFlowLiteCMetal.
        case metal
    }

    /// The bundle's own `model.tflite`, see `resource`, on one CPU thread.
    public static let shared = {{ name }}()

    /// An open model. `indices` are the places of `inputs` in it, `outputIndices` those of `outputs`.
    private struct Session {
        let interpreter: Interpreter
        let indices: [Int]
        var outputIndices: [Int]?  // known after the first run: until then outputs may have no memory
        var rows: Int
    }

    private let modelPath: String?
{% if not batch %}
    private let fixedRows: Int?
{% endif %}
    private let onFallback: @Sendable (String) -> Void
    private let queue = DispatchQueue(label: {{ (name ~ ".scoring") | quoted }}, qos: .userInitiated)
    private var acceleration: Acceleration
    private var session: Session?

    /// - Parameters:
    ///   - modelPath: A `.tflite` file, by default the one that the app came with, see `resource`.
    ///   - acceleration: One CPU thread by default, which for a small model is the fastest: try before you change it.
{% if not batch %}
    ///   - fixedRows: Score every list in parts of so many rows, the last filled up. On the CPU another number of rows costs
    ///     next to nothing; an accelerator builds its graph again for each, which takes longer than the scores.
{% endif %}
    ///   - onFallback: Called on the background queue with the reason when the model runs on the CPU instead.
    public init(
        modelPath: String? = {{ name }}.resource("model.tflite")?.path,
        acceleration: Acceleration = .cpu(threads: 1),
{% if not batch %}
        fixedRows: Int? = nil,
{% endif %}
        onFallback: @escaping @Sendable (String) -> Void = { reason in NSLog("%@", reason) }
    ) {
        self.modelPath = modelPath
        self.acceleration = acceleration
{% if not batch %}
        self.fixedRows = fixedRows.map { max(1, $0) }
{% endif %}
        self.onFallback = onFallback
    }

    /// Computes every output of rows, by its name.
    ///
    /// - Throws: `ScoringError`, or `InterpreterError` of TensorFlow Lite.
    public func predict(_ inputs: [String: Values]) async throws -> [String: Values] {
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { try self.predictOnQueue(inputs) })
            }
        }
    }

    /// Computes every output, for callers without `async`.
    ///
    /// - Parameters:
    ///   - callbackQueue: Where `completion` is called, by default the main queue.
    ///   - completion: Called once with what the other form returns or throws.
    public func predict(
        _ inputs: [String: Values],
        callbackQueue: DispatchQueue = .main,
        completion: @escaping @Sendable (Result<[String: Values], Error>) -> Void
    ) {
        queue.async {
            let result = Result { try self.predictOnQueue(inputs) }
            callbackQueue.async { completion(result) }
        }
    }
{% if output.dtype == "float32" %}

    /// Scores rows, for callers without `async`.
    ///
    /// - Parameters:
    ///   - callbackQueue: Where `completion` is called, by default the main queue.
    ///   - completion: Called once with what the other form returns or throws.
    public func score(
        _ inputs: [String: Values],
        callbackQueue: DispatchQueue = .main,
        completion: @escaping @Sendable (Result<[Float], Error>) -> Void
    ) {
        predict(inputs, callbackQueue: callbackQueue) { result in
            completion(result.map { Self.scores(of: $0) })
        }
    }
{% endif %}

    /// Frees the interpreter, after the calls that were asked for before it; the next score opens the file again.
    public func unload() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            queue.async {
                self.session = nil
                continuation.resume()
            }
        }
    }

    // MARK: - On the queue

    private func predictOnQueue(_ inputs: [String: Values]) throws -> [String: Values] {
        dispatchPrecondition(condition: .onQueue(queue))
        let rows = try Self.checkedRows(of: inputs)
{% if batch %}
        return try runOrFallBack(inputs, rows: rows)
{% else %}
        guard let fixedRows = fixedRows else { return try runOrFallBack(inputs, rows: rows) }
        var parts: [[String: Values]] = []
        for start in stride(from: 0, to: rows, by: fixedRows) {
            parts.append(
                try runOrFallBack(Self.part(of: inputs, rows: rows, from: start, count: fixedRows), rows: fixedRows))
        }
        return Self.joined(parts, rows: rows)
{% endif %}
    }

    private func runOrFallBack(_ inputs: [String: Values], rows: Int) throws -> [String: Values] {
        do {
            return try run(inputs, rows: rows)
        } catch let error as InterpreterError {
            session = nil  // a call that failed half-way leaves tensors of unknown shapes
            guard isAccelerated else { throw error }
            fallBack("failed (\(error.localizedDescription))")
            return try run(inputs, rows: rows)
        }
    }

    private func run(_ inputs: [String: Values], rows: Int) throws -> [String: Values] {
        var current = try session ?? openSession()
        if current.rows != rows {
            session = nil
{% if not batch %}
            for (input, index) in zip(Self.inputs, current.indices) {
                try current.interpreter.resizeInput(at: index, to: Tensor.Shape([rows] + input.axes))
            }
            try current.interpreter.allocateTensors()
{% endif %}
            current.rows = rows
        }
        session = current
        for (input, index) in zip(Self.inputs, current.indices) {
            guard let values = inputs[input.name] else { continue }  // checkedRows has seen to it
            try current.interpreter.copy(Self.bytes(of: values), toInputAt: index)
        }
        try current.interpreter.invoke()
        let outputIndices = try current.outputIndices ?? Self.boundOutputs(of: current.interpreter)
        current.outputIndices = outputIndices
        session = current
        var result: [String: Values] = [:]
        for (output, index) in zip(Self.outputs, outputIndices) {
            result[output.name] = try Self.values(of: current.interpreter.output(at: index), for: output, rows: rows)
        }
        return result
    }

    private func openSession() throws -> Session {
        guard let modelPath = modelPath else {
            throw ScoringError.model(
                "{{ name }}/model.tflite is missing: add that folder to the app's resources, or give modelPath")
        }
        let delegate = makeDelegate()  // first: it may fall back to the CPU
        var options = Interpreter.Options()
        if case .cpu(let threads) = acceleration { options.threadCount = max(1, threads) }
        let interpreter = try Interpreter(modelPath: modelPath, options: options, delegates: delegate.map { [$0] })
        try interpreter.allocateTensors()
        return Session(
            interpreter: interpreter,
            indices: try Self.boundIndices(of: interpreter),
            outputIndices: nil,
            rows: 0
        )
    }

    // MARK: - Acceleration

    private var isAccelerated: Bool {
        if case .cpu = acceleration { return false }
        return true
    }

    private func fallBack(_ reason: String) {
        onFallback("\(acceleration) \(reason): {{ name }} runs on the CPU")
        acceleration = .cpu(threads: 1)
    }

    private func makeDelegate() -> Delegate? {
        switch acceleration {
        case .cpu:
            return nil
        case .coreML:
            return makeCoreMLDelegate()
        case .metal:
            return makeMetalDelegate()
        }
    }

    private func makeCoreMLDelegate() -> Delegate? {
        #if canImport(TensorFlowLiteCCoreML)
        if let delegate = CoreMLDelegate() { return delegate }
        fallBack("needs a device with a Neural Engine")
        #else
        fallBack("is not in this build, add its framework to the package TensorFlowLite")
        #endif
        return nil
    }

    private func makeMetalDelegate() -> Delegate? {
        #if canImport(TensorFlowLiteCMetal) && !targetEnvironment(simulator)
        return MetalDelegate()
        #else
        fallBack("is not in this build, add its framework to the package TensorFlowLite and run on a device")
        return nil
        #endif
    }

    // MARK: - Binding by name

    private static func boundIndices(of interpreter: Interpreter) throws -> [Int] {
        var found: [String: Int] = [:]
        for index in 0..<interpreter.inputTensorCount {
            found[try interpreter.input(at: index).name] = index
        }
        let known = Set(inputs.map { $0.name })
        if let unknown = found.keys.sorted().first(where: { !known.contains($0) }) {
            throw wrongModel("takes an input \(unknown), which this source does not know")
        }
        return try inputs.map { input in
            guard let index = found[input.name] else { throw wrongModel("takes no input \(input.name)") }
            try check(try interpreter.input(at: index), shape: input.axes, dataType: input.dataType)
            return index
        }
    }

    private static func boundOutputs(of interpreter: Interpreter) throws -> [Int] {
        var found: [String: Int] = [:]
        for index in 0..<interpreter.outputTensorCount {
            found[try interpreter.output(at: index).name] = index
        }
        return try outputs.map { output in
            guard let index = found[output.name] else { throw wrongModel("has no output \(output.name)") }
            try check(try interpreter.output(at: index), shape: output.shape, dataType: output.dataType)
            return index
        }
    }

    private static func check(_ tensor: Tensor, shape: [Int], dataType: DataType) throws {
        let dimensions = tensor.shape.dimensions
{% if batch %}
        let fits = dimensions == [batch] + shape
{% else %}
        let fits = Array(dimensions.dropFirst()) == shape
{% endif %}
        guard fits, tensor.dataType == dataType.tensorFlowLite else {
            throw wrongModel(
                "has \(tensor.name) as \(tensor.dataType) \(dimensions), expected is \(dataType) \(shape) a row")
        }
    }

    private static func wrongModel(_ reason: String) -> ScoringError {
        return .model("the model \(reason): take the .tflite file and this source from one bundle")
    }

    // MARK: - Values in and out

{% if not batch %}
    /// `count` rows of each input from `start` on; behind the last one, that one again.
    private static func part(of values: [String: Values], rows: Int, from start: Int, count: Int) -> [String: Values] {
        func part<Number>(_ numbers: [Number]) -> [Number] {
            let width = numbers.count / rows
            return (start..<start + count).flatMap { row -> ArraySlice<Number> in
                let place = min(row, rows - 1) * width
                return numbers[place..<place + width]
            }
        }
        return values.mapValues { values in
            switch values {
            case .float32(let numbers): return .float32(part(numbers))
            case .int32(let numbers): return .int32(part(numbers))
            case .int64(let numbers): return .int64(part(numbers))
            case .uint8(let numbers): return .uint8(part(numbers))
            }
        }
    }

    /// The outputs of parts one after the other, without what the last one was filled up with.
    private static func joined(_ parts: [[String: Values]], rows: Int) -> [String: Values] {
        var result: [String: Values] = [:]
        for output in outputs {
            let values = parts.compactMap { $0[output.name] }
            let count = rows * output.width
            switch values.first {
            case .float32?: result[output.name] = .float32(all(values, count) { if case .float32(let n) = $0 { n } else { [] } })
            case .int32?: result[output.name] = .int32(all(values, count) { if case .int32(let n) = $0 { n } else { [] } })
            case .int64?: result[output.name] = .int64(all(values, count) { if case .int64(let n) = $0 { n } else { [] } })
            case .uint8?: result[output.name] = .uint8(all(values, count) { if case .uint8(let n) = $0 { n } else { [] } })
            case nil: break
            }
        }
        return result
    }

    private static func all<Number>(_ values: [Values], _ count: Int, _ numbers: (Values) -> [Number]) -> [Number] {
        return Array(values.flatMap(numbers).prefix(count))
    }
{% endif %}

    private static func values(of tensor: Tensor, for output: Output, rows: Int) throws -> Values {
        guard tensor.shape.dimensions == [rows] + output.shape else {
            throw wrongModel("answers \(tensor.shape.dimensions) for \(rows) rows")
        }
        return try tensor.data.withUnsafeBytes { try values(at: $0, of: output, rows: rows) }
    }
}

@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}.DataType {
    fileprivate var tensorFlowLite: Tensor.DataType {
        switch self {
        case .float32: return .float32
        case .int32: return .int32
        case .int64: return .int64
        case .uint8: return .uInt8
        }
    }
}
{% endif %}
