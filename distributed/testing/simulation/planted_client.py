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
    ),
    Fault(
        "done-of-a-released-life",
        "The answer to a released task counts for the one submitted after it.",
        "distributed.client.table",
        "KeyTable.on_done",
        ((" and not (fading and key in fading)", ""),),
    ),
    Fault(
        "fades-one-too-long",
        "A release fades until one more message is confirmed.",
        "distributed.client.table",
        "KeyTable.confirmed",
        (("self._fading_by_number[0][0] <= count", "self._fading_by_number[0][0] < count"),),
    ),
    Fault(
        "lost-but-here",
        "A result that came here counts as pending while it is computed again.",
        "distributed.client.table",
        "KeyTable.on_lost",
        ((" and record.payload is None", ""),),
    ),
    Fault(
        "fading-survives-session",
        "Releases told to the last scheduler are waited for at the next one.",
        "distributed.client.table",
        "KeyTable.lose_session",
        (("        self._fading.clear()\n", ""),),
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
    ),
    Fault(
        "cancel-at-a-new-scheduler",
        "A key that the new scheduler does not know waits for its cancel.",
        "distributed.client.table",
        "KeyTable.lose_session",
        (("                record.is_unsent = True", "                record.is_unsent = False"),),
    ),
    Fault(
        "functions-not-sent-again",
        "A new scheduler is not sent the functions that the last one had.",
        "distributed.client.outbox",
        "Outbox.clear",
        (("        self._sent.clear()\n", ""),),
    ),
    Fault(
        "put-back-reversed",
        "Messages put back leave in the wrong order.",
        "distributed.client.outbox",
        "Outbox.put_back",
        (("reversed(messages)", "messages"),),
    ),
    Fault(
        "one-confirmed-too-many",
        "A confirmation drops one message more than it confirms.",
        "distributed.ledger",
        "Ledger.confirmed",
        (("while self.confirmed_count < count:", "while self._kept and self.confirmed_count <= count:"),),
    ),
    Fault(
        "replay-skips-one",
        "A resumed session does not repeat the first message that is missing.",
        "distributed.ledger",
        "Ledger.missing",
        (("for message, _ in self._kept]", "for message, _ in list(self._kept)[1:]]"),),
    ),
    Fault(
        "replay-of-all",
        "A resumed session repeats what the other side has received.",
        "distributed.ledger",
        "Ledger.missing",
        (("        self.confirmed(count)\n", ""),),
    ),
    Fault(
        "told-before-received",
        "What the other side was told is one less than what came.",
        "distributed.ledger",
        "Ledger.confirm",
        (("return self.received", "return self.received - 1"),),
    ),
    Fault(
        "resumed-with-a-gap",
        "A session is resumed although messages in between are gone.",
        "distributed.ledger",
        "Ledger.can_resume",
        (("self.confirmed_count <= count <= self.sent", "count <= self.sent"),),
    ),
    Fault(
        "confirmed-late",
        "A confirmation is sent one message later than promised.",
        "distributed.ledger",
        "Ledger.receive",
        ((">= CONFIRM_COUNT", "> CONFIRM_COUNT"),),
    ),
)
