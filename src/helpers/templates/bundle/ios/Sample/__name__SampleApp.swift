{% if sample %}
import SwiftUI

@main
struct {{ name }}SampleApp: App {
    var body: some Scene {
        WindowGroup { {{ name }}SampleView() }
    }
}

/// One screen: a list before and after the model, which version of it that is, and why; buttons to install and to roll back.
struct {{ name }}SampleView: View {
    @State private var sample = {{ name }}Sample(installed: folder(), bundled: Bundle.main.bundleURL)
    @State private var descriptor = "http://localhost:8000/bundle.json"  // the simulator's host

    var body: some View {
        List {
            Section("Version \(sample.version)") {
                Text(sample.reason)
                TextField("Descriptor", text: $descriptor).autocorrectionDisabled().textInputAutocapitalization(.never)
                Button("Install") { Task { await sample.install(descriptor) } }
                Button("Roll back") { Task { await sample.rollBack() } }
            }
            .disabled(sample.isBusy)
            section("Before", sample.before)
            section("After", sample.after)
        }
        .animation(.default, value: sample.after)
        .task { await sample.start() }
    }

    /// Of the app alone, and not backed up: it can be had again.
    private static func folder() -> URL {
        var folder = URL.applicationSupportDirectory.appending(path: "{{ name }}", directoryHint: .isDirectory)
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try? folder.setResourceValues(values)
        return folder
    }

    private func section(_ title: String, _ rows: [{{ name }}Sample.Row]) -> some View {
        Section(title) {
            ForEach(rows) { row in
                LabeledContent(row.title, value: row.says).monospacedDigit()
            }
        }
    }
}
{% endif %}
