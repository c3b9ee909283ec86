// What test_delivery.py runs of the rendered delivery client: one process that takes calls on its input, a line each with
// tabs between its words, and answers each with a line. It replaces NAME.
import Foundation

private struct Dislike: LocalizedError {
    var errorDescription: String? { return "the app does not like it" }
}

private func answer(_ words: [String]) async throws -> String {
    let (call, folder) = (words[0], words[1])
    func pairs(_ rest: ArraySlice<String>) -> [(String, String)] {
        return rest.map { word in
            let place = word.lastIndex(of: "=")!
            return (String(word[..<place]), String(word[word.index(after: place)...]))
        }
    }
    if call == "assign" {
        let weights = Dictionary(uniqueKeysWithValues: pairs(words[4...]).map { ($0, Double($1)!) })
        return "assigned\t\(NAMEDelivery.assign(words[2], weights: weights, test: words[3]) ?? "")"
    }
    if call == "inflate" {
        let content = try Data(contentsOf: URL(fileURLWithPath: folder))
        var made = Data()
        do {
            try content.withUnsafeBytes { try NAMECodecs.Inflater.inflate($0) { made.append(contentsOf: $0) } }
        } catch {
            return "damaged\t\(error.localizedDescription)"
        }
        try made.write(to: URL(fileURLWithPath: words[2]))
        return "inflated\t\(made.count)"
    }
    if call == "digests" {
        let found = try NAMECodecs.digests(of: folder)
        return "digests\t\(found.md5)\t\(found.sha256)"
    }
    let patience = NAMEDelivery.Patience(
        seconds: words.count > 3 ? Double(words[3])! : 30, slowest: words.count > 4 ? Int(words[4])! : 8 << 10)
    let runtimes = Dictionary(uniqueKeysWithValues: pairs(words.dropFirst(5)))
    let delivery = NAMEDelivery(
        folder: URL(fileURLWithPath: folder), runtimes: runtimes, patience: patience)
    switch call {
    case "install":
        let done = try await delivery.install(URL(string: words[2])!)
        return "accepted\t\(done.version)\t\(done.replaced ?? "")\t\(done.cases)"
    case "switch":
        return try await delivery.install(URL(string: words[2])!, switched: { _ in throw Dislike() }).version
    case "rollback":
        return "accepted\t\(try await delivery.rollback().lastPathComponent)"
    default:
        return "current\t\(try delivery.current?.lastPathComponent ?? "")"
    }
}

@main
struct Main {
    static func main() async {
        while let line = readLine() {
            var said: String
            do {
                said = try await answer(line.components(separatedBy: "\t"))
            } catch let refusal as NAMEDelivery.Refusal {
                said = "\(refusal.kind)".uppercased() + "\t\(refusal.reason)"
            } catch {
                said = "error\t\(error.localizedDescription)"
            }
            said = said.split(whereSeparator: { $0.isNewline }).joined(separator: " ")
            FileHandle.standardOutput.write(Data("\(said)\n".utf8))
        }
    }
}
