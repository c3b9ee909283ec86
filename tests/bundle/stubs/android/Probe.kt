// Presses the buttons of the rendered sample and says what its screen shows. Words in capitals are filled in; the first
// argument is the URL of a folder of descriptors.
package PACKAGE.sample

import android.view.View
import android.view.ViewGroup
import android.widget.TextView

private class Screen(val activity: NAMESampleActivity = NAMESampleActivity()) {
    init { activity.open() }

    private val views = ((activity.content as ViewGroup).getChildAt(0) as ViewGroup).let { screen -> List(5) { screen.getChildAt(it) as TextView } }
    val address = views[1]
    val install = views[2]
    val rollBack = views[3]

    fun say(press: View? = null) {
        press?.performClick()
        while (!install.isEnabled || !rollBack.isEnabled) Thread.sleep(10)
        println("said ${views[0].text}")
        println(views[4].text.lines().joinToString("|", "list "))
    }
}

fun main(arguments: Array<String>) {
    val first = Screen()
    first.say()
    first.say(first.rollBack)
    for (version in listOf("good", "good", "broken", "missing")) {
        first.address.text = "${arguments[0]}/$version/bundle.json"
        first.say(first.install)
    }
    first.address.text = "${arguments[0]}/better/bundle.json"
    first.install.performClick()
    first.activity.leave()
    val turned = Screen() // while it is being installed
    turned.say()
    turned.say(turned.rollBack)
    turned.activity.leave()
    System.exit(0)
}
