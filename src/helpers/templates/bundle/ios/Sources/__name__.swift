{% if "model.tflite" in files %}
import Foundation
import TensorFlowLite

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
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}: {{ name }}Scorer, @unchecked Sendable {
    // unchecked: what changes is touched on `queue` only

    /// Values of one input or output, row by row.
    public enum Values: Equatable, Sendable {
        case float32([Float])
        case int32([Int32])
        case int64([Int64])
        case uint8([UInt8])
    }

    /// Where the model runs. A device or a build without it runs the model on the CPU, see `onFallback`.
    public enum Acceleration: Equatable, Sendable {
        case cpu(threads: Int)
        /// The Neural Engine, through TensorFlowLiteCCoreML.
        case coreML
        /// The GPU, through TensorFlowLiteCMetal.
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

    /// The bundle's own `model.tflite`, see `resource`, on one CPU thread.
    public static let shared = {{ name }}()

    /// A file of the bundle that the app came with: of this package or, where the sources were copied into an app, of a
    /// folder `{{ name }}` of the app's resources. Nil if it is not there.
    public static func resource(_ file: String) -> URL? {
        #if SWIFT_PACKAGE
        return Bundle.module.url(forResource: file, withExtension: nil)
        #else
        return Bundle.main.url(forResource: file, withExtension: nil, subdirectory: {{ name | quoted }})
        #endif
    }

    private struct Input: @unchecked Sendable {  // unchecked: TensorFlow Lite's `DataType` does not say it is
        let name: String
        let dataType: Tensor.DataType
        let ranges: [(low: Double, high: Double)]  // by column, or one for all; integers must lie within
        var shape: [Int]?  // of a row, where values have no meaning of their own
        var axes: [Int] { return shape ?? [ranges.count] }
        var width: Int { return axes.reduce(1, *) }

        func place(_ index: Int) -> String {
            return "row \(index / width), \(shape == nil ? "column" : "value") \(index % width)"
        }
    }

    private struct Output: @unchecked Sendable {  // as above
        let name: String
        let dataType: Tensor.DataType
        let shape: [Int]
        var width: Int { return shape.reduce(1, *) }
    }

    private static let inputs: [Input] = [
{% for input in inputs %}
        Input(name: {{ input.name | quoted }}, dataType: .{{ input.dtype | replace("uint", "uInt") }}, ranges: [
{% for range in input.ranges %}
            ({{ range.low | float }}, {{ range.high | float }}),
{% endfor %}
        ]{{ "" if input.dimensions else ", shape: [" ~ input.shape | join(", ") ~ "]" }}),
{% endfor %}
    ]
    private static let outputs: [Output] = [
{% for output in outputs %}
        Output(name: {{ output.name | quoted }}, dataType: .{{ output.dtype | replace("uint", "uInt") }}, shape: [{{ output.shape | join(", ") }}]),
{% endfor %}
    ]
{% if batch %}

    /// The number of rows that the model takes at a time.
    public static let batch = {{ batch }}
{% endif %}

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

    static func scores(of values: [String: Values]) -> [Float] {
        guard case .float32(let scores)? = values[outputs[0].name] else { return [] }
        return scores
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

{% if "model.mnn" in files %}
    // MARK: - For the scorer of another runtime

    @_spi(Scoring) public static var outputCount: Int { return outputs.count }

    /// The number of rows, and the values of every input in declared order; throws for the first that does not fit.
    @_spi(Scoring) public static func checked(_ values: [String: Values]) throws -> (rows: Int, data: [Data]) {
        let rows = try checkedRows(of: values)
        return (rows, inputs.compactMap { values[$0.name].map { bytes(of: $0) } })
    }

    /// Copies every output, in declared order, from where its values are.
    @_spi(Scoring) public static func outputs(at places: [UnsafeRawPointer], rows: Int) -> [String: Values] {
        func numbers<Number: Numeric>(_ place: UnsafeRawPointer, _ count: Int) -> [Number] {
            var numbers = [Number](repeating: 0, count: count)
            numbers.withUnsafeMutableBytes { $0.copyMemory(from: UnsafeRawBufferPointer(start: place, count: $0.count)) }
            return numbers
        }
        var result: [String: Values] = [:]
        for (output, place) in zip(outputs, places) {
            let count = rows * output.width
            switch output.dataType {
            case .int32: result[output.name] = .int32(numbers(place, count))
            case .int64: result[output.name] = .int64(numbers(place, count))
            case .uInt8: result[output.name] = .uint8(numbers(place, count))
            default: result[output.name] = .float32(numbers(place, count))
            }
        }
        return result
    }

{% endif %}
    /// The number of rows that outputs have.
    static func rows(of values: [String: Values]) -> Int {
        let count: Int
        switch values[outputs[0].name] {
        case .float32(let numbers)?: count = numbers.count
        case .int32(let numbers)?: count = numbers.count
        case .int64(let numbers)?: count = numbers.count
        case .uint8(let numbers)?: count = numbers.count
        case nil: count = 0
        }
        return count / outputs[0].width
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

    private static func check(_ tensor: Tensor, shape: [Int], dataType: Tensor.DataType) throws {
        let dimensions = tensor.shape.dimensions
{% if batch %}
        let fits = dimensions == [batch] + shape
{% else %}
        let fits = Array(dimensions.dropFirst()) == shape
{% endif %}
        guard fits, tensor.dataType == dataType else {
            throw wrongModel(
                "has \(tensor.name) as \(tensor.dataType) \(dimensions), expected is \(dataType) \(shape) a row")
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
{% if batch %}
        guard rows == batch else {
            throw ScoringError.input("there are \(rows) rows, the model takes \(batch) at a time: fill them up, or drop some")
        }
{% endif %}
        return rows
    }

    private static func checkedCount(of values: Values, for input: Input) throws -> Int {
        switch (values, input.dataType) {
        case (.float32(let numbers), .float32):
            if let place = numbers.firstIndex(where: { !$0.isFinite }) {
                throw ScoringError.input(
                    "\(input.name) is \(numbers[place]) in \(input.place(place)): "
                        + "replace what is not finite before scoring")
            }
            return numbers.count
        case (.int32(let numbers), .int32):
            try checkRange(of: numbers, for: input)
            return numbers.count
        case (.int64(let numbers), .int64):
            try checkRange(of: numbers, for: input)
            return numbers.count
        case (.uint8(let numbers), .uInt8):
            try checkRange(of: numbers, for: input)
            return numbers.count
        default:
            throw ScoringError.input("\(input.name) is given in another type: the model takes \(input.dataType)")
        }
    }

    /// An integer is a place in a table: outside it, a runtime reads what lies beside the table.
    private static func checkRange<Integer: BinaryInteger>(of numbers: [Integer], for input: Input) throws {
        for (place, number) in numbers.enumerated() {
            let range = input.ranges[input.ranges.count == 1 ? 0 : place % input.width]
            guard Double(number) >= range.low, Double(number) <= range.high else {
                throw ScoringError.input(
                    "\(input.name) is \(number) in \(input.place(place)): "
                        + "give \(range.low) to \(range.high)")
            }
        }
    }

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

    private static func bytes(of values: Values) -> Data {
        switch values {
        case .float32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int64(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .uint8(let numbers): return Data(numbers)
        }
    }

    private static func values(of tensor: Tensor, for output: Output, rows: Int) throws -> Values {
        guard tensor.shape.dimensions == [rows] + output.shape else {
            throw wrongModel("answers \(tensor.shape.dimensions) for \(rows) rows")
        }
        switch output.dataType {
        case .int32: return .int32(try numbers(of: tensor, count: rows * output.width))
        case .int64: return .int64(try numbers(of: tensor, count: rows * output.width))
        case .uInt8: return .uint8(try numbers(of: tensor, count: rows * output.width))
        default:
            let values: [Float] = try numbers(of: tensor, count: rows * output.width)
            if let place = values.firstIndex(where: { !$0.isFinite }) {
                throw ScoringError.model(
                    "{{ "the score" if single else "\\(output.name)" }} of row \(place / output.width) is \(values[place]): "
                        + "the model file is damaged, install it again")
            }
            return .float32(values)
        }
    }

    /// Copied, because the bytes of `Data` need not be aligned for a number: `load(as:)` would trap.
    private static func numbers<Number: Numeric>(of tensor: Tensor, count: Int) throws -> [Number] {
        var numbers = [Number](repeating: 0, count: count)
        guard tensor.data.count == count * MemoryLayout<Number>.stride else {
            throw wrongModel("answers \(tensor.data.count) bytes for \(count) values of \(tensor.name)")
        }
        _ = numbers.withUnsafeMutableBytes { tensor.data.copyBytes(to: $0) }
        return numbers
    }
}
{% endif %}
