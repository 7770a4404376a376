#!/bin/bash
# distribution answers 201 to the mount of a blob under its SHA-512 digest, and does not have the blob under that digest.
#
# distribution 3.1.2, in memory. A blob is uploaded to a repository under its SHA-512 digest. A mount of that digest into
# another repository is answered by 201 and a `Docker-Content-Digest` with it, and a HEAD of it by 404. The distribution
# specification ("Mounting a blob from another repository") has 201 say that the blob was mounted. Under SHA-256 the same
# mount works.
set -euo pipefail
folder=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill "$server"; fi
  rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
GOBIN=$folder GOFLAGS=-modcacherw GOPATH=$folder/go go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nstorage: {inmemory: {}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$port" > config.yml
./registry serve config.yml > log 2>&1 &
server=$!
at=http://127.0.0.1:$port/v2
for _ in $(seq 100); do
  if curl -sf "$at/" > /dev/null; then break; fi
  sleep 0.1
done

printf blob > blob
# upload DIGEST: stores the blob in `from`, and prints the status.
upload() {
  local place
  place=$(curl -s -o /dev/null -D - -X POST "$at/from/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
  curl -s -o /dev/null -w '%{http_code}' -X PUT --data-binary @blob -H 'Content-Type: application/octet-stream' "$place&digest=$1"
}
for algorithm in sha256 sha512; do
  digest=$algorithm:$(${algorithm}sum < blob | cut -d ' ' -f 1)
  stored=$(upload "$digest")
  mounted=$(curl -s -o /dev/null -D headers -w '%{http_code}' -X POST "$at/to-$algorithm/blobs/uploads/?mount=$digest&from=from")
  named=$(tr -d '\r' < headers | sed -n 's/^Docker-Content-Digest: //Ip' | cut -d : -f 1)
  there=$(curl -s -o /dev/null -w '%{http_code}' --head "$at/to-$algorithm/blobs/$digest")
  echo "$algorithm: stored $stored, mounted $mounted as $named, there $there"
done | tee seen
diff seen - <<'SEEN'
sha256: stored 201, mounted 201 as sha256, there 200
sha512: stored 201, mounted 201 as sha512, there 404
SEEN
