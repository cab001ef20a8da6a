"""Programs of followers that fail, for `Group.start(places, "failing:...")`."""

from dataclasses import replace

from wan22.engine import load
from wan22.errors import OptionError
from wan22.parallel.lead import serve


def at_the_second_step(group):
    """Serve by an engine whose second call of the network fails here alone."""

    def failing(**said):
        engine = load(**said)
        made = engine._calls

        def calls(*args):
            found = made(*args)
            denoise, count = found.experts.denoise, iter(range(9))

            def fail(x, level):
                if next(count) == 1:
                    raise ValueError("a defect of rank 1")
                return denoise(x, level)

            found.experts.denoise = fail
            return found

        engine._calls = calls
        return engine

    serve(group, failing)


def with_a_mistake_of_its_own(group):
    """Serve by an engine that finds a mistake of the user's which the leader has not."""

    def mistaken(**said):
        engine = load(**said)

        def calls(*args):
            raise OptionError("a file that only this machine has")

        engine._calls = calls
        return engine

    serve(group, mistaken)


def with_other_files(group):
    """Serve by an engine whose VAE is of another file."""

    def other(**said):
        engine = load(**said)
        engine.weights = {**engine.weights, "vae": "sha256:0"}
        return engine

    serve(group, other)


def never(group):
    """End before anything is said."""
    raise SystemExit(replace.__name__)
