// Scores a golden case with one runtime and, exchanged while the app goes on, with the other. Words in capitals are filled in.
import Foundation
import ONEKit
import ONEKitMnn

@main
struct MnnApp {
    static func main() async throws {
        let live = ONELiveScorer(ONE.shared)
        let inputs: [String: ONE.Values] = [INPUTS]
        print("says", try await live.score(inputs))
        live.swap(ONEMnn.shared)
        print("says", try await live.score(inputs))
        await live.unload()
        try await withThrowingTaskGroup(of: [Float].self) { group in
            for turn in 0..<60 {
                group.addTask {
                    live.swap(turn % 2 == 0 ? ONEMnn() : ONE.shared)
                    return try await live.score(inputs)
                }
            }
            var scores: [Float] = []
            for try await one in group { scores += one }
            print("says", [scores.min()!, scores.max()!])
        }
        do {
            _ = try await ONEMnn(modelPath: "/nowhere").score(inputs)
        } catch {
            print("says", error.localizedDescription)
        }
        do {
            _ = try await ONEMnn.shared.score([:])
        } catch {
            print("says", error.localizedDescription)
        }
        print("says", ONEMnn.version)
    }
}
