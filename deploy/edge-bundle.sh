#!/bin/sh
# Builds edge-service once, for devices without containers: a tarball of the service, its packages and Node, to be unpacked at /opt.
#   deploy/edge-bundle.sh [x64|arm64] [folder for the tarball]
# Needs npm on Linux; no package is native, so that one machine builds for both processors.
set -eu
arch=${1:-arm64}
target=$(cd "${2:-.}" && pwd)
case $arch in x64 | arm64) ;; *) echo "unknown processor $arch: x64 or arm64" >&2; exit 2 ;; esac
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/build" "$work/waypost"
cd "$root"
cp -r package.json package-lock.json nest-cli.json tsconfig.json libs apps "$work/build"
cd "$work/build"
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
node=$(sed -n "s/^    \"node-linux-$arch\": \"\(.*\)\",\{0,1\}$/\1/p" package.json)
echo "installing packages …" >&2
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
echo "building …" >&2
npx nest build edge-service >&2
npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error >&2
npm pack --silent --pack-destination "$work" "node-linux-$arch@$node" >&2
mkdir "$work/waypost/node"
tar -xzf "$work/node-linux-$arch-$node.tgz" -C "$work/waypost/node" --strip-components=1
"$(command -v node)" "$root/docker/prune-modules.mjs" node_modules dist
cp -r node_modules dist package.json "$root/bin" "$root/deploy/waypost-edge.service" "$root/docker/postgres/edge.sql" "$work/waypost"
bundle="$target/waypost-edge-$version-linux-$arch.tar.gz"
tar -czf "$bundle" -C "$work" --owner=0 --group=0 waypost
echo "$bundle"
