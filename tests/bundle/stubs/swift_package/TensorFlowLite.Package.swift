// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "TensorFlowLite",
    products: [.library(name: "TensorFlowLite", targets: ["TensorFlowLite"])],
    targets: [
        .systemLibrary(name: "TensorFlowLiteC", path: "C"),
        .target(name: "TensorFlowLite", dependencies: ["TensorFlowLiteC"], path: "Sources"),
    ],
    swiftLanguageModes: [.v5]
)
