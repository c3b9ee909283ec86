"""Everything the notebooks call: data, training, conversion, proof that files decide the same.

The modules stand on floors and import downwards only:

1. ``captions``, ``colours``, ``errors``, ``figures``, ``layers``, ``quiet``, ``terminal``: tables
   and figures that say what they show, what can go wrong, Keras layers, imports without noise,
   tables within the width of a terminal
2. ``files``: written whole or not at all
3. ``code``, ``forks``, ``parameters``, ``schema``, ``strict_json``: which sources made a result,
   processes that are ready, what a parameter and a model's inputs may be, JSON that all devices
   read alike
4. ``child``, ``environment``, ``features``, ``kernels``, ``metrics``, ``pictures``, ``ratings``,
   ``records``, ``tables``: a process to crash in, packages and host, inputs made of raw behaviour,
   a kernel with TensorFlow imported, what predictions are worth, pictures as a phone prepares
   them, ratings of films and what is known of them when they are given, which stages of a run
   count, tensors as columns
5. ``runs``, ``tasks``: the run folder; the kinds of decision, and when a file still decides the
   same
6. ``studies``, ``runtimes``, ``trained``: data and models of a decision, what scores a file, and
   the trained model of a run
7. ``simulation``, ``log_files``, ``evaluation``, ``overlap``, ``registry``: rows that are drawn;
   tables in files; parity, latency, the choice of what to ship; rows that splits share; which
   studies there are, in the package and in files somewhere else
8. ``arrays``, ``leaks``, ``logs``, ``pictured``, ``rated``: rows of arrays; inputs that hold the
   label; rows of tables, of pictures, and of ratings
9. ``datasets``: a study's data on disk
10. ``convert``, ``plots``: what makes model files, and is judged as it makes them; figures, those
    of a task in its module
11. ``frameworks``, ``learning``: what trains a model and exports it; what it has to beat, by task
12. ``results``, ``notebooks``, ``pages``, ``tracking``, ``bundle``, ``judging``, ``repeats``: what
    is shown, logged elsewhere, given to a phone; all files of a run side by side; training a
    second time
13. ``glance``, ``points``: runs in the lines of a terminal; figures whose points a reader can
    point at
14. ``explain``, ``ondevice``, ``report``, ``own``, ``serving``: the layer in which a file departs;
    training on the phone; the page of a run, and the page over all runs; tables and trained models
    that somebody brings; a service that recommends
15. ``compared``: two runs against each other
16. ``pipeline``: the notebooks as the stages of a run
17. ``sweeps``: many runs, by several workers
18. ``cli``: the ``workbench`` command

Importing ``helpers`` imports none of them, so that it costs nothing; TensorFlow is only ever
imported inside the functions that need it.
"""

__version__ = "0.1.0"
