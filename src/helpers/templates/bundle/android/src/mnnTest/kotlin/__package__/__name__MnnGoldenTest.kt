{% if "model.mnn" in files %}
package {{ name | lower }}

import androidx.test.ext.junit.runners.AndroidJUnit4
import org.junit.runner.RunWith

/** `model.mnn`, which is in src/androidTest/assets/{{ name }} as is `golden.json`, scores here as where it was made. */
@RunWith(AndroidJUnit4::class)
class {{ name }}MnnGoldenTest : GoldenChecks("model.mnn", {{ name }}Mnn.open(GoldenCases.context))
{% endif %}
