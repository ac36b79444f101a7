"""Many processes append records to one store at the same time: nothing may fail or be lost; says how long it took.

    python -m tests.benchmarks.appending --writers 64 --appends 1000 [--bucket]
    python -m tests.benchmarks.appending --store s3://bucket/new-store

An append is the row of a planned run: its plan and its Parquet file, each whole.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from contextlib import nullcontext

from study.records.records import Records, Run
from study.store.store import Store
from study.upkeep.checks import checks_of, look
from study.upkeep.contents import Contents
from tests.bucket import serving


def append(location: str, writer: int, number: int) -> None:
    """The appends of one process."""
    records = Records(Store(location))
    for seed in range(number):
        stage = f"{writer:032x}{seed:032x}"
        run = Run(study="many", arm=f"arm{writer}", seed=seed, factors={}, final_stage=stage, stages=(stage,))
        records.write_runs([run])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--appends", type=int, default=1000)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--bucket", action="store_true", help="a server on this machine, one process of Python")
    place.add_argument("--store", help="a folder or an address in a bucket; default: a folder for as long as it takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving("many") if options.bucket else nullcontext() as bucket:
        location = options.store or (folder if bucket is None else bucket.address("store"))
        Store(location).create()
        began = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        writers = [
            context.Process(target=append, args=(location, writer, options.appends))
            for writer in range(options.writers)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        took_s = time.perf_counter() - began
        failed = sum(writer.exitcode != 0 for writer in writers)
        rows = Records(Store(location)).read("runs").num_rows
        read_s = time.perf_counter() - began - took_s
        damaged = look(checks_of(Contents(Store(location))), lambda done, total: None)
    expected = options.writers * options.appends
    print(
        f"{options.writers} writers x {options.appends} appends to a {'bucket' if '://' in location else 'folder'}: ",
        end="",
    )
    print(
        f"{took_s:.0f} s, {expected / took_s:.0f} a second; {failed} writers failed; {rows} of {expected} rows, ",
        end="",
    )
    print(f"read in {read_s:.0f} s; {len(damaged)} files damaged")
    return int(failed or rows != expected or bool(damaged))


if __name__ == "__main__":
    sys.exit(main())
