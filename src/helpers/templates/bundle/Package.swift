// swift-tools-version: 6.1
// {{ model | comment }} as a Swift package: the folder that handover.zip unfolds to is this package, see README.md.
// Of files {{ listing }}: SwiftPM keeps what a manifest said until its text changes.
import Foundation
import PackageDescription

let files = try FileManager.default.contentsOfDirectory(atPath: Context.packageDirectory)
    .filter { !$0.hasPrefix(".") && $0 != "Package.swift" }.sorted()

/// Where sources lie; what else is in the folder is a target's resource or none of its business.
let sources = ["ios/Sources"{{ ', "ios/Tests"' if "model.tflite" in files else "" }}{{ ', "ios/Sample"' if sample else "" }}{{ ', "ios/MnnTests", "ios/Mnn", "ios/MnnC"' if "model.mnn" in files else "" }}]

func excluded(_ own: String, _ resources: [String]) -> [String] {
    return files.filter { $0 != "ios" && !resources.contains($0) } + sources.filter { $0 != own }
}

/// Runtimes are packages beside this folder, one for all models of an app: `runtimes` has the recipes. Without one, what
/// needs it is left out.
func isBeside(_ runtime: String) -> Bool {
    return FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/../\(runtime)/Package.swift")
}

var products: [Product] = []
var dependencies: [Package.Dependency] = []
var targets: [Target] = []

{% set tflite = "model.tflite" in files %}
{% if files | length > 1 %}
if isBeside("TensorFlowLite") || !isBeside("MNN") {
{% else %}
do {
{% endif %}
    let app: [String] = [{{ '"model.tflite"' if tflite else "" }}{{ ", " if tflite and (encoding or pictures) else "" }}{{ '"features.json"' if encoding or pictures else "" }}{{ ', "model.json"' if pictures else "" }}]
    products.append(.library(name: "{{ name }}Kit", targets: ["{{ name }}Kit"]))
    targets.append(
        .target(
            name: "{{ name }}Kit", dependencies: [{{ '"TensorFlowLite"' if tflite else "" }}], path: ".",
            exclude: excluded("ios/Sources", app), sources: ["ios/Sources"], resources: app.map { .copy($0) }))
{% if tflite %}
    let golden = app + ["golden.bin", "golden.json"]{{ ' + ["sessions.json"]' if encoding else ' + files.filter { $0.hasPrefix("picture") }' if pictures else "" }}
    dependencies.append(.package(path: "../TensorFlowLite"))
    targets.append(
        .testTarget(
            name: "{{ name }}KitTests", dependencies: ["{{ name }}Kit"], path: ".", exclude: excluded("ios/Tests", golden),
            sources: ["ios/Tests"], resources: golden.map { .copy($0) }))
{% endif %}
}
{% if "model.mnn" in files %}

if isBeside("MNN") {
    dependencies.append(.package(path: "../MNN"))
    #if !os(Linux) // Objective-C++
    let golden = ["model.mnn", "golden.bin"]
    targets.append(
        .testTarget(
            name: "{{ name }}MnnTests", dependencies: ["MNN"], path: ".",
            exclude: excluded("ios/MnnTests", golden) + ["ios/MnnTests/mnn_tests_main.mm"],
            sources: ["ios/MnnTests"], resources: golden.map { .copy($0) }, cxxSettings: [.headerSearchPath("c")]))
    #endif
}
if isBeside("MNN"){{ ' && isBeside("TensorFlowLite")' if tflite else "" }} {
    products.append(.library(name: "{{ name }}KitMnn", targets: ["{{ name }}KitMnn"]))
    targets += [
        .target(
            name: "{{ name }}MnnC", dependencies: ["MNN"], path: ".", exclude: excluded("ios/MnnC", []),
            sources: ["ios/MnnC"], publicHeadersPath: "ios/MnnC/include", cxxSettings: [.headerSearchPath("c")]),
        .target(
            name: "{{ name }}KitMnn", dependencies: ["{{ name }}Kit", "{{ name }}MnnC"], path: ".",
            exclude: excluded("ios/Mnn", ["model.mnn"]), sources: ["ios/Mnn"], resources: [.copy("model.mnn")]),
    ]
}
{% endif %}

let package = Package(
    name: "{{ name }}",
    platforms: [.iOS(.v13), .macOS(.v10_15)],
    products: products,
    dependencies: dependencies,
    targets: targets,
    cxxLanguageStandard: .cxx14
)
