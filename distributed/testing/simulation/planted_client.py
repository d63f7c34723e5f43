"""Faults to plant in clients, and in the ledger of both sides."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["CLIENT_FAULTS"]

CLIENT_FAULTS: tuple[Fault, ...] = (
    Fault(
        "done-while-cancelling",
        "A result that comes while a key is being cancelled counts.",
        "distributed.client.table",
        "KeyTable.on_done",
        (("not record.is_cancelling and ", ""),),
        seeds=(4,),
    ),
    Fault(
        "done-of-a-released-life",
        "The answer to a released task counts for the one submitted after it.",
        "distributed.client.table",
        "KeyTable.on_done",
        ((" and not (fading and key in fading)", ""),),
        seeds=(36,),
    ),
    Fault(
        "fades-one-too-long",
        "A release fades until one more message is confirmed.",
        "distributed.client.table",
        "KeyTable.confirmed",
        (("self._fading_by_number[0][0] <= count", "self._fading_by_number[0][0] < count"),),
        seeds=(3, 2, 4),
    ),
    Fault(
        "released-though-added-again",
        "A function leaves with the next tasks, not with those behind the release of its last life.",
        "distributed.client.outbox",
        "Outbox.add_functions",
        (("            self._items.append(fresh)\n", "            self._functions.update(fresh)\n"),),
        seeds=(79,),
    ),
    Fault(
        "lost-but-here",
        "A result that came here counts as pending while it is computed again.",
        "distributed.client.table",
        "KeyTable.on_lost",
        ((" and record.payload is None", ""),),
        note="Harmless for results: met 3,568 times; a client waits once more for what it has already.",
    ),
    Fault(
        "fading-survives-session",
        "Releases told to the last scheduler are waited for at the next one.",
        "distributed.client.table",
        "KeyTable.lose_session",
        (("        self._fading.clear()\n", ""),),
        note="Met in 24 of 300 seeds, and no rule broke: it takes that the same key is submitted again.",
    ),
    Fault(
        "lost-not-asked-again",
        "A lost key that is submitted again is not sent.",
        "distributed.client.table",
        "KeyTable.admit",
        (
            (
                "if record.status is Status.CANCELLED or record.status is Status.LOST:",
                "if record.status is Status.CANCELLED:",
            ),
        ),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "cancel-at-a-new-scheduler",
        "A key that the new scheduler does not know waits for its cancel.",
        "distributed.client.table",
        "KeyTable.lose_session",
        (("                record.is_unsent = True", "                record.is_unsent = False"),),
        note="Harmless alone: the new scheduler answers that it does not know the key.",
    ),
    Fault(
        "functions-not-sent-again",
        "A new scheduler is not sent the functions that the last one had.",
        "distributed.client.outbox",
        "Outbox.clear",
        (("        self._sent.clear()\n", ""),),
        seeds=(0, 22, 19),
    ),
    Fault(
        "put-back-reversed",
        "Messages put back leave in the wrong order.",
        "distributed.client.outbox",
        "Outbox.put_back",
        (("reversed(messages)", "messages"),),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "one-confirmed-too-many",
        "A confirmation drops one message more than it confirms.",
        "distributed.ledger",
        "Ledger.confirmed",
        (("while self.confirmed_count < count:", "while self._kept and self.confirmed_count <= count:"),),
        seeds=(10,),
    ),
    Fault(
        "replay-skips-one",
        "A resumed session does not repeat the first message that is missing.",
        "distributed.ledger",
        "Ledger.missing",
        (("for message, _ in self._kept]", "for message, _ in list(self._kept)[1:]]"),),
        seeds=(10,),
    ),
    Fault(
        "replay-of-all",
        "A resumed session repeats what the other side has received.",
        "distributed.ledger",
        "Ledger.missing",
        (("        self.confirmed(count)\n", ""),),
        seeds=(10,),
    ),
    Fault(
        "told-before-received",
        "What the other side was told is one less than what came.",
        "distributed.ledger",
        "Ledger.confirm",
        (("return self.received", "return self.received - 1"),),
        seeds=(2, 3, 4),
    ),
    Fault(
        "resumed-with-a-gap",
        "A session is resumed although messages in between are gone.",
        "distributed.ledger",
        "Ledger.can_resume",
        (("self.confirmed_count <= count <= self.sent", "count <= self.sent"),),
        note="Not met: a gap needs 100,000 messages or 64 MiB unconfirmed.",
    ),
    Fault(
        "confirmed-late",
        "A confirmation is sent one message later than promised.",
        "distributed.ledger",
        "Ledger.receive",
        ((">= CONFIRM_COUNT", "> CONFIRM_COUNT"),),
        note="Harmless: one message more is kept.",
    ),
)
