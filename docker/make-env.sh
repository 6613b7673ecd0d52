#!/bin/sh
# Writes .env: .env.example with a random password for each one that is empty there, and with the paths of the certificates that it makes
# (docker/make-certificates.sh). Leaves a .env and certificates that are there alone. Arguments are further names and addresses of central:
#   docker/make-env.sh central.example
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
  echo '.env is there already; nothing was changed.' >&2
  exit 1
fi
sh docker/make-certificates.sh "$@"
umask 077
# Written under another name first: a .env that is half done must not be taken for a whole one.
while IFS= read -r line || [ -n "$line" ]; do
  case $line in
    *_PASSWORD=) printf '%s%s\n' "$line" "$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')" ;;
    TLS_CERT=) echo 'TLS_CERT=/etc/waypost/tls/server.crt' ;;
    TLS_KEY=) echo 'TLS_KEY=/etc/waypost/tls/server.key' ;;
    CENTRAL_CA=) echo 'CENTRAL_CA=/etc/waypost/trust/ca.crt' ;;
    *) printf '%s\n' "$line" ;;
  esac
done <.env.example >.env.new
mv .env.new .env
echo 'Wrote .env: read it, it is yours.'
