"""The bundle: what a phone downloads, and proof that it scores the same there.

`golden` holds the cases that a model file must reproduce on any device, `make` chooses files and makes their cases,
`archive` packs and describes the zip, `client` installs it as an app should, `rollout` says who gets which version.
"""
