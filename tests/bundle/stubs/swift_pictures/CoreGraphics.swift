// What the bundle's sources call of Core Graphics, with its signatures, for images that ImageIO's stub has decoded.
@_exported import Foundation

public typealias CFData = NSData
public typealias CFDictionary = NSDictionary
public typealias CFString = NSString

public enum CGColorSpaceModel: Int32 {
    case unknown = -1
    case monochrome, rgb, cmyk, lab, deviceN, indexed, pattern
}

public final class CGColorSpace {
    public let model: CGColorSpaceModel
    public let baseColorSpace: CGColorSpace?

    public init(model: CGColorSpaceModel, baseColorSpace: CGColorSpace? = nil) {
        self.model = model
        self.baseColorSpace = baseColorSpace
    }
}

public enum CGImageAlphaInfo: UInt32 {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

public enum CGInterpolationQuality: Int32 {
    case `default`, none, low, medium, high
}

/// Red, green, blue and alpha of each pixel, not multiplied.
public final class CGImage {
    public let width: Int
    public let height: Int
    public let colorSpace: CGColorSpace?
    public let alphaInfo: CGImageAlphaInfo
    let pixels: [UInt8]

    public init(width: Int, height: Int, pixels: [UInt8], colorSpace: CGColorSpace?, alphaInfo: CGImageAlphaInfo) {
        self.width = width
        self.height = height
        self.pixels = pixels
        self.colorSpace = colorSpace
        self.alphaInfo = alphaInfo
    }

    public func cropping(to rect: CGRect) -> CGImage? {
        let (x, y, w, h) = (Int(rect.origin.x), Int(rect.origin.y), Int(rect.size.width), Int(rect.size.height))
        guard x >= 0, y >= 0, w > 0, h > 0, x + w <= width, y + h <= height else { return nil }
        var rows: [UInt8] = []
        for row in y..<(y + h) {
            let start = (row * width + x) * 4
            rows += pixels[start..<(start + w * 4)]
        }
        return CGImage(width: w, height: h, pixels: rows, colorSpace: colorSpace, alphaInfo: alphaInfo)
    }
}

public final class CGContext {
    public var interpolationQuality = CGInterpolationQuality.default
    private let data: UnsafeMutablePointer<UInt8>
    private let width: Int
    private let height: Int
    private let bytesPerRow: Int
    private let space: CGColorSpace
    private let alpha: CGImageAlphaInfo

    /// Only the layouts that there are: RGB with alpha multiplied or without, grey without alpha, alpha alone.
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) {
        guard let data = data, let alpha = CGImageAlphaInfo(rawValue: bitmapInfo), bitsPerComponent == 8 else { return nil }
        switch (space.model, alpha) {
        case (.rgb, .premultipliedLast), (.rgb, .noneSkipLast): guard bytesPerRow >= width * 4 else { return nil }
        case (.monochrome, .none), (_, .alphaOnly): guard bytesPerRow >= width else { return nil }
        default: return nil
        }
        self.data = data.assumingMemoryBound(to: UInt8.self)
        self.width = width
        self.height = height
        self.bytesPerRow = bytesPerRow
        self.space = space
        self.alpha = alpha
    }

    /// Draws over what is there, without a change of size.
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) {
        precondition(rect == CGRect(x: 0, y: 0, width: width, height: height) && image.width == width)
        precondition(image.height == height && interpolationQuality == .none)
        for y in 0..<height {
            for x in 0..<width {
                let from = (y * width + x) * 4
                let a = Int(image.pixels[from + 3])
                func over(_ value: UInt8, _ below: UInt8) -> UInt8 {
                    return UInt8((Int(value) * a + Int(below) * (255 - a) + 127) / 255)
                }
                switch (space.model, alpha) {
                case (_, .alphaOnly):
                    data[y * bytesPerRow + x] = over(255, data[y * bytesPerRow + x])
                case (.monochrome, _):
                    data[y * bytesPerRow + x] = over(image.pixels[from], data[y * bytesPerRow + x])
                default:
                    let to = y * bytesPerRow + x * 4
                    for colour in 0..<3 { data[to + colour] = over(image.pixels[from + colour], data[to + colour]) }
                    data[to + 3] = over(255, data[to + 3])
                }
            }
        }
    }
}
