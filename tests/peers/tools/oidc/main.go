// oidc is an OpenID issuer that also answers as GitHub's token endpoint for jobs, on loopback.
//
//	oidc -addr 127.0.0.1:5000 -url http://127.0.0.1:5000 -token-file FILE
//
//	GET /.well-known/openid-configuration   discovery
//	GET /.well-known/jwks                   the RS256 key, made at start
//	GET /token?api-version=2.0&audience=A   with "Authorization: bearer <what is in FILE>": {"count":N,"value":"<jwt>"}
//
// Every query parameter "claim.NAME=VALUE" replaces a claim, so that signers under several identities share one issuer:
// the request URL of a job is whatever the environment says it is.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const commit = "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3"

// What GitHub's tokens say of a job, by the names GitHub gives them.
func claims() map[string]any {
	workflow := "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main"
	return map[string]any{
		"sub": "repo:octo-org/octo-app:ref:refs/heads/main", "ref": "refs/heads/main", "sha": commit,
		"repository": "octo-org/octo-app", "repository_owner": "octo-org", "repository_owner_id": "65",
		"repository_visibility": "public", "repository_id": "74", "run_id": "1122334455", "run_number": "42",
		"run_attempt": "1", "actor_id": "12", "actor": "octocat", "workflow": "release", "head_ref": "", "base_ref": "",
		"event_name": "push", "ref_protected": "true", "ref_type": "branch", "workflow_ref": workflow,
		"workflow_sha": commit, "job_workflow_ref": workflow, "job_workflow_sha": commit,
		"runner_environment": "github-hosted",
	}
}

type issuer struct {
	url, keyID, requestToken string
	key                      *rsa.PrivateKey
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func encodeJSON(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	return encode(raw)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (i *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, 200, map[string]any{
		"issuer": i.url, "jwks_uri": i.url + "/.well-known/jwks", "authorization_endpoint": i.url + "/authorize",
		"token_endpoint": i.url + "/oauth/token", "subject_types_supported": []string{"public"},
		"response_types_supported": []string{"id_token"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported": []string{"openid"},
	})
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	public := i.key.PublicKey
	answer(w, 200, map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": i.keyID,
		"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
	}}})
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare([]byte(given), []byte(i.requestToken)) != 1 {
		answer(w, 401, map[string]string{"message": "The user is not authorized to access this resource."})
		return
	}
	query := r.URL.Query()
	if !query.Has("api-version") {
		answer(w, 400, map[string]string{"message": "No api-version was supplied"})
		return
	}
	body, now := claims(), time.Now().Unix()
	for name := range query {
		if claim, ok := strings.CutPrefix(name, "claim."); ok {
			body[claim] = query.Get(name)
		}
	}
	body["aud"] = query.Get("audience")
	if body["aud"] == "" {
		body["aud"] = "https://github.com/octo-org"
	}
	// GitHub's tokens live five minutes and are valid from ten minutes before they are made.
	body["iss"], body["jti"], body["iat"], body["nbf"], body["exp"] = i.url, rand.Text(), now, now-600, now+300
	signed := encodeJSON(map[string]string{"typ": "JWT", "alg": "RS256", "kid": i.keyID}) + "." + encodeJSON(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		answer(w, 500, map[string]string{"message": err.Error()})
		return
	}
	jwt := signed + "." + encode(signature)
	answer(w, 200, map[string]any{"count": len(jwt), "value": jwt})
}

func main() {
	address := flag.String("addr", "127.0.0.1:0", "where to listen")
	url := flag.String("url", "", "the issuer's name, under which clients reach it")
	tokenFile := flag.String("token-file", "", "the request token is written here")
	flag.Parse()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256(key.PublicKey.N.Bytes())
	i := &issuer{url: *url, keyID: hex.EncodeToString(sum[:8]), requestToken: rand.Text(), key: key}
	if err := os.WriteFile(*tokenFile, []byte(i.requestToken), 0o600); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /.well-known/jwks", i.keys)
	mux.HandleFunc("GET /token", i.token)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, mux))
}
