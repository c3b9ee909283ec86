{% if "model.mnn" in files %}
import Foundation
@_spi(Scoring) import {{ name }}Kit
import {{ name }}MnnC

/// Scores rows with `model.mnn` ({{ model | comment }}) through MNN, on one CPU thread.
{% if "model.tflite" in files %}
/// It can take the place of `{{ name }}` wherever a `{{ name }}Scorer` is asked for.
{% else %}
/// What it takes and gives says `{{ name }}`, of `{{ name }}Kit`.
{% endif %}
///
/// One session that the whole app shares, on a serial background queue of its own; it is opened there at the first score.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}Mnn: {{ name }}Scorer, @unchecked Sendable {
    // unchecked: what changes is touched on `queue` only

    /// The bundle's own `model.mnn`.
    public static let shared = {{ name }}Mnn()

    /// Where `model.mnn` is that the app came with; nil if it is not there.
    public static var resource: URL? {
        return Bundle.module.url(forResource: "model.mnn", withExtension: nil)
    }

    /// Of MNN, for `{{ name }}Delivery`, which asks for `"mnn"`.
    public static var version: String { return String(cString: {{ name }}MnnVersion()) }

    /// How `{{ name }}Delivery` opens it: `open: {{ name }}Mnn.opened`, with `files: ["model.mnn"]`.
    public static func opened(_ file: URL) throws -> {{ name }}Delivery.Predict {
        let model = {{ name }}Mnn(modelPath: file.path)
        return { try await model.predict($0) }
    }

    private let modelPath: String?
    private let queue = DispatchQueue(label: {{ (name ~ ".mnn") | quoted }}, qos: .userInitiated)
    private var model: OpaquePointer?

    /// - Parameter modelPath: An `.mnn` file, by default the one that the app came with.
    public init(modelPath: String? = {{ name }}Mnn.resource?.path) {
        self.modelPath = modelPath
    }

    deinit {
        if let model = model { {{ name }}MnnClose(model) }
    }

    /// Computes every output of rows, by its name.
    ///
    /// - Throws: `{{ name }}.ScoringError`.
    public func predict(_ inputs: [String: {{ name }}.Values]) async throws -> [String: {{ name }}.Values] {
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { try self.predictOnQueue(inputs) })
            }
        }
    }

    /// Frees the session, after the calls that were asked for before it; the next score opens the file again.
    public func unload() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            queue.async {
                self.close()
                continuation.resume()
            }
        }
    }

    private func close() {
        if let open = model { {{ name }}MnnClose(open) }
        model = nil
    }

    private func predictOnQueue(_ inputs: [String: {{ name }}.Values]) throws -> [String: {{ name }}.Values] {
        dispatchPrecondition(condition: .onQueue(queue))
        let (rows, data) = try {{ name }}.checked(inputs)
        let held = data.map { NSData(data: $0) }
        let values: [UnsafeRawPointer?] = held.map { $0.bytes }
        let open = try model ?? self.open()
        model = open
        var outputs = [UnsafeRawPointer?](repeating: nil, count: {{ name }}.outputCount)
        var error = [CChar](repeating: 0, count: 256)
        let isScored = withExtendedLifetime(held) {
            {{ name }}MnnPredict(open, values, UInt32(rows), &outputs, &error, error.count)
        }
        guard isScored == 1 else {
            close()  // a call that failed half-way leaves tensors of unknown shapes
            throw {{ name }}.ScoringError.model(Self.text(error))
        }
        return try {{ name }}.outputs(at: outputs.compactMap { $0 }, rows: rows)
    }

    private func open() throws -> OpaquePointer {
        guard let modelPath = modelPath else {
            throw {{ name }}.ScoringError.model("model.mnn is missing: give modelPath")
        }
        var error = [CChar](repeating: 0, count: 256)
        guard let open = {{ name }}MnnOpen(modelPath, &error, error.count) else {
            throw {{ name }}.ScoringError.model(Self.text(error))
        }
        return open
    }

    private static func text(_ error: [CChar]) -> String {
        return String(decoding: error.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
{% endif %}
