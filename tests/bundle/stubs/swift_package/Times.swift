// Re-ranks one raw session with each scorer. For each line of seconds that it reads it says the shortest mean of blocks of
// calls, in microseconds, by scorer; before that, the order by scorer. Words in capitals are filled in.
import Foundation
import ONEKit
IMPORT_MNN

@main
struct Times {
    static func main() async throws {
        let folder = URL(fileURLWithPath: CommandLine.arguments[1])
        let raw = try Data(contentsOf: folder.appendingPathComponent("session.json"))
        let features = try ONEFeatures(contentsOf: folder.appendingPathComponent("features.json"))
        let scorers: [any ONEScorer] = [ONE.shared, SCORER_MNN]
        for scorer in scorers { say(try await features.rerank(raw, with: scorer)) }
        while let line = readLine(), let seconds = Double(line) {
            var times: [String] = []
            for scorer in scorers {
                var (calls, best, start) = (1, Double.infinity, now())
                while now() - start < seconds || best == .infinity {
                    let from = now()
                    for _ in 0..<calls { _ = try await features.rerank(raw, with: scorer) }
                    let taken = now() - from
                    if taken < 0.004 { calls *= 2 } else { best = min(best, taken / Double(calls)) }
                }
                times.append("\(best * 1e6)")
            }
            say(times)
        }
    }

    static func now() -> Double { return Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }

    static func say(_ words: [String]) {
        FileHandle.standardOutput.write(Data((words.joined(separator: "\t") + "\n").utf8))
    }
}
