{% if sample %}
import Foundation
import Observation
import {{ name }}Kit
{% if "model.tflite" not in files %}
import {{ name }}KitMnn
{% endif %}

/// What the sample does, without its looks: a list before and after the model, which version of it that is, and why.
@MainActor @Observable
final class {{ name }}Sample {
    nonisolated struct Row: Identifiable, Equatable, Sendable {
        /// Where it was delivered, from 1 on.
        let id: Int
        let title: String
        /// What the model says of it.
        var says = ""
    }

    private(set) var version = ""
    private(set) var reason = ""
    private(set) var before: [Row] = []
    private(set) var after: [Row] = []
    private(set) var isBusy = false

    private let delivery: {{ name }}Delivery
    private let bundled: URL
{% if not pictures %}
    private let live = {{ name }}LiveScorer({{ scorer }}.shared)
{% endif %}

    /// - Parameters:
    ///   - installed: Folder of the installation, empty or not there at first.
    ///   - bundled: Folder with {{ "sessions.json" if encoding else "the golden pictures" if pictures else "golden.bin" }}, of which the list is.
    init(installed: URL, bundled: URL) {
        delivery = {{ name }}Delivery(
            folder: installed, runtimes: ["{{ runtime }}": "{{ releases[runtime] }}"]{{ ", open: " ~ scorer ~ ".opened" if "model.tflite" not in files else "" }})
        self.bundled = bundled
    }

    func start() async {
        await act { try $0.version == nil ? "nothing is installed" : "it was installed earlier" }
    }

    func install(_ descriptor: String) async {
        await act {
            guard let url = URL(string: descriptor) else { return "nothing has changed: \(descriptor) is no URL" }
            let before = try $0.version
            let new = try await $0.install(url)
            if new.version == before { return "it was in use already" }
            let cases = new.cases.values.reduce(0, +)
            return "it replaced the one \(before ?? "in the app"), and reproduced \(cases) golden cases"
        }
    }

    func rollBack() async {
        await act {
            try await $0.rollback()
            return "went back to it"
        }
    }

    private func act(_ work: ({{ name }}Delivery) async throws -> String) async {
        isBusy = true
        defer { isBusy = false }
        do {
            reason = try await work(delivery)
        } catch let refusal as {{ name }}Delivery.Refusal {
            reason = "nothing has changed (\(refusal.kind)): \(refusal.reason)"
        } catch {
            reason = "nothing has changed: \(error.localizedDescription)"
        }
        do {
            version = try delivery.version ?? "in the app"
            let (folder, bundled) = (try delivery.current, bundled)
{% if pictures %}
            (before, after) = try await Task.detached { try await Self.list(folder, bundled) }.value
{% else %}
            live.swap(folder.map { {{ scorer }}(modelPath: $0.appendingPathComponent("{{ files[0] }}").path) } ?? .shared)
            let live = live
            (before, after) = try await Task.detached { try await Self.list(folder, bundled, live) }.value
{% endif %}
        } catch {
            (before, after) = ([], [])
            reason += "; it cannot be shown: \(error.localizedDescription)"
        }
    }

    /// The list as delivered, and as the model has it, which is of a folder or, if that is nil, of the app. Reads files: not
    /// for the main thread.
{% if pictures %}
    private nonisolated static func list(_ folder: URL?, _ bundled: URL) async throws -> ([Row], [Row]) {
{% else %}
    private nonisolated static func list(
        _ folder: URL?, _ bundled: URL, _ live: {{ name }}LiveScorer
    ) async throws -> ([Row], [Row]) {
{% endif %}
{% if pictures %}
        let all = try FileManager.default.contentsOfDirectory(at: bundled, includingPropertiesForKeys: nil)
        let files = all.filter { $0.lastPathComponent.hasPrefix("picture-") }.sorted { $0.path < $1.path }
        let classifier = folder.map { {{ name }}Classifier(folder: $0) } ?? .shared
        let labels = try await classifier.classify(files.map { .url($0) }, top: 1)
        let before = files.enumerated().map { Row(id: $0 + 1, title: $1.lastPathComponent) }
        let after = zip(before, labels).map { row, all in
            Row(id: row.id, title: row.title, says: "\(all[0].name), \(short(all[0].probability))")
        }
        return (before, after)
{% else %}
{% if encoding %}
        guard let own = {{ name }}.resource("features.json") else { throw CocoaError(.fileNoSuchFile) }
        let features = try {{ name }}Features(contentsOf: folder?.appendingPathComponent("features.json") ?? own)
        let golden = try Data(contentsOf: bundled.appendingPathComponent("sessions.json"))
        let sessions = try JSONDecoder().decode(Sessions.self, from: golden).sessions.map { Data($0.raw.utf8) }
        let all = try sessions.map { (raw: $0, infoIds: try features.assemble($0).infoIds) }
        let few = all.filter { $0.infoIds.count <= 20 }
        guard let list = (few.isEmpty ? all : few).max(by: { $0.infoIds.count < $1.infoIds.count }) else { return ([], []) }
        let order = try await features.rerank(list.raw, with: live)
        let before = list.infoIds.enumerated().map { Row(id: $0 + 1, title: $1) }
        let moved = order.compactMap { id in before.first { $0.title == id } }
        return (before, moved.map { Row(id: $0.id, title: $0.title, says: "was \($0.id)") })
{% else %}
        let cases = try {{ name }}Delivery.goldenInputs(of: bundled.appendingPathComponent("golden.bin"))
        let few = cases.filter { $0.rows <= 20 }
        guard let list = (few.isEmpty ? cases : few).max(by: { $0.rows < $1.rows }) else { return ([], []) }
        let scores = try await live.score(list.inputs)
        let before = (1...list.rows).map { Row(id: $0, title: "row \($0)") }
{% if output.size == 1 %}
        let order = scores.indices.sorted { scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1] }
        return (before, order.map { Row(id: $0 + 1, title: before[$0].title, says: short(scores[$0])) })
{% else %}
        let width = scores.count / list.rows
        let after = before.map { row in
            let values = scores[(row.id - 1) * width..<row.id * width]
            let largest = values.indices.max { values[$0] < values[$1] } ?? 0
            return Row(id: row.id, title: row.title, says: "value \(largest % width) is the largest, \(short(scores[largest]))")
        }
        return (before, after)
{% endif %}
{% endif %}
{% endif %}
    }
{% if encoding %}

    private nonisolated struct Sessions: Decodable {
        struct One: Decodable {
            let raw: String
        }

        let sessions: [One]
    }
{% else %}

    private nonisolated static func short(_ number: Float) -> String { return String(format: "%.3f", number) }
{% endif %}
}
{% endif %}
