"""What workers weigh: `python -m benchmarks.memory [--slots 1 10 20 50]`.

Proportional set size of the whole server, which counts a page that n processes share 1/n for each: with so many workers
for turns that have not worked yet, and after each has.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import load, processes, table
from benchmarks.account import MODELS, Account
from benchmarks.load import Scenario
from benchmarks.stack import Stack
from models_registry.fakes.openai import WORDS

WORDS_EACH = 50
TURNS_EACH = 4


def measure(stack: Stack, account: Account, slots: int) -> list[str]:
    """One line of the table."""
    stack.start_workers(slots)
    before = _memory(stack)
    warm_up = Scenario("warm-up", MODELS[0], users=slots, turns=TURNS_EACH * slots, rounds=1)
    text = "".join(WORDS[number % len(WORDS)] for number in range(WORDS_EACH))
    conversations = account.conversations(warm_up.model, warm_up.turns)
    load.run(warm_up, token=account.token, text=text, conversations=conversations, parts=stack.parts)
    after = _memory(stack)
    stack.stop_workers()
    values = [before["workers"], sum(before.values()), after["workers"], sum(after.values())]
    return [str(slots), *map(table.number, values), table.number(after["workers"] / slots)]


def _memory(stack: Stack) -> dict[str, float]:
    return {name: processes.memory_mb([pid]) for name, pid in stack.parts.items()}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 10, 20, 50])
    options = parser.parse_args(arguments)
    head = ["MiB, with so many workers for turns", "workers, idle", "all, idle", "workers", "all", "each worker"]
    with Stack(tokens=WORDS_EACH, delay_ms=20) as stack:
        account = Account()
        print(table.render([head, *(measure(stack, account, slots) for slots in options.slots)]))


if __name__ == "__main__":
    main(sys.argv[1:])
