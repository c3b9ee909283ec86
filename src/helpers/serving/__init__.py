"""A service that recommends: features of users and films, candidates, a model, a page.

`stores` keep bytes by key, `features` are what is known of users and films now, `known` is what a
run's data says when the service starts, `models` score candidates, `service` answers, `app` speaks
HTTP, `tfserving` is the form of TensorFlow Serving's REST API, `exposure` logs who saw what and
reads an A/B result from it. None of them imports TensorFlow; `export` does.
"""
