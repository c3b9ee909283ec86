{% if output.dtype == "float32" %}
package {{ name | lower }}.sample

import android.app.Activity
import android.graphics.Typeface
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import java.io.File
import java.util.concurrent.Executors

/** One screen: a list before and after the model, which version of it that is, and why; buttons to install and to roll back. */
class SampleActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var said: TextView
    private lateinit var list: TextView
    private lateinit var buttons: List<Button>

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        said = TextView(this)
        list = TextView(this).apply { typeface = Typeface.MONOSPACE }
        val address = EditText(this).apply { setText("http://10.0.2.2:8000/bundle.json") } // the emulator's host
        val install = button("Install") { it.install(address.text.toString()) }
        val rollBack = button("Roll back") { it.rollBack() }
        buttons = listOf(install, rollBack)
        val screen = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            for (view in listOf(said, address, install, rollBack, list)) addView(view)
        }
        setContentView(ScrollView(this).apply { addView(screen) })
        act { it.start() }
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private val sample by lazy { Sample(File(filesDir, "{{ name }}"), bundled()) } // on the worker

    private fun button(label: String, work: (Sample) -> Shown) = Button(this).apply {
        text = label
        setOnClickListener { act(work) }
    }

    private fun act(work: (Sample) -> Shown) {
        buttons.forEach { it.isEnabled = false }
        worker.execute {
            val shown = runCatching { work(sample) }
            runOnUiThread {
                shown.onSuccess(::show).onFailure { said.text = "$it" }
                buttons.forEach { it.isEnabled = true }
            }
        }
    }

    private fun show(shown: Shown) {
        said.text = "Version ${shown.version}: ${shown.reason}."
        val width = shown.before.maxOf { it.title.length } + 2
        val rows = shown.before.zip(shown.after) { before, after -> before.title.padEnd(width) + after.title.padEnd(width) + after.says }
        list.text = (listOf("before".padEnd(width) + "after") + rows).joinToString("\n")
    }

    /** The bundle's files as files: in the assets they have no path. */
    private fun bundled(): File {
        val folder = File(filesDir, "{{ name }}-bundled").apply { mkdirs() }
        for (name in assets.list("{{ name }}").orEmpty()) {
            assets.open("{{ name }}/$name").use { from -> File(folder, name).outputStream().use { from.copyTo(it) } }
        }
        return folder
    }
}
{% endif %}
