"""Settings from the environment."""

from __future__ import annotations

import pytest

from distributed.config import Settings, from_environment
from distributed.dataclass import fields
from distributed.errors import ConfigError
from distributed.protocol.codec import Limits


def test_without_an_environment_the_defaults_hold() -> None:
    assert from_environment({}) == Settings()
    assert Settings().limits == Limits()
    assert Settings().connect_timeout_s == 3


def test_variables_override_and_empty_ones_do_not() -> None:
    environment = {
        "DISTRIBUTED_KEY_FILE": "~/k",
        "DISTRIBUTED_CONNECT_TIMEOUT_S": "500 ms",
        "DISTRIBUTED_MESSAGE_NBYTES_MAX": "2 GiB",
        "DISTRIBUTED_FRAME_COUNT_MAX": "7",
        "DISTRIBUTED_UNAUTHENTICATED_MAX": "",
        "SOMETHING_ELSE": "x",
    }
    given = from_environment(environment)
    assert (given.key_file, given.connect_timeout_s, given.unauthenticated_max) == ("~/k", 0.5, 512)
    assert given.limits == Limits(frame_count_max=7, message_nbytes_max=2 * 2**30)


@pytest.mark.parametrize("name", [field.name for field in fields(Settings) if field.name != "key_file"])
@pytest.mark.parametrize("text", ["x", "-5", "1 parsec"])
def test_a_value_that_cannot_be_used_is_refused_with_the_name_of_the_variable(name: str, text: str) -> None:
    variable = f"DISTRIBUTED_{name.upper()}"
    with pytest.raises(ConfigError, match=f"^{variable}="):
        from_environment({variable: text})


@pytest.mark.parametrize("name", [field.name for field in fields(Settings) if field.name.endswith("_max")])
def test_a_bound_of_zero_would_let_nothing_through(name: str) -> None:
    with pytest.raises(ConfigError, match="greater than 0"):
        from_environment({f"DISTRIBUTED_{name.upper()}": "0"})


@pytest.mark.parametrize("text", ["1.1", "60%", "nan"])
def test_a_fraction_lies_between_0_and_1(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^DISTRIBUTED_MEMORY_PAUSE_FRACTION=.*from 0 \(off\) to 1"):
        from_environment({"DISTRIBUTED_MEMORY_PAUSE_FRACTION": text})


def test_fractions_of_memory_grow_and_those_that_are_off_do_not_count() -> None:
    given = from_environment({"DISTRIBUTED_MEMORY_SPILL_FRACTION": "0", "DISTRIBUTED_MEMORY_TARGET_FRACTION": "0.8"})
    assert (given.memory_target_fraction, given.memory_spill_fraction, given.memory_pause_fraction) == (0.8, 0, 0.8)
    with pytest.raises(ConfigError, match=r"^DISTRIBUTED_MEMORY_SPILL_FRACTION=0.5 .* not be below .* 0.6"):
        from_environment({"DISTRIBUTED_MEMORY_SPILL_FRACTION": "0.5"})


def test_every_setting_is_documented() -> None:
    for setting in fields(Settings):
        assert setting.name in (Settings.__doc__ or ""), setting.name


def test_how_data_travels_on_one_machine_is_one_of_three_words() -> None:
    assert Settings().same_host == "memory"
    assert from_environment({"DISTRIBUTED_SAME_HOST": "off"}).same_host == "off"
    with pytest.raises(ConfigError, match="one of memory, socket, off"):
        from_environment({"DISTRIBUTED_SAME_HOST": "on"})
