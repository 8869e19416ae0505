#!/usr/bin/env bash
exec python3 -I "${HOTSEAT_TESTS:-/tests}/check.py" "${HOTSEAT_APP:-/app}" "${HOTSEAT_LOGS:-/logs}/verifier"
