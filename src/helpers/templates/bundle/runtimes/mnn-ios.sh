{% if "model.mnn" in files %}
#!/bin/sh
# MNN as a Swift package, for all models of an app: MNN offers none, and its podspec is behind. On a Mac with Xcode and CMake,
#
#     sh {{ name }}/runtimes/mnn-ios.sh Packages/MNN
#
# builds the release for phones and for simulators (arm64; SIMULATOR=SIMULATOR64 for a Mac of Intel) and joins both in one
# xcframework beside the bundles. VERSION=... takes another release, {{ minimum.mnn }} or later.
set -eu
version="${VERSION:-{{ releases.mnn }}}"
into="${1:?the folder to make, Packages/MNN}"
[ ! -e "$into" ] || { echo "$into is there already: remove it first" >&2; exit 1; }
simulator="${SIMULATOR:-SIMULATORARM64}"
case "$simulator" in SIMULATOR64) machine=x86_64 ;; *) machine=arm64 ;; esac
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

git clone -q --depth 1 --branch "$version" https://github.com/alibaba/MNN.git "$work/MNN"
build() { # folder, then what CMake is told
    folder="$work/$1"
    shift
    cmake -S "$work/MNN" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$work/MNN/cmake/ios.toolchain.cmake" \
        -DENABLE_BITCODE=0 -DMNN_AAPL_FMWK=1 -DMNN_SEP_BUILD=0 -DMNN_BUILD_SHARED_LIBS=false -DMNN_USE_THREAD_POOL=OFF "$@"
    cmake --build "$folder" --target MNN -j
    [ -d "$folder/MNN.framework" ] || { echo "CMake made no MNN.framework" >&2; exit 1; }
}
build phone -DPLATFORM=OS64 -DARCHS=arm64 -DMNN_METAL=ON -DMNN_ARM82=ON
build simulator -DPLATFORM="$simulator" -DARCHS="$machine" -DMNN_METAL=OFF
mkdir -p "$work/package/Sources/MNNLinked"
xcodebuild -create-xcframework -framework "$work/phone/MNN.framework" -framework "$work/simulator/MNN.framework" \
    -output "$work/package/MNN.xcframework"
echo "// What the static framework needs is linked with this target." > "$work/package/Sources/MNNLinked/linked.swift"
cat > "$work/package/Package.swift" <<SWIFT
// swift-tools-version: 5.9
// MNN $version, made by runtimes/mnn-ios.sh of a bundle.
import PackageDescription

let package = Package(
    name: "MNN",
    platforms: [.iOS(.v12)],
    products: [.library(name: "MNN", targets: ["MNNLinked", "MNN"])],
    targets: [
        .target(
            name: "MNNLinked", dependencies: ["MNN"],
            linkerSettings: [.linkedLibrary("c++"), .linkedFramework("Metal"), .linkedFramework("Accelerate")]),
        .binaryTarget(name: "MNN", path: "MNN.xcframework"),
    ]
)
SWIFT
mkdir -p "$(dirname "$into")"
mv "$work/package" "$into"
echo "$into is MNN $version"
{% endif %}
