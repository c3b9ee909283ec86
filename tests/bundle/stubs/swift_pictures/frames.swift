// What test_pictures_swift.py runs of the rendered preparation; it replaces NAME. It reads the frames that stubs/c/prepare.c
// reads and gives the answers that it gives.
import Foundation

private struct Given: NAMEPictures.Pixels {
    let content: [UInt8]

    private func number(_ index: Int) -> Int {
        return (0..<4).reduce(0) { $0 | Int(content[index * 4 + $1]) << (8 * $1) }
    }

    var width: Int { return number(0) }
    var height: Int { return number(1) }
    var isPremultiplied: Bool { return number(4) != 0 }
    var orientation: Int { return number(5) }

    func read(x: Int, y: Int, width: Int, height: Int, into bytes: UnsafeMutableBufferPointer<UInt8>) throws {
        let (stride, channels) = (number(2), number(3))
        precondition(x >= 0 && y >= 0 && x + width <= self.width && y + height <= self.height)
        precondition(bytes.count == width * height * 4)
        for row in 0..<height {
            for column in 0..<width {
                let from = 24 + (y + row) * stride + (x + column) * channels
                let to = (row * width + column) * 4
                for channel in 0..<3 { bytes[to + channel] = content[from + channel] }
                bytes[to + 3] = channels == 4 ? content[from + 3] : 255
            }
        }
    }
}

func answerFrames(_ path: String) throws {
    let content = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
    var pictures: NAMEPictures?
    var prepared: [UInt8] = []
    var (place, answers) = (0, Data())
    func answer(_ good: UInt8, _ bytes: [UInt8]) {
        answers.append(good)
        for shift in [0, 8, 16, 24] { answers.append(UInt8(bytes.count >> shift & 255)) }
        answers.append(contentsOf: bytes)
    }
    while place < content.count {
        let length = (0..<4).reduce(0) { $0 | Int(content[place + 1 + $1]) << (8 * $1) }
        let frame = Array(content[(place + 5)..<(place + 5 + length)])
        do {
            switch content[place] {
            case UInt8(ascii: "E"):
                pictures = try NAMEPictures(Data(frame))
                answer(1, [])
            case UInt8(ascii: "P"):
                let given = Given(content: frame)
                prepared = try pictures!.prepare(given, orientation: given.orientation)
                answer(1, prepared)
            default:
                answer(1, pictures!.tensor(prepared).withUnsafeBytes { [UInt8]($0) })
            }
        } catch let refusal as NAMEPictures.Refusal {
            answer(0, [UInt8](refusal.reason.utf8))
        }
        place += 5 + length
    }
    try answers.write(to: URL(fileURLWithPath: path + ".answers"))
}
