"""A program as users write it, but for how it gets to its room; see test_rooms."""

import dataclasses
import enum
import os
from typing import Any

from distributed import Client
from distributed.protocol.serialize import loads_payload
from distributed.rooms.entry import be_main
from distributed.rooms.references import dumps_reference_payload, packable
from distributed.security.keys import Keyring

ENTRY = "script_of_main"


@dataclasses.dataclass
class Order:
    item: str
    count: int


class Size(enum.Enum):
    BIG = 1


class SoldOut(Exception):
    pass


class Named:
    """Any argument, packed as crews pack theirs."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return loads_payload, (dumps_reference_payload(self.value, ENTRY),)


def enlarge(order: Order, how: Any) -> tuple[Order, Size, str]:
    if order.count > 9:
        raise SoldOut(order)
    return Order(order.item, how(order.count)), Size.BIG, __name__


def twice(count: int) -> int:
    return 2 * count


if __name__ == "__main__":
    be_main(os.path.dirname(os.path.abspath(__file__)), ENTRY)
    keys = Keyring(eval(os.environ["KEYS"]))
    with Client(os.environ["HOUSE"], keys=keys) as client:
        for how in (twice, lambda count: twice(count)):
            task = client.submit(packable(enlarge, ENTRY), Named(Order("nails", 3)), Named(how), workers=["of-main"])
            assert task.result() == (Order("nails", 6), Size.BIG, ENTRY)
            assert task.result()[1] is Size.BIG
        try:
            client.submit(packable(enlarge, ENTRY), Named(Order("nails", 10)), twice, workers=["of-main"]).result()
        except SoldOut as error:
            assert error.args == (Order("nails", 10),)
            print("all is well")
