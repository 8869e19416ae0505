#!/usr/bin/env bash
# Every turn is a new conversation.
set -eu
sed -E 's/messages = turn\(provider, messages,/messages = turn(provider, [],/' "${HOTSEAT_SOLUTION:-/solution}/../../solution/chat.py" > chat.py
