"""The command line: `infolib doctor | list | data | new | run | sweep | status | look | index | verify | …`."""

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import click

from infolib import __version__
from workbook import cache_folder, root

# Heavy imports stand inside the commands that need them: `infolib --help` answers at once.


class _PlainErrors(click.Group):
    """Commands that print one message for a user's mistake, or for a file that cannot be read or written."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has seen enough, as in `infolib list | head -1`: click ends in silence
            raise
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_PlainErrors)
@click.version_option(__version__, prog_name="infolib")
def main() -> None:
    """Measure what a network retains, discards and shares: run and check the workbook."""


@main.command()
def doctor() -> None:
    """Check this environment and print fixes."""
    from workbook import provenance

    checks = provenance.check_environment()
    for check in checks:
        mend = "" if check.good else f"\n  mend: {check.mend}"
        click.echo(f"{'✓' if check.good else '✗'} {check.name}: {check.found}{mend}")
    sys.exit(0 if all(check.good for check in checks) else 1)


@main.command("list")
def list_() -> None:
    """List the notebooks, their parameters and their verdicts."""
    from workbook import reports
    from workbook import run as runner

    found = {profile: reports.load(profile, named=True, broken=_say) for profile in runner.PROFILES}
    for notebook in runner.notebooks():
        click.echo(click.style(notebook, bold=True) + f"  {runner.title(notebook)}")
        for parameter in runner.parameters(notebook).values():
            click.echo(f"    {parameter.name} = {parameter.default!r}  {parameter.help}")
        for profile, of_profile in found.items():
            for folder, report in of_profile.items():
                if folder.partition("@")[0] == notebook:
                    changed = runner.described(report.provenance.get("overridden", {}))
                    counts = report.verdicts.drop_duplicates("claim")["word"].value_counts()
                    where = profile + folder.removeprefix(notebook) + (f" with {changed}" if changed else "")
                    where += " by the former rule" * report.former
                    click.echo(f"    {where}: " + ", ".join(f"{n} {word}" for word, n in counts.items()))


@main.command()
@click.option("--download", metavar="NAME", multiple=True, help="Fetch a data set into data/cache and verify it.")
def data(download: tuple[str, ...]) -> None:
    """List and verify local data sets; download a missing one."""
    from workbook import datasets

    for name in download:
        datasets.download(name)
    for row in datasets.status():
        size = f"{row['samples'] or '':>6}  {'×'.join(map(str, row['shape'] or ())):8}"
        click.echo(f"{row['name']:14}{size}  {row['where'] or '-'}  {row['state']}")


@main.command()
@click.argument("name")
@click.option("--title", help="Of the notebook [default: the words of its name].")
def new(name: str, title: str | None) -> None:
    """Begin a notebook, such as 10_my_topic, with its claims, experiment, profile and rows."""
    from workbook import new as template

    for path in template.begin(name, title):
        click.echo(path)
    click.echo(f"now: make notebooks NB={name[:2]}, and then fill in each TODO, in the order of CONTRIBUTING.md")


@main.command()
@click.argument("names", nargs=-1)
@click.option("--profile", default="quick", show_default=True, help="quick or paper.")
@click.option("--jobs", default=1, show_default=True, help="Notebooks at a time.")
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=YAML", help="Override a parameter.")
@click.option("--name", metavar="NAME", help="Write reports NOTEBOOK@NAME beside the profile's own.")
@click.option("--fresh", is_flag=True, help="Ignore cached networks and measurements.")
@click.option("--time-limit", type=float, metavar="MINUTES", help="For each notebook [default: 20 quick, 240 paper].")
@click.option("--scheduler", metavar="ADDRESS", help="Send cases to Dask: tcp://host:8786, or local for this machine.")
@click.option(
    "--device", default="", metavar="DEVICE", help="Where networks are, such as cuda [default: INFOLIB_DEVICE]."
)
def run(
    names: tuple[str, ...],
    profile: str,
    jobs: int,
    pairs: tuple[str, ...],
    name: str | None,
    fresh: bool,
    time_limit: float | None,
    scheduler: str | None,
    device: str,
) -> None:
    """Execute notebooks (all, or some: `02 05`) into reports/<profile>/ and renew the scoreboards as each ends."""
    from workbook import rule
    from workbook import run as runner

    def report(done: runner.Run) -> None:
        from workbook import reports  # here, while other notebooks are running

        with suppress(Exception):  # the other notebooks go on; what is wrong is said at the end
            reports.index()
        mark = click.style("✓", fg="green") if done.error is None else click.style("✗", fg="red")
        click.echo(f"{mark} {done.name}{f'@{name}' if name else ''}  {done.seconds:.0f} s")
        if done.error is not None:
            click.echo(done.error, err=True)

    os.environ |= {"INFOLIB_DEVICE": device} if device else {}  # as the notebooks' processes are to have it
    if name and name.startswith("sweep-"):
        raise ValueError(f"name must not begin with sweep-, as the reports of a sweep do, got {name!r}")
    chosen = runner.select(names)
    kinds = {key: parameter.type for one in chosen for key, parameter in runner.parameters(one).items()}
    overrides = dict(_parse(pair, kinds) for pair in pairs)
    for one, n in runner.few_seeds(chosen, profile, overrides).items():
        click.echo(f"{one} has {n} seeds, and a verdict takes {rule.LEAST}: its findings will be undecided")
    click.echo(f"running {', '.join(chosen)} in the {profile} profile, {jobs} at a time")
    done = runner.run(
        chosen, profile=profile, jobs=jobs, overrides=overrides, name=name, fresh=fresh, time_limit=time_limit,
        scheduler=scheduler, report=report,
    )  # fmt: skip
    from workbook import reports

    click.echo(f"scoreboard: {os.path.relpath(reports.index(_say))}")
    if failed := [one.name for one in done if one.error is not None]:
        raise click.ClickException(f"{len(failed)} of {len(done)} failed: {', '.join(failed)}; former reports are kept")


def _say(message: str) -> None:
    click.echo(message, err=True)


def _parse(pair: str, kinds: Mapping[str, Any]) -> tuple[str, object]:
    """`name=value`, with the value read as YAML for a parameter of its kind."""
    import yaml

    name, equals, text = (part.strip() for part in pair.partition("="))
    if not equals:
        raise ValueError(f"-p takes NAME=YAML, got {pair!r}")
    loader, kind = _loader(text), kinds.get(name)
    try:
        node = loader.get_single_node()
        plain = node is None or (isinstance(node, yaml.ScalarNode) and node.style is None)
        return name, text if kind is str and plain else _read(loader, node, kind)
    except yaml.YAMLError as error:
        raise ValueError(f"-p {name}: {text!r} is not YAML: {error}") from error


def _loader(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """A loader that reads 1e-3 as a number, as JSON and Python do."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d*\.?\d+[eE][-+]?\d+$"), "-+.0123456789")
    return Loader(text)


