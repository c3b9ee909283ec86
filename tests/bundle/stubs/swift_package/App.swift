// An app with two models, on the main actor: each scores of its own bundle's golden cases, at the same time. Words in capitals
// are filled in. Says the scores of the first, the order of the second, and what they know of each other.
import Foundation
import ONEKit
import OTHERKit

@main
struct App {
    static func main() async throws {
        guard let file = OTHER.resource("features.json") else { fatalError("no features.json") }
        let features = try OTHERFeatures(contentsOf: file)
        async let scored = ONE.shared.score([INPUTS])
        async let reranked = features.rerank(RAW)
        let (scores, order) = try await (scored, reranked)
        print("says", scores)
        print("says", order)
        print("says", ONE.resource("features.json") == nil, ONE.resource("golden.json") == nil)
        print("says", ONE.resource("model.tflite") != OTHER.resource("model.tflite"))
        print("says", ONEDelivery.assign("user", weights: ["a": 1]) == OTHERDelivery.assign("user", weights: ["a": 1]))
    }
}
