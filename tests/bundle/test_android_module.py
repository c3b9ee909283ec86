"""The bundle as an Android library: its build scripts compile, and two of them share a class path.

Gradle and the Android plugin cannot be had here: ``stubs/gradle`` gives their names and types, so a
script that misspells one, or calls it in the wrong block, does not compile.
"""

import re
from pathlib import Path

import pytest
from bundling import SHAPED
from test_android import KOTLIN, MINIMUM, _kotlinc, stubs  # noqa: F401 (a fixture)

from helpers import registry
from helpers.bundle import sources
from helpers.convert import recipes

STUBS = Path(__file__).parent / "stubs" / "gradle"
BOTH = ["model.tflite", "model.mnn"]


def _module(rendered: dict[str, str]) -> dict[str, str]:
    return {
        path.removeprefix("android/"): text
        for path, text in rendered.items()
        if path.startswith("android/")
    }


def _as_function(script: str, of: str, name: str) -> str:
    """A build script as a function's body; imports and classes before it."""
    script = re.sub(r"^import .*\n", "", script, flags=re.MULTILINE)
    classes = re.findall(r"^abstract class .*?^}\n", script, flags=re.MULTILINE | re.DOTALL)
    for text in classes:
        script = script.replace(text, "")
    return "\n".join(classes) + f"\nfun {of}.{name}() {{\n{script}\n}}\n"


@pytest.mark.slow
def test_build_scripts_compile_and_a_misspelled_word_does_not(ranking, stubs, tmp_path):  # noqa: F811
    texts = ["import gradle.*\n"]
    for number, files in enumerate((BOTH, BOTH[:1], BOTH[1:])):
        rendered = _module(sources.render(ranking.schema, files, MINIMUM))
        build = rendered["build.gradle.kts"].replace("BundleAssets", f"BundleAssets{number}")
        texts.append(_as_function(build, "BuildScript", f"build{number}"))
        sample = rendered["sample/build.gradle.kts"]
        sample = sample.replace("SampleAssets", f"SampleAssets{number}")
        texts.append(_as_function(sample, "BuildScript", f"sample{number}"))
        settings = rendered["settings.gradle.kts"]
        texts.append(_as_function(settings, "SettingsScript", f"settings{number}"))
    path = tmp_path / "Scripts.kt"
    path.write_text("\n".join(texts))
    command = ("-nowarn", "-d", tmp_path / "classes", STUBS / "Gradle.kt", path)
    done = _kotlinc(*command)
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("consumerProguardFiles", "consumerProguardFile"))
    done = _kotlinc(*command)
    assert done.returncode != 0 and "unresolved reference 'consumerProguardFile'" in done.stderr


def test_nothing_of_two_modules_has_one_name(ranking):
    paths, names = [], []
    for schema in (ranking.schema, *SHAPED.values()):
        rendered = _module(sources.render(schema, BOTH, MINIMUM))
        package = sources.class_name(schema.model_name).lower()
        code = {path: text for path, text in rendered.items() if path.endswith(".kt")}
        sample = {path for path in code if path.startswith("sample/")}
        assert len(code) == 12 + 2 and len(sample) == 2
        for path in sample:
            assert Path(path).parent.parts[-2:] == (package, "sample"), path
            assert f"package {package}.sample\n" in code.pop(path)
        for path, text in code.items():
            assert Path(path).parent.name == package, path
            assert re.search(r"^package (\w+)$", text, re.MULTILINE)[1] == package, path
        build, settings = rendered["build.gradle.kts"], rendered["settings.gradle.kts"]
        names += re.findall(
            r'namespace = "(.*)"|folder.set\("(.*)"\)|^rootProject.name = "(.*)"', build
        )
        names += re.findall(r'rootProject.name = "(.*)"', settings)
        paths += code
        names += re.findall(r'applicationId = "(.*)"', rendered["sample/build.gradle.kts"])
    assert len(set(paths)) == len(paths) and len(set(names)) == len(names) == 3 * 4


def test_the_build_takes_the_runtimes_that_were_seen_to_score_right(ranking):
    build = _module(sources.render(ranking.schema, BOTH, MINIMUM))["build.gradle.kts"]
    assert f'"com.google.ai.edge.litert:litert:{recipes.RELEASES["litert"]}"' in build
    assert all(version in build for version in MINIMUM.values())
    later = {"litert": "2.1.0", "mnn": "3.10.0"}
    build = _module(sources.render(ranking.schema, BOTH, later))["build.gradle.kts"]
    assert (
        '"com.google.ai.edge.litert:litert:2.1.0"' in build
        and recipes.release("mnn", later) == "3.10.0"
    )


@pytest.mark.parametrize("file", BOTH)
def test_a_module_has_what_its_runtimes_need(ranking, file):
    rendered = _module(sources.render(ranking.schema, [file], MINIMUM))
    text = "".join(rendered.values())
    assert ("com.google.ai.edge.litert" in text) == (file == "model.tflite")
    assert ("com.taobao" in text) == (":mnn" in text) == (file == "model.mnn")
    assert ("-keep class com.taobao.android.mnn.** { *; }" in text) == (file == "model.mnn")
    named = re.findall(r'consumerProguardFiles\("(.*)"\)', text)
    assert "sample/build.gradle.kts" in rendered
    assert "sample/src/main/AndroidManifest.xml" in rendered
    assert set(named) == {"consumer-rules.pro"} & set(rendered), (
        "a file that is not there ends the build"
    )


def test_what_mnn_needs_is_compiled_where_mnn_is(ranking):
    rendered = _module(sources.render(ranking.schema, BOTH, MINIMUM))
    build = rendered["build.gradle.kts"]
    own = {path for path, text in rendered.items() if "Mnn" in text and path.endswith(".kt")}
    places = re.findall(r'kotlin.srcDir\("(.*)"\)', build)
    assert own and {path.split("/kotlin/")[0] + "/kotlin" for path in own} == set(places)


def test_a_sample_is_there_where_its_classes_are():
    """The classifier of pictures is TensorFlow Lite's only."""
    schema = registry.get("images").schema
    for files, there in ((BOTH, True), (BOTH[1:], False)):
        rendered = sources.render(schema, files, MINIMUM, pictures=True)
        assert any(path.startswith("android/sample") for path in rendered) == there
        assert (":sample" in "".join(rendered.values())) == there
