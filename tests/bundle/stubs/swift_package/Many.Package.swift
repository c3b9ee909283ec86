// swift-tools-version: 6.2
import PackageDescription

// An app that asks one model very often.
let package = Package(
    name: "Many",
    dependencies: [.package(path: "../ONE")],
    targets: [.executableTarget(name: "Many", dependencies: [.product(name: "ONEKit", package: "ONE")])]
)
