"""The scheduler's machine for coordination: locks, semaphores, events, queues, variables, topics and datasets.

All of them are *places*: named things at which requests of clients wait, in the order in which they came. Pure as the
rest of the machine, with a state of its own (`SchedulerState.coordination`). The parts, in import order::

    records      what there is: places, requests, leases, items, one desk for each client
    items        payloads that places keep, and the keys of futures in them, which are held for them
    answering    requests wait, are answered, are told whom they wait for
    locks        locks and semaphores           queues       queues
    signals      events and variables           topics       publish and subscribe; datasets
    requests     what clients ask for, withdraw and take; clients that leave; time
    invariants   what must be true between two events
"""
