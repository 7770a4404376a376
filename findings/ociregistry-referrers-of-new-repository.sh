#!/bin/bash
# cuelabs.dev/go/oci/ociregistry v0.0.0-20251212221603-3adeb8663819 (ocimem behind ociserver, Go): a registry with the
# referrers API answers 404 NAME_UNKNOWN for the referrers of an image in a repository that nothing was pushed to yet. The
# OCI distribution specification ("Listing Referrers") says that a registry with this API must not answer 404, and that a
# 404 sends a client to the referrers tag. A client that asks before its first push, and remembers the answer, writes lists
# under tags for a registry that keeps them itself. After a push of a blob the answer is 200 with a list of `null`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export GOFLAGS=-modcacherw GOPATH=$folder/go
cat >go.mod <<'MOD'
module finding

go 1.24

require cuelabs.dev/go/oci/ociregistry v0.0.0-20251212221603-3adeb8663819
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

func main() {
	server := httptest.NewServer(ociserver.New(ocimem.New(), nil))
	defer server.Close()
	digest := "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	ask := func() {
		answer, err := http.Get(server.URL + "/v2/some/repository/referrers/" + digest)
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			panic(err)
		}
		fmt.Println(answer.StatusCode, string(body))
	}
	ask()
	pushed, err := http.Post(server.URL+"/v2/some/repository/blobs/uploads/?digest="+digest, "application/octet-stream", nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("pushed", pushed.StatusCode)
	ask()
}
GO
go mod tidy >/dev/null 2>&1
seen=$(go run .)
echo "$seen"
grep -q '^404 .*NAME_UNKNOWN' <<<"$seen"
grep -q '^200 .*"manifests":null' <<<"$seen"
