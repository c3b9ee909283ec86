"""The ``workbench`` command: words on the command line to calls of `helpers.pipeline`, errors to
one line.
"""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import sys
import traceback
from pathlib import Path

import click

from helpers import __version__
from helpers.errors import BadInput, WorkbenchError


class _Group(click.Group):
    """Show a `WorkbenchError` as one line with its exit status; the traceback only with --debug."""

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except WorkbenchError as error:
            if context.params.get("debug"):
                traceback.print_exc()
            click.echo(f"workbench: {error}", err=True)
            context.exit(error.exit_status)
        except KeyboardInterrupt:
            click.echo(
                "workbench: interrupted; the same command continues where it stopped", err=True
            )
            context.exit(130)


def _pairs(context, parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not {parameter.metavar}")
    return {name: value for name, _, value in pairs}


def _shapes(context, parameter, values: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    try:
        pairs = _pairs(context, parameter, values)
        return {name: tuple(map(int, shape.split(","))) for name, shape in pairs.items()}
    except ValueError as error:
        raise click.BadParameter("sizes are whole numbers, e.g. image=3,224,224") from error


_LABEL = click.option("--label", help="Column of 0 and 1, or of classes from 0 on.")
_GROUP = click.option("--group", help="Column of what competes, as a session.")


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="workbench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Take a model from data to the phone, and prove that it still decides the same.

    \b
    workbench run ranking                        all stages with their defaults
    workbench run ranking -p epochs=10           the same with another parameter
    workbench run ranking --stages 05 --force    measure again
    workbench init clicks --data clicks.csv      a study of a table of your own
    workbench check mine.keras --data rows.csv   may I ship this trained file?
    workbench sweep sweeps/seeds.yaml            many runs from one file, by several workers
    workbench results                            all runs and what they measured
    workbench compare default wide               one run against another
    workbench serve movies                       recommend with a run's model, over HTTP
    workbench bundle verify PATH                 does a bundle score as it should?
    workbench studies [STUDY]                    what there is to run, and its parameters

    A run is a folder, artifacts/STUDY/RUN. Stages that are finished are not executed again; after
    an interruption the same command continues. Set WORKBENCH_HOME to keep data/ and artifacts/
    elsewhere.
    """


class _Run(click.Command):
    """Its ``--help`` goes on to the study that is asked for, wherever it stands in the line."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(context).parse_args(list(args))
        context.meta[__name__] = given.get("study")
        return super().parse_args(context, args)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        study = context.meta[__name__]
        if isinstance(study, str):
            _write_parameters(study, formatter)


@main.command(cls=_Run, short_help="Execute the stages of a study that are not finished.")
@click.argument("study")
@click.option(
    "--run",
    "name",
    metavar="NAME",
    help="Name of the run folder. [default: the parameters, or `default`]",
)
@click.option(
    "-p",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="Set a parameter in every stage that has it.",
)
@click.option(
    "--stages", "chosen", metavar="01-06", help="Only these stages: 03, 02-04 or 01,03-05."
)
@click.option("--force", is_flag=True, help="Execute the stages again even if they are finished.")
def run(study: str, name: str | None, parameters: dict, chosen: str | None, force: bool) -> None:
    """Execute the stages of STUDY that are not finished, then show the comparison table.

    `workbench run STUDY --help` shows what -p can set in it.
    """
    from helpers import pipeline

    work = pipeline.run(study, name, parameters, chosen=chosen, force=force, echo=click.echo)
    from helpers import report, tracking, trained

    width = shutil.get_terminal_size((100, 24)).columns
    table, reason = report.comparison(work)
    shown = None if table is None else report.summary(trained.of(work), table, width)
    click.echo(f"\nno comparison: {reason}\n" if shown is None else f"\n{shown}\n")
    if lines := [] if table is None else report.refused(table):
        click.echo("\n".join(lines) + "\n")
    if sentence := report.recommendation(work):
        click.echo(f"{sentence}\n")
    click.echo(f"run folder  {work.folder}")
    click.echo(f"report      {work.folder / 'report.html'}")
    click.echo(f"all runs    {report.write_index(work.study)}")
    for warning in tracking.log(work):
        click.echo(warning, err=True)


@main.command(short_help="Execute many runs that one file asks for.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Processes on this machine. [default: cores, at most 4]",
)
@click.option("--dry-run", is_flag=True, help="Show the runs and what they share; execute nothing.")
@click.option(
    "--fail-fast",
    is_flag=True,
    help="Stop at the first run that fails; without it the others go on.",
)
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Use the workers of an existing Dask cluster instead.",
)
def sweep(
    file: Path, workers: int | None, dry_run: bool, fail_fast: bool, scheduler: str | None
) -> None:
    """Execute all runs that FILE asks for and that are not finished, then show them as one table.

    \b
    study: ranking
    stages: 01-05                           # default: all that there are
    base: {epochs: 5}                       # for every run; what follows overrides it
    grid: {seed: {range: [0, 10]}, hidden_units: [8, 16]}    # every combination; or a list of grids
    list: [{learning_rate: 0.01}, {learning_rate: 0.003}]    # a run each
    random: {runs: 20, seed: 1, space: {learning_rate: {log_uniform: [0.0003, 0.03]}}}

    A stage that several runs share (same parameters in it and before it) is executed once, and
    taken from an earlier run that has executed it. After an interruption the same command
    continues.
    """
    from helpers import results as all_results
    from helpers.sweeps import execute, plan

    planned = plan.read(file)
    tasks = planned.tasks(plan.executed_before(planned.study))
    stages = sum(len(task.stages.split(",")) - len(task.reuse) for task in tasks)
    repeated = f" ({planned.duplicates} given twice)" if planned.duplicates else ""
    shared = len(planned.runs) * len(planned.stages) - stages
    click.echo(
        f"{len(planned.runs):,} runs of {planned.study}{repeated}, stages "
        f"{', '.join(planned.stages)}: {stages:,} stages to execute, {shared:,} shared"
    )
    if dry_run:
        for name, values in planned.runs.items():
            click.echo(
                f"  {name}: "
                f"{', '.join(f'{key}={value}' for key, value in values.items()) or 'the defaults'}"
            )
        return
    outcome = execute.run(
        planned,
        workers=workers,
        scheduler=scheduler,
        fail_fast=fail_fast,
        progress=sys.stderr.isatty(),
        echo=click.echo,
    )
    _show(all_results.rows(planned.study, planned.runs))
    click.echo(f"all runs    {outcome.page}")
    for name, error in outcome.failed.items():
        click.echo(f"failed  {name}: {error}", err=True)
    if outcome.failed:
        click.echo(
            f"workbench: {len(outcome.failed)} of {len(planned.runs)} runs failed; the same command"
            " tries them again",
            err=True,
        )
        sys.exit(1)


@main.command(short_help="Show all runs, a line each.")
@click.argument("study", required=False)
@click.option("--all", "whole", is_flag=True, help="Every metric, however wide the lines get.")
@click.option(
    "--columns", metavar="A,B", help="These columns: parameters, metrics, date, bytes, commit ..."
)
@click.option(
    "--sort",
    metavar="[-]NAME",
    default="",
    help="By this column, parameter or metric; -NAME: the largest first.",
)
@click.option("--json", "as_json", is_flag=True, help="All of it, as a JSON list.")
@click.option(
    "--parquet", type=click.Path(dir_okay=False), help="Write the whole table to this file too."
)
def results(
    study: str | None,
    whole: bool,
    columns: str | None,
    sort: str,
    as_json: bool,
    parquet: str | None,
) -> None:
    """Show all runs (of STUDY), a line each.

    \b
    workbench results ranking
    workbench results ranking --sort -auc
    workbench results movies --columns run,auc,ndcg_at_10,bytes

    A line has the parameters in which the runs differ, the figure that says how good the trained
    model is, and of the file that stage 05 recommends the verdict, the bytes and the latency as a
    multiple of LiteRT fp32's. It fits the terminal; what was left out for that is named.
    """
    from helpers import files
    from helpers import results as all_results

    rows = all_results.rows(study, skipped=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps([all_results.plain(row) for row in rows], indent=1))
    elif not rows:
        click.echo(f"no runs yet: `workbench run {study or 'ranking'}` makes one")
    elif whole:
        click.echo(f"\n{all_results.readable(rows).to_string(index=False)}\n")
        _say_stale(rows)
    else:
        _show(rows, columns.split(",") if columns else (), sort)
    if parquet and rows:
        with files.atomic(Path(parquet).resolve()) as temporary:
            all_results.table(study).to_parquet(temporary)
        click.echo(f"written: {parquet}", err=True)


def _show(rows, columns=(), sort: str = "") -> None:
    """Print runs at a glance, a table a study, and below it why figures are missing in it."""
    from helpers import glance, terminal

    width = shutil.get_terminal_size().columns
    columns = [name.strip() for name in columns]
    glance.require(rows, [*columns, *([sort.removeprefix("-")] if sort else [])])
    for study, found in itertools.groupby(rows, key=lambda row: row.study):
        found = list(found)
        lines, left_out = terminal.lines(glance.columns(found, columns, sort), width)
        click.echo(f"\n{study}, {len(found)} run{'s' if len(found) > 1 else ''}")
        click.echo("\n".join(lines))
        if left_out:
            click.echo(terminal.left_out(left_out, "--all, or --columns", width))
    click.echo()
    _say_stale(rows)


def _say_stale(rows) -> None:
    for row in rows:
        for stage, reason in row.stale.items():
            click.echo(f"stale: stage {stage[:2]} of run {row.run!r} {reason}")
        if row.stale:
            click.echo(f"`workbench run {row.study} --run {row.run}` makes stale stages again")


@main.command(short_help="Hold one run against another.")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="OTHER")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page, too."
)
def compare(first: str, second: str, html: Path | None) -> None:
    """Hold OTHER against RUN: parameters, trained models and files.

    \b
    workbench compare default epochs=20
    workbench compare ranking/default ranking/wide --html wide.html

    A run is STUDY/RUN, or its name where only one study has it. Where both models were judged on
    the same rows, changes have 95 % intervals, paired by row.
    """
    from helpers import compared

    found = compared.compare(compared.find(first), compared.find(second))
    click.echo(compared.text(found))
    if html:
        click.echo(f"page  {compared.write(found, html)}")


