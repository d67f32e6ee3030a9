"""python -m lowp.train RECIPE.toml: what `lowp train` runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from lowp import errors
from lowp.train import recipe as recipes
from lowp.train.run import run


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
        print(f"lowp: {e.code}: {e}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(result.to_json())  # noqa: T201
    return 130 if result.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
