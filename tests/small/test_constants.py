"""Names on the wire of the HTTP recipes: other programs use them too."""

from __future__ import annotations

from distributed import constants


def test_headers_and_paths_are_those_of_the_recipes() -> None:
    """H02: constants."""
    assert {name: getattr(constants, name) for name in constants.__all__} == {
        "HTTP_HEADER_X_FILE_PATH": "X-DISTRIBUTED-FILE-PATH",
        "HTTP_HEADER_X_JOB": "X-DISTRIBUTED-JOB",
        "HTTP_HEADER_X_MASTER": "X-DISTRIBUTED-MASTER",
        "HTTP_HEADER_X_WORKER_NAME": "X-DISTRIBUTED-WORKER-NAME",
        "MASTER_PATH_GET_FILE": "/get_file",
        "MASTER_PATH_GET_FILES": "/get_files",
        "MASTER_PATH_HOME_STATUS": "/home_status",
        "MASTER_PATH_NEW_HOME": "/new_home",
        "MASTER_PATH_UPDATE_FILE_HASH": "/update_file_hash",
        "MASTER_PATH_UPDATE_FILE_HASHES": "/update_file_hashes",
        "MASTER_PATH_WORKER_REGISTER": "/worker_register",
        "WORKER_PATH_NEW_FILE": "/new_file",
        "WORKER_PATH_STATUS": "/status",
    }
