// swift-tools-version: 6.2
import PackageDescription

// An app whose default is the main actor, with two models.
let package = Package(
    name: "App",
    dependencies: [.package(path: "../ONE"), .package(path: "../OTHER")],
    targets: [
        .executableTarget(
            name: "App",
            dependencies: [.product(name: "ONEKit", package: "ONE"), .product(name: "OTHERKit", package: "OTHER")],
            swiftSettings: [.defaultIsolation(MainActor.self)])
    ]
)
