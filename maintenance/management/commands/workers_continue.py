from maintenance.management.telling import TellingCommand
from maintenance.masters import Command as Order
from maintenance.masters import State


class Command(TellingCommand):
    help = "Have paused workers take jobs again. 2: no master of workers runs."
    command, state = Order.CONTINUE, State.RUNNING
    told, done = "told to go on", "running"
