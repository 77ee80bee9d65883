#!/usr/bin/env bash
# Fetch the pinned Swagger UI again and put the files that /docs needs into app/static/docs. Needs npm.
set -euo pipefail
cd "$(dirname "$0")/.."
version=5.35.0
integrity="sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" "swagger-ui-dist@$version" >/dev/null
archive=$folder/swagger-ui-dist-$version.tgz
found="sha512-$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)"
if [ "$found" != "$integrity" ]; then
    echo "swagger-ui-dist $version is not the file it was: expected $integrity, got $found" >&2
    exit 1
fi
tar -xzf "$archive" -C "$folder"
target=app/static/docs/swagger-ui
rm -rf $target
mkdir -p $target
for file in swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css LICENSE NOTICE; do
    cp "$folder/package/$file" $target/
done
# The maps are not kept, and a browser's tools would ask for them.
sed -i.bak -e 's/^\/\/# sourceMappingURL=.*//' -e 's/\/\*# sourceMappingURL=.*\*\///' $target/*.js $target/*.css
rm -f $target/*.bak
find $target -type f -exec chmod 644 {} +
echo "swagger-ui-dist $version" >$target/VERSION
