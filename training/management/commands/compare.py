"""manage.py compare: recipes beside each other, over seeds, in a project or in a world whose truth is known."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from redpen import env as environment
from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.errors import RedpenError
from redpen.accounts.models import Project, User
from training.actions.comparisons import (
    cancel_comparison,
    check_plan,
    comparison_of,
    resume_comparison,
    start_comparison,
)
from training.compare import machine
from training.compare.options import DEFAULT_RECIPES
from training.compare.people import labelled, world_project
from training.compare.plot import svg
from training.compare.report import markdown
from training.demo import demo_people
from training.durations import duration
from training.models import Comparison
from training.models.runs import RunState
from training.queries import comparisons as queries
from training.worlds.people import PARAMETERS
from training.worlds.registry import world as world_of

HELP = """Compare recipes. In a world:

    manage.py compare --world words --recipes sft,dpo,grpo --seeds 5 --labels 200

on a project's own records, judged by a fresh reward model (or by a program that knows the truth, --checker):

    manage.py compare --project demo --recipes sft,dpo,raft

A recipe may carry options of its own: --recipes grpo,grpo:lr=0.01. Stopped (Ctrl-C, a crash), it goes on with
--resume N. Where no Redpen is up, the command starts what it needs and carries the runs out itself.
"""


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: Any) -> None:
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--world", help="words, digits, cycles, support, each perhaps with options: words:24,kinds")
        where.add_argument("--project", help="a project by its short name")
        parser.add_argument(
            "--recipes", help=f"by comma (semicolons where options hold commas); {','.join(DEFAULT_RECIPES)}"
        )
        parser.add_argument("--seeds", default="1", help="how many (5 are 0 to 4), or which by comma (10,11,12)")
        parser.add_argument("--labels", type=int, default=200, help="a world: human acts of each kind for one seed")
        parser.add_argument("--people", default="", help="a world: parameters of its people, as noise=0.2,laziness=0.5")
        parser.add_argument("--base", default="", help="the base model that all start from")
        parser.add_argument("--checker", default="", help="a program that knows the truth; a world's is its own")
        parser.add_argument("--prompts", type=int, default=32, help="held-out prompts")
        parser.add_argument("--samples", type=int, default=4, help="answers to each of them")
        parser.add_argument("--name", default="")
        parser.add_argument("--owner", default="", help="e-mail of the person who starts it; the demo's admin")
        parser.add_argument("--resume", type=int, metavar="N", help="go on with comparison N: what failed is run again")
        parser.add_argument("--cancel", type=int, metavar="N", help="stop all runs of comparison N")
        parser.add_argument("--show", type=int, metavar="N", help="print the table of comparison N as it stands")
        parser.add_argument("--list", action="store_true", help="list the comparisons of the project")
        parser.add_argument("--jobs", type=int, default=2, help="runs at one time, where no Redpen is up")
        parser.add_argument("--out", type=Path, help="folder for table.md, plot.svg and report.json")
        parser.add_argument("--worker", action="store_true", help="carry out what is due: the command starts these")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["worker"]:
            machine.work()
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped is stopped, whoever says so
        try:
            with machine.servers(self.tell) as is_up:
                self.act(options, is_up)
        except RedpenError as error:
            lines = [f"{one['pointer']}: {one['message']}" for one in error.problems]
            raise CommandError("\n".join(lines) or str(error)) from error
        except OperationalError as error:
            raise CommandError(f"The database cannot be reached: {error}") from error

    def act(self, options: dict[str, Any], is_up: bool) -> None:
        if not options["world"] and not options["project"]:
            raise CommandError("Say where: --world words, or --project with a project's short name.")
        if options["world"]:
            known_world(options["world"])
        owner = owner_of(options["owner"])
        project = world_project(options["world"], owner) if options["world"] else project_of(options["project"])
        if options["list"]:
            for one in queries.of_project(project):
                self.stdout.write(
                    f"{one.number:>4}  {queries.state_of_counts(one):<10} {one.done} of {one.runs}  {one}"
                )
            return
        if options["cancel"]:
            comparison = cancel_comparison(comparison=comparison_of(project, options["cancel"]), author=owner)
            self.stdout.write(f"{comparison} is being stopped; --resume {comparison.number} goes on with it.")
            return
        if options["show"]:
            self.write(comparison_of(project, options["show"]), options["out"])
            return
        if options["resume"]:
            comparison, count = resume_comparison(comparison=comparison_of(project, options["resume"]), author=owner)
            self.tell(f"Comparison {comparison.number} goes on; {count} runs are started anew.")
        else:
            comparison = self.start(project, owner, options)
        try:
            with machine.workers(0 if is_up else options["jobs"]):
                self.watch(comparison)
        except KeyboardInterrupt:
            how = f"--world {options['world']}" if options["world"] else f"--project {options['project']}"
            self.tell(f"\nStopped. `manage.py compare {how} --resume {comparison.number}` goes on.")
            sys.exit(130)
        self.write(comparison, options["out"])

    def start(self, project: Project, owner: User, options: dict[str, Any]) -> Comparison:
        given: dict[str, Any] = {
            "recipes": listed(options["recipes"]) or list(DEFAULT_RECIPES),
            "seeds": seeds_of(options["seeds"]),
            "checker": options["checker"],
            "test_prompts": options["prompts"],
            "test_samples": options["samples"],
        }
        if options["base"]:
            given["base_model"] = options["base"]
        if world := options["world"]:
            given.setdefault("base_model", machine.world_base(world, self.tell))
            given |= {"settings": world, "labels": options["labels"], "checker": options["checker"] or world}
            people = people_of(options["people"])
            check_plan(given)
            campaigns = []
            for seed in given["seeds"]:
                self.tell(f"seed {seed}: people do {options['labels']} acts of each kind")
                campaigns.append(labelled(project, world, seed=seed, acts=options["labels"], people=people).pk)
            given["campaigns"] = campaigns
        comparison, _ = start_comparison(project=project, author=owner, options=given, name=options["name"])
        where = f"/p/{project.slug}/comparisons/{comparison.number}/"
        self.tell(f"Comparison {comparison.number} of {project}: {comparison.trials.count()} runs, shown at {where}")
        return comparison

    def watch(self, comparison: Comparison) -> None:
        """Tell how far it has come, until all runs have ended."""
        told = ""
        while True:
            trials = queries.trials_of(comparison)
            progress = queries.progress_of(comparison, trials)
            line = progress_line(progress, trials)
            if sys.stderr.isatty():
                self.stderr.write(f"\r\x1b[2K{line}", ending="\n" if progress["over"] else "")
                self.stderr.flush()
            elif (done := line.partition(",")[0]) != told:
                told = done
                self.tell(line)
            if progress["over"]:
                break
            time.sleep(1.0)
        for trial in trials:
            if trial.run.state == RunState.FAILED:
                self.tell(f"  run {trial.run.number}, {trial.place}, failed: {trial.run.failure['message']}")

    def write(self, comparison: Comparison, folder: Path | None) -> None:
        report = queries.report(comparison)
        table = markdown(report)
        self.stdout.write(table)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "table.md").write_text(table, "utf-8")
            (folder / "plot.svg").write_text(svg(report), "utf-8")
            told = {"options": comparison.options, **report.as_json()}
            (folder / "report.json").write_text(json.dumps(told, indent=1, default=str) + "\n", "utf-8")
            self.tell(f"Written to {folder}: table.md, plot.svg, report.json.")

    def tell(self, line: str) -> None:
        self.stderr.write(line)


def progress_line(progress: dict[str, Any], trials: list[Any]) -> str:
    """3 of 12 runs done, 2 running (grpo/0/policy 40 %), 1 min 20 s, about 4 min left."""
    running = [trial for trial in trials if trial.run.state in (RunState.RUNNING, RunState.CANCELLING)]
    parts = [f"{progress['succeeded']} of {progress['runs']} runs done"]
    if failed := progress["counts"].get("failed"):
        parts[0] += f" ({failed} failed)"
    if running:
        shares = {
            one.pk: f" {round(100 * one.run.step / one.run.total_steps)} %" for one in running if one.run.total_steps
        }
        shown = ", ".join(one.place + shares.get(one.pk, "") for one in running)
        parts.append(f"{len(running)} running ({shown})")
    if progress["seconds"] is not None:
        parts.append(duration(progress["seconds"]))
    if progress["seconds_left"] is not None:
        parts.append(f"about {duration(progress['seconds_left'])} left")
    return ", ".join(parts)


def listed(words: str | None) -> list[str]:
    """By semicolon where there is one, else by comma."""
    sign = ";" if ";" in (words or "") else ","
    return [one.strip() for one in (words or "").split(sign) if one.strip()]


def seeds_of(words: str) -> list[int]:
    """ "5" is 0 to 4; "7,8" is 7 and 8; "7," is 7 alone."""
    try:
        return [int(one) for one in listed(words)] if "," in words else list(range(int(words)))
    except ValueError:
        raise CommandError("--seeds is a number, or numbers by comma.") from None


def known_world(spec: str) -> None:
    """Raises CommandError, with those that there are, where this is none."""
    try:
        world_of(spec)
    except ValueError as error:
        raise CommandError(f"--world: {error}") from None


def people_of(words: str) -> dict[str, float]:
    """Parameters of the simulated people: noise=0.2,laziness=0.5."""
    found = {}
    for one in listed(words):
        name, _, value = one.partition("=")
        if name not in PARAMETERS:
            raise CommandError(f"--people: there is no parameter “{name}”; there are {', '.join(PARAMETERS)}.")
        low, high = PARAMETERS[name]
        try:
            found[name] = float(value)
        except ValueError:
            raise CommandError(f"--people: {name} is a number from {low:g} to {high:g}, not “{value}”.") from None
        if not low <= found[name] <= high:
            raise CommandError(f"--people: {name} is a number from {low:g} to {high:g}, not {value}.")
    return found


def owner_of(email: str) -> User:
    """The person who starts it: named, or the demo's admin."""
    wanted = email or next(one.email for one in DEMO_LOGINS if one.role == "admin")
    if not email and environment.read().DEMO and not User.objects.exists():
        demo_people()  # as the first start of `manage.py up` would
    found = User.objects.filter(email__iexact=wanted).first()
    if found is None:
        hint = "Name somebody with --owner, or fill the demo first (manage.py demo)." if not email else ""
        raise CommandError(f"There is nobody with the address {wanted}. {hint}")
    return found


def project_of(slug: str) -> Project:
    found = Project.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"There is no project {slug}.")
    return found