@main.command(short_help="Write a study of a table of your own.")
@click.argument("name")
@click.option(
    "--data",
    "table",
    type=click.Path(path_type=Path),
    required=True,
    help="A table of your own, .csv or .parquet.",
)
@_LABEL
@_GROUP
@click.option("--time", help="Column of numbers or dates to split by.")
def init(name: str, table: Path, label: str | None, group: str | None, time: str | None) -> None:
    """Write a study of a table into this folder: NAME.py and test_NAME.py.

    \b
    workbench init clicks --data clicks.csv --label clicked --group session
    workbench run ./clicks.py

    Inputs are guessed from the columns, as are label, group and time where no option says them;
    the file says what was guessed and why, and is yours to correct. docs/own-data.md goes through
    it.
    """
    from helpers.own import start

    found = start.guess(table, label, group, time)
    for path in start.write(name, table, found, Path.cwd()):
        click.echo(f"written  {path.name}")
    grouped = f"in groups by {found.group}" if found.group else "each row alone"
    click.echo(f"task     {found.task}: {found.label}, {grouped}; {found.rows:,} rows looked at")
    click.echo(f"inputs   {', '.join(column.name for column in found.columns)}")
    for column, why in found.left_out.items():
        click.echo(f"left out {column}: {why}")
    for note in found.notes:
        click.echo(f"note     {note}")
    click.echo(f"\nread {name}.py, then: workbench run ./{name}.py")


