// Builds this module by itself, as the workflow does: `gradle -p android :connectedAndroidTest`. In an app it is of no effect:
// there the app's own settings name the module, see README.md.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
    plugins {
        id("com.android.application") version "9.2.0" // with Gradle 9.4.1
        id("com.android.library") version "9.2.0"
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "{{ name | lower }}"
{% if sample and files[0].endswith(".tflite") %}
include(":sample")
{% endif %}
{% if "model.mnn" in files %}

// MNN as a module, one for all models of an app: runtimes/mnn-android.sh makes it beside the bundle.
if (file("../../mnn-android/build.gradle.kts").exists()) {
    include(":mnn")
    project(":mnn").projectDir = file("../../mnn-android")
{% if sample and not files[0].endswith(".tflite") %}
    include(":sample")
{% endif %}
}
{% endif %}
