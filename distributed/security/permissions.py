"""Which role may call which op: one row per op, checked by the server before a handler is looked up.

Roles: ``client`` submits work and asks everything; ``worker`` runs work and serves data; ``readonly`` only looks.
Ops of servers that users write are open to client and worker. A ``guest`` is somebody else, who shows a named
credential (`security.credentials`) and not a key of this user's: it may use what an offer lends, and nothing more.
"""

from __future__ import annotations

__all__ = ["CLIENT", "GUEST", "READONLY", "ROLES", "WORKER", "may_call", "may_send_frames", "may_send_objects"]

CLIENT, WORKER, READONLY = "client", "worker", "readonly"
ROLES = (CLIENT, WORKER, READONLY)  # of this user; each has a key that derives from the user's own
GUEST = "guest"

_ANYONE = frozenset(ROLES)
_EVERYBODY = frozenset({*ROLES, GUEST})
_TRUSTED = frozenset({CLIENT, WORKER})
_CLIENTS = frozenset({CLIENT})
_WORKERS = frozenset({WORKER})
_TENANTS = frozenset({CLIENT, GUEST})  # of ops that an offer serves to Mains: also to those of other users

_ROLES_BY_OP: dict[str, frozenset[str]] = {
    # every server
    "identity": _EVERYBODY,
    "ping": _EVERYBODY,
    "ops": _ANYONE,
    "close": _EVERYBODY,
    # scheduler
    "scheduler_info": _ANYONE,
    "ncores": _ANYONE,
    "nthreads": _ANYONE,  # of those who run tasks only; a center's members have cores, too
    "who_has": _ANYONE,
    "has_what": _ANYONE,
    "processing": _ANYONE,
    "nbytes": _ANYONE,
    "desired_workers": _ANYONE,
    "why": _ANYONE,
    "story": _ANYONE,
    "task_stream": _ANYONE,
    "overview": _ANYONE,
    "register_client": _CLIENTS,
    "register_worker": _WORKERS,
    "worker_died": _WORKERS,
    "dial_worker": _WORKERS,
    "worker_alive": _WORKERS,
    "worker_replacing": _WORKERS,
    "replicate": _CLIENTS,
    "rebalance": _CLIENTS,
    "retire_workers": _CLIENTS,
    "gather": _CLIENTS,
    "scatter": _CLIENTS,
    "cancel": _CLIENTS,
    "terminate": _CLIENTS,
    "add_equipment": _CLIENTS,
    "remove_equipment": _CLIENTS,
    "restart": _CLIENTS,
    "run_on": _CLIENTS,
    "versions": _ANYONE,
    # center
    "register": _TRUSTED,
    "unregister": _TRUSTED,
    "add_keys": _TRUSTED,
    "remove_keys": _TRUSTED,
    "worker_services": _ANYONE,
    "broadcast": _CLIENTS,
    # worker
    "get_data": _TRUSTED,
    "put_data": _TRUSTED,  # no new power for workers: they may tell the scheduler of data they hold anyway
    "update_data": _CLIENTS,
    "delete_data": _TRUSTED,
    "compute": _CLIENTS,
    "actors": _TRUSTED,  # tasks and actors call actors too
    "health": _ANYONE,
    "explain": _ANYONE,
    "serve_scheduler": frozenset({*_TRUSTED, GUEST}),  # of nanny and offer, too: see `comm.dialled`
    "run": _TRUSTED,  # no new power for workers: they have each other unpickle data
    # nanny
    "instantiate": _CLIENTS,
    "kill": _CLIENTS,
    "replace": _WORKERS,  # asked by the scheduler, which has the key of workers
    "renew": _TRUSTED,  # by the scheduler, which calls as a worker
    "monitor_resources": _ANYONE,
    # offer
    "offer_info": _TENANTS,
    "join_offer": _TENANTS,
    "open_room": _TENANTS,
    "close_room": _TENANTS,
    "workspace_offer": _TENANTS,
    "workspace_blobs": _TENANTS,
    "workspace_get": _TENANTS,
    "workspace_fetch": _TENANTS,
    "offer_status": _ANYONE,
    "withdraw_offer": _CLIENTS,
    "return_offer": _CLIENTS,
    # a Main's schedulers
    "open_scheduler": _CLIENTS,
    "close_scheduler": _CLIENTS,
    "dial_offer": _CLIENTS,
    # manager
    "join_manager": _WORKERS,
    "get_file": _TRUSTED,
    "get_files": _TRUSTED,
    "update_file_hash": _TRUSTED,
    "update_file_hashes": _TRUSTED,
    "home_status": _ANYONE,
    # offer: workspaces
}


def may_call(role: str, op: str) -> bool:
    """Whether a peer of `role` may use `op`."""
    return role in _ROLES_BY_OP.get(op, _TRUSTED)


def may_send_objects(role: str) -> bool:
    """Whether pickles from a peer of `role` are let in at all."""
    return role in _TRUSTED


def may_send_frames(role: str) -> bool:
    """Whether messages of a peer of `role` may have frames, and the size that settings allow."""
    return role in _TRUSTED or role == GUEST
