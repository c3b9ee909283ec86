{% if "model.tflite" in files %}
package {{ name | lower }}

import androidx.test.ext.junit.runners.AndroidJUnit4
import org.junit.runner.RunWith

/** `model.tflite`, which is in src/androidTest/assets/{{ name }} as is `golden.json`, scores here as where it was made. */
@RunWith(AndroidJUnit4::class)
class {{ name }}GoldenTest : GoldenChecks("model.tflite", {{ name }}.open(GoldenCases.context))
{% endif %}
