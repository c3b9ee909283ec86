{% if pictures and "model.tflite" in files %}
import Foundation

#if canImport(CoreGraphics) && canImport(ImageIO)
import CoreGraphics
import ImageIO
#endif

/// Says what is on a picture, by `model.tflite` ({{ model | comment }}): labels with their probabilities, the most probable
/// first. The labels are those of the bundle's `model.json`, the preparation is that of its `features.json`.
///
///     let labels = try await {{ name }}Classifier.shared.classify(.url(photo), top: 3)
///
/// One object that the whole app shares: make one and keep it, or use `shared`. The bundle is read at the first picture.
/// Pictures are decoded on a serial background queue, one at a time and without a second copy of their pixels: one of 12
/// million pixels takes 48 MB for as long. They are decoded whole: a thumbnail of ImageIO has other pixels than the model
/// was trained on. The colours are those that are stored, as in training, whatever the picture's profile.
///
/// Core ML and Metal are left out: they compute in half floats, which moves probabilities and may change the first label.
/// Before you give a `model` with one of them, hold it against the golden pictures on the devices that you have
/// (`{{ name }}PicturesTests`), and time it.
@available(iOS 13.0, macOS 10.15, *)
nonisolated public final class {{ name }}Classifier: @unchecked Sendable {  // what changes is touched on `queue` only

    public struct Label: Equatable, Sendable {
        public let name: String
        public let probability: Float
    }

    /// A picture as an app has it.
    public enum Picture: @unchecked Sendable {  // unchecked: a CGImage does not change
        #if canImport(CoreGraphics) && canImport(ImageIO)
        /// The content of a file, JPEG, PNG, HEIC or what else ImageIO decodes; it is turned as its properties say.
        case data(Data)
        case url(URL)
        /// `orientation` is still to be done, EXIF tag 274: `CGImagePropertyOrientation.rawValue`.
        case image(CGImage, orientation: Int)
        #endif
        case pixels(any {{ name }}Pictures.Pixels, orientation: Int)
    }

    /// The folder `{{ name }}` of the app's resources, on one CPU thread.
    public static let shared = {{ name }}Classifier()

    /// Labels that are returned if nothing else is said.
    public static let top = 5

    /// Pictures that the model is given at a time: the memory of a call does not grow with the list.
    private static let atOnce = {{ batch or 8 }}
    private static let mostManifest = 16 << 20
    private static let mostFile = 256 << 20

    private struct Parts {
        let pictures: {{ name }}Pictures
        let labels: [String]
    }

    private let folder: URL?
    private let model: {{ name }}
    private let queue = DispatchQueue(label: {{ (name ~ ".decoding") | quoted }}, qos: .userInitiated)
    private var parts: Parts?

    /// - Parameters:
    ///   - folder: An installed bundle with `model.tflite`, `model.json` and `features.json`, by default the one that the app
    ///     came with, see `{{ name }}.resource`.
    ///   - model: By default the folder's `model.tflite` on one CPU thread.
    public init(
        folder: URL? = {{ name }}.resource("model.tflite")?.deletingLastPathComponent(),
        model: {{ name }}? = nil
    ) {
        self.folder = folder
        self.model = model ?? {{ name }}(modelPath: folder?.appendingPathComponent("model.tflite").path)
    }

    /// In the order of the model's output.
    public func labels() async throws -> [String] {
        return try await onQueue { try self.loaded().labels }
    }

    /// The `top` most probable labels of a picture.
    ///
    /// - Throws: `{{ name }}Pictures.Refusal`, `{{ name }}.ScoringError`, or `InterpreterError` of TensorFlow Lite.
    public func classify(_ picture: Picture, top: Int = {{ name }}Classifier.top) async throws -> [Label] {
        return try await classify([picture], top: top)[0]
    }

    /// The same of several pictures; if one is refused the reason says which, and none is classified.
    public func classify(_ pictures: [Picture], top: Int = {{ name }}Classifier.top) async throws -> [[Label]] {
        guard top >= 1 else { throw {{ name }}Pictures.Refusal("top is \(top): one or more") }
        var classified: [[Label]] = []
        for start in stride(from: 0, to: pictures.count, by: Self.atOnce) {
            try Task.checkCancellation()
            let part = start..<min(start + Self.atOnce, pictures.count)
            let prepared = try await onQueue { try part.map { try self.prepared(pictures, $0) } }
            let names = try await labels()
            for values in try await probabilities(of: prepared) {
                let order = values.indices.sorted { a, b in values[a] == values[b] ? a < b : values[a] > values[b] }
                classified.append(order.prefix(top).map { Label(name: names[$0], probability: values[$0]) })
            }
        }
        return classified
    }

    /// Classifies a picture, for callers without `async`.
    ///
    /// - Parameters:
    ///   - callbackQueue: Where `completion` is called, by default the main queue.
    ///   - completion: Called once with what the other form returns or throws.
    public func classify(
        _ picture: Picture,
        top: Int = {{ name }}Classifier.top,
        callbackQueue: DispatchQueue = .main,
        completion: @escaping @Sendable (Result<[Label], Error>) -> Void
    ) {
        Task {
            let result: Result<[Label], Error>
            do {
                result = .success(try await classify(picture, top: top))
            } catch {
                result = .failure(error)
            }
            callbackQueue.async { completion(result) }
        }
    }

    /// The bytes that `{{ name }}Pictures.prepare` makes of a picture.
    func prepare(_ picture: Picture) async throws -> [UInt8] {
        return try await onQueue { try self.prepareOnQueue(picture) }
    }

    /// Of each prepared picture, a number for each label.
    func probabilities(of prepared: [[UInt8]]) async throws -> [[Float]] {
        let parts = try await onQueue { try self.loaded() }
{% if batch %}
        let filled = prepared + [[UInt8]](repeating: prepared[prepared.count - 1], count: Self.atOnce - prepared.count)
        let values = filled.flatMap { parts.pictures.tensor($0) }
{% else %}
        let values = prepared.flatMap { parts.pictures.tensor($0) }
{% endif %}
        let scores = try await model.score([parts.pictures.input: .float32(values)])
        let count = parts.labels.count
        return prepared.indices.map { Array(scores[($0 * count)..<(($0 + 1) * count)]) }
    }

    // MARK: - On the queue

    private func onQueue<Answer>(_ work: @escaping @Sendable () throws -> Answer) async throws -> sending Answer {
        return try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result(catching: work)) }
        }
    }

    private func loaded() throws -> Parts {
        if let parts = parts { return parts }
        guard let folder = folder else {
            throw {{ name }}Pictures.Refusal(
                "the folder {{ name }} is missing: add it to the app's resources, or give the bundle's folder")
        }
        let pictures = try {{ name }}Pictures(contentsOf: folder.appendingPathComponent("features.json"))
        guard pictures.input == {{ inputs[0].name | quoted }}, pictures.size == {{ inputs[0].shape[0] }} else {
            throw {{ name }}Pictures.Refusal(
                "features.json prepares \(pictures.input) of \(pictures.size) x \(pictures.size) pixels, the model takes "
                    + "another input: take both from one bundle")
        }
        let manifest = try Data(contentsOf: folder.appendingPathComponent("model.json"))
        let loaded = Parts(pictures: pictures, labels: try Self.labels(of: manifest))
        parts = loaded
        return loaded
    }

    /// The names of the first output's values, of `model.json`.
    static func labels(of manifest: Data) throws -> [String] {
        if case .object(let content) = try {{ name }}JSON.read(manifest, most: mostManifest),
            case .object(let schema)? = content["schema"], case .array(let outputs)? = schema["outputs"],
            case .object(let output)? = outputs.first, case .text({{ output.name | quoted }})? = output["name"],
            case .array(let dimensions)? = output["dimensions"], dimensions.count == {{ output.size }}
        {
            let names = dimensions.compactMap { dimension -> String? in
                guard case .object(let members) = dimension, case .text(let name)? = members["name"] else { return nil }
                return name.string
            }
            if names.count == dimensions.count { return names }
        }
        throw {{ name }}Pictures.Refusal(
            "model.json does not name the {{ output.size }} labels of {{ output.name | comment }}: take it from one bundle")
    }

    private func prepared(_ pictures: [Picture], _ index: Int) throws -> [UInt8] {
        do {
            return try prepareOnQueue(pictures[index])
        } catch let refusal as {{ name }}Pictures.Refusal where pictures.count > 1 {
            throw {{ name }}Pictures.Refusal("picture \(index): \(refusal.reason)")
        }
    }

    private func prepareOnQueue(_ picture: Picture) throws -> [UInt8] {
        dispatchPrecondition(condition: .onQueue(queue))
        let pictures = try loaded().pictures
        switch picture {
        #if canImport(CoreGraphics) && canImport(ImageIO)
        case .data(let content):
            return try prepareFile(content, with: pictures)
        case .url(let url):
            let content = try Data(contentsOf: url, options: .mappedIfSafe)
            return try prepareFile(content, with: pictures)
        case .image(let image, let orientation):
            return try pictures.prepare(ImagePixels(image), orientation: orientation)
        #endif
        case .pixels(let pixels, let orientation):
            return try pictures.prepare(pixels, orientation: orientation)
        }
    }
}

