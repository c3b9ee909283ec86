// What the bundle's sources call of ImageIO, with its signatures, for one format: PAM, whatever the file is called.
import CoreGraphics

public final class CGImageSource {
    let image: CGImage
    let orientation: Int

    init?(_ content: Data) {
        let end = Data("ENDHDR\n".utf8)
        guard content.starts(with: Data("P7\n".utf8)), let header = content.range(of: end) else { return nil }
        var said: [String: String] = [:]
        for line in String(decoding: content[..<header.lowerBound], as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            if words.count > 1 { said[words[words.count - 2]] = words[words.count - 1] }
        }
        guard let width = said["WIDTH"].flatMap(Int.init), let height = said["HEIGHT"].flatMap(Int.init),
            let depth = said["DEPTH"].flatMap(Int.init), let orientation = said["orientation"].flatMap(Int.init)
        else { return nil }
        let stored = [UInt8](content[header.upperBound...])
        guard stored.count == width * height * depth else { return nil }
        let colours = depth < 3 ? [0, 0, 0] : [0, 1, 2]
        let hasAlpha = depth % 2 == 0
        let pixels = (0..<width * height).flatMap { pixel -> [UInt8] in
            colours.map { stored[pixel * depth + $0] } + [hasAlpha ? stored[pixel * depth + depth - 1] : 255]
        }
        image = CGImage(
            width: width, height: height, pixels: pixels,
            colorSpace: CGColorSpace(model: depth < 3 ? .monochrome : .rgb), alphaInfo: hasAlpha ? .last : .none)
        self.orientation = orientation
    }
}

public nonisolated(unsafe) let kCGImagePropertyPixelWidth: CFString = "PixelWidth"
public nonisolated(unsafe) let kCGImagePropertyPixelHeight: CFString = "PixelHeight"
public nonisolated(unsafe) let kCGImagePropertyOrientation: CFString = "Orientation"
public nonisolated(unsafe) let kCGImageSourceShouldCacheImmediately: CFString = "kCGImageSourceShouldCacheImmediately"

public func CGImageSourceCreateWithData(_ data: CFData, _ options: CFDictionary?) -> CGImageSource? {
    return CGImageSource(Data(referencing: data))
}

public func CGImageSourceCopyPropertiesAtIndex(_ isrc: CGImageSource, _ index: Int, _ options: CFDictionary?) -> CFDictionary? {
    return NSDictionary(
        objects: [isrc.image.width, isrc.image.height, isrc.orientation],
        forKeys: [kCGImagePropertyPixelWidth, kCGImagePropertyPixelHeight, kCGImagePropertyOrientation])
}

public func CGImageSourceCreateImageAtIndex(_ isrc: CGImageSource, _ index: Int, _ options: CFDictionary?) -> CGImage? {
    precondition(options?[kCGImageSourceShouldCacheImmediately] as? Bool == true, "it would be decoded again for each band")
    return isrc.image
}