@main.command(short_help="May I ship this trained file?")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "tables",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A table to judge it on, .csv or .parquet.",
)
@_LABEL
@_GROUP
@click.option("--name", help="Name of the study. [default: the file's]")
@click.option("--run", "run_name", default="default", show_default=True, help="Name of the run.")
@click.option("--schema", type=click.Path(path_type=Path), help="JSON of names, shapes and ranges.")
@click.option(
    "--task", type=click.Choice(["ranking", "classification", "tensors"]), help="[default: guessed]"
)
@click.option("--output", help="Which of several outputs decides.")
@click.option(
    "--activation", type=click.Choice(["sigmoid", "softmax"]), help="Of an output that is logits."
)
@click.option(
    "--shape",
    "shapes",
    metavar="NAME=SIZES",
    multiple=True,
    callback=_shapes,
    help="Of an input that the file leaves open, without the batch: image=3,224,224.",
)
@click.option(
    "--in-order", is_flag=True, help="The table's columns are an input's values, in order."
)
@click.option("--latency-seconds", type=float, help="How long files are timed. [default: 5]")
@click.option("--force", is_flag=True, help="Judge it again even if nothing has changed.")
@click.pass_context
def check(
    context, model: Path, tables, run_name: str, schema, latency_seconds, force: bool, **options
) -> None:
    """May I ship this file? Take a trained MODEL through conversion, judgement and bundle.

    \b
    workbench check mine.keras --data clicks.csv --label clicked --group session
    workbench check mine.tflite                 without data: rows are drawn, which says less
    workbench check mine.onnx --data rows.parquet --shape image=3,224,224

    MODEL is a .keras, .pt2 (PyTorch), .tflite or .onnx file, or the folder of a SavedModel. It is
    not trained: not a weight moves. Without --label it is judged by its values alone. Columns are
    matched to inputs by name; what was inferred is written to artifacts/NAME/schema.json, for you
    to correct. docs/own-model.md goes through it.
    """
    from helpers import parameters
    from helpers.own import model as own

    if latency_seconds is not None:
        parameters.check("latency_seconds", latency_seconds)
    brought = own.bring(model, tables, schema_file=schema, **options)
    how = "inferred; correct it there" if brought.inferred else "as it is there"
    click.echo(f"schema   {brought.schema}: {how}")
    click.echo("\n".join(filter(None, (*brought.said, brought.warning))) + "\n")
    values = {} if latency_seconds is None else {"latency_seconds": str(latency_seconds)}
    context.invoke(
        run, study=brought.study, name=run_name, parameters=values, chosen=None, force=force
    )
    if brought.warning:
        click.echo(f"\n{brought.warning}")