def _loaded(path: str) -> object:
    import yaml

    try:
        return _loader(Path(path).read_text(encoding="utf-8")).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(f"--grid {path} is not YAML: {error}") from error


def _read(loader: Any, node: Any, kind: Any) -> object:
    """A node of YAML as what it is meant for: `no` is a word for a str, 1e2 a whole number for an int."""
    inner = get_args(kind)
    if node is None:
        return None
    if node.id == "sequence" and get_origin(kind) is list:
        return [_read(loader, entry, inner[0]) for entry in node.value]
    if node.id == "mapping" and get_origin(kind) is dict:
        return {_read(loader, key, inner[0]): _read(loader, value, inner[1]) for key, value in node.value}
    if node.id == "scalar" and node.style is None and kind is str:
        return node.value
    if node.id == "scalar" and node.style is None and kind in (int, float):
        for read in (partial(int, base=0), float):  # 012 is 12, not eight and two
            with suppress(ValueError):
                number = read(node.value)
                whole = kind is int and number == number // 1 and abs(number) < 2**53
                return int(number) if whole else number
        if ":" in node.value:  # YAML's base 60
            return node.value
    return loader.construct_document(node)


@main.command()
@click.argument("name")
@click.option("--grid", required=True, type=click.Path(exists=True, dir_okay=False), help="YAML: parameter: [values].")
@click.option("--profile", default="quick", show_default=True, help="quick or paper.")
@click.option("--fresh", is_flag=True, help="Run all cases again, without the cache.")
@click.option("--scheduler", metavar="ADDRESS", help="Send cases to Dask: tcp://host:8786, or local for this machine.")
@click.option("--yes", is_flag=True, help="Run more than 10,000 cases.")
def sweep(name: str, grid: str, profile: str, fresh: bool, scheduler: str | None, yes: bool) -> None:
    """Execute one notebook with every combination of a grid's values; a case that has a report is not run again."""
    from workbook import run as runner
    from workbook import sweep as sweeper

    (notebook,) = runner.select([name])
    todo = sweeper.cases(notebook, _loaded(grid), profile, many=yes)
    place = runner.reports_folder(profile) / "sweeps" / f"{notebook}@{Path(grid).stem}"

    def report(done: runner.Run, case: dict[str, Any]) -> None:
        mark = click.style("✓", fg="green") if done.error is None else click.style("✗", fg="red")
        click.echo(f"{mark} {runner.described(case)}  {done.seconds:.0f} s")

    click.echo(f"{notebook}: {len(todo)} cases")
    wrong = sweeper.run(notebook, todo, place, profile=profile, fresh=fresh, scheduler=scheduler, report=report)
    click.echo(f"table and figure: {os.path.relpath(place)}")
    if wrong:
        raise click.ClickException(f"{len(wrong)} of {len(todo)} cases failed, first: {wrong[0]}")


