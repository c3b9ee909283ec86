// What the rendered build scripts call of Gradle 9 and of the Android Gradle plugin 9, with their types as the documentation
// gives them. A script compiles as the body of a function here: a word that is misspelled, or in the wrong block, does not.
@file:Suppress("unused", "UNUSED_PARAMETER")

package gradle

import kotlin.reflect.KClass

annotation class InputFiles
annotation class Input
annotation class OutputDirectory
annotation class TaskAction
annotation class Inject

interface Provider<T> { fun get(): T }
interface TaskProvider<T>
interface Property<T> : Provider<T> { fun set(value: T) }
interface Directory
interface RegularFile { val asFile: java.io.File }
interface DirectoryProperty : Property<Directory> {
    fun file(path: String): Provider<RegularFile>
    fun dir(path: String): Provider<Directory>
    fun dir(path: Provider<String>): Provider<Directory>
}
interface PatternFilterable { fun include(vararg patterns: String): PatternFilterable }
interface ConfigurableFileCollection : Iterable<java.io.File> { fun from(vararg paths: Any): ConfigurableFileCollection }
interface CopySpec { fun from(vararg paths: Any): CopySpec; fun into(place: Any): CopySpec }
interface FileSystemOperations { fun sync(action: CopySpec.() -> Unit) }
abstract class DefaultTask

enum class JavaVersion { VERSION_11, VERSION_17 }

interface Project { val path: String; var projectDir: java.io.File }
interface Extensions { fun findByName(name: String): Any? }
interface PluginSpec { infix fun version(version: String): PluginSpec; infix fun apply(apply: Boolean): PluginSpec }
interface Plugins { fun id(id: String): PluginSpec }
interface Repositories { fun google(); fun mavenCentral(); fun gradlePluginPortal() }
interface Configuration { fun exclude(group: String, module: String) }
interface Configurations { fun configureEach(action: Configuration.() -> Unit) }
interface Dependencies {
    fun implementation(what: Any)
    fun api(what: Any)
    fun androidTestImplementation(what: Any)
    fun project(path: String): Project
}
interface Tasks
inline fun <reified T> Tasks.register(name: String, noinline action: T.() -> Unit): TaskProvider<T> = TODO()

interface SourceDirectorySet { fun srcDir(path: Any): Any }
interface SourceSet { val kotlin: SourceDirectorySet; val java: SourceDirectorySet; val assets: SourceDirectorySet; val jniLibs: SourceDirectorySet }
interface SourceSets { fun getByName(name: String): SourceSet }
interface DefaultConfig {
    var minSdk: Int?
    var targetSdk: Int?
    var applicationId: String?
    var versionCode: Int?
    var versionName: String?
    var testInstrumentationRunner: String?
    fun consumerProguardFiles(vararg files: Any): Any
    fun ndk(action: Ndk.() -> Unit)
}
interface Ndk { val abiFilters: MutableSet<String> }
interface CompileOptions { var sourceCompatibility: JavaVersion; var targetCompatibility: JavaVersion }
interface AndroidResources { val noCompress: MutableCollection<String> }
interface Android {
    var namespace: String?
    var compileSdk: Int?
    fun defaultConfig(action: DefaultConfig.() -> Unit)
    fun compileOptions(action: CompileOptions.() -> Unit)
    fun androidResources(action: AndroidResources.() -> Unit)
    fun sourceSets(action: SourceSets.() -> Unit)
}
interface SourceDirectories { fun <T> addGeneratedSourceDirectory(task: TaskProvider<T>, wiredWith: (T) -> DirectoryProperty) }
interface Sources { val assets: SourceDirectories? }
interface AndroidTest { val sources: Sources }
interface Variant { val sources: Sources; val androidTest: AndroidTest? }
interface AndroidComponents { fun onVariants(action: (Variant) -> Unit) }

abstract class BuildScript {
    abstract val extensions: Extensions
    abstract val tasks: Tasks
    abstract val configurations: Configurations
    abstract fun plugins(action: Plugins.() -> Unit)
    abstract fun apply(plugin: String)
    abstract fun findProject(path: String): Project?
    abstract fun android(action: Android.() -> Unit)
    abstract fun dependencies(action: Dependencies.() -> Unit)
    abstract fun fileTree(place: Any, action: PatternFilterable.() -> Unit): Any
    abstract fun androidComponents(action: AndroidComponents.() -> Unit)
}

interface PluginManagement { fun repositories(action: Repositories.() -> Unit); fun plugins(action: Plugins.() -> Unit) }
interface DependencyResolution { fun repositories(action: Repositories.() -> Unit) }
interface RootProject { var name: String }
abstract class SettingsScript {
    abstract val rootProject: RootProject
    abstract fun pluginManagement(action: PluginManagement.() -> Unit)
    abstract fun dependencyResolutionManagement(action: DependencyResolution.() -> Unit)
    abstract fun include(vararg paths: String)
    abstract fun project(path: String): Project
    abstract fun file(path: String): java.io.File
}
