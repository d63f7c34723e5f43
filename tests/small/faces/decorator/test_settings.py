"""What `setup` makes of a file, a dict, keywords and the environment."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.crews.options import MainSettings
from distributed.errors import ConfigError, DistributedWarning
from distributed.faces.decorator.settings import main_settings


def told(
    config: Any = None, path: str = "", environment: dict[str, str] | None = None, **keywords: Any
) -> MainSettings:
    return main_settings(config or {}, path, keywords, environment or {})


def test_nothing_is_the_default() -> None:
    assert told() == MainSettings()


def test_the_first_documents_configuration_is_understood() -> None:
    assert told({"ident": "awoo", "main": {}, "worker": {}}) == MainSettings(ident="awoo")


def test_the_section_main_holds_the_same_keys() -> None:
    assert told({"main": {"workers": ["a:1"], "timeout": "5s"}}) == MainSettings(workers=("a:1",), timeout_s=5.0)


def test_workers_are_not_configured_by_their_main() -> None:
    with pytest.warns(DistributedWarning, match="dworker --offer"):
        told({"worker": {"threads": 3}})


def test_keywords_override_the_file_which_overrides_the_environment() -> None:
    environment = {
        "DISTRIBUTED_WORKERS": "e:1, e:2,",
        "DISTRIBUTED_SCHEDULER_ADDRESS": "e:3",
        "DISTRIBUTED_CREDENTIAL": "e.grant",
    }
    assert told(None, environment=environment) == MainSettings(
        workers=("e:1", "e:2"), scheduler="e:3", credential="e.grant"
    )
    found = told({"scheduler": "f:3", "ident": "f"}, environment=environment, ident="k")
    assert (found.workers, found.scheduler, found.ident) == (("e:1", "e:2"), "f:3", "k")


def test_paths_of_a_file_are_relative_to_it_and_those_of_keywords_are_not() -> None:
    config = {"credential": "a.grant", "requirements": "lock.txt", "workspace": {"root": "../code", "exclude": ["x"]}}
    found = told(config, "/etc/job/config.json")
    assert (found.credential, found.requirements) == ("/etc/job/a.grant", "/etc/job/lock.txt")
    assert (found.root, found.exclude) == ("/etc/job/../code", ("x",))
    assert told({"requirements": "inherit", "workspace": "/abs"}, "/etc/c.json").root == "/abs"
    assert told({}, "/etc/c.json", credential="b.grant").credential == "b.grant"


def test_the_bounds_of_a_workspace_may_be_raised() -> None:
    found = told(workspace={"nbytes_max": "1GiB", "files_max": 60_000})
    assert (found.nbytes_max, found.files_max) == (2**30, 60_000)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"worker": {}, "wrokers": []}, "did you mean 'workers'?"),
        ({"colour": 1}, "it knows ident"),
        ({"workspace": {"rot": "."}}, "did you mean 'root'?"),
        ({"workers": 5}, "a list of texts"),
        ({"workers": [5]}, "a list of texts"),
        ({"workspace": 5}, "a folder"),
        ({"threads": 0}, "at least 1"),
        ({"n_workers": True}, "at least 1"),
        ({"ident": 7}, "a text"),
        ({"follow": "no"}, "true or false"),
        ({"timeout": "soon"}, "write a time"),
        ({"memory_limit": "much"}, "write a size"),
        ({"requirements": 5}, "'inherit'"),
        ({"main": 5}, "an object"),
        ({"main": {"idnet": "x"}}, "did you mean 'ident'?"),
    ],
)
def test_a_mistake_is_refused_with_its_key_and_the_cure(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(given, "/etc/config.json")
    assert text in str(caught.value)


def test_a_mistake_in_a_keyword_is_refused_likewise() -> None:
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        told(workrs=["a:1"])


def test_a_list_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="an object with keys"):
        told(["a"])
