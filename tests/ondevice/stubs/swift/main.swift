// What test_training_swift.py runs of Training.swift. Arguments: the bundle's folder, the store, and what to do.
import Foundation

struct Failed: Error { let said: String }

func expect(_ condition: Bool, _ said: @autoclosure () -> String = "not as it should be", line: Int = #line) throws {
    if !condition { throw Failed(said: "line \(line): \(said())") }
}

func refused(_ why: String, line: Int = #line, _ action: () throws -> Void) throws {
    do {
        try action()
    } catch let error as Training.TrainingError {
        try expect((error.errorDescription ?? "").contains(why), "refused with \(error)", line: line)
        return
    }
    throw Failed(said: "line \(line): not refused: \(why)")
}

struct Golden {
    let batch: Training.Batch
    let loss: Float
    let after: [Float]
}

/// golden_steps.bin of one input of three axes whose name has five letters.
func golden(_ folder: URL) throws -> [Golden] {
    let content = try Data(contentsOf: folder.appendingPathComponent("golden_steps.bin"))
    var place = 60 + 4 + 4 + 5 + 8
    func value<Number>(_ zero: Number) -> Number {
        defer { place += 4 }
        return content.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: Number.self) }
    }
    func floats(_ count: Int) -> [Float] { return (0..<count).map { _ in value(Float(0)) } }
    let size = Int(value(UInt32(0))) * Int(value(UInt32(0))) * Int(value(UInt32(0)))
    let n = Int(value(UInt32(0)))
    _ = floats(n)
    return (0..<value(UInt32(0))).map { _ in
        let rows = Int(value(UInt32(0)))
        let inputs = ["image": floats(rows * size)]
        let labels = (0..<rows).map { _ in value(Int32(0)) }
        return Golden(batch: Training.Batch(inputs: inputs, labels: labels), loss: value(Float(0)), after: floats(n))
    }
}

final class Counter: @unchecked Sendable {
    var count = 0
    func up() -> Int {
        count += 1
        return count
    }
}

func there(_ file: URL) -> Bool { return FileManager.default.fileExists(atPath: file.path) }

func exercise(_ what: String, _ folder: URL, _ store: URL) async throws {
    let training = try Training(bundle: folder, store: store)
    let steps = try golden(folder)
    let batch = steps[0].batch
    let wrong = Training.Batch(inputs: batch.inputs, labels: batch.labels.map { ($0 + 1) % 3 })
    let start = training.state
    let before = store.appendingPathExtension("before")
    switch what {
    case "golden":
        try training.train(batch)
        let state = training.state
        let found = try training.golden()
        try expect(found.count == steps.count && found.allSatisfy { $0.loss <= 1e-5 && $0.weights <= 1e-5 })
        try expect(training.state == state, "golden steps changed the state")
    case "rehearsed":  // what it learns, Python compares
        let given = Counter()
        _ = try await training.round(
            next: {
                let number = given.up()
                return number <= steps.count ? steps[number - 1].batch : nil
            }, mayContinue: { true })
        try training.save()
    case "round":
        let asked = Counter()
        let all = try await training.round(next: { batch }, rehearsed: false, mayContinue: { asked.up() > 0 })
        try expect(all.steps == training.plan.steps && asked.count == all.steps && all.losses.count == all.steps)
        try expect(
            all.counts == Training.counts(before: training.plan.shipped, after: all.accuracy, margin: training.plan.margin))
        try expect(all.counts == there(store))
        if !all.counts { try expect(training.state == start, "not rolled back") }
        try training.reset()
        try expect(try await training.round(next: { batch }, rehearsed: false, mayContinue: { asked.up() % 3 != 0 }).steps < 3)
        let none = try await training.round(next: { batch }, rehearsed: false, mayContinue: { false })
        try expect(none.steps == 0 && !none.counts)
        let once = Counter()
        try expect(try await training.round(next: { once.up() == 1 ? batch : nil }, rehearsed: false, mayContinue: { true }).steps == 1)
    case "worse":
        for _ in 0..<200 { try training.train(wrong, learningRate: 0.05) }
        try expect(try training.rehearse() < training.plan.shipped - training.plan.margin, "it did not get worse")
        let worst = training.state
        let outcome = try await training.round(next: { wrong }, rehearsed: false, mayContinue: { true })
        try expect(!outcome.counts && !there(store) && training.state == worst)
        try training.restore(start)
        try expect(try training.rehearse() == training.plan.shipped)
    case "refuses":
        let image = batch.inputs["image"] ?? []
        @Sendable func of(_ values: [Float], _ labels: [Int32]? = nil) -> Training.Batch {
            return Training.Batch(inputs: ["image": values], labels: labels ?? batch.labels)
        }
        try refused("image has 383 values: a row has 64") { try training.train(of(Array(image.dropLast()))) }
        try refused("6 rows and 5 labels") { try training.train(of(image, Array(batch.labels.dropLast()))) }
        try refused("labels are from 0 to 2") { try training.train(of(image, batch.labels.map { _ in 3 })) }
        try refused("not finite") { try training.train(of([.nan] + image.dropFirst())) }
        try refused("the model takes [\"image\"], not [\"picture\"]") { _ = try training.infer(["picture": image]) }
        try refused("the learning rate is inf") { try training.train(batch, learningRate: .infinity) }
        try expect(training.state == start)
        let late = Counter()
        var said = ""
        do {
            _ = try await training.round(
                next: { late.up() == 1 ? batch : of(image, batch.labels.map { _ in -1 }) }, mayContinue: { true })
        } catch let error as Training.TrainingError {
            said = error.errorDescription ?? ""
        }
        try expect(said.contains("labels are from 0 to 2") && late.count == 2, said)
        try expect(training.state == start, "a round that failed at its second step was not undone")
        try refused("lower the learning rate") {
            for _ in 0..<3 { try training.train(batch, learningRate: 3e38) }
        }
        try refused("cannot be read") { try training.rollBack() }
        try refused("the model has the state") { try training.restore(["weights": [1]]) }
    case "versions":
        try training.train(batch)
        try training.save()
        let first = try Data(contentsOf: store)
        let state = training.state
        try training.train(batch)
        try training.save()
        try expect(try Data(contentsOf: before) == first)
        try expect(try Data(contentsOf: store) != first)
        try training.rollBack()
        try expect(try Data(contentsOf: store) == first && training.state == state && !there(before))
        try first.dropLast().write(to: store)
        try refused("not whole") { _ = try training.resume() }
        try expect(training.state == state, "a refused state changed something")
        try training.save()
        try expect(!there(before), "a damaged version was kept")
        try training.reset()
        try expect(try !there(store) && !training.resume() && training.state == start)
    case "again":
        try expect(try training.resume())
        try training.save()
    case "accuracy":
        _ = try training.resume()
        print(try training.rehearse())
    case "loop":
        var states: [[String: [Float]]] = []
        for _ in 0..<2 {
            try training.train(batch)
            states.append(training.state)
        }
        while true {
            for state in states {
                try training.restore(state)
                try training.save()
                FileHandle.standardOutput.write(Data(".".utf8))
            }
        }
    default:
        throw Failed(said: "what is \(what)")
    }
    print("ok \(what)")
}

let arguments = CommandLine.arguments
do {
    try await exercise(arguments[3], URL(fileURLWithPath: arguments[1]), URL(fileURLWithPath: arguments[2]))
} catch {
    print("FAILED: \(error)")
    exit(1)
}
