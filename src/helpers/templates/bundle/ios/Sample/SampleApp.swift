{% if "model.tflite" in files and output.dtype == "float32" %}
import SwiftUI

@main
struct SampleApp: App {
    var body: some Scene {
        WindowGroup { SampleView() }
    }
}

/// One screen: a list before and after the model, which version of it that is, and why; buttons to install and to roll back.
struct SampleView: View {
    @State private var sample = Sample(
        installed: URL.applicationSupportDirectory.appending(path: "{{ name }}"), bundled: Bundle.main.bundleURL)
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

    private func section(_ title: String, _ rows: [Sample.Row]) -> some View {
        Section(title) {
            ForEach(rows) { row in
                LabeledContent(row.title, value: row.says).monospacedDigit()
            }
        }
    }
}
{% endif %}
