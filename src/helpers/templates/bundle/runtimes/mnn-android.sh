{% if "model.mnn" in files %}
#!/bin/sh
# MNN as an Android module, for all models of an app: no Maven repository has it. With the NDK and CMake,
#
#     ANDROID_NDK=... sh {{ name }}/runtimes/mnn-android.sh Packages/mnn-android
#
# builds the release for each ABI (ABIS="arm64-v8a armeabi-v7a x86_64", the last for emulators), copies the Java classes that
# call it, and checks the alignment. Devices of Android 15 and later may have pages of 16 KB and refuse a library that is
# aligned to 4: NDK 27 needs the word for it, 28 does it by itself. `gradle :mnn:assembleRelease` then makes an AAR.
# VERSION=... takes another release, {{ minimum.mnn }} or later.
set -eu
version="${VERSION:-{{ releases.mnn }}}"
into="${1:?the folder to make, Packages/mnn-android}"
ndk="${ANDROID_NDK:?the folder of the NDK}"
[ ! -e "$into" ] || { echo "$into is there already: remove it first" >&2; exit 1; }
tools="$(echo "$ndk"/toolchains/llvm/prebuilt/*)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

git clone -q --depth 1 --branch "$version" https://github.com/alibaba/MNN.git "$work/MNN"
for abi in ${ABIS:-arm64-v8a armeabi-v7a x86_64}; do
    cmake -S "$work/MNN" -B "$work/$abi" -DCMAKE_BUILD_TYPE=Release -DANDROID_ABI="$abi" -DANDROID_PLATFORM=android-26 \
        -DCMAKE_TOOLCHAIN_FILE="$ndk/build/cmake/android.toolchain.cmake" -DANDROID_STL=c++_shared \
        -DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON -DMNN_JNI=ON -DMNN_BUILD_FOR_ANDROID_COMMAND=OFF
    cmake --build "$work/$abi" -j
    libraries="$work/module/src/main/jniLibs/$abi"
    mkdir -p "$libraries"
    find "$work/$abi" -name "libMNN.so" -exec cp {} "$libraries" \;
    find "$work/$abi" -name "libmnncore.so" -exec cp {} "$libraries" \;
    case "$abi" in
        arm64-v8a) triple=aarch64-linux-android ;;
        armeabi-v7a) triple=arm-linux-androideabi ;;
        x86_64) triple=x86_64-linux-android ;;
        *) echo "no triple is known of $abi" >&2; exit 1 ;;
    esac
    cp "$tools/sysroot/usr/lib/$triple/libc++_shared.so" "$libraries"
    for library in libMNN.so libmnncore.so libc++_shared.so; do
        [ -f "$libraries/$library" ] || { echo "$abi has no $library" >&2; exit 1; }
        [ "$abi" = armeabi-v7a ] && continue # such pages are of 64-bit devices alone
        small="$("$tools/bin/llvm-readelf" -lW "$libraries/$library" | awk '$1 == "LOAD" && $NF != "0x4000" && $NF != "0x10000"')"
        [ -z "$small" ] || { echo "$abi/$library is not aligned to 16 KB" >&2; exit 1; }
    done
done
java="$work/MNN/project/android/demo/app/src/main/java/com/taobao/android"
mkdir -p "$work/module/src/main/java/com/taobao/android/mnn" "$work/module/src/main/java/com/taobao/android/utils"
cp "$java/mnn/"*.java "$work/module/src/main/java/com/taobao/android/mnn"
cp "$java/utils/Common.java" "$work/module/src/main/java/com/taobao/android/utils"
cat > "$work/module/build.gradle.kts" <<GRADLE
// MNN $version, made by runtimes/mnn-android.sh of a bundle.
plugins {
    id("com.android.library")
}

android {
    namespace = "com.taobao.android.mnn"
    compileSdk = 36
    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }
}
GRADLE
cp "$(dirname "$0")/../android/consumer-rules.pro" "$work/module"
mkdir -p "$(dirname "$into")"
mv "$work/module" "$into"
echo "$into is MNN $version"
{% endif %}
