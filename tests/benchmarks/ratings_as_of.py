"""Ratings a second whose columns are computed as of the moment of each, and the peak of memory.

    python tests/benchmarks/ratings_as_of.py [--rows 25000000]

Users and films are as many as MovieLens 25M has; few films have most of the ratings. Seconds are of
the processor; the peak is of the whole process, the ratings and all columns with it.
"""

import argparse
import time

import large_tables
import numpy as np

from helpers import ratings

USERS, FILMS = 162_541, 62_423


def drawn(rows: int) -> tuple[ratings.Ratings, ratings.Catalogue]:
    rng = np.random.default_rng(0)
    film = (FILMS * rng.random(rows, dtype=np.float32) ** 3).astype(np.int64) + 1
    given = ratings.Ratings(
        rng.integers(1, USERS + 1, rows),
        np.minimum(film, FILMS),
        rng.integers(1, 11, rows) / 2,
        rng.integers(0, 10**9, rows),
    )
    genres = np.sort(rng.integers(0, len(ratings.GENRES), (FILMS + 1, 6)))[:, ::-1]
    year = rng.integers(1950, 2020, FILMS + 1).astype(np.int32)
    return given, ratings.Catalogue(year, genres.astype(np.int8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=25_000_000)
    options = parser.parse_args()
    given, films = drawn(options.rows)
    started = time.process_time()
    columns = ratings.as_of(given, films)
    seconds = time.process_time() - started
    print(
        f"{options.rows:,} ratings, {len(columns)} columns: {options.rows / seconds:,.0f} a second,"
        f" peak {large_tables.peak_bytes() / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
