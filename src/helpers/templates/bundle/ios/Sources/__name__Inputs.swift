import Foundation

/// What the model takes and gives, whichever runtime it is opened with.
@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }} {

    /// Values of one input or output, row by row.
    public enum Values: Equatable, Sendable {
        case float32([Float])
        case int32([Int32])
        case int64([Int64])
        case uint8([UInt8])
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

{% if "model.tflite" in files or encoding %}
    /// A file of the bundle that the app came with: of this package or, where the sources were copied into an app, of a
    /// folder `{{ name }}` of the app's resources. Nil if it is not there.
    public static func resource(_ file: String) -> URL? {
        #if SWIFT_PACKAGE
        return Bundle.module.url(forResource: file, withExtension: nil)
        #else
        return Bundle.main.url(forResource: file, withExtension: nil, subdirectory: {{ name | quoted }})
        #endif
    }

{% endif %}
    enum DataType: Sendable {
        case float32, int32, int64, uint8

        var size: Int {
            switch self {
            case .float32, .int32: return 4
            case .int64: return 8
            case .uint8: return 1
            }
        }
    }

    struct Input: Sendable {
        let name: String
        let dataType: DataType
        let ranges: [(low: Double, high: Double)]  // by column, or one for all; integers must lie within
        var shape: [Int]?  // of a row, where values have no meaning of their own
        var axes: [Int] { return shape ?? [ranges.count] }
        var width: Int { return axes.reduce(1, *) }

        func place(_ index: Int) -> String {
            return "row \(index / width), \(shape == nil ? "column" : "value") \(index % width)"
        }
    }

    struct Output: Sendable {
        let name: String
        let dataType: DataType
        let shape: [Int]
        var width: Int { return shape.reduce(1, *) }
    }

    static let inputs: [Input] = [
{% for input in inputs %}
        Input(name: {{ input.name | quoted }}, dataType: .{{ input.dtype }}, ranges: [
{% for range in input.ranges %}
            ({{ range.low | float }}, {{ range.high | float }}),
{% endfor %}
        ]{{ "" if input.dimensions else ", shape: [" ~ input.shape | join(", ") ~ "]" }}),
{% endfor %}
    ]
    static let outputs: [Output] = [
{% for output in outputs %}
        Output(name: {{ output.name | quoted }}, dataType: .{{ output.dtype }}, shape: [{{ output.shape | join(", ") }}]),
{% endfor %}
    ]
{% if batch %}

    /// The number of rows that the model takes at a time.
    public static let batch = {{ batch }}
{% endif %}

    // MARK: - Inputs

    /// The number of rows of inputs that fit the model; throws for the first that does not.
    static func checkedRows(of values: [String: Values]) throws -> Int {
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
        case (.uint8(let numbers), .uint8):
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

    static func bytes(of values: Values) -> Data {
        switch values {
        case .float32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int32(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .int64(let numbers): return numbers.withUnsafeBytes { Data($0) }
        case .uint8(let numbers): return Data(numbers)
        }
    }

    // MARK: - Outputs

    /// The values of an output from where they lie, row by row.
    static func values(at place: UnsafeRawBufferPointer, of output: Output, rows: Int) throws -> Values {
        let count = rows * output.width
        guard place.count == count * output.dataType.size else {
            throw ScoringError.model("the model answers \(place.count) bytes for \(count) values of \(output.name)")
        }
        switch output.dataType {
        case .int32: return .int32(numbers(at: place, count))
        case .int64: return .int64(numbers(at: place, count))
        case .uint8: return .uint8(numbers(at: place, count))
        case .float32:
            let values: [Float] = numbers(at: place, count)
            if let place = values.firstIndex(where: { !$0.isFinite }) {
                throw ScoringError.model(
                    "{{ "the score" if single else "\\(output.name)" }} of row \(place / output.width) is \(values[place]): "
                        + "the model file is damaged, install it again")
            }
            return .float32(values)
        }
    }

    /// Copied, because bytes need not be aligned for a number: `load(as:)` would trap.
    private static func numbers<Number: Numeric>(at place: UnsafeRawBufferPointer, _ count: Int) -> [Number] {
        var numbers = [Number](repeating: 0, count: count)
        numbers.withUnsafeMutableBytes { $0.copyMemory(from: place) }
        return numbers
    }
{% if output.dtype == "float32" %}

    static func scores(of values: [String: Values]) -> [Float] {
        guard case .float32(let scores)? = values[outputs[0].name] else { return [] }
        return scores
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
{% if "model.mnn" in files %}

    // MARK: - For `{{ name }}Mnn`, which is a module of its own

    @_spi(Scoring) public static var outputCount: Int { return outputs.count }

    /// The number of rows, and the values of every input in declared order; throws for the first that does not fit.
    @_spi(Scoring) public static func checked(_ values: [String: Values]) throws -> (rows: Int, data: [Data]) {
        let rows = try checkedRows(of: values)
        return (rows, inputs.compactMap { values[$0.name].map { bytes(of: $0) } })
    }

    /// Copies every output, in declared order, from where its values are.
    @_spi(Scoring) public static func outputs(at places: [UnsafeRawPointer], rows: Int) throws -> [String: Values] {
        var result: [String: Values] = [:]
        for (output, place) in zip(outputs, places) {
            let count = rows * output.width * output.dataType.size
            result[output.name] = try values(at: UnsafeRawBufferPointer(start: place, count: count), of: output, rows: rows)
        }
        return result
    }
{% endif %}
}
