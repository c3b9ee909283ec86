// {{ model | comment }} as an Android library. The Android Gradle plugin is the app's; from 9.0 on it brings Kotlin.
import javax.inject.Inject
import org.gradle.api.file.FileSystemOperations

plugins {
    id("com.android.library")
}
if (extensions.findByName("kotlin") == null) apply(plugin = "org.jetbrains.kotlin.android") // before 9.0

{% if "model.mnn" in files %}
/** MNN as a module of the app, see README.md. Without it, what needs it is left out. */
val mnn = findProject(":mnn")

{% endif %}
android {
    namespace = "bundle.{{ name | lower }}"
    compileSdk = 36
    defaultConfig {
        minSdk = 26 // of ModelDelivery.kt
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
{% if "model.mnn" in files %}
        consumerProguardFiles("consumer-rules.pro") // what MNN finds by name
{% endif %}
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    androidResources {
        noCompress += listOf("tflite", "mnn") // a compressed asset cannot be mapped into memory; an app says so too
    }
{% if "model.mnn" in files %}
    if (mnn != null) {
        sourceSets {
            getByName("main").kotlin.srcDir("src/mnn/kotlin")
            getByName("androidTest").kotlin.srcDir("src/mnnTest/kotlin")
        }
    }
{% endif %}
}

dependencies {
{% if "model.tflite" in files %}
    // {{ model | comment }} scores right with
    // {{ "TensorFlow Lite " ~ minimum.tflite if "tflite" in minimum else "LiteRT " ~ minimum.litert }} and later.
    // LiteRT is TensorFlow Lite under a new name. Its 1.x continues after TensorFlow Lite 2.16 with the classes still in
    // org.tensorflow.lite; the old artifact, org.tensorflow:tensorflow-lite, only points to it since. LiteRT 2.0 lacks
    // the Interpreter; 2.1 has it again.
    implementation("com.google.ai.edge.litert:litert:{{ releases.litert }}")
{% endif %}
{% if "model.mnn" in files %}
    // MNN {{ minimum.mnn | comment }} or later. No Maven repository has it.
    if (mnn != null) implementation(mnn)
{% endif %}
    androidTestImplementation("androidx.test.ext:junit:1.3.0")
    androidTestImplementation("androidx.test:runner:1.7.0")
}
{% if "model.tflite" in files %}

// A library that still asks for the old artifact would bring every class a second time.
configurations.configureEach {
    exclude(group = "org.tensorflow", module = "tensorflow-lite")
    exclude(group = "org.tensorflow", module = "tensorflow-lite-api")
}
{% endif %}

/** Copies files of the bundle into assets, below a folder of this model's own. */
abstract class BundleAssets : DefaultTask() {
    @get:InputFiles
    abstract val files: ConfigurableFileCollection

    @get:Input
    abstract val folder: Property<String>

    @get:OutputDirectory
    abstract val output: DirectoryProperty

    @get:Inject
    abstract val system: FileSystemOperations

    @TaskAction
    fun copy() {
        system.sync {
            from(files)
            into(output.dir(folder))
        }
    }
}

fun assets(name: String, vararg patterns: String) =
    tasks.register<BundleAssets>(name) {
        files.from(fileTree("..") { include(*patterns) })
        folder.set("{{ name }}")
    }

val modelAssets = assets("modelAssets", "model.*"{{ ', "features.json"' if encoding or pictures else "" }})
val goldenAssets = assets("goldenAssets", "golden.*"{{ ', "sessions.json"' if encoding else ', "picture*"' if pictures else "" }})

androidComponents {
    onVariants { variant ->
        variant.sources.assets?.addGeneratedSourceDirectory(modelAssets, BundleAssets::output)
        variant.androidTest?.sources?.assets?.addGeneratedSourceDirectory(goldenAssets, BundleAssets::output)
    }
}
