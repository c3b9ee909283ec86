// swift-tools-version: 6.2
import PackageDescription

// An app that scores one model with both runtimes.
let package = Package(
    name: "MnnApp",
    dependencies: [.package(path: "../ONE")],
    targets: [
        .executableTarget(
            name: "MnnApp",
            dependencies: [.product(name: "ONEKit", package: "ONE"), .product(name: "ONEKitMnn", package: "ONE")],
            swiftSettings: [.defaultIsolation(MainActor.self)])
    ]
)
