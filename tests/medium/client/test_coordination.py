"""Locks, events, semaphores, queues, variables, topics and datasets of several clients, on real connections."""

from __future__ import annotations

import asyncio
import pickle
import threading
from dataclasses import replace

import pytest

from distributed import Client, Event, Lock, MultiLock, Pub, Queue, Semaphore, Sub, Variable
from distributed.errors import BadRequestError, CoordinationLimitError, NotHeldError
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc

OTHER = {"asynchronous": True}


@pytest.fixture
def two(background):
    with Client(background.address) as one, Client(background.address) as other:
        yield one, other


def in_thread(function):
    """The result of `function`, computed in a thread; call what is returned to have it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()

    def result():
        thread.join(10)
        return found[0]

    return result


# ---------------------------------------------------------------- locks


def test_a_lock_is_held_by_one_client(two):
    mine, other = Lock("x", two[0]), Lock("x", two[1])
    assert mine.acquire() is True
    assert other.acquire(blocking=False) is False
    assert other.acquire(timeout="20ms") is False
    assert other.locked()
    waits = in_thread(other.acquire)
    mine.release()
    assert waits() is True
    other.release()
    assert not mine.locked()


def test_a_lock_is_free_when_its_client_is_closed(background, two):
    with Client(background.address) as third:
        Lock("x", third).acquire()
        waits = in_thread(Lock("x", two[0]).acquire)
    assert waits() is True


def test_with_a_lock_only_one_is_inside(two):
    inside, most = [0], [0]

    def work(client):
        for _ in range(20):
            with Lock("x", client):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
        return True

    assert all([result() for result in [in_thread(lambda c=client: work(c)) for client in two for _ in range(2)]])
    assert most == [1]


def test_who_does_not_hold_a_lock_cannot_release_it(two):
    Lock("x", two[0]).acquire()
    with pytest.raises(NotHeldError, match="lock 'x' is not held here: this handle has not acquired it"):
        Lock("x", two[1]).release()


def test_a_lock_given_after_the_time_was_up_is_free_again(two):
    mine = Lock("x", two[0])
    for _ in range(30):
        mine.acquire(timeout=1e-4)  # may come, or come too late
        if mine._leases:
            mine.release()
    assert Lock("x", two[1]).acquire(timeout=10)


def test_several_locks_together(two):
    both = MultiLock(["x", "y"], two[0])
    with both:
        assert Lock("y", two[1]).acquire(blocking=False) is False
        some = MultiLock(["x", "z"], two[1])
        assert some.acquire(num_locks=1)
        assert Lock("z", two[0]).locked()
        some.release()
    assert Lock("y", two[1]).acquire(blocking=False)
    with pytest.raises(ValueError, match="num_locks=3"):
        both.acquire(num_locks=3)


def test_a_semaphore_lets_in_so_many(two):
    mine, other = Semaphore(2, "s", two[0]), Semaphore(2, "s", two[1])
    assert mine.acquire()
    assert mine.acquire()
    assert other.get_value() == 2
    assert other.acquire(timeout=0) is False
    mine.release()
    with other:
        assert mine.get_value() == 2
    mine.release()
    with pytest.raises(NotHeldError):
        mine.release()
    with pytest.raises(ValueError, match="max_leases=0"):
        Semaphore(0)


def test_a_semaphore_of_another_size_is_refused(two):
    with Semaphore(2, "s", two[0]), pytest.raises(BadRequestError, match="others use 's' with max_leases=2, not 3"):
        Semaphore(3, "s", two[1]).acquire()


# ---------------------------------------------------------------- events, variables, queues


def test_an_event_is_seen_by_all(two):
    mine, other = Event("e", two[0]), Event("e", two[1])
    assert mine.wait(timeout=0) is False
    assert mine.wait(timeout=0.01) is False
    waits = in_thread(mine.wait)
    other.set()
    assert waits() is True
    assert mine.is_set()
    mine.clear()
    assert not other.is_set()


def test_a_variable_goes_from_one_to_the_other(two):
    mine, other = Variable("v", two[0]), Variable("v", two[1])
    with pytest.raises(TimeoutError, match=r"variable 'v': nobody has set it within 0\.01 s"):
        other.get(timeout=0.01)
    waits = in_thread(other.get)
    mine.set({"a": [1, 2]})
    assert waits() == {"a": [1, 2]}
    mine.delete()
    with pytest.raises(TimeoutError):
        other.get(timeout=0)


def test_queued_items_come_in_order(two):
    mine, other = Queue("q", two[0]), Queue("q", two[1])
    for number in range(5):
        mine.put(number)
    assert other.qsize() == 5
    assert other.get() == 0
    assert other.get(batch=2) == [1, 2]
    assert other.get(batch=True) == [3, 4]
    assert other.get(batch=True) == []
    with pytest.raises(TimeoutError, match=r"queue 'q': too few items came within 0\.01 s"):
        other.get(timeout=0.01)


def test_a_batch_that_does_not_come_in_time_stays_in_the_queue(two):
    mine, other = Queue("q", two[0]), Queue("q", two[1])
    mine.put(1)
    with pytest.raises(TimeoutError):
        other.get(timeout=0.02, batch=2)
    assert mine.get(timeout=10) == 1


def test_a_batch_of_more_than_one_answer_has(two, monkeypatch):
    monkeypatch.setattr("distributed.scheduler.coordination.queues.BATCH_COUNT_MAX", 2)
    mine = Queue("q", two[0])
    for number in range(7):
        mine.put(number)
    assert mine.get(batch=5) == [0, 1, 2, 3, 4]
    assert mine.get(batch=True) == [5, 6]


def test_a_full_queue_is_waited_for(two):
    mine, other = Queue("q", two[0], maxsize=1), Queue("q", two[1])
    mine.put(1)
    with pytest.raises(TimeoutError, match=r"queue 'q': it was full for 0\.01 s"):
        mine.put(2, timeout=0.01)
    waits = in_thread(lambda: mine.put(3))
    assert other.get() == 1
    assert waits() is None
    assert other.get() == 3
    mine.put(4)
    other.close()
    assert mine.qsize() == 0


def test_a_future_in_an_item_outlives_who_put_it(background, two):
    queue, variable = Queue("q", two[0]), Variable("v", two[0])
    with Client(background.address) as third:
        Queue("q", third).put({"future": third.submit(inc, 1), "name": "x"})
        Variable("v", third).set(third.submit(inc, 10))
    got = queue.get()
    assert got["name"] == "x"
    assert got["future"].result() == 2
    assert [Variable("v", client).get().result() for client in two] == [11, 11]
    variable.delete()
    got = None
    state = background.scheduler.machine.state
    background.thread.run(until(lambda: not state.tasks and not state.coordination.held))


def test_a_future_of_its_own_comes_back_to_a_client(two):
    queue = Queue("q", two[0])
    future = two[0].submit(inc, 1)
    queue.put(future)
    again = queue.get()
    assert again == future
    del future
    assert again.result() == 2


def test_what_is_too_big_is_said_to_be_scattered(two):
    with pytest.raises(CoordinationLimitError, match=r"an item of .* bytes.*: scatter it"):
        Queue("q", two[0]).put(bytes(2_000_000))
    Queue("q", two[0]).put(bytes(900_000))
    assert len(Queue("q", two[1]).get()) == 900_000


# ---------------------------------------------------------------- topics, datasets


def test_whoever_has_subscribed_gets_what_is_published(two):
    pub = Pub("t", two[0])
    assert pub.put("nobody hears") == 0
    one, other = Sub("t", two[0]), Sub("t", two[1], buffer=2)
    for number in range(4):
        assert pub.put(number) == 2
    assert [one.get() for _ in range(4)] == [0, 1, 2, 3]
    assert [other.get() for _ in range(2)] == [2, 3]
    assert (one.dropped, other.dropped) == (0, 2)
    with pytest.raises(TimeoutError, match=r"topic 't': nothing was published within 0\.01 s"):
        one.get(timeout=0.01)
    waits = in_thread(lambda: next(iter(other)))
    pub.put("last")
    assert waits() == "last"
    one.close()
    assert pub.put("x") == 1


def test_a_subscription_ends_with_its_handle(background, two, no_gc):
    sub = Sub("t", two[0])
    topics = background.scheduler.machine.state.coordination.topics
    assert "t" in topics
    del sub
    background.thread.run(until(lambda: not topics))


def test_datasets_are_there_for_programs_that_come_later(background, two):
    with Client(background.address) as third:
        third.publish_dataset(numbers=third.map(inc, range(3)), word="hello")
        third.publish_dataset(third.submit(inc, 41), name="answer")
    assert two[0].list_datasets() == ("numbers", "word", "answer")
    assert two[0].gather(two[0].get_dataset("numbers")) == [1, 2, 3]
    assert two[1].get_dataset("answer").result() == 42
    with pytest.raises(KeyError, match="dataset 'word' is published already"):
        two[0].publish_dataset(word="other")
    two[0].publish_dataset(word="other", override=True)
    assert two[1].get_dataset("word") == "other"
    two[0].unpublish_dataset("word")
    with pytest.raises(KeyError, match="dataset 'word' is not published"):
        two[0].get_dataset("word")
    with pytest.raises(KeyError, match="dataset 'word' is not published"):
        two[0].unpublish_dataset("word")
    assert two[0].get_dataset("word", default=None) is None
    with pytest.raises(ValueError, match="one value and name="):
        two[0].publish_dataset(1, 2)


# ---------------------------------------------------------------- handles, interruption


def test_a_handle_comes_out_of_a_pickle_with_its_name(two):
    handles = [
        Lock("x"),
        MultiLock(["x", "y"]),
        Semaphore(3, "s"),
        Event("e"),
        Queue("q", maxsize=5),
        Variable("v"),
        Pub("t"),
    ]
    for handle in handles:
        back = pickle.loads(pickle.dumps(handle))
        assert (type(back), back.name) == (type(handle), handle.name)
        assert repr(back) == repr(handle)
    assert pickle.loads(pickle.dumps(Semaphore(3, "s"))).max_leases == 3
    assert pickle.loads(pickle.dumps(Queue("q", maxsize=5))).maxsize == 5
    assert Lock().name != Lock().name
    assert Lock("x").client is two[1]


@gen_cluster(client=True)
async def test_everything_can_be_awaited(client, scheduler, a, b):
    async with Client(scheduler.address, asynchronous=True) as other:
        async with Lock("x", client):
            assert not await Lock("x", other).acquire(timeout=0.01)
        async with MultiLock(["x", "y"], other), Semaphore(2, "s", client):
            assert await Semaphore(2, "s", other).get_value() == 1
        event = Event("e", client)
        waits = asyncio.ensure_future(event.wait())
        await Event("e", other).set()
        assert await waits
        await Queue("q", client).put(client.submit(inc, 1))
        assert await (await Queue("q", other).get()) == 2
        await Variable("v", client).set(5)
        assert await Variable("v", other).get() == 5
        sub = Sub("t", other)
        await sub.start()
        await sub.start()
        assert await Pub("t", client).put("news") == 1
        async for message in sub:
            assert message == "news"
            break
        await sub.close()
        await sub.close()
        await client.publish_dataset(x=[client.submit(inc, 2)])
        assert await (await other.get_dataset("x"))[0] == 3
        assert await other.list_datasets() == ("x",)
        await other.unpublish_dataset("x")


@gen_cluster(client=True)
async def test_a_wait_that_is_cancelled_holds_nothing(client, scheduler, a, b):
    own = scheduler.machine.state.coordination
    async with Client(scheduler.address, asynchronous=True) as other:
        lock = Lock("x", client)
        await lock.acquire()
        waits = asyncio.ensure_future(Lock("x", other).acquire())
        gets = asyncio.ensure_future(Queue("q", other).get())
        await until(lambda: own.requests == 2)
        waits.cancel()
        gets.cancel()
        await until(lambda: own.requests == 0)
        await Queue("q", client).put("kept")
        await lock.release()
        assert not await Lock("x", client).locked()
        assert await Queue("q", client).get(timeout=10) == "kept"


def test_ctrl_c_in_a_wait_leaves_nothing_behind(background, two, monkeypatch):
    own = background.scheduler.machine.state.coordination
    Lock("x", two[0]).acquire()

    def interrupted(loop, coroutine, timeout_s=None):
        run_later = asyncio.run_coroutine_threadsafe(coroutine, loop)
        background.thread.run(until(lambda: own.requests == 1))
        run_later.cancel()
        raise KeyboardInterrupt

    monkeypatch.setattr("distributed.client.coordination.errand.run_lent", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Lock("x", two[1]).acquire()
    background.thread.run(until(lambda: own.requests == 0))
    assert own.locks["x"].lease is not None


def test_what_no_message_can_carry_is_said_at_once(two):
    with pytest.raises(ValueError, match="5 is no name of a lock: a text of 1 to 1,000 characters"):
        Lock(5, two[0]).acquire()
    with pytest.raises(ValueError, match="is out of range for a semaphore"):
        Semaphore(2**40, "s", two[0]).acquire()
    with pytest.raises(ValueError, match="is no name of a dataset"):
        two[0].publish_dataset(1, name="")
    assert Lock("x", two[0]).acquire(), "the session goes on"


def test_an_item_over_a_limit_of_messages_is_refused(two):
    link = two[0]._session.link
    link._endpoint.limits = replace(link._endpoint.limits, message_nbytes_max=100_000)
    with pytest.raises(CoordinationLimitError, match="is over the limit of 100,000"):
        Queue("q", two[0]).put(bytes(200_000))
    Queue("q", two[0]).put(1)
    assert Queue("q", two[1]).get() == 1


def test_a_release_that_is_interrupted_releases_all_the_same(background, two, monkeypatch):
    lock = Lock("x", two[0])
    lock.acquire()
    session = two[0]._session

    def interrupted(coroutine, timeout_s=None):
        coroutine.close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.release()
    assert Lock("x", two[1]).acquire(timeout=10)


def test_a_handle_finds_another_client_when_the_one_that_it_found_is_closed(background):
    lock = Lock("x")
    with Client(background.address) as one:
        assert lock.acquire()
        assert lock.client is one
        lock.release()
    with Client(background.address) as other:
        assert lock.acquire()
        assert lock.client is other
