"""The bundle: what a phone downloads, and proof that it scores the same there.

`golden` holds the cases that a model file must reproduce on any device, `sessions` the raw ones for
a phone that encodes them itself; `make` chooses files and makes their cases, `sources` fills in the
code for phones, `native` builds and times the runners, `archive` packs and describes the zip,
`fetch` downloads it, `client` installs it as an app should, `rollout` says who gets which version.
"""