@main.command(short_help="Show in which layer a file departs from the model.")
@click.argument("study")
@click.argument("variant")
@click.option("--run", "run_name", default="default", show_default=True, help="Whose file.")
@click.option("--rows", type=click.IntRange(2), default=256, show_default=True, help="Of the test.")
def explain(study: str, variant: str, run_name: str, rows: int) -> None:
    """Where does a file depart from the trained model? Layer by layer, and what each layer costs.

    \b
    workbench explain ranking "litert int8"
    workbench explain movies "mnn weight_int4" --run mine
    workbench explain images "onnx int8"
    workbench explain images "onnx fp32"

    It is held to the float32 file of its kind, and that to the trained model. Of a reduced .tflite
    file, and of onnx int8, two more are made for each layer: with that layer alone reduced, and
    with that layer left in float. A table and a figure are kept in the run's folder explain/.
    """
    from helpers import explain, files, registry
    from helpers.plots import layers
    from helpers.runs import Run

    run = Run(registry.get(study).name, run_name)
    found = explain.explain(run, variant, rows=rows)
    folder = run.folder / "explain"
    files.make_folder(folder)
    place = folder / f"{variant.replace(' ', '_')}.csv"
    found.layers.to_csv(place)
    figure = layers.departures(found.layers, found.headline, found.trained, found.found)
    figure.savefig(place.with_suffix(".png"))
    click.echo(explain.readable(found.layers).to_string())
    click.echo(f"\n{found.conclusion()}\n")
    click.echo(f"table    {place}\nfigure   {place.with_suffix('.png')}")


@main.command(short_help="Recommend over HTTP with the model of a run.")
@click.argument("study")
@click.option(
    "--run",
    "runs",
    metavar="NAME[=WEIGHT]",
    multiple=True,
    default=("default",),
    help="Whose model; give it twice to compare two, each for its part of the users.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Another needs a --token.")
@click.option("--token", envvar="WORKBENCH_TOKEN", help="That every request must bring.")
@click.option(
    "--features",
    metavar="sqlite|redis://HOST:PORT/0",
    default="sqlite",
    show_default=True,
    help="Where features are kept.",
)
@click.option("--model-server", metavar="URL", help="A TensorFlow Serving that scores instead.")
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the SavedModel for TensorFlow Serving into this folder, and end.",
)
def serve(study: str, runs: tuple[str, ...], folder: Path | None, **options) -> None:
    """Recommend: a service of a run's model over ratings, with TensorFlow Serving's API and a page.

    \b
    workbench serve movies --run NAME
    workbench serve movies --run NAME=1 --run OTHER=1         an A/B test, users by hash
    workbench serve movies --run NAME --export serving        for a TensorFlow Serving

    Only this machine reaches it unless --host and --token say otherwise. docs/serving.md says what
    it answers.
    """
    from helpers.serving import server

    weights = server.weights(study, runs)
    if folder is not None:
        from helpers.serving import export

        for path in export.write(study, weights, folder):
            click.echo(f"written  {path}")
        return
    server.serve(study, weights, echo=click.echo, **options)


