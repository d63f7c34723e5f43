"""Names of the HTTP recipes' headers and paths (`distributed.simple`, `distributed.pull`, `distributed.push`)."""

from __future__ import annotations

__all__ = [
    "HTTP_HEADER_X_FILE_PATH",
    "HTTP_HEADER_X_JOB",
    "HTTP_HEADER_X_MASTER",
    "HTTP_HEADER_X_WORKER_NAME",
    "MASTER_PATH_GET_FILE",
    "MASTER_PATH_GET_FILES",
    "MASTER_PATH_HOME_STATUS",
    "MASTER_PATH_NEW_HOME",
    "MASTER_PATH_UPDATE_FILE_HASH",
    "MASTER_PATH_UPDATE_FILE_HASHES",
    "MASTER_PATH_WORKER_REGISTER",
    "WORKER_PATH_NEW_FILE",
    "WORKER_PATH_STATUS",
]

HTTP_HEADER_X_WORKER_NAME = "X-DISTRIBUTED-WORKER-NAME"
HTTP_HEADER_X_FILE_PATH = "X-DISTRIBUTED-FILE-PATH"  # percent-encoded bytes of the relative path (RFC 3986)
HTTP_HEADER_X_MASTER = "X-DISTRIBUTED-MASTER"  # push: where the worker tells the digests, http://host:port
HTTP_HEADER_X_JOB = "X-DISTRIBUTED-JOB"  # push: names what was sent in one request, for the answer

WORKER_PATH_NEW_FILE = "/new_file"
WORKER_PATH_STATUS = "/status"
MASTER_PATH_WORKER_REGISTER = "/worker_register"
MASTER_PATH_GET_FILE = "/get_file"
MASTER_PATH_GET_FILES = "/get_files"
MASTER_PATH_UPDATE_FILE_HASH = "/update_file_hash"
MASTER_PATH_UPDATE_FILE_HASHES = "/update_file_hashes"
MASTER_PATH_HOME_STATUS = "/home_status"
MASTER_PATH_NEW_HOME = "/new_home"
