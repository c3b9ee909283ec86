// swift-tools-version: 6.2
import PackageDescription

// The sample app of a bundle without its looks, which need iOS.
let package = Package(
    name: "NAMEProbe",
    dependencies: [.package(path: "../NAME")],
    targets: [.executableTarget(name: "NAMEProbe", dependencies: PRODUCTS.map { .product(name: $0, package: "NAME") })]
)