@main.group(short_help="Check, install and make what a phone downloads.")
def bundle() -> None:
    """Check what a phone downloads, install it as an app should, make what a phone trains with.

    Notebook 06 makes what is downloaded: artifacts/STUDY/RUN/bundle/bundle.zip, announced by
    bundle.json.
    """


@bundle.command(short_help="Check the files of a bundle and score its golden cases.")
@click.argument("path", type=click.Path(path_type=Path))
def verify(path: Path) -> None:
    """Compare PATH, a bundle.zip or an unpacked one, with its hashes and score its golden cases; of
    a training.zip make its golden steps.
    """
    from helpers.bundle import client
    from helpers.ondevice import bundle as training_bundle

    if training_bundle.is_one(path):
        _say_trained(training_bundle.verify(path))
    else:
        _say_checked(client.verify(path))


@bundle.command(short_help="Install a bundle as an app does.")
@click.argument("source", metavar="URL_OR_PATH")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The app's folder.",
)
def install(source: str, into: Path) -> None:
    """Install the bundle that URL_OR_PATH announces (bundle.json, or the zip beside it) into a
    folder.

    It is downloaded (an interrupted download goes on), checked by size and hashes, unpacked, scored
    on its golden cases, and only then made DIR/current in one step. The version before stays as
    DIR/previous; `workbench bundle rollback DIR` goes back to it. Whatever is refused, such as a
    bundle that needs a later LiteRT or MNN than this environment has, leaves the version in use
    untouched.

    Versions have no order: which one a phone has is the server's decision, so an older one may
    follow a newer one.

    DIR is a folder of its own: a new or an empty one becomes an installation, any other is refused.
    Only what an installation consists of is ever replaced or removed in it.
    """
    from helpers import environment
    from helpers.bundle import client

    checked = client.install(source, into, runtimes=environment.runtimes(), echo=_tell)
    _say_checked(checked)
    click.echo(f"in use  {client.current(into)}")
    if checked.replaced:
        folder = shlex.quote(str(into))
        click.echo(
            f"before  version {checked.replaced}: `workbench bundle rollback {folder}` goes back"
        )


@bundle.command(short_help="Go back to the version before.")
@click.argument("into", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def rollback(into: Path) -> None:
    """Make the version before the current one in DIR current again; after the first install there
    is none.
    """
    from helpers.bundle import client

    click.echo(f"in use  {client.rollback(into, echo=_tell)}")


@bundle.command(short_help="Make the files with which a phone trains.")
@click.argument("study")
@click.option("--run", "run_name", default="default", show_default=True, help="Whose model.")
@click.option("--optimiser", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), default=0.001, show_default=True
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="Rows that a phone makes a step of.",
)
@click.option(
    "--rehearsal",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="Training rows that go along, for a phone to stay good on.",
)
@click.option("--last-layer", is_flag=True, help="Train nothing else: for ten rows of an owner.")
def training(study: str, run_name: str, **settings) -> None:
    """Make the bundle of files with which a phone trains the model of a run of STUDY.

    \b
    workbench run digits --stages 01-02
    workbench bundle training digits

    The model must be one of Keras, of layers that can be trained on a phone (docs/digits.md);
    others are refused by name. Every weight is held to Keras' over golden steps, which the classes
    for Android, iOS and C can make again on the phone.
    """
    from helpers import registry
    from helpers.ondevice import bundle, shipped
    from helpers.runs import Run

    run = Run(registry.get(study).name, run_name)
    place = bundle.of(shipped.of(run), run.folder / "training.zip", **settings)
    _say_trained(bundle.verify(place))
    click.echo(f"bundle  {place}  ({place.stat().st_size:,} bytes)")


def _say_trained(steps) -> None:
    for file, each in steps.groupby("file", sort=False):
        click.echo(
            f"{file}: {len(each)} golden steps reproduced, no weight further than "
            f"{each['weights'].max():.0e} from Keras'"
        )


def _tell(line: str) -> None:
    """Say on stderr why nothing happens at the moment."""
    click.echo(f"workbench: {line}", err=True)


def _say_checked(checked) -> None:
    for file, cases in checked.cases.items():
        click.echo(f"{file}: {cases} golden cases reproduced")
    click.echo(f"version {checked.version} is whole")


