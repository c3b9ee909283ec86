// Scores lists of changing length 50,000 times, and says by how many KB the process grew after the first thousand; then how long a
// list of twenty takes. Words in capitals are filled in.
import Foundation
import ONEKit

@main
struct Many {
    static func main() async throws {
        let golden = URL(fileURLWithPath: "GOLDEN")
        let cases = try ONEDelivery.goldenInputs(of: golden)
        let model = ONE.shared
        var before = 0
        for turn in 0..<51_000 {
            if turn == 1_000 { before = resident() }
            _ = try await model.score(cases[turn % cases.count].inputs)
        }
        print("grew \(resident() - before) KB")
        for one in cases where one.rows == 20 {
            var best = Double.infinity
            for _ in 0..<40 {
                let start = DispatchTime.now().uptimeNanoseconds
                for _ in 0..<500 { _ = try await model.score(one.inputs) }
                best = min(best, Double(DispatchTime.now().uptimeNanoseconds - start) / 500e3)
            }
            print("\(one.rows) rows take \(best) us")
        }
    }

    static func resident() -> Int {
        let said = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = said.split(separator: " ").compactMap { Int($0) }
        return pages.count > 1 ? pages[1] * 4 : 0
    }
}
