{% if sample %}
package {{ name | lower }}.sample

import android.app.Activity
import android.graphics.Typeface
import android.os.Bundle
import android.text.InputType
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import java.io.File
import java.util.concurrent.Executors

/** One screen: a list before and after the model, which version of it that is, and why; buttons to install and to roll back. */
class {{ name }}SampleActivity : Activity() {
    private lateinit var said: TextView
    private lateinit var list: TextView
    private lateinit var buttons: List<Button>

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        said = TextView(this)
        list = TextView(this).apply { typeface = Typeface.MONOSPACE }
        val address = EditText(this).apply {
            id = 1 // what was written outlives a rotation
            inputType = InputType.TYPE_CLASS_TEXT or InputType.TYPE_TEXT_VARIATION_URI
            setText("http://10.0.2.2:8000/bundle.json") // the emulator's host
        }
        val install = button("Install") { address.text.toString().let { descriptor -> act { it.install(descriptor) } } }
        val rollBack = button("Roll back") { act { it.rollBack() } }
        buttons = listOf(install, rollBack)
        val screen = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            for (view in listOf(said, address, install, rollBack, list)) addView(view)
        }
        setContentView(ScrollView(this).apply { addView(screen) })
        open = this
        if (working) enable(false) else last?.let(::show) ?: act { it.start() }
    }

    override fun onDestroy() {
        if (open === this) open = null
        super.onDestroy()
    }

    private fun button(label: String, pressed: () -> Unit) = Button(this).apply {
        text = label
        setOnClickListener { pressed() }
    }

    private fun act(work: ({{ name }}Sample) -> {{ name }}Sample.Shown) {
        working = true
        enable(false)
        worker.execute {
            val shown = runCatching { work(sample ?: {{ name }}Sample(File(filesDir, "{{ name }}"), bundled()).also { sample = it }) }
            runOnUiThread {
                working = false
                last = shown.getOrNull() ?: last
                shown.onSuccess { open?.show(it) }.onFailure { error -> open?.said?.text = "$error" }
                open?.enable(true)
            }
        }
    }

    private fun enable(on: Boolean) = buttons.forEach { it.isEnabled = on }

    private fun show(shown: {{ name }}Sample.Shown) {
        said.text = "Version ${shown.version}: ${shown.reason}."
        val width = shown.before.maxOf { it.title.length } + 2
        val rows = shown.before.zip(shown.after) { before, after -> before.title.padEnd(width) + after.title.padEnd(width) + after.says }
        list.text = (listOf("before".padEnd(width) + "after") + rows).joinToString("\n")
    }

    /** The bundle's files as files, once a process, before a model is open: in the assets they have no path. */
    private fun bundled(): File {
        val folder = File(filesDir, "{{ name }}-bundled").apply { mkdirs() }
        for (name in assets.list("{{ name }}").orEmpty()) {
            assets.open("{{ name }}/$name").use { from -> File(folder, name).outputStream().use { from.copyTo(it) } }
        }
        return folder
    }

    /** Of the process: a rotation makes another activity, and must neither open the model again nor lose an installation. */
    private companion object {
        val worker = Executors.newSingleThreadExecutor()
        var sample: {{ name }}Sample? = null // on the worker

        // on the main thread
        var open: {{ name }}SampleActivity? = null
        var last: {{ name }}Sample.Shown? = null
        var working = false
    }
}
{% endif %}
