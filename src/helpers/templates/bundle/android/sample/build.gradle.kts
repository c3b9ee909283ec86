{% if sample %}
// An app that shows what {{ model | comment }} does: `gradle -p android :sample:installDebug`.
plugins {
    id("com.android.application")
}
if (extensions.findByName("kotlin") == null) apply(plugin = "org.jetbrains.kotlin.android") // before 9.0

android {
    namespace = "sample.{{ name | lower }}"
    compileSdk = 36
    defaultConfig {
        applicationId = "sample.{{ name | lower }}"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    androidResources {
        noCompress += listOf("tflite", "mnn")
    }
}

dependencies {
    implementation(project(":"))
}

/** Copies what the sample shows into its assets, beside the library's. */
abstract class SampleAssets : DefaultTask() {
    @get:InputFiles
    abstract val files: ConfigurableFileCollection

    @get:OutputDirectory
    abstract val output: DirectoryProperty

    @TaskAction
    fun copy() {
        for (file in files) file.copyTo(output.file("{{ name }}/${file.name}").get().asFile, overwrite = true)
    }
}

val sampleAssets = tasks.register<SampleAssets>("sampleAssets") {
    files.from(fileTree("../..") { include({{ '"sessions.json"' if encoding else '"picture-*"' if pictures else '"golden.bin"' }}) })
}

androidComponents {
    onVariants { variant ->
        variant.sources.assets?.addGeneratedSourceDirectory(sampleAssets, SampleAssets::output)
    }
}
{% endif %}
