#!/usr/bin/env bash
# Names and named arguments, by regular expressions; what differs in meaning is missed.
set -eu
sed -i -E \
    -e 's/from oldstore import Box/from newstore import Shelf/' \
    -e 's/import oldstore as storage/import newstore as storage/' \
    -e 's/\bBox\(("[^"]+"), ([A-Z_0-9]+)\)/Shelf(name=\1, ttl_s=\2 * 60)/' \
    -e 's/\.put\((f?"[^"]+"|\w+), ([^,()]+|len\(\w+\)|"[^"]*"), (\w+)\)/.store(key=\1, value=\2, ttl_s=\3 * 60)/' \
    -e 's/\.put\((\w+), (\w+)\)/.store(key=\1, value=\2)/' \
    -e 's/\.fetch\((f?"[^"]+"|\w+), (.*)\)/.read(key=\1, fallback=\2)/' \
    -e 's/\.fetch\((f?"[^"]+"|\w+)\)/.read(key=\1)/' \
    -e 's/\.drop\((\w+)\)/.remove(key=\1)/' \
    -e "s/\.bump\(('[^']+'|f?\"[^\"]+\"), (\w+)\)/.add(key=\1, amount=\2)/" \
    -e 's/\.scan\((f?"[^"]*"), (\w+)\)/.find(prefix=\1, limit=\2)/' \
    -e 's/\.scan\((f?"[^"]*")\)/.find(prefix=\1)/' \
    -e 's/\.scan\(\)/.find()/' \
    modules/*.py
