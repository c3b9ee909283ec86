import Foundation
import TensorFlowLite

/// Scores rows with `model.tflite` ({{ model | comment }}) through TensorFlow Lite.
///
/// One interpreter that the whole app shares: an interpreter is not thread-safe, so this object runs it on a serial
/// background queue of its own. The model is opened there too, at the first score, so that neither ever blocks the
/// caller. Make one object and keep it, or use `shared`. Needs Swift 6.1 (Xcode 16.3) or later, in either language mode;
/// it is on no actor, also in a target whose default is the main actor.
///
///     let scores = try await {{ name }}.shared.score([
{% for input in inputs[:3] %}
///         {{ input.name | quoted | comment }}: .{{ input.dtype }}({{ input.name | comment }}),
{% endfor %}
{% if inputs | length > 3 %}
///         // ... and so on, see the table
{% endif %}
///     ])
///
/// Every input is a tensor `[rows, width]`, given row by row; all have the same number of rows, and another number may
/// follow at any call. All of these are needed:
///
/// | Input | Type | Column | Meaning | Range |
/// |---|---|---|---|---|
{% for input in inputs %}
{% for dimension in input.dimensions %}
/// | `{{ input.name | comment }}` | {{ input.dtype }}, width {{ input.width }} | {{ loop.index0 }} `{{ dimension.name | comment }}` | {{ (dimension.meaning or "-") | comment }} | {{ dimension.low }}...{{ dimension.high }} |
{% endfor %}
{% endfor %}
///
/// The output `{{ output.name | comment }}` has {{ output.width }} value{{ "" if output.width == 1 else "s" }} a row: {{ output.dimensions | map(attribute="meaning") | join("; ") | comment }}.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}: @unchecked Sendable {  // unchecked: what changes is touched on `queue` only

    /// Values of one input, row by row.
    public enum Values: Equatable, Sendable {
        case float32([Float])
        case int32([Int32])
        case int64([Int64])
    }

    /// Where the model runs. A device or a build without it runs the model on the CPU, see `onFallback`.
    public enum Acceleration: Equatable, Sendable {
        case cpu(threads: Int)
        /// The Neural Engine, through the CoreML subspec of the pod.
        case coreML
        /// The GPU, through the Metal subspec of the pod.
        case metal
    }

    /// Why nothing was scored: what is wrong, and what helps.
    public enum ScoringError: LocalizedError, Equatable, Sendable {
        /// The caller's values do not fit the model.
        case input(String)
        /// The file is not the model that this source was made for.
        case model(String)

        public var errorDescription: String? {
            switch self {
            case .input(let reason): return reason
            case .model(let reason): return reason
            }
        }
    }

    /// `{{ name }}/model.tflite` of the app's resources, on one CPU thread.
    public static let shared = {{ name }}()

    private struct Input: @unchecked Sendable {  // unchecked: the pod's `DataType` does not say it is
        let name: String
        let dataType: Tensor.DataType
        let ranges: [(low: Double, high: Double)]  // by column; integers must lie within
        var width: Int { return ranges.count }
    }

    private static let inputs: [Input] = [
{% for input in inputs %}
        Input(name: {{ input.name | quoted }}, dataType: .{{ input.dtype }}, ranges: [
{% for dimension in input.dimensions %}
            ({{ dimension.low | float }}, {{ dimension.high | float }}),
{% endfor %}
        ]),
{% endfor %}
    ]
    private static let outputName = {{ output.name | quoted }}
    private static let outputWidth = {{ output.width }}

    /// An open model. `indices` are the places of `inputs` in it.
    private struct Session {
        let interpreter: Interpreter
        let indices: [Int]
        let outputIndex: Int
        var rows: Int
    }

    private let modelPath: String?
    private let fixedRows: Int?
    private let onFallback: @Sendable (String) -> Void
    private let queue = DispatchQueue(label: {{ (name ~ ".scoring") | quoted }}, qos: .userInitiated)
    private var acceleration: Acceleration
    private var session: Session?

    /// - Parameters:
    ///   - modelPath: A `.tflite` file, by default `{{ name }}/model.tflite` of the app's own resources.
    ///   - acceleration: One CPU thread by default, which for a small model is the fastest: try before you change it.
    ///   - fixedRows: Score every list in parts of so many rows, the last filled up. On the CPU another number of rows costs
    ///     next to nothing; an accelerator builds its graph again for each, which takes longer than the scores.
    ///   - onFallback: Called on the background queue with the reason when the model runs on the CPU instead.
    public init(
        modelPath: String? = Bundle.main.path(forResource: "model", ofType: "tflite", inDirectory: {{ name | quoted }}),
        acceleration: Acceleration = .cpu(threads: 1),
        fixedRows: Int? = nil,
        onFallback: @escaping @Sendable (String) -> Void = { reason in NSLog("%@", reason) }
    ) {
        self.modelPath = modelPath
        self.acceleration = acceleration
        self.fixedRows = fixedRows.map { max(1, $0) }
        self.onFallback = onFallback
    }

    /// Scores rows: the output's values, row by row.
    ///
    /// - Throws: `ScoringError`, or `InterpreterError` of TensorFlow Lite.
    public func score(_ inputs: [String: Values]) async throws -> [Float] {
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { try self.scoreOnQueue(inputs) })
            }
        }
    }

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
        queue.async {
            let result = Result { try self.scoreOnQueue(inputs) }
            callbackQueue.async { completion(result) }
        }
    }

    // MARK: - On the queue

    private func scoreOnQueue(_ inputs: [String: Values]) throws -> [Float] {
        dispatchPrecondition(condition: .onQueue(queue))
        let rows = try Self.checkedRows(of: inputs)
        guard let fixedRows = fixedRows else { return try runOrFallBack(inputs, rows: rows) }
        var scores: [Float] = []
        for start in stride(from: 0, to: rows, by: fixedRows) {
            scores += try runOrFallBack(Self.part(of: inputs, rows: rows, from: start, count: fixedRows), rows: fixedRows)
        }
        return Array(scores.prefix(rows * Self.outputWidth))
    }

    private func runOrFallBack(_ inputs: [String: Values], rows: Int) throws -> [Float] {
        do {
            return try run(inputs, rows: rows)
        } catch let error as InterpreterError {
            session = nil  // a call that failed half-way leaves tensors of unknown shapes
            guard isAccelerated else { throw error }
            fallBack("failed (\(error.localizedDescription))")
            return try run(inputs, rows: rows)
        }
    }

    private func run(_ inputs: [String: Values], rows: Int) throws -> [Float] {
        var current = try session ?? openSession()
        if current.rows != rows {
            session = nil
            for (input, index) in zip(Self.inputs, current.indices) {
                try current.interpreter.resizeInput(at: index, to: Tensor.Shape(rows, input.width))
            }
            try current.interpreter.allocateTensors()
            current.rows = rows
        }
        session = current
        for (input, index) in zip(Self.inputs, current.indices) {
            guard let values = inputs[input.name] else { continue }  // checkedRows has seen to it
            try current.interpreter.copy(Self.bytes(of: values), toInputAt: index)
        }
        try current.interpreter.invoke()
        return try Self.scores(of: current.interpreter.output(at: current.outputIndex), rows: rows)
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
            outputIndex: try Self.boundOutput(of: interpreter),
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
        fallBack("is not in this build, add the CoreML subspec to the Podfile")
        #endif
        return nil
    }

    private func makeMetalDelegate() -> Delegate? {
        #if canImport(TensorFlowLiteCMetal) && !targetEnvironment(simulator)
        return MetalDelegate()
        #else
        fallBack("is not in this build, add the Metal subspec to the Podfile and run on a device")
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
            try check(try interpreter.input(at: index), width: input.width, dataType: input.dataType)
            return index
        }
    }

    private static func boundOutput(of interpreter: Interpreter) throws -> Int {
        for index in 0..<interpreter.outputTensorCount {
            let tensor = try interpreter.output(at: index)
            guard tensor.name == outputName else { continue }
            try check(tensor, width: outputWidth, dataType: .float32)
            return index
        }
        throw wrongModel("has no output \(outputName)")
    }

    private static func check(_ tensor: Tensor, width: Int, dataType: Tensor.DataType) throws {
        let dimensions = tensor.shape.dimensions
        guard dimensions.count == 2, dimensions[1] == width, tensor.dataType == dataType else {
            throw wrongModel(
                "has \(tensor.name) as \(tensor.dataType) \(dimensions), expected is \(dataType) [rows, \(width)]")
        }
    }

    private static func wrongModel(_ reason: String) -> ScoringError {
        return .model("the model \(reason): take the .tflite file and this source from one bundle")
    }

    // MARK: - Values in and out

    /// The number of rows of inputs that fit the model; throws for the first that does not.
    private static func checkedRows(of values: [String: Values]) throws -> Int {
        let known = Set(inputs.map { $0.name })
        if let unknown = values.keys.sorted().first(where: { !known.contains($0) }) {
            let names = inputs.map { $0.name }.joined(separator: ", ")
            throw ScoringError.input("there is no input \(unknown): the model takes \(names)")
        }
        var rows = 0
        for input in inputs {
            guard let given = values[input.name] else {
                throw ScoringError.input("input \(input.name) is missing: give \(input.width) values a row")
            }
            let count = try checkedCount(of: given, for: input)
            let (own, rest) = count.quotientAndRemainder(dividingBy: input.width)
            guard own > 0, rest == 0 else {
                throw ScoringError.input(
                    "\(input.name) has \(count) values: give \(input.width) a row, and at least one row")
            }
            guard rows == 0 || own == rows else {
                throw ScoringError.input(
                    "\(input.name) has \(own) rows, \(inputs[0].name) has \(rows): give the same number")
            }
            rows = own
        }
        return rows
    }

    private static func checkedCount(of values: Values, for input: Input) throws -> Int {
        switch (values, input.dataType) {
        case (.float32(let numbers), .float32):
            if let place = numbers.firstIndex(where: { !$0.isFinite }) {
                throw ScoringError.input(
                    "\(input.name) is \(numbers[place]) in row \(place / input.width), column "
                        + "\(place % input.width): replace what is not finite before scoring")
            }
            return numbers.count
        case (.int32(let numbers), .int32):
            try checkRange(of: numbers, for: input)
            return numbers.count
        case (.int64(let numbers), .int64):
            try checkRange(of: numbers, for: input)
            return numbers.count
        default:
            throw ScoringError.input("\(input.name) is given in another type: the model takes \(input.dataType)")
        }
    }

    /// An integer is a place in a table: outside it, a runtime reads what lies beside the table.
    private static func checkRange<Integer: BinaryInteger>(of numbers: [Integer], for input: Input) throws {
        for (place, number) in numbers.enumerated() {
            let range = input.ranges[place % input.width]
            guard Double(number) >= range.low, Double(number) <= range.high else {
                throw ScoringError.input(
                    "\(input.name) is \(number) in row \(place / input.width), column \(place % input.width): "
                        + "give \(range.low) to \(range.high)")
            }
        }
    }

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
            }
        }
    }

    private static func bytes(of values: Values) -> Data {
        switch values {
        case .float32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int64(let numbers): return numbers.withUnsafeBytes { Data($0) }
        }
    }

    /// Copied, because the bytes of `Data` need not be aligned for `Float`: `load(as:)` would trap.
    private static func scores(of tensor: Tensor, rows: Int) throws -> [Float] {
        var scores = [Float](repeating: .nan, count: rows * outputWidth)
        guard tensor.data.count == scores.count * MemoryLayout<Float>.stride else {
            throw wrongModel("answers \(tensor.shape.dimensions) for \(rows) rows")
        }
        _ = scores.withUnsafeMutableBytes { tensor.data.copyBytes(to: $0) }
        if let place = scores.firstIndex(where: { !$0.isFinite }) {
            throw ScoringError.model(
                "the score of row \(place / outputWidth) is \(scores[place]): the model file is damaged, install it again")
        }
        return scores
    }
}
