"""`manage.py fake_backend`: run a server without a model, for benchmarks and for trying things out."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_registry.fakes.anthropic import AnthropicServer
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.openai import OpenAIServer

SERVERS: dict[str, type[AnthropicServer] | type[OllamaServer] | type[OpenAIServer]] = {
    "anthropic": AnthropicServer,
    "ollama": OllamaServer,
    "openai": OpenAIServer,
}


class Command(BaseCommand):
    help = "Serve a provider's protocol without a model; the model's name in a request chooses what happens."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--driver", choices=sorted(SERVERS), default="openai", help="whose protocol")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="0, the default: a free one")
        parser.add_argument("--delay-ms", type=int, default=20, help="between the tokens of the model stub-paced")
        parser.add_argument("--tokens", type=int, default=20, help="how many the models stub and stub-paced say")
        parser.add_argument("--load-seconds", type=float, default=1.0, help="until slow-load is in memory; ollama only")

    def handle(self, **options: Any) -> None:
        server = SERVERS[options["driver"]](
            host=options["host"],
            port=options["port"],
            tokens=options["tokens"],
            delay_seconds=options["delay_ms"] / 1000,
        )
        if isinstance(server, OllamaServer):
            server.load_seconds = options["load_seconds"]
        try:
            with server:
                self.stdout.write(f"{server.base_url}\nmodels: {', '.join(server.scripts)}")
                if isinstance(server, OllamaServer):
                    self.stdout.write(
                        f"to be pulled: {', '.join(server.pull_scripts)}, pull-slow:30s, pull-stubborn:30s"
                    )
                self.stdout.flush()
                server.wait()
        except OSError as error:
            raise CommandError(f"Cannot listen on port {options['port']}: {error.strerror}") from error
        except KeyboardInterrupt:
            self.stderr.write("stopped")