#if canImport(CoreGraphics) && canImport(ImageIO)
@available(iOS 13.0, macOS 10.15, *)
nonisolated extension {{ name }}Classifier {

    private func prepareFile(_ content: Data, with pictures: {{ name }}Pictures) throws -> [UInt8] {
        guard content.count <= Self.mostFile else {
            throw {{ name }}Pictures.Refusal("the file has \(content.count) bytes, at most \(Self.mostFile) are read")
        }
        return try Self.inPool {
            let undecoded = {{ name }}Pictures.Refusal("it is damaged, or no picture that this device decodes")
            guard let source = CGImageSourceCreateWithData(NSData(data: content) as CFData, nil),
                let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as NSDictionary?,
                let width = properties[kCGImagePropertyPixelWidth] as? Int,
                let height = properties[kCGImagePropertyPixelHeight] as? Int
            else { throw undecoded }
            try {{ name }}Pictures.checkSize(width, height)
            // decoded once, here, and not again for each band that is read
            let options = NSDictionary(object: true, forKey: kCGImageSourceShouldCacheImmediately as NSString)
            guard let image = CGImageSourceCreateImageAtIndex(source, 0, options as CFDictionary) else { throw undecoded }
            let orientation = properties[kCGImagePropertyOrientation] as? Int ?? 1
            return try pictures.prepare(ImagePixels(image), orientation: orientation)
        }
    }

    /// What ImageIO leaves to an autorelease pool must not wait for the queue's: a decoded picture may be among it.
    private static func inPool<Answer>(_ work: () throws -> Answer) rethrows -> Answer {
        #if canImport(ObjectiveC)
        return try autoreleasepool(invoking: work)
        #else
        return try work()
        #endif
    }

    /// An image's pixels in its own colour space, so that no number is converted, a band at a time.
    private struct ImagePixels: {{ name }}Pictures.Pixels, @unchecked Sendable {  // unchecked: a CGImage does not change
        let image: CGImage
        let space: CGColorSpace
        let hasAlpha: Bool
        var width: Int { return image.width }
        var height: Int { return image.height }
        var isPremultiplied: Bool { return true }

        init(_ image: CGImage) throws {
            guard let own = image.colorSpace, let space = own.model == .indexed ? own.baseColorSpace : own,
                space.model == .rgb || space.model == .monochrome
            else {
                // Core Graphics would convert CMYK by a profile, the training does it by a formula.
                throw {{ name }}Pictures.Refusal("the image is neither RGB nor grey: convert it to RGB first")
            }
            self.image = image
            self.space = space
            hasAlpha = ![CGImageAlphaInfo.none, .noneSkipFirst, .noneSkipLast].contains(image.alphaInfo)
        }

        func read(x: Int, y: Int, width: Int, height: Int, into bytes: UnsafeMutableBufferPointer<UInt8>) throws {
            guard let part = image.cropping(to: CGRect(x: x, y: y, width: width, height: height)) else {
                throw {{ name }}Pictures.Refusal("the image cannot be read")
            }
            if space.model == .rgb {
                try draw(part, into: bytes, bytesAPixel: 4, .premultipliedLast)
                return
            }
            var grey = [UInt8](repeating: 0, count: width * height)  // over black: multiplied by alpha
            var alpha = [UInt8](repeating: 255, count: width * height)
            try grey.withUnsafeMutableBufferPointer { try draw(part, into: $0, bytesAPixel: 1, .none) }
            if hasAlpha {
                alpha = [UInt8](repeating: 0, count: width * height)
                try alpha.withUnsafeMutableBufferPointer { try draw(part, into: $0, bytesAPixel: 1, .alphaOnly) }
            }
            for place in grey.indices {
                for colour in 0..<3 { bytes[place * 4 + colour] = grey[place] }
                bytes[place * 4 + 3] = alpha[place]
            }
        }

        private func draw(
            _ part: CGImage, into bytes: UnsafeMutableBufferPointer<UInt8>, bytesAPixel: Int, _ alpha: CGImageAlphaInfo
        ) throws {
            bytes.update(repeating: 0)
            guard
                let context = CGContext(
                    data: bytes.baseAddress, width: part.width, height: part.height, bitsPerComponent: 8,
                    bytesPerRow: part.width * bytesAPixel, space: space, bitmapInfo: alpha.rawValue)
            else {
                throw {{ name }}Pictures.Refusal("the image's colour space cannot be drawn in 8 bits: convert it to sRGB")
            }
            context.interpolationQuality = .none
            context.draw(part, in: CGRect(x: 0, y: 0, width: part.width, height: part.height))
        }
    }
}
#endif
{% endif %}
