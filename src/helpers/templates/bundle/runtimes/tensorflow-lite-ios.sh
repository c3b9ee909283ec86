{% if "model.tflite" in files %}
#!/bin/sh
# TensorFlow Lite as a Swift package, for all models of an app: TensorFlow offers none, only pods. On a Mac,
#
#     sh {{ name }}/runtimes/tensorflow-lite-ios.sh Packages/TensorFlowLite
#
# makes the folder beside the bundles: the released frameworks that the pod would install, and its Swift sources of the same
# release. VERSION=... takes another release, DELEGATES="CoreML Metal" adds those.
set -eu
version="${VERSION:-{{ releases.tflite }}}"
into="${1:?the folder to make, Packages/TensorFlowLite}"
[ ! -e "$into" ] || { echo "$into is there already: remove it first" >&2; exit 1; }
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The index of pods says where the frameworks are; its folders are the first digits of the MD5 of a pod's name.
spec="$(curl -fsSL "https://cdn.cocoapods.org/Specs/1/6/0/TensorFlowLiteC/$version/TensorFlowLiteC.podspec.json")"
url="$(printf '%s' "$spec" | sed -n 's/.*"http": *"\([^"]*\)".*/\1/p')"
[ -n "$url" ] || { echo "the pod TensorFlowLiteC $version names no archive: try another VERSION" >&2; exit 1; }
curl -fsSL "$url" | tar -xz -C "$work"
git clone -q --depth 1 --branch "v$version" --filter=blob:none --sparse https://github.com/tensorflow/tensorflow.git "$work/tensorflow"
git -C "$work/tensorflow" sparse-checkout set tensorflow/lite/swift/Sources

mkdir -p "$work/package/Sources"
cp "$work/tensorflow/tensorflow/lite/swift/Sources/"*.swift "$work/package/Sources"
frameworks="TensorFlowLiteC"
for delegate in CoreML Metal; do
    case " ${DELEGATES:-} " in
        *" $delegate "*) frameworks="$frameworks TensorFlowLiteC$delegate" ;;
        *) rm -f "$work/package/Sources/${delegate}Delegate.swift" ;;
    esac
done
for framework in $frameworks; do
    found="$(find "$work" -type d -name "$framework.xcframework" | head -n 1)"
    [ -n "$found" ] || { echo "$url has no $framework.xcframework" >&2; exit 1; }
    cp -R "$found" "$work/package/"
    binaries="${binaries:-}
        .binaryTarget(name: \"$framework\", path: \"$framework.xcframework\"),"
    names="${names:+$names, }\"$framework\""
done
cat > "$work/package/Package.swift" <<SWIFT
// swift-tools-version: 5.9
// TensorFlow Lite $version, made by runtimes/tensorflow-lite-ios.sh of a bundle.
import PackageDescription

let package = Package(
    name: "TensorFlowLite",
    platforms: [.iOS(.v12)],
    products: [.library(name: "TensorFlowLite", targets: ["TensorFlowLite"])],
    targets: [
        .target(
            name: "TensorFlowLite", dependencies: [$names], path: "Sources",
            linkerSettings: [.linkedLibrary("c++"), .linkedFramework("CoreML"), .linkedFramework("Metal")]),$binaries
    ]
)
SWIFT
mkdir -p "$(dirname "$into")"
mv "$work/package" "$into"
echo "$into is TensorFlow Lite $version"
{% endif %}
