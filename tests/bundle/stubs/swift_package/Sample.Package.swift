// swift-tools-version: 6.2
import PackageDescription

// The sample app of a bundle without its looks, which need iOS.
let package = Package(
    name: "NAMEProbe",
    dependencies: [.package(path: "../NAME")],
    targets: [.executableTarget(name: "NAMEProbe", dependencies: [.product(name: "NAMEKit", package: "NAME")])]
)
