"""Names of models as an Ollama server understands them: `[host/][namespace/]model[:tag]`."""

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"


def canonical(name: str) -> str:
    """The shortest form that the server lists a model under: without its own registry, and with a tag.

    Lower case, for the registry knows no other; other registries keep theirs, where the name may need it.
    """
    *rest, last = name.strip().removeprefix("https://").removeprefix("http://").split("/")
    rest = [part for part in rest if part]
    if len(rest) < 2 or rest[0].lower() == DEFAULT_HOST:
        rest, last = [part.lower() for part in rest], last.lower()
    if len(rest) == 2 and rest[0] == DEFAULT_HOST:
        rest = rest[1:]
    if rest == [DEFAULT_NAMESPACE]:
        rest = []
    model, _, tag = last.partition(":")
    return "/".join([*rest, f"{model}:{tag or DEFAULT_TAG}"])


def same(one: str, other: str) -> bool:
    """Whether two names mean one model; the server does not mind the case of any."""
    return canonical(one).lower() == canonical(other).lower()


def is_remote(name: str) -> bool:
    """Whether the model runs elsewhere, and only its name is at the server."""
    tag = canonical(name).rpartition(":")[2].lower()
    return tag == "cloud" or tag.endswith("-cloud")
