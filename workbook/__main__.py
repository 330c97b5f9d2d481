"""The command line: `infolib doctor | list | data | run | index`."""

import os
import re
import sys
from contextlib import suppress
from typing import Any

import click

from infolib import __version__
from workbook import root

# Heavy imports stand inside the commands that need them: `infolib --help` answers at once.


class _PlainErrors(click.Group):
    """Commands that show a user's mistake, or a file that cannot be read or written, as one message."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_PlainErrors)
@click.version_option(__version__, prog_name="infolib")
def main() -> None:
    """Measure what a network keeps, drops and shares: run and check the workbook."""


@main.command()
def doctor() -> None:
    """Check this environment and say how to mend it."""
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

    found = {profile: reports.load(profile) for profile in runner.PROFILES}
    for name in runner.notebooks():
        click.echo(click.style(name, bold=True) + f"  {runner.title(name)}")
        for parameter in runner.parameters(name).values():
            click.echo(f"    {parameter.name} = {parameter.default!r}  {parameter.help}")
        for profile in runner.PROFILES:
            if name in found[profile]:
                counts = found[profile][name].verdicts["verdict"].value_counts()
                click.echo(f"    {profile}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))


@main.command()
@click.option("--download", metavar="NAME", multiple=True, help="Fetch a data set into data/cache and verify it.")
def data(download: tuple[str, ...]) -> None:
    """Show the data sets that are here, verified; download one that is not."""
    from workbook import datasets

    for name in download:
        datasets.download(name)
    for row in datasets.status():
        size = f"{row['samples'] or '':>6}  {'×'.join(map(str, row['shape'] or ())):8}"
        click.echo(f"{row['name']:14}{size}  {row['where'] or '-'}  {row['state']}")


@main.command()
@click.argument("names", nargs=-1)
@click.option("--profile", default="quick", show_default=True, help="quick or paper.")
@click.option("--jobs", default=1, show_default=True, help="Notebooks at a time.")
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=YAML", help="Override a parameter.")
@click.option("--fresh", is_flag=True, help="Ignore cached networks and measurements.")
@click.option("--time-limit", type=float, metavar="MINUTES", help="For each notebook [default: 20 quick, 240 paper].")
def run(
    names: tuple[str, ...], profile: str, jobs: int, pairs: tuple[str, ...], fresh: bool, time_limit: float | None
) -> None:
    """Execute notebooks (all, or some: `02 05`) into reports/<profile>/ and renew the scoreboards as each ends."""
    from workbook import run as runner

    def report(done: runner.Run) -> None:
        from workbook import reports  # here, while other notebooks are running

        with suppress(Exception):  # the other notebooks go on; what is wrong is said at the end
            reports.index()
        mark = click.style("✓", fg="green") if done.error is None else click.style("✗", fg="red")
        click.echo(f"{mark} {done.name}  {done.seconds:.0f} s")
        if done.error is not None:
            click.echo(done.error, err=True)

    chosen, overrides = runner.select(names), dict(map(_parse, pairs))
    click.echo(f"running {', '.join(chosen)} in the {profile} profile, {jobs} at a time")
    done = runner.run(
        chosen, profile=profile, jobs=jobs, overrides=overrides, fresh=fresh, time_limit=time_limit, report=report
    )
    from workbook import reports

    click.echo(f"scoreboard: {os.path.relpath(reports.index())}")
    if failed := [one.name for one in done if one.error is not None]:
        raise click.ClickException(f"{len(failed)} of {len(done)} failed: {', '.join(failed)}; former reports are kept")


def _parse(pair: str) -> tuple[str, object]:
    """`name=value` with the value read as YAML, in which 1e-3 is a number, as it is in JSON and Python."""
    import yaml

    class Loader(yaml.SafeLoader):
        """With its own list of what is read as a number."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d*\.?\d+[eE][-+]?\d+$"), "-+.0123456789")
    name, equals, text = pair.partition("=")
    if not equals:
        raise ValueError(f"-p takes NAME=YAML, got {pair!r}")
    try:
        return name.strip(), yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"-p {name}: {text!r} is not YAML: {error}") from error


@main.command()
def index() -> None:
    """Write reports/README.md, reports/index.html and each report.html anew from the reports."""
    from workbook import reports

    click.echo(os.path.relpath(reports.index(), root()))


if __name__ == "__main__":
    main()