@main.command()
def status() -> None:
    """Show the runs in progress or interrupted, the cases that are left, and the verdicts so far."""
    from workbook import progress, reports
    from workbook import run as runner

    states = progress.states(cache_folder())
    for state in states:
        left = f", about {progress.spoken(state.left)} left" if state.left and not state.ended else ""
        how = "broken off" if state.ended else "running"
        click.echo(f"{state.run}  {how}: {state.done} of {state.cases} cases of {state.table}{left}")
    if not states:
        click.echo("nothing runs")
    for profile in runner.PROFILES:
        counts = reports.counted(profile, _say)
        click.echo(f"{profile}: " + (", ".join(f"{n} {word}" for word, n in counts.items()) or "no verdicts"))


@main.command()
@click.argument("model")
@click.argument("data")
@click.option("--state", default="", metavar="FILE", help="Weights, of torch.save or safetensors.")
@click.option(
    "--layers", multiple=True, metavar="PATTERN", help="Names, 'layer*', or a number of blocks [default: all]."
)
@click.option("--lens", multiple=True, metavar="NAME", help="Some lenses alone, such as information.")
@click.option("--beside", multiple=True, metavar="NAME", help="Baselines: untrained, permuted, or none.")
@click.option("--n", default=512, show_default=True, help="Images; of a folder or a .npz all, if fewer.")
@click.option("--size", default=224, show_default=True, help="Pixels a side of the images of a folder.")
@click.option("--normalize", default="none", show_default=True, help="What the model expects: none or imagenet.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
@click.option("--device", default="cpu", show_default=True, help="Where the network is measured, such as cuda.")
@click.option("-o", "--output", default="", metavar="FILE.csv", help="Keep each row at once, and go on from there.")
def look(model: str, data: str, beside: tuple[str, ...], output: str, **given: Any) -> None:
    """Measure a network, MODULE:CALLABLE or a TorchScript file, on a folder of images, a .npz or a data set."""
    from workbook import looking

    sys.path.insert(0, os.getcwd())  # a module of the user's own
    baselines = None if not beside else () if beside == ("none",) else beside
    table = looking.look(model, data, beside=baselines, output=output, **given)
    if not output:
        click.echo(table[["lens", "layer", "quantity", "value", "unit", "why not"]].to_string(index=False))


@main.command()
def index() -> None:
    """Write reports/README.md, reports/index.html and each report.html anew from the reports."""
    from workbook import reports

    click.echo(os.path.relpath(reports.index(_say), root()))


@main.command()
@click.argument("names", nargs=-1)
@click.option("--profile", default="paper", show_default=True, help="quick or paper.")
@click.option("--strict", is_flag=True, help="A report of the former rule fails too.")
def verify(names: tuple[str, ...], profile: str, strict: bool) -> None:
    """Check reports (all, or some: `02 05`) against their files, their values, their claims and the history."""
    from workbook import verify as verifier

    found = verifier.verify(names, profile=profile)
    for one in found:
        mark = "–" if one.former else "✗" if one.wrong else "✓"
        click.echo(f"{mark} {one.report}" + (f": {one.shown}" if one.shown else ""))
        for text in one.wrong:
            click.echo(f"    {text}")
    former = sum(one.former for one in found)
    wrong = sum(bool(one.wrong) for one in found)
    click.echo(
        f"{len(found) - wrong - former} of {len(found)} reports hold"
        + (f", {former} of the former rule" * bool(former))
    )
    sys.exit(1 if wrong or (strict and former) else 0)


@main.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Compare two reports (`quick/00_start_here`), two profiles or two folders of reports; exit 1 if they differ."""
    from workbook import compare

    lines = compare.differences(first, second)
    click.echo("\n".join(lines) or f"{first} and {second} are the same but for rounding")
    sys.exit(1 if lines else 0)


@main.command()
def workshop() -> None:
    """Write the notebooks into workshop/student without solutions, and into workshop/solutions with them."""
    from workbook import exercises

    for folder in sorted({path.parent for path in exercises.build()}):
        click.echo(os.path.relpath(folder))


if __name__ == "__main__":
    main()
