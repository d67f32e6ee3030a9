"""python -m lowp.train RECIPE.toml: what `lowp train` runs."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import traceback

from lowp import errors
from lowp.train import parallel
from lowp.train import recipe as recipes
from lowp.train.run import run


def _give_up(status: int) -> int:
    """The other ranks, which would wait for this one, end too."""
    with contextlib.suppress(errors.Error):  # there may be none, or no MPI: then that was the error
        parallel.connect().abort(status)
    return status


def main() -> int:
    """Status 0; 1 where the run failed, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(prog="lowp train", description="Trains a model by a recipe; goes on where it was.")
    parser.add_argument("recipe", metavar="RECIPE.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="instead of the recipe's"
    )
    parser.add_argument("--threads", type=int, help="0: all that the process may use")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    try:
        recipe = recipes.load(options.recipe, options.set)
        if options.threads is not None:
            recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, threads=options.threads))
        result = run(recipe)
    except errors.Error as e:
        print(f"lowp: {e.code}: {e}", file=sys.stderr, flush=True)  # noqa: T201
        return _give_up(1)
    except KeyboardInterrupt:
        return _give_up(130)
    except BaseException:
        traceback.print_exc()
        return _give_up(1)
    group = parallel.connect()
    parallel.disconnect()
    if options.json and group.first:
        print(result.to_json())  # noqa: T201
    return 130 if result.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
