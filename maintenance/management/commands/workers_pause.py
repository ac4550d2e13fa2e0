from maintenance.management.telling import TellingCommand
from maintenance.masters import Command as Order
from maintenance.masters import State


class Command(TellingCommand):
    help = "Have the workers take no more jobs; what runs goes on. 2: no master of workers runs."
    command, state = Order.PAUSE, State.PAUSED
    told, done = "told to pause", "paused"
