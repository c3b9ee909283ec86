"""Everything the notebooks call: data, training, conversion, proof of ranking parity, latency.

The modules stand on floors and import downwards only:

1. ``errors``, ``child``, ``parameters``, ``schema``, ``runs``: words and the run folder
2. ``studies``, ``runtimes``: what is ranked, and what scores it
3. ``datasets``, ``training``, ``convert``, ``evaluation``: what is done with them
4. ``plots``, ``report``: what is shown
5. ``pipeline``: the notebooks as stages of a run
6. ``cli``: the ``workbench`` command

Importing ``helpers`` imports none of them, so that it costs nothing; TensorFlow is only ever imported
inside the functions that need it.
"""

__version__ = "0.1.0"
