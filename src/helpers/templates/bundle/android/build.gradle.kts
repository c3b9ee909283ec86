// To merge into the app's build.gradle.kts. Copy the Kotlin classes into src/main/kotlin/{{ name | lower }}, the tests and
// GoldenCases.kt into src/androidTest/kotlin/{{ name | lower }}, golden.json and the model files into
// src/androidTest/assets/{{ name }}: folders of this model's own, so that an app can have another beside it.

android {
    defaultConfig {
        minSdk = 21 // or more, as the app has it
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk {
            abiFilters += listOf("arm64-v8a", "armeabi-v7a")
        }
{% if "model.mnn" in files %}
        consumerProguardFiles("mnn-rules.pro") // of a library; an app adds it to proguardFiles of its build types
{% endif %}
    }
    buildTypes {
        debug {
            ndk { abiFilters += "x86_64" } // emulators
        }
    }
    androidResources {
        noCompress += listOf("tflite", "mnn") // a compressed asset cannot be mapped into memory
    }
}

dependencies {
{% if "model.tflite" in files %}
    // {{ model | comment }} scores right with
    // {{ "TensorFlow Lite " ~ minimum.tflite if "tflite" in minimum else "LiteRT " ~ minimum.litert }} and later.
    // LiteRT is TensorFlow Lite under a new name. Its 1.x continues after TensorFlow Lite 2.16 with the classes still in
    // org.tensorflow.lite; the old artifact, org.tensorflow:tensorflow-lite, only points to it since. LiteRT 2.0 lacks
    // the Interpreter; 2.1 has it again and asks for minSdk 23.
    implementation("com.google.ai.edge.litert:litert:1.4.2")
{% endif %}
{% if "model.mnn" in files %}
    // MNN {{ minimum.mnn | comment }} or later.
    // No Maven repository has it. Put libMNN.so and libmnncore.so, its Java binding, into src/main/jniLibs/<ABI>: from
    // MNN's Android release, or built from its sources with the NDK,
    //     cmake -DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK/build/cmake/android.toolchain.cmake -DANDROID_ABI=arm64-v8a
    //           -DANDROID_PLATFORM=android-21 -DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON
    //           -DANDROID_STL=c++_shared -DMNN_JNI=ON
    // for each ABI, x86_64 for emulators included. The page sizes are for devices of Android 15 and later, which may have
    // pages of 16 KB and refuse a library that is aligned to 4: NDK 27 needs the word, 28 does it by itself. The platform is
    // the app's minSdk. With c++_shared, libc++_shared.so of the NDK goes with them. Copy the Java classes that call them
    // from project/android/demo of the same version into src/main/java: com.taobao.android.mnn, and
    // com.taobao.android.utils.Common for its log tag.
{% endif %}
    androidTestImplementation("androidx.test.ext:junit:1.3.0")
    androidTestImplementation("androidx.test:runner:1.7.0")
}
{% if "model.tflite" in files %}

// A library that still asks for the old artifact would bring every class a second time.
configurations.all {
    exclude(group = "org.tensorflow", module = "tensorflow-lite")
    exclude(group = "org.tensorflow", module = "tensorflow-lite-api")
}
{% endif %}
