import Foundation

/// An open model, whichever runtime it is of.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public protocol {{ name }}Scorer: AnyObject, Sendable {
    /// Computes every output of rows, by its name.
    func predict(_ inputs: [String: {{ name }}.Values]) async throws -> [String: {{ name }}.Values]

    /// Frees the runtime's memory, after the calls that were asked for before it.
    func unload() async
}
{% if output.dtype == "float32" %}

@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}Scorer {
    /// Scores rows: the {{ "" if outputs | length == 1 else "first " }}output's values, row by row. Throws what `predict` throws.
    public func score(_ inputs: [String: {{ name }}.Values]) async throws -> [Float] {
        return {{ name }}.scores(of: try await predict(inputs))
    }
}
{% endif %}

/// The model in use, to be exchanged or unloaded while scores are asked for: a call ends with the model that it began with,
/// which is freed after the last of them.
///
///     let live = {{ name }}LiveScorer({{ scorer }}.shared)
///     live.swap({{ scorer }}(modelPath: try delivery.current?.appendingPathComponent("{{ files[0] }}").path))
///     live.swap(nil)  // scores are refused until the next one
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}LiveScorer: {{ name }}Scorer, @unchecked Sendable {
    // unchecked: what changes is touched under `lock` only

    /// What an app counts; each is called where the score was asked for, and must return soon. That a model runs on the CPU
    /// instead of what was asked for, its own `onFallback` says.
    public struct Events: Sendable {
        /// So many rows were scored in so many seconds, waiting for other callers included.
        public var scored: @Sendable (_ rows: Int, _ seconds: Double) -> Void
        /// Nothing was scored: inputs that do not fit, answers that are not finite, no model. The delivered order stays.
        public var refused: @Sendable (any Error) -> Void

        public init(
            scored: @escaping @Sendable (_ rows: Int, _ seconds: Double) -> Void = { _, _ in },
            refused: @escaping @Sendable (any Error) -> Void = { _ in }
        ) {
            (self.scored, self.refused) = (scored, refused)
        }
    }

    private let events: Events
    private let lock = NSLock()
    private var model: (any {{ name }}Scorer)?

    public init(_ first: (any {{ name }}Scorer)?, events: Events = Events()) {
        (model, self.events) = (first, events)
    }

    /// The model in use; nil if none is loaded.
    public var current: (any {{ name }}Scorer)? {
        lock.lock()
        defer { lock.unlock() }
        return model
    }

    /// Use another model from now on, or none.
    public func swap(_ next: (any {{ name }}Scorer)?) {
        lock.lock()
        let before = model
        model = next
        lock.unlock()
        withExtendedLifetime(before) {}  // freed outside the lock, if no call has it
    }

    public func predict(_ inputs: [String: {{ name }}.Values]) async throws -> [String: {{ name }}.Values] {
        let start = DispatchTime.now().uptimeNanoseconds
        do {
            guard let model = current else {
                throw {{ name }}.ScoringError.model("no model is loaded: keep the delivered order")
            }
            let outputs = try await model.predict(inputs)
            events.scored({{ name }}.rows(of: outputs), Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9)
            return outputs
        } catch {
            events.refused(error)
            throw error
        }
    }

    /// Frees the memory of the model in use, which opens its file again at the next score.
    public func unload() async {
        await current?.unload()
    }
}
