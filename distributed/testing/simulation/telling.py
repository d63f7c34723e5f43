"""What is said to people: the story of a failure and the summary of many seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from distributed.testing.simulation.invariants import INVARIANTS
from distributed.testing.simulation.simulate import Report

__all__ = ["Summary", "story", "summary"]

LINES_MAX = 150  # of a story: its end


@dataclass(slots=True)
class Summary:
    """Figures of many seeds."""

    workers: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    checks: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """Count one seed."""
        self.workers.append(report.workers)
        self.tasks.append(report.tasks)
        self.events.append(report.events)
        self.checks += report.checks
        self.seconds += report.seconds
        self.faults.update(report.faults)

    def merge(self, other: Summary) -> None:
        """Count the seeds of another summary too."""
        self.workers += other.workers
        self.tasks += other.tasks
        self.events += other.events
        self.checks += other.checks
        self.seconds += other.seconds
        self.faults.update(other.faults)


def summary(found: Summary, took_s: float) -> str:
    """Some lines of text."""
    if not found.events:
        return "no seeds"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.faults.items()))
    columns = [("workers", found.workers), ("tasks run", found.tasks), ("events", found.events)]
    sizes = "; ".join(f"{name}: median {median(values):g}, least {min(values)}" for name, values in columns)
    return (
        f"{len(found.events):,} seeds in {took_s:.1f} s ({found.seconds / 3600:.1f} h of virtual time)\n"
        f"{sizes}\n"
        f"{len(INVARIANTS)} invariants, asked {found.checks:,} times\n"
        f"{found.faults.total():,} faults: {kinds}"
    )


def story(report: Report) -> str:
    """A run as text: what is in it, what happened, which rule broke, and how to see it again."""
    plan = report.plan
    lines = [f"seed {report.seed}"]
    for worker in plan.workers:
        guard = "with a nanny" if worker.has_nanny else "without a nanny"
        amounts = "".join(f", {amount:g} {name}" for name, amount in worker.resources.items())
        lines.append(f"  {worker.name} on {worker.host}: {worker.nthreads} threads, {guard}{amounts}")
    for client in plan.clients:
        for step in client.steps:
            tasks = " ".join(
                f"{task.key}({' '.join(task.dependencies)})" if task.dependencies else task.key for task in step.tasks
            )
            lines.append(f"  {client.name} {step.name}: {step.kind} {tasks}{' '.join(step.keys)}"[:200])
    lines += [f"  {fault.name}: {fault.kind}" for fault in plan.faults]
    told = [line for line in report.lines if " heartbeat " not in line]
    shown = told[-LINES_MAX:]
    lines += [
        "",
        f"... {len(told) - len(shown)} lines before" if len(shown) < len(told) else "",
        *shown,
    ]
    if report.failure is not None:
        lines += ["", f"broken at {report.failure.at:.4f} s: {report.failure.rule}", f"  {report.failure.where}"]
    else:
        lines += ["", f"all rules hold; trace {report.trace}"]
    lines.append(f"again: {command(report)}")
    return "\n".join(lines)


def command(report: Report) -> str:
    """What to type to see a run again."""
    names = f" --only {','.join(report.plan.names())}" if report.is_cut else ""
    return f"python -m distributed.testing.simulation --seed {report.seed} -v{names}"
