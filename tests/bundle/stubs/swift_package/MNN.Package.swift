// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "MNN",
    products: [.library(name: "MNN", targets: ["MNN"])],
    targets: [.systemLibrary(name: "MNN", path: "C")]
)
