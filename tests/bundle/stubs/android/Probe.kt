// Presses the buttons of the rendered sample and says what its screen shows. Words in capitals are filled in; the first
// argument is the URL of a folder of descriptors.
package PACKAGE.sample

import android.view.View
import android.view.ViewGroup
import android.widget.TextView

fun main(arguments: Array<String>) {
    val activity = SampleActivity().apply { open() }
    val screen = (activity.content as ViewGroup).getChildAt(0) as ViewGroup
    val (said, address, install, rollBack, list) = List(5) { screen.getChildAt(it) as TextView }

    fun say(press: View? = null) {
        press?.performClick()
        while (!install.isEnabled || !rollBack.isEnabled) Thread.sleep(10)
        println("said ${said.text}")
        println(list.text.lines().joinToString("|", "list "))
    }
    say()
    say(rollBack)
    for (version in listOf("good", "broken", "missing", "better")) {
        address.text = "${arguments[0]}/$version/bundle.json"
        say(install)
    }
    say(rollBack)
    activity.leave()
}
