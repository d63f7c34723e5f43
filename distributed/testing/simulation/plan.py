"""What one seed is about: the machines, what clients do and what goes wrong, drawn before anything runs.

Every part has a name (``worker-2``, ``step-0.3``, ``task-a4``, ``fault-7``) and can be left out by it; the rest stays
as it was. That is how failures shrink.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from distributed.messages import TaskSpec
from distributed.testing.simulation.about_actors import give_actors
from distributed.testing.simulation.chance import Chance, Stream
from distributed.testing.simulation.children import give_children
from distributed.testing.simulation.clock import MS, SECOND
from distributed.testing.simulation.errands import ErrandPlan, draw_errands
from distributed.testing.simulation.striking import allow_seconds
from distributed.testing.simulation.work import ALWAYS, FUNCTIONS, Recipe

__all__ = ["NOWHERE", "ClientPlan", "Fault", "Plan", "Step", "WorkerPlan", "draw_plan"]

SIZES = (8, 8, 8, 1_000, 12_000, 100_000, 3_000_000, 40_000_000)  # bytes of results
LIMITED_PERCENT = 4  # of tasks
CHILDREN_PERCENT = 8
WIDE_SEEDS_PERCENT = 15
WIDE_PERCENT = 20
SCRIPT = 4 * SECOND  # faults begin within this time
NOWHERE = ("nowhere",)  # the name of no worker
HOPELESS_PERCENT = 12  # of the clients need a worker of that name


@dataclass(slots=True)
class WorkerPlan:
    """One worker, with or without a nanny."""

    name: str
    host: str
    nthreads: int
    has_nanny: bool
    is_named: bool  # tells the scheduler its name; else it is called by its address
    keeps_port: bool  # a new life listens where the old one did
    resources: dict[str, float]
    tags: tuple[str, ...]  # its platform
    speed: int  # multiplies durations
    memory_limit_nbytes: int | None


@dataclass(slots=True)
class Step:
    """One thing that a client does, `pause` ticks after the one before.

    ``kind``: submit, map, graph, want, release, cancel, gather, scatter, again, leave, retry, cancel_queued. ``tasks``
    belong to the first three, ``keys`` to scatter and want; ``share`` of 100 of what is held to the others.
    """

    name: str
    kind: str
    pause: int
    tasks: list[Recipe] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    share: int = 0


@dataclass(slots=True)
class ClientPlan:
    """One client and its steps, in order; beside them its errands, likewise."""

    name: str
    host: str
    steps: list[Step]
    errands: list[ErrandPlan] = field(default_factory=list)


@dataclass(slots=True)
class Fault:
    """Something that goes wrong at `at` and, if `lasts`, ends so much later. What it hits are indexes, taken modulo."""

    name: str
    kind: str
    at: int
    lasts: int
    one: int
    other: int


@dataclass(slots=True)
class Plan:
    """All of it."""

    workers: list[WorkerPlan]
    clients: list[ClientPlan]
    faults: list[Fault]
    prints: bool = False  # some tasks do

    def names(self) -> list[str]:
        """Of every part that may be left out, big parts first."""
        tasks = [f"task-{task.key}" for client in self.clients for step in client.steps for task in step.tasks]
        return [
            *(client.name for client in self.clients),
            *(fault.name for fault in self.faults),
            *(step.name for client in self.clients for step in client.steps),
            *(errand.name for client in self.clients for errand in client.errands),
            *(worker.name for worker in self.workers),
            *dict.fromkeys(tasks),
        ]

    def only(self, names: frozenset[str]) -> Plan:
        """The same with nothing but these parts."""
        return self.without(frozenset(self.names()) - names)

    def without(self, names: frozenset[str]) -> Plan:
        """The same with these parts left out; tasks lose the dependencies that are left out."""
        gone = {name.removeprefix("task-") for name in names if name.startswith("task-")}
        clients = [
            ClientPlan(
                client.name,
                client.host,
                [_cut(step, gone) for step in client.steps if step.name not in names],
                [errand for errand in client.errands if errand.name not in names],
            )
            for client in self.clients
            if client.name not in names
        ]
        workers = [worker for worker in self.workers if worker.name not in names]
        return Plan(workers, clients, [fault for fault in self.faults if fault.name not in names], self.prints)


def _cut(step: Step, gone: set[str]) -> Step:
    tasks = [
        Recipe(
            task.key,
            task.spec,
            tuple(key for key in task.dependencies if key not in gone),
            task.duration,
            task.nbytes,
            task.raises,
            task.kills,
            task.children,
        )
        for task in step.tasks
        if task.key not in gone
    ]
    return Step(step.name, step.kind, step.pause, tasks, [key for key in step.keys if key not in gone], step.share)


def draw_plan(chance: Chance) -> Plan:
    """The plan of a seed."""
    draws = chance.stream("plan")
    mood = draws.pick(("calm", "usual", "usual", "rough", "rough", "wild"))
    workers = [_worker(chance.stream(f"worker-{number}"), number) for number in range(draws.between(3, 6))]
    shared = [
        Recipe(f"s{number}", TaskSpec(FUNCTIONS[0]), (), draws.skewed(1, 100) * MS, draws.pick(SIZES))
        for number in range(draws.between(4, 10))
    ]
    clients = [_client(chance, number, workers, shared) for number in range(draws.between(1, 3))]
    parents = [task for client in clients for step in client.steps if step.kind == "map" for task in step.tasks]
    give_children(chance.stream("nested"), [task for task in parents if task.spec.wanted])
    errands = draw_errands(chance.stream("coordination"), len(clients))
    for client, drawn in zip(clients, errands, strict=True):
        client.errands = drawn
    give_actors(chance.stream("actors"), [task for client in clients for step in client.steps for task in step.tasks])
    for number, client in enumerate(clients):
        _add_hopeless(chance.stream(f"unrunnable-{number}"), number, client)
    count = {"calm": 0, "usual": 4, "rough": 9, "wild": 18}[mood]
    faults = [_fault(chance.stream(f"fault-{number}"), number) for number in range(draws.between(count // 2, count))]
    _limit_times(chance, clients)
    strikes = allow_seconds(chance, [task for client in clients for step in client.steps for task in step.tasks])
    _make_families(chance, clients)
    _widen(chance, workers, clients)
    for number in range(chance.stream("cancels").below(6)):
        draws = chance.stream(f"cancel-{number}")
        at = draws.between(1, SCRIPT // MS) * MS
        faults.append(Fault(f"cancel-{number}", "cancel running", at, 20 * MS, draws.below(1000), 0))
    for number in range(strikes):
        draws = chance.stream(f"strike-{number}")
        faults.append(_fault(draws, number))
        faults[-1].name, faults[-1].kind = f"strike-{number}", "strike"
    people = chance.stream("people")  # of its own, so that most seeds are about nothing of it
    if not people.percent(30):
        return Plan(workers, clients, faults)
    for number in range(people.between(1, 8)):
        fault = _fault(chance.stream(f"wish-{number}"), number)
        fault.name, fault.kind = f"wish-{number}", people.pick(_WISHES)
        faults.append(fault)
    return Plan(workers, clients, faults, prints=True)


_WISHES = ("equip", "equip", "equip", "equip", "unplug", "restart")


def _limit_times(chance: Chance, clients: list[ClientPlan]) -> None:
    """A few tasks may not run for long. Drawn beside all else, so that the rest of a seed stays as it was."""
    for client in clients:
        for step in client.steps:
            for task in step.tasks:
                draws = chance.stream(f"limit of {task.key}")
                if task.key[0] != "s" and draws.percent(LIMITED_PERCENT):
                    task.spec = task.spec._replace(timeout_s=draws.pick((0.02, 0.1, 2.0)))


def _make_families(chance: Chance, clients: list[ClientPlan]) -> None:
    """A few tasks were submitted by an earlier task, as far as the scheduler knows. Drawn likewise."""
    for client in clients:
        earlier: list[str] = []
        for step in client.steps:
            for task in step.tasks:
                draws = chance.stream(f"parent of {task.key}")
                if earlier and task.key[0] != "s" and draws.percent(CHILDREN_PERCENT):
                    task.spec = task.spec._replace(parent=draws.pick(earlier), depth=1)
            earlier += [task.key for task in step.tasks if task.key[0] != "s"]


def _widen(chance: Chance, workers: list[WorkerPlan], clients: list[ClientPlan]) -> None:
    """In some seeds there are tasks of several threads, as many as some worker has. Drawn likewise."""
    draws = chance.stream("wide")
    most = max(worker.nthreads for worker in workers)
    if most == 1 or not draws.percent(WIDE_SEEDS_PERCENT):
        return
    for client in clients:
        for step in client.steps:
            for task in step.tasks:
                spec = task.spec
                is_bound = spec.actor or spec.redundant or spec.workers or spec.resources or spec.platform
                if task.key[0] != "s" and not is_bound and draws.percent(WIDE_PERCENT):
                    task.spec = spec._replace(threads=draws.between(2, most))


def _add_hopeless(draws: Stream, number: int, client: ClientPlan) -> None:
    """Now and then somebody submits a graph that needs a worker which will never be there.

    It has a stream of its own, so that the other plans of a seed are what they were without it.
    """
    if not draws.percent(HOPELESS_PERCENT):
        return
    step = Step(f"step-{number}.hopeless", "hopeless", draws.skewed(0, 600) * MS, share=100)
    spec = TaskSpec(FUNCTIONS[0], workers=NOWHERE, wanted=draws.percent(50))
    blocked = [Recipe(f"h{number}.{index}", spec, (), 5 * MS) for index in range(draws.between(1, 3))]
    needs = tuple(recipe.key for recipe in blocked)
    step.tasks = [*blocked, Recipe(f"h{number}.sum", TaskSpec(FUNCTIONS[1]), needs, 5 * MS)]
    client.steps.insert(draws.between(0, len(client.steps)), step)


def _worker(draws: Stream, number: int) -> WorkerPlan:
    return WorkerPlan(
        name=f"worker-{number}",
        host=f"host-{number % 4}",
        nthreads=draws.pick((1, 1, 2, 2, 4)),
        has_nanny=draws.percent(60),
        is_named=draws.percent(40),
        keeps_port=draws.percent(50),
        resources={"gpu": 1.0} if number == 1 else {"gpu": 2.0, "disk": 1.0} if number == 2 else {},
        tags=("darwin", "darwin-arm64") if number and draws.percent(25) else ("linux", "linux-x86_64"),
        speed=draws.pick((1, 1, 1, 2, 5)),
        memory_limit_nbytes=draws.pick((None, None, 45_000_000, 80_000_000, 200_000_000)),
    )


_FAULTS = (
    *("crash", "crash", "crash", "crash silent", "break", "break", "half-open", "partition", "partition", "pause"),
    *("pause", "slow", "slow", "lose", "lose", "duplicate", "duplicate", "duplicate", "reorder"),
    *("split workers", "split workers", "split workers", "ghost", "ghost", "echo", "echo"),
    *("crash scheduler", "close scheduler", "crash client", "crash nanny", "leave", "retire"),
    *("retire", "full disk", "full disk", "broken disk", "retire order", "rebalance", "replicate", "broadcast"),
)


def _fault(draws: Stream, number: int) -> Fault:
    return Fault(
        name=f"fault-{number}",
        kind=draws.pick(_FAULTS),
        at=draws.between(1, SCRIPT // MS) * MS,
        lasts=draws.pick((20, 200, 700, 2_000, 12_000)) * MS,
        one=draws.below(1000),
        other=draws.below(1000),
    )


class _Client:
    """Draws the steps of one client."""

    def __init__(self, draws: Stream, number: int, workers: list[WorkerPlan], shared: list[Recipe]) -> None:
        self.draws, self.number, self.workers, self.shared = draws, number, workers, shared
        self.letter = "abc"[number]
        self.count = 0
        self.known: list[str] = []  # keys that it may hold

    def steps(self) -> Iterator[Step]:
        """All steps: work first, then a mixture."""
        total = self.draws.between(8, 20)
        for index in range(total):
            kind = self.draws.pick(("graph", "graph", "map")) if index < 2 else self.draws.pick(_KINDS)
            pause = self.draws.skewed(0, 600) * MS
            step = Step(f"step-{self.number}.{index}", kind, pause, share=self.draws.pick((10, 30, 60, 100)))
            self._fill(step)
            yield step

    def _fill(self, step: Step) -> None:
        draws = self.draws
        if step.kind == "map":
            spec = self._spec()
            step.tasks = [self._task(spec, ()) for _ in range(draws.between(3, 24))]
            if draws.percent(50):
                step.tasks += draws.some(self.shared, 4)
        elif step.kind == "submit":
            step.tasks = [self._task(self._spec(), self._held(2)) for _ in range(draws.between(1, 6))]
        elif step.kind == "graph":
            step.tasks = self._graph()
        elif step.kind == "scatter":
            step.keys = [f"{self.letter}data{self.count + index}" for index in range(draws.between(1, 3))]
            self.count += len(step.keys)
        elif step.kind == "want":
            step.keys = [task.key for task in draws.some(self.shared, 3)] + draws.some(self.known, 2)
        new = [task.key for task in step.tasks if task.spec.wanted] + (step.keys if step.kind == "scatter" else [])
        self.known = list(dict.fromkeys([*self.known, *new]))

    def _held(self, count: int) -> tuple[str, ...]:
        return tuple(self.draws.some(self.known, self.draws.below(count + 1))) if self.known else ()

    def _task(self, spec: TaskSpec, dependencies: tuple[str, ...]) -> Recipe:
        draws = self.draws
        self.count += 1
        recipe = Recipe(f"{self.letter}{self.count}", spec, dependencies, draws.skewed(1, 300) * MS, draws.pick(SIZES))
        fate = draws.below(100)
        if fate < 4:
            recipe.raises = ALWAYS
        elif fate < 8 and spec.retries:
            recipe.raises = draws.between(1, spec.retries)
        elif fate == 8:
            recipe.kills = ALWAYS
        elif fate == 9:
            recipe.kills = draws.between(1, 2)
        return recipe

    def _spec(self, wanted: bool = True) -> TaskSpec:
        draws = self.draws
        kind = draws.below(100)
        return TaskSpec(
            draws.pick(FUNCTIONS),
            priority=draws.pick((0, 0, 0, 0, 5, -5)),
            retries=draws.pick((0, 0, 2)),
            wanted=wanted,
            workers=self._workers_named() if kind < 14 else None,
            resources=(("gpu", 1.0),) if 14 <= kind < 20 else None,
            allow_other_workers=kind < 5,
            platform=draws.pick(("linux*", "linux-x86_64")) if 20 <= kind < 25 else None,
            memory_limit_nbytes=draws.pick((10_000_000, 30_000_000)) if 25 <= kind < 32 else None,
        )

    def _workers_named(self) -> tuple[str, ...]:
        places = [worker.host for worker in self.workers]
        return tuple(sorted(set(self.draws.some(places, 2))))

    def _graph(self) -> list[Recipe]:
        """A graph whose sinks are wanted, each task after those that it needs."""
        draws = self.draws
        shape = draws.pick(("tree", "reduce", "chain", "diamond", "random"))
        tasks: list[Recipe] = []

        def add(*needs: Recipe) -> Recipe:
            task = self._task(self._spec(), tuple(dict.fromkeys(need.key for need in needs)))
            tasks.append(task)
            return task

        if shape == "tree":
            level = [add() for _ in range(draws.pick((4, 8)))]
            while len(level) > 1:
                level = [add(*level[index : index + 2]) for index in range(0, len(level), 2)]
        elif shape == "reduce":
            add(*[add() for _ in range(draws.between(5, 20))])
        elif shape == "chain":
            last = add()
            for _ in range(draws.between(3, 10)):
                last = add(last)
        elif shape == "diamond":
            top = add()
            add(*[add(top) for _ in range(draws.between(2, 6))])
        else:
            for _ in range(draws.between(5, 18)):
                add(*draws.some(tasks, draws.below(4)))
        if self.known and draws.percent(30):  # on top of something that it holds
            tasks[0].dependencies = (*tasks[0].dependencies, *draws.some(self.known, 1))
        used = {key for task in tasks for key in task.dependencies}
        for task in tasks:
            if task.key in used:
                task.spec = task.spec._replace(wanted=False)
        return tasks


_KINDS = (
    *("graph", "graph", "map", "map", "submit", "submit", "want", "release", "release", "cancel", "gather", "gather"),
    *("scatter", "scatter", "again", "again", "again", "leave"),
)


def _second_thoughts(draws: Stream, number: int, steps: list[Step]) -> list[Step]:
    """`steps` with retries and late cancels among them, for some clients; some tasks succeed when they are retried.

    Drawn from a stream of its own, so that other plans are what they were before there were retries.
    """
    if not draws.percent(35):
        return steps
    for step in steps:
        for task in step.tasks:
            if task.raises == ALWAYS and draws.percent(50):
                task.raises = task.spec.retries + 1  # the first retry by hand has luck
    done: list[Step] = []
    for index, step in enumerate(steps):
        done.append(step)
        if index and draws.percent(30):
            kind = draws.pick(("retry", "retry", "retry", "cancel_queued"))
            pause, share = draws.skewed(0, 400) * MS, draws.pick((30, 60, 100, 100))
            done.append(Step(f"step-{number}.{index}+", kind, pause, share=share if kind == "retry" else 30))
    return done


def _client(chance: Chance, number: int, workers: list[WorkerPlan], shared: list[Recipe]) -> ClientPlan:
    name = f"client-{number}"
    steps = list(_Client(chance.stream(name), number, workers, shared).steps())
    return ClientPlan(name, f"host-{4 + number}", _second_thoughts(chance.stream(f"{name} again"), number, steps))
