"""Print the scores that test_recorded.py compares with: ``python tests/reconstruction/record_pair_metrics.py``."""

from __future__ import annotations

import json

from test_recorded import pairs, scores

if __name__ == "__main__":
    print(json.dumps({kind: scores(pair) for kind, pair in pairs().items()}, indent=1))
