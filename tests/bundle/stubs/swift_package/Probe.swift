// Runs the rendered sample: SERVED is the URL of a folder of descriptors. Words in capitals are filled in. Says what it shows.
import Foundation

@main
@MainActor
struct Probe {
    static func main() async {
        let sample = NAMESample(installed: URL(fileURLWithPath: "PHONE"), bundled: URL(fileURLWithPath: "BUNDLED"))
        func say() {
            print("version", sample.version)
            print("reason", sample.reason)
            print("before", sample.before.map { "\($0.id) \($0.title) \($0.says)" }.joined(separator: "|"))
            print("after", sample.after.map { "\($0.id) \($0.title) \($0.says)" }.joined(separator: "|"))
        }
        await sample.rollBack()
        say()
        for version in ["good", "good", "broken", "missing", "better"] {
            await sample.install("SERVED/\(version)/bundle.json")
            say()
        }
        await sample.rollBack()
        say()
        let again = NAMESample(installed: URL(fileURLWithPath: "PHONE"), bundled: URL(fileURLWithPath: "BUNDLED"))
        await again.start()
        print("version", again.version)
        print("reason", again.reason)
    }
}
