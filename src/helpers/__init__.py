"""Everything the notebooks call: data, training, conversion, proof that files decide the same.

The modules stand on floors and import downwards only:

1. ``errors``, ``layers``, ``quiet``, ``terminal``: what can go wrong, Keras layers, imports without
   noise, tables within the width of a terminal
2. ``code``, ``files``, ``forks``, ``parameters``, ``schema``, ``strict_json``: which sources made a
   result, files written whole, processes that are ready, what a parameter and a model's inputs may
   be, JSON that all devices read alike
3. ``child``, ``environment``, ``features``, ``kernels``, ``metrics``, ``ratings``, ``records``,
   ``tables``: a process to crash in, packages and host, inputs made of raw behaviour, a kernel with
   TensorFlow imported, what predictions are worth, ratings of films and what is known of them when
   they are given, which stages of a run count, tensors as columns
4. ``runs``, ``tasks``: the run folder; the kinds of decision, and when a file still decides the
   same
5. ``studies``, ``runtimes``, ``trained``: data and models of a decision, what scores a file, and
   the trained model of a run
6. ``simulation``, ``logs``, ``evaluation``, ``overlap``, ``registry``: rows that are drawn, and
   rows of tables; parity, latency, the choice of what to ship; rows that splits share; which
   studies there are, in the package and in files somewhere else
7. ``arrays``, ``leaks``, ``pictured``, ``rated``: rows of arrays; inputs that hold the label; rows
   of pictures, and of ratings
8. ``datasets``: a study's data on disk
9. ``convert``, ``plots``: what makes model files, and is judged as it makes them; figures, those of
   a task in its module
10. ``frameworks``, ``learning``: what trains a model and exports it; what it has to beat, by task
11. ``results``, ``notebooks``, ``tracking``, ``bundle``: what is shown, logged elsewhere, given to
    a phone
12. ``glance``: runs in the lines of a terminal
13. ``report``, ``explain``, ``ondevice``, ``own``, ``serving``: the page of a run, and the page
    over all runs; the layer in which a file departs; training on the phone; tables and trained
    models that somebody brings; a service that recommends
14. ``compared``: two runs against each other
15. ``pipeline``: the notebooks as the stages of a run
16. ``sweeps``: many runs, by several workers
17. ``cli``: the ``workbench`` command

Importing ``helpers`` imports none of them, so that it costs nothing; TensorFlow is only ever
imported inside the functions that need it.
"""

__version__ = "0.1.0"
