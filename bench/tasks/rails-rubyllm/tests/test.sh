#!/usr/bin/env bash
tests="${HOTSEAT_TESTS:-/tests}"
exec python3 -I -B "$tests/check.py" "${HOTSEAT_APP:-/app}" "${HOTSEAT_LOGS:-/logs}/verifier"
