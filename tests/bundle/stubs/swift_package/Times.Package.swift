// swift-tools-version: 6.2
import PackageDescription

// An app that times one list.
let package = Package(
    name: "Times",
    dependencies: [.package(path: "../ONE")],
    targets: [
        .executableTarget(name: "Times", dependencies: [.product(name: "ONEKit", package: "ONE")KIT_MNN])
    ]
)
