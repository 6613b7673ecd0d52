#!/bin/sh
# Writes .env: .env.example with a random password for each one that is empty there. Leaves a .env that is there alone.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
  echo '.env is there already; nothing was changed.' >&2
  exit 1
fi
umask 077
# Written under another name first: a .env that is half done must not be taken for a whole one.
while IFS= read -r line || [ -n "$line" ]; do
  case $line in
    *_PASSWORD=) printf '%s%s\n' "$line" "$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')" ;;
    *) printf '%s\n' "$line" ;;
  esac
done <.env.example >.env.new
mv .env.new .env
echo 'Wrote .env: read it, it is yours.'
