"""A customer: looks at the shop a few times a second, and says once a second what came of it."""

from __future__ import annotations

import collections
import json
import time
import urllib.request

PER_SECOND = 10


def main() -> None:
    while True:
        versions: collections.Counter[str] = collections.Counter()
        errors: collections.Counter[str] = collections.Counter()
        for _ in range(PER_SECOND):
            begun = time.monotonic()
            try:
                with urllib.request.urlopen("http://frontend/alice", timeout=5) as answer:
                    versions[json.load(answer)["catalog"]["version"]] += 1
            except OSError as error:
                errors[str(error)] += 1
            time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - begun)))
        print(json.dumps({"catalog": versions, "errors": errors}), flush=True)


if __name__ == "__main__":
    main()