@main.command("studies", short_help="Show studies, or one with its parameters.")
@click.argument("study", required=False)
def list_studies(study: str | None) -> None:
    """List the studies (or STUDY) with their sources and models, and the parameters that -p can
    set.

    A parameter is shown with what a study uses if -p does not set it.
    """
    from helpers import notebooks, registry

    names = [registry.link(study)] if study else registry.names()
    model_stage = _model_stage(names[0]) if study else None
    chosen = []
    for name in names:
        try:
            chosen.append(registry.get(name))
        except BadInput as error:
            click.echo(f"{name}: {error}")
    for known in chosen:
        click.echo(f"{known.name}: {known.title}")
        choices = _choices(known)
        wide = max(12, *(len(name) for _, name, _ in choices))
        for kind, name, summary in choices:
            click.echo(f"  {kind:<6} {name:<{wide}}  {summary}")
    click.echo("\nparameters, with the stages that have them:")
    rows = []
    for name, declared in notebooks.parameters(model_stage).items():
        values = {known.name: repr(_used(known, name)) for known in chosen}
        common = values[chosen[0].name] if study else repr(declared.default)
        differing = [f"{value} in {known}" for known, value in values.items() if value != common]
        text = f"{name} = {', '.join([common, *differing])}"
        rows.append((text, ",".join(notebooks.stages_with(name, model_stage)), declared.help))
    wide, numbers = (max(len(row[i]) for row in rows) for i in range(2))
    for text, stages, meaning in rows:
        click.echo(f"  {text:<{wide}}  {stages:<{numbers}}  {meaning}")


def _write_parameters(name: str, formatter: click.HelpFormatter) -> None:
    """Write what -p can set in a study: each with what it is otherwise, and what it means."""
    from helpers import notebooks, registry

    study = registry.get(registry.link(name))
    stage = _model_stage(study.name)
    rows = []
    for parameter, declared in notebooks.parameters(stage).items():
        stages = notebooks.stages_with(parameter, stage)
        where = f"[stage{'s' * (len(stages) > 1)} {', '.join(stages)}]"
        used = shlex.quote(str(_used(study, parameter)))
        rows.append((f"{parameter}={used}", f"{declared.help} {where}"))
    with formatter.section(f"Parameters of {study.name}, with what they are unless -p sets them"):
        formatter.write_dl(rows)
    for kind in ("source", "model"):
        choices = [(key, summary) for one, key, summary in _choices(study) if one == kind]
        with formatter.section(f"What {kind} can be"):
            formatter.write_dl(choices)


def _model_stage(study: str) -> str:
    """The notebook that comes by a study's first model."""
    from helpers import notebooks, pipeline

    return pipeline.stages_of(study, {})[notebooks.MODEL_STAGE].stem


def _choices(study) -> list[tuple[str, str, str]]:
    """The sources and the models of a study: which of the two, name, and what it is."""
    default = {"source": study.source("default").name, "model": study.model_name("default")}
    there = [("source", source.name, source.summary) for source in study.sources.values()]
    there += [("model", name, model.summary) for name, model in study.models.items()]
    return [
        (kind, name, f"{summary}{' (default)' * (name == default[kind])}")
        for kind, name, summary in there
    ]


def _used(study, name: str) -> object:
    """What a study uses for a parameter that -p does not set."""
    from helpers import pipeline

    value = pipeline.default(study.name, name)
    if name == "source":
        return study.source(value).name
    return study.model_name(value) if name == "model" else value


@main.command("notebooks", short_help="Execute the notebooks and store their outputs.")
@click.option(
    "--check", is_flag=True, help="Compare with the stored outputs (nbval) and change nothing."
)
@click.option(
    "--stages",
    "chosen",
    metavar="01-06",
    help="Only these stages, from the first on. [default: all notebooks]",
)
def refresh_notebooks(check: bool, chosen: str | None) -> None:
    """Execute notebooks in a throw-away home and store their normalised outputs in place."""
    from helpers import notebooks

    if not check:
        notebooks.refresh(chosen, echo=click.echo)
        return
    done = notebooks.check(None if chosen is None else list(notebooks.stages(chosen).values()))
    click.echo(done.stdout + done.stderr)
    sys.exit(1 if done.returncode else 0)


if __name__ == "__main__":
    main()
